"""Content hashes."""

from pathlib import Path

import pytest

from stashhog_core.hashing import oshash

_KIB = 1024


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # Worked out by hand from the definition: size, words of head, words of tail.
        pytest.param(b"", "0000000000000000", id="empty"),
        pytest.param(b"\x01" + bytes(7), "000000000000000a", id="one word, twice"),
        pytest.param(b"\xff" * 8 + b"abc", "6362620000000009", id="overflow, odd end"),
        pytest.param(
            (b"\x01" + bytes(7)) * (64 * _KIB // 8) + bytes(64 * _KIB),
            f"{128 * _KIB + 8 * _KIB:016x}",
            id="head and tail apart",
        ),
        pytest.param(
            bytes(64 * _KIB) + b"\x55" * 8 * 9 + bytes(64 * _KIB),
            f"{128 * _KIB + 72:016x}",
            id="the middle does not count",
        ),
    ],
)
def test_oshash_is_the_one_stash_computes(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    """The hash follows the OpenSubtitles definition at every size."""
    file = tmp_path / "film.mp4"
    file.write_bytes(content)

    assert oshash(file) == expected


def test_a_tail_of_odd_length_is_read_from_the_very_end(tmp_path: Path) -> None:
    """The tail is the last whole words of the file, wherever they begin."""
    file = tmp_path / "film.mp4"
    # 11 bytes: the head is bytes 0-7, the tail bytes 3-10.
    file.write_bytes(bytes(10) + b"\x01")

    assert oshash(file) == f"{11 + (1 << 56):016x}"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """No hash is invented for a file that cannot be read."""
    with pytest.raises(FileNotFoundError):
        oshash(tmp_path / "none.mp4")
