"""Keyframes of the first and last minute, or of the whole at a distance."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from stashhog_core.errors import ItemError
from stashhog_core.media import frames, headers
from stashhog_core.media.frames import Still, end_stills, spaced_stills
from tests.support.media import write_cards, write_colours, write_song

pytestmark = pytest.mark.slow

READERS = [
    pytest.param(lambda path: end_stills(path).stills, id="ends"),
    pytest.param(lambda path: list(spaced_stills(path, 2, (32, 18))), id="whole"),
]


def test_each_card_is_one_still(tmp_path: Path) -> None:
    """Repeats of a picture and black leaders are left out; seconds are those shown."""
    cards = [(2.0, []), (2.0, ["One"]), (3.0, ["Two"]), (2.0, [])]
    path = write_cards(tmp_path / "a.mp4", cards, keyframe_seconds=1)

    stills = end_stills(path).stills

    assert [still.second for still in stills] == pytest.approx([2.0, 4.0])
    assert stills[0].picture.shape == (360, 640, 3)


def test_pictures_are_counted(tmp_path: Path) -> None:
    """One picture a second is asked for; those that repeat others are seen too."""
    cards = [(2.0, []), (2.0, ["One"]), (9.0, ["Two"])]
    dense = write_cards(tmp_path / "dense.mp4", cards, keyframe_seconds=1)
    sparse = write_cards(tmp_path / "sparse.mp4", cards)
    long = write_cards(
        tmp_path / "long.mp4", [(200.0, ["One"])], frames_per_second=1, width=160
    )

    counts = [(s.seen, s.asked) for s in map(end_stills, (dense, sparse, long))]

    assert counts[:2] == [(6, 13), (3, 13)]
    assert counts[2][1] == 120
    # A picture at least every 20 seconds, although only the first one is a keyframe.
    assert 6 <= counts[2][0] < 60


def test_keyframes_that_come_as_expected_are_passed_over(tmp_path: Path) -> None:
    """A picture in four seconds is enough while distance and size stay the same."""
    calm = [(40.0, ["One"])]
    shown = [(8.0, ["One"]), (2.0, ["Jade Kush"]), (7.0, ["One"]), (1.0, ["Mia Cole"])]
    paths = [
        write_cards(tmp_path / f"{number}.mp4", cards, keyframe_seconds=2)
        for number, cards in enumerate((calm, shown))
    ]

    passed, stopped = map(end_stills, paths)

    assert passed.seen <= 40 / 4 + 2
    # A card appears at the expected time, and another one at any time.
    seconds = [still.second for still in stopped.stills]
    assert seconds == pytest.approx([0.0, 8.0, 10.0, 17.0])


def test_pictures_after_the_last_one_taken_are_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where enough pictures differ, the rest of the minute is not looked at."""
    monkeypatch.setattr(frames, "PICTURES_PER_WINDOW", 3)
    cards = [(1.0, [f"Card {number}"]) for number in range(9)]
    path = write_cards(tmp_path / "a.mp4", cards)

    found = end_stills(path)

    assert (len(found.stills), found.seen, found.asked) == (3, 3, 3)


def test_only_the_ends_of_a_long_video_are_read(tmp_path: Path) -> None:
    """What is shown in between is not decoded."""
    cards = [(2.0, ["First"]), (150.0, ["Middle"]), (3.0, ["Last"])]
    path = write_cards(
        tmp_path / "a.mkv", cards, width=160, height=90, frames_per_second=2
    )

    seconds = [still.second for still in end_stills(path).stills]

    assert seconds[0] == 0.0
    assert seconds[-1] == pytest.approx(152.0)
    assert all(second < 60 or second >= 95 for second in seconds)


def test_all_intra_file_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures keep a distance, and there are only so many of either end."""
    monkeypatch.setattr(frames, "PICTURES_PER_WINDOW", 3)
    cards = [(0.5, [f"Card {number}"]) for number in range(12)]
    path = write_cards(tmp_path / "a.mp4", cards, frames_per_second=10)

    seconds = [still.second for still in end_stills(path).stills]

    assert seconds == pytest.approx([0.0, 1.0, 2.0])


def test_large_frames_are_scaled_down(tmp_path: Path) -> None:
    """Reading a 4K card costs no more than reading a small one."""
    path = write_cards(tmp_path / "a.mp4", [(1.0, ["One"])], width=1920, height=1080)

    assert end_stills(path).stills[0].picture.shape == (540, 960, 3)


def test_portrait_video_stored_lying_stands_up(tmp_path: Path) -> None:
    """A phone's angle is followed: what it calls a quarter turn clockwise is one."""
    path = write_colours(tmp_path / "a.mp4", [(1.0, (0, 0, 90))], letters=True)
    content = path.read_bytes()
    track = content.index(b"tkhd")
    upright = content.index(_matrix(1, 0, 0, 1), track)
    turned = _matrix(0, 1, -1, 0)
    path.write_bytes(content[:upright] + turned + content[upright + len(turned) :])

    (still,) = end_stills(path).stills
    (fitted,) = spaced_stills(path, 1, (32, 32), keep_shape=True)

    assert still.picture.shape == (64, 36, 3)
    # The bright corner was the left one at the top.
    assert still.picture[2, -2].min() > 200
    assert still.picture[2, 2].max() < 150
    assert fitted.picture.shape == (32, 18, 3)


