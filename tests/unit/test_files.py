"""A file is written whole or not at all."""

import stat
from pathlib import Path

import pytest

from stashhog_core.files import unwritable, write_whole, written_whole


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("durable", [True, False])
def test_the_file_is_replaced_in_the_end(tmp_path: Path, *, durable: bool) -> None:
    """Readers see the old file or the new one, and nothing else is left."""
    file = tmp_path / "file"
    file.write_text("old")
    with written_whole(file, durable=durable) as written:
        written.write(b"new")
        assert file.read_text() == "old"

    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    """Whatever it is, and no part of the new one stays."""
    file = tmp_path / "file"
    file.write_text("old")

    def write() -> None:
        with written_whole(file) as written:
            written.write(b"ne")
            raise error

    with pytest.raises(error):
        write()

    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_mode_is_private_or_that_of_any_new_file(tmp_path: Path) -> None:
    """A secret is private from its first byte; a file that was open becomes so."""
    secret, other, usual = (tmp_path / name for name in ("secret", "other", "usual"))
    secret.touch(mode=0o644)
    usual.touch()
    with written_whole(secret, private=True):
        (part,) = tmp_path.glob(".*")
        assert mode(part) == 0o600
    write_whole(other, "é")

    assert mode(secret) == 0o600
    assert mode(other) == mode(usual)
    assert other.read_bytes() == "é".encode()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What the link leads to is replaced, in its own folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file, link = folder / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(file)
    write_whole(link, b"new")

    assert link.is_symlink()
    assert file.read_bytes() == b"new"


def test_the_error_names_the_file_and_the_cause(tmp_path: Path) -> None:
    """For files that somebody has named."""
    file = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(file, "x")

    assert str(unwritable("The report", file, caught.value)) == (
        f"The report cannot be written ({file}): choose another file "
        "(No such file or directory)"
    )
