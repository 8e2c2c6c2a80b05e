"""Pictures at chosen times, of videos whose keyframes are unlike each other."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stashhog_core.media.frames import spaced_stills
from stashhog_core.media.pictures import sprite_sheet, thumbnail
from stashhog_core.media.sampler import (
    EVEN_SECONDS,
    FARTHEST_SECONDS,
    OutOfTimeError,
    Sampler,
)
from stashhog_core.media.upright import Upright
from tests.support.media import write_dolby_vision, write_with_late_sound

pytestmark = pytest.mark.slow

RATE = 25
WIDTH, HEIGHT = 64, 48
NEAR = 6
"""Greatest difference of the brightness of a picture after encoding."""


def brightness(second: float) -> float:
    """Return the brightness of the picture at a second: each differs from the next."""
    return 32 + (round(second * RATE) * 7) % 180


def write(
    path: Path,
    seconds: float,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    gop: int = 50,
) -> Path:
    """Write nearly plain pictures, each of its own brightness."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = dict(options or {})
        for number in range(round(seconds * RATE)):
            planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
            noise = random.integers(-15, 16, (HEIGHT, WIDTH))
            planes[:HEIGHT] = round(brightness(number / RATE)) + noise
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copy(
    source: Path, target: Path, since: float = -1.0, *, flagged: bool = True
) -> Path:
    """Copy packets that are decoded at a second or later, with their flags or not."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        copied = made.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is None or float(packet.dts * packet.time_base) < since:
                continue
            packet.stream = copied
            packet.is_keyframe = packet.is_keyframe and flagged
            made.mux(packet)
    return target


# Each picture would be a keyframe: it differs too much from the one before.
NO_CUTS = {"sc_threshold": "1000000000"}


def open_groups(path: Path) -> Path:
    options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=50"}
    return write(path.with_suffix(".mp4"), 30, options=options, gop=50)


def cut(path: Path) -> Path:
    return copy(open_groups(path), path.with_suffix(".cut.mp4"), since=4.5)


def refreshed(path: Path) -> Path:
    options = {"x264-params": "intra-refresh=1:keyint=50:scenecut=0"}
    return write(path.with_suffix(".mp4"), 30, options=options)


def one_keyframe(path: Path) -> Path:
    options = {"x264-params": "scenecut=0:keyint=infinite"}
    return write(path.with_suffix(".mkv"), 50, options=options, gop=100_000)


def vp9(path: Path) -> Path:
    options = {"deadline": "realtime", "cpu-used": "8"}
    return write(path.with_suffix(".webm"), 30, "libvpx-vp9", options)


def transport_stream(path: Path, seconds: float = 30) -> Path:
    return write(path.with_suffix(".ts"), seconds)


def programme_stream(path: Path, seconds: float = 30) -> Path:
    return write(path.with_suffix(".mpg"), seconds, "mpeg2video", NO_CUTS)


def material_exchange(path: Path, seconds: float = 30) -> Path:
    return write(path.with_suffix(".mxf"), seconds, "mpeg2video", NO_CUTS)


def bare_stream(path: Path, seconds: float = 30) -> Path:
    return write(path.with_suffix(".h264"), seconds)


Make = Callable[..., Path]
KINDS = (
    *(open_groups, cut, refreshed, one_keyframe, vp9),
    *(transport_stream, programme_stream, material_exchange, bare_stream),
)
LONGEST_GAP = {refreshed: 5.0, one_keyframe: FARTHEST_SECONDS + 1}
"""Seconds; others have a picture each two seconds."""
SHIFTED = (cut, programme_stream, bare_stream)
"""Their seconds do not begin with those that were written, or not exactly."""


def each_kind(*kinds: Make) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", kinds, ids=[kind.__name__ for kind in kinds])


def luma(frame: Any) -> float:
    return float(np.mean(frame.to_ndarray(format="gray")))


def shown(second: float) -> float:
    """Return the luma that a decoder gives for the brightness of a second."""
    return (brightness(second) - 16) * 255 / 219


@each_kind(*KINDS)
def test_pictures_come_throughout(tmp_path: Path, make: Make) -> None:
    """Whatever an encoder did, pictures come from beginning to end, in order."""
    with Sampler(str(make(tmp_path / "a"))) as sampler:
        seconds = [second for second, _ in sampler.frames()]

    gaps = np.diff(seconds)
    assert seconds[0] < 2
    assert seconds[-1] > (49 if make is one_keyframe else 25) - EVEN_SECONDS
    assert gaps.min() > 0
    assert gaps.max() <= max(
        LONGEST_GAP.get(make, 2.1), 21 if make is one_keyframe else 0
    )


@each_kind(*(kind for kind in KINDS if kind not in SHIFTED))
def test_each_picture_is_that_of_its_second(tmp_path: Path, make: Make) -> None:
    """No picture is a half-drawn one, or another one's."""
    with Sampler(str(make(tmp_path / "a"))) as sampler:
        found = [(second, luma(frame)) for second, frame in sampler.frames()]

    assert [light for _, light in found] == pytest.approx(
        [shown(second) for second, _ in found], abs=NEAR
    )