def _matrix(*values: int) -> bytes:
    a, b, c, d = (struct.pack(">i", value << 16) for value in values)
    return a + b + bytes(4) + c + d + bytes(4) + bytes(8) + struct.pack(">i", 1 << 30)


def test_file_that_breaks_off_yields_its_beginning(tmp_path: Path) -> None:
    """A download cut short still shows its first card."""
    cards = [(2.0, ["One"]), (100.0, ["Two"])]
    whole = write_cards(tmp_path / "a.ts", cards, keyframe_seconds=1)
    broken = tmp_path / "broken.ts"
    content = whole.read_bytes()
    broken.write_bytes(content[: len(content) // 2])

    assert end_stills(broken).stills[0].second == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no video at all" * 1000, id="text"),
    ],
)
def test_unreadable_file_is_an_item_error(tmp_path: Path, content: bytes) -> None:
    """The error names the file."""
    path = tmp_path / "a.mp4"
    path.write_bytes(content)

    with pytest.raises(ItemError, match=r"cannot be read.*a\.mp4"):
        end_stills(path)


def test_missing_file_is_an_item_error(tmp_path: Path) -> None:
    """A file that went away meanwhile stops nothing."""
    with pytest.raises(ItemError, match="No such file"):
        end_stills(tmp_path / "gone.mp4")


def test_pictures_of_the_whole_keep_their_distance(tmp_path: Path) -> None:
    """One keyframe an interval, brought to the size asked for, in its colours."""
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    path = write_colours(tmp_path / "a.mp4", [(4.0, colour) for colour in colours])

    stills = list(spaced_stills(path, 2, (32, 16)))

    assert [still.second for still in stills] == pytest.approx([0, 2, 4, 6, 8, 10])
    assert {still.picture.shape for still in stills} == {(16, 32, 3)}
    means = [still.picture.reshape(-1, 3).mean(axis=0) for still in stills[::2]]
    # Pictures are (blue, green, red).
    assert [int(mean.argmax()) for mean in means] == [2, 1, 0]
    (first, *_) = spaced_stills(path, 2, (32, 32), keep_shape=True)
    assert first.picture.shape == (18, 32, 3)


@pytest.mark.parametrize("read", READERS)
def test_ten_hours_cost_no_more_than_their_keyframes(
    tmp_path: Path, read: Callable[[Path], list[Still]]
) -> None:
    """A video of ten hours with a picture every ten minutes has its last one too."""
    cards = [(600.0, (10 * number, 90, 200)) for number in range(20)] * 3
    path = write_colours(
        tmp_path / "long.mkv", cards, picture_seconds=600, letters=True
    )

    stills = read(path)

    assert stills[0].second == 0
    assert stills[-1].second == pytest.approx(59 * 600)


@pytest.mark.parametrize("read", READERS)
def test_pictures_that_fill_the_memory_are_not_decoded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Path], list[Still]],
) -> None:
    """A few bytes may claim gigabytes of pixels."""
    monkeypatch.setattr(headers, "MOST_PIXELS", 64 * 36 - 1)
    path = write_colours(tmp_path / "a.mp4", [(1.0, (9, 9, 200))])

    with pytest.raises(ItemError, match="64x36 pixels are too large"):
        read(path)


def test_video_of_no_length_has_its_picture(tmp_path: Path) -> None:
    """A file with a single frame is short, not broken."""
    path = write_colours(tmp_path / "a.mkv", [(1.0, (9, 9, 200))], picture_seconds=1)

    assert [still.second for still in spaced_stills(path, 2, (32, 18))] == [0]


@pytest.mark.parametrize("read", READERS)
def test_video_without_a_picture_is_an_item_error(
    tmp_path: Path, read: Callable[[Path], list[Still]]
) -> None:
    """A recording that was stopped at once, and one whose every frame is broken."""
    empty = write_colours(tmp_path / "empty.mkv", [])
    broken = write_colours(tmp_path / "broken.mp4", [(3.0, (0, 0, 200))])
    content = broken.read_bytes()
    start = content.index(b"mdat")
    end = start - 4 + int.from_bytes(content[start - 4 : start])
    zeros = bytes(end - start - 4)
    broken.write_bytes(content[: start + 4] + zeros + content[end:])

    with pytest.raises(ItemError, match=r"cannot be read.*empty\.mkv"):
        read(empty)
    with pytest.raises(ItemError, match=r"no readable picture.*broken\.mp4"):
        read(broken)


def test_sound_with_cover_art_is_no_video(tmp_path: Path) -> None:
    """A cover is a video stream to FFmpeg, but shows nothing of the scene."""
    path = write_song(tmp_path / "song.m4a", cover=True)

    with pytest.raises(ItemError, match="the video has no picture"):
        end_stills(path)
    with pytest.raises(ItemError, match="the video has no picture"):
        list(spaced_stills(path, 2, (32, 18)))