@each_kind(open_groups, vp9, transport_stream, programme_stream, bare_stream)
def test_only_keyframes_are_decoded(tmp_path: Path, make: Make) -> None:
    """Where there are keyframes, nothing else is decoded."""
    with Sampler(str(make(tmp_path / "a"))) as sampler:
        yielded = len(list(sampler.frames()))

        assert sampler.decoded == yielded


def test_pictures_closer_than_asked_for_are_not_decoded(tmp_path: Path) -> None:
    """Of a video of keyframes alone, only the pictures that are wanted are decoded."""
    path = write(tmp_path / "a.mp4", 20, gop=1)

    with Sampler(str(path)) as sampler:
        seconds = [second for second, _ in sampler.frames(2, 12, spacing=4)]

        assert (seconds, sampler.decoded) == ([2, 6, 10], 3)


@each_kind(*KINDS)
def test_a_picture_near_any_second(tmp_path: Path, make: Make) -> None:
    """The end and any second between have a picture near by."""
    length = 50 if make is one_keyframe else 25 if make is cut else 30
    with Sampler(str(make(tmp_path / "a"))) as sampler:
        for second in (0.0, 3.1, length / 2, length - 0.5, length + 5):
            found = sampler.near(second)

            assert found is not None
            if make is not one_keyframe:
                assert found[0] == pytest.approx(min(second, length), abs=5)


@each_kind(transport_stream, programme_stream, material_exchange, bare_stream)
def test_short_videos_have_thumbnail_and_sprites(tmp_path: Path, make: Make) -> None:
    """A second of any container is enough."""
    short = make(tmp_path / "a", 1)

    with Sampler(str(short)) as sampler:
        assert thumbnail(sampler, 1.0).jpeg
        assert sprite_sheet(sampler, 1.0).count == 2


def test_sprites_of_a_video_with_one_keyframe_differ(tmp_path: Path) -> None:
    """The video is decoded once from its start, rather than shown by one picture."""
    with Sampler(str(one_keyframe(tmp_path / "a"))) as sampler:
        frames = list(sampler.at_each([0.0, 25.0, 49.0]))

        assert sampler.decoded < 2 * 50 * RATE
    assert len({round(luma(frame)) for frame in frames if frame}) == 3


def test_file_that_breaks_off_yields_its_beginning(tmp_path: Path) -> None:
    """What a download has so far is shown."""
    whole = transport_stream(tmp_path / "a")
    broken = tmp_path / "broken.ts"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    with Sampler(str(broken)) as sampler:
        seconds = [second for second, _ in sampler.frames()]

        assert 10 < seconds[-1] < 20
        assert sampler.near(29) is not None


@each_kind(open_groups, cut, refreshed, vp9)
def test_stills_come_from_the_sampler(tmp_path: Path, make: Make) -> None:
    """Models that look at stills see such videos too."""
    assert len(list(spaced_stills(make(tmp_path / "a"), 2, (32, 18)))) >= 6


# Where the top left corner of the stored picture is to be seen: row and column.
CORNERS = {
    (1, 0, 0, 1): (0, 0),
    (-1, 0, 0, 1): (0, -1),
    (1, 0, 0, -1): (-1, 0),
    (-1, 0, 0, -1): (-1, -1),
    (0, 1, -1, 0): (0, -1),
    (0, -1, 1, 0): (-1, 0),
    (0, 1, 1, 0): (0, 0),
    (0, -1, -1, 0): (-1, -1),
}


@pytest.mark.parametrize(("matrix", "corner"), CORNERS.items(), ids=str)
def test_turned_and_mirrored_pictures_are_upright(
    tmp_path: Path, matrix: tuple[int, ...], corner: tuple[int, int]
) -> None:
    """Front cameras mirror, phones turn: the picture is shown as the camera saw it."""
    path = tmp_path / "a.mp4"
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[: HEIGHT // 3, : WIDTH // 3] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(RATE):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = path.read_bytes()
    track = content.index(b"tkhd")
    place = content.index(written(1, 0, 0, 1), track)
    turned = written(*matrix)
    path.write_bytes(content[:place] + turned + content[place + len(turned) :])

    with Sampler(str(path)) as sampler:
        _, frame = next(sampler.frames())
        upright = Upright(lambda width, height: (width, height))(frame)
        sheet = sprite_sheet(sampler, 1.0)
        small = thumbnail(sampler, 1.0)

    lies = matrix[0] == 0
    assert upright.shape == ((WIDTH, HEIGHT, 3) if lies else (HEIGHT, WIDTH, 3))
    assert upright[corner].min() > 200
    opposite = tuple(-1 - place for place in corner)
    assert upright[opposite].max() < 60
    assert (sheet.height > sheet.width) == lies
    for jpeg in (sheet.jpeg, small.jpeg):
        (tmp_path / "a.jpg").write_bytes(jpeg)
        with av.open(str(tmp_path / "a.jpg")) as image:
            seen = next(image.decode(video=0)).to_ndarray(format="rgb24")
        across = seen.shape[1] if jpeg is small.jpeg else sheet.width
        place = (
            2 if corner[0] == 0 else seen.shape[0] - 3,
            2 if corner[1] == 0 else across - 3,
        )
        assert seen[place].min() > 180


def written(*values: int) -> bytes:
    """Return a display matrix as MP4 writes it."""
    a, b, c, d = (struct.pack(">i", value << 16) for value in values)
    return a + b + bytes(4) + c + d + bytes(4) + bytes(8) + struct.pack(">i", 1 << 30)


def test_a_short_video_without_a_keyframe_has_pictures(tmp_path: Path) -> None:
    """Where no packet is flagged as a keyframe, the video is decoded from its start."""
    whole = write(tmp_path / "a.flv", 12, "flv")
    path = copy(whole, tmp_path / "b.flv", flagged=False)

    with Sampler(str(path)) as sampler:
        seconds = [second for second, _ in sampler.frames()]
        sheet = sprite_sheet(sampler, 10.0)

    assert seconds[0] < EVEN_SECONDS
    assert np.diff(seconds).min() >= EVEN_SECONDS
    assert sheet.count == 20
    assert list(spaced_stills(path, 2, (32, 18)))


def with_a_broken_keyframe(path: Path, second: float, seconds: float = 20) -> Path:
    """Write a video whose keyframe at a second is partly missing."""
    whole = write(path, seconds, options={"x264-params": "scenecut=0"})
    content = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        (place, size) = next(
            (packet.pos, packet.size)
            for packet in container.demux(video=0)
            if packet.is_keyframe and packet.pts * packet.time_base > second - 0.5
        )
    content[place + size * 3 // 4 : place + size] = bytes(size - size * 3 // 4)
    whole.write_bytes(content)
    return whole


def test_a_broken_keyframe_is_not_shown(tmp_path: Path) -> None:
    """Rather than a half gray picture, a whole one before it is shown."""
    path = with_a_broken_keyframe(tmp_path / "a.mp4", 10)

    with Sampler(str(path)) as sampler:
        found = list(sampler.frames())
        near = sampler.near(10.5)
        sprites = list(sampler.at_each([9.0, 10.5, 12.5]))

    assert [round(second) for second, _ in found] == [0, 2, 4, 6, 8, 12, 14, 16, 18]
    assert near is not None
    assert round(near[0]) == 4
    whole = {round(second): luma(frame) for second, frame in found}
    lights = [luma(frame) for frame in sprites if frame]
    assert lights == [whole[8], whole[4], whole[12]]


@pytest.mark.parametrize("read_on", [True, False])
@pytest.mark.parametrize(("bframes", "delay"), [(0, 0), (3, 2)])
def test_pictures_of_avi_are_those_that_ffmpeg_shows(
    tmp_path: Path, bframes: int, delay: int, read_on: bool
) -> None:
    """AVI holds the times of decoding alone, and ffmpeg shows its pictures at those."""
    path = write(tmp_path / "a.avi", 4, options={"bf": str(bframes)})
    seconds = [0.4, 1.0, 1.04, 1.2, 3.2]

    with Sampler(str(path)) as sampler:
        lights = [
            luma(frame) if frame else None
            for frame in sampler.exact(seconds, read_on=read_on)
        ]

    for second, light in zip(seconds, lights, strict=True):
        assert light == pytest.approx(shown(second - delay / RATE), abs=NEAR)


def test_where_reading_on_ends_early_the_sampler_seeks(tmp_path: Path) -> None:
    """A hole in an AVI file shifts the times of what is read after it."""
    path = write(tmp_path / "a.avi", 20, gop=10)
    content = bytearray(path.read_bytes())
    hole = slice(len(content) // 2, len(content) * 6 // 10)
    content[hole] = bytes(hole.stop - hole.start)
    path.write_bytes(content)

    with Sampler(str(path)) as sampler:
        found = list(sampler.exact([1.0, 18.4, 19.0], read_on=True))

    assert None not in found


def test_only_broken_pictures_are_better_than_none(tmp_path: Path) -> None:
    """Where no picture is whole, the broken one is shown."""
    path = with_a_broken_keyframe(tmp_path / "a.mp4", 0, seconds=1)

    with Sampler(str(path)) as sampler:
        assert sampler.near(0.5) is not None
        assert [second for second, _ in sampler.frames()]


def test_a_stream_that_begins_on_the_way_ends_nothing(tmp_path: Path) -> None:
    """PyAV stumbles over such streams at the end of the file; all pictures came."""
    path = write_with_late_sound(tmp_path / "a.mpg")

    with Sampler(str(path)) as sampler:
        seconds = [second for second, _ in sampler.frames()]

    assert seconds[-1] > 59


def test_a_file_that_is_read_once_is_decoded_as_asked(tmp_path: Path) -> None:
    """Of a file that cannot be searched, most other keyframes are left out."""
    path = write(tmp_path / "a.h264", 60, gop=5)

    with Sampler(str(path)) as sampler:
        frames = list(sampler.at_each([0.0, 20.0, 40.0]))

        assert sampler.decoded < 20
    assert len({round(luma(frame)) for frame in frames if frame}) == 3


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.hevc"])
def test_dolby_vision_shows_in_the_pictures(tmp_path: Path, name: str) -> None:
    """Whatever the headers say, the first picture tells of its data."""
    with Sampler(str(write_dolby_vision(tmp_path / name))) as sampler:
        list(sampler.frames())

        assert sampler.shows_dolby_vision


def test_no_picture_is_decoded_after_the_deadline(tmp_path: Path) -> None:
    """All that reads pictures says that time is up."""
    path = write(tmp_path / "a.mp4", 2)

    with Sampler(str(path), deadline=0.0) as sampler:
        for read in (
            lambda: list(sampler.frames()),
            lambda: sampler.near(1.0),
            lambda: list(sampler.at_each([0.0, 1.0])),
            lambda: list(sampler.exact([0.0, 1.0], read_on=True)),
        ):
            with pytest.raises(OutOfTimeError):
                read()

        assert sampler.decoded == 0
