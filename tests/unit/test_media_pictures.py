"""Thumbnails, sprites and facts of small real videos."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from stashhog_core.errors import ItemError
from stashhog_core.media.headers import (
    VideoFacts,
    open_video,
    picture_stream,
    read_facts,
)
from stashhog_core.media.pictures import SpriteSheet, Thumbnail, sprite_sheet, thumbnail
from stashhog_core.media.sampler import Sampler

RATE = 10
BLACK = np.zeros((120, 160, 3), np.uint8)


def pattern(number: int) -> Any:
    """Return a bright picture that differs from frame to frame."""
    across = (np.arange(160) * 3 + number * 5) % 256
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[:, :, 0] = across
    picture[:, :, 1] = 255 - across
    picture[:, :, 2] = np.arange(120)[:, None] * 2
    return picture


def write(
    path: Path,
    picture: Callable[[int], Any] = pattern,
    frames: int = 40,
    rotation: int = 0,
    aspect: Fraction | None = None,
    **metadata: str,
) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.gop_size = 5
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def facts_of(path: Path) -> VideoFacts:
    with open_video(str(path)) as container:
        stream = picture_stream(container)
        return read_facts(container, stream, path.stat().st_size)


def thumbnail_of(path: Path) -> Thumbnail:
    with Sampler(str(path)) as sampler:
        facts = read_facts(sampler.container, sampler.stream, path.stat().st_size)
        return thumbnail(sampler, facts.duration_seconds)


def decoded(jpeg: bytes, tmp_path: Path) -> Any:
    path = tmp_path / "decoded.jpg"
    path.write_bytes(jpeg)
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_thumbnail_shows_the_video(tmp_path: Path) -> None:
    """It is a JPEG with the proportions of the video, not enlarged."""
    picture = decoded(thumbnail_of(write(tmp_path / "a.mp4")).jpeg, tmp_path)

    assert picture.shape == (120, 160, 3)
    assert picture.std() > 40


def test_black_beginning_is_passed_over(tmp_path: Path) -> None:
    """When a tenth into the video all is black, a brighter picture is taken."""
    path = write(tmp_path / "a.mp4", lambda n: BLACK if n < 20 else pattern(n))

    assert decoded(thumbnail_of(path).jpeg, tmp_path).mean() > 40


def test_all_black_video_has_a_thumbnail(tmp_path: Path) -> None:
    """A video that is black throughout still gets its picture."""
    path = write(tmp_path / "a.mp4", lambda _: BLACK)

    assert decoded(thumbnail_of(path).jpeg, tmp_path).mean() < 20


def test_shortest_video_has_a_thumbnail(tmp_path: Path) -> None:
    """A video of one frame is shorter than any margin."""
    path = write(tmp_path / "a.mp4", frames=1)

    assert decoded(thumbnail_of(path).jpeg, tmp_path).std() > 40


def test_rotated_video_is_upright(tmp_path: Path) -> None:
    """A picture stored lying down is turned, and the angle is told."""
    found = thumbnail_of(write(tmp_path / "a.mp4", rotation=90))

    assert decoded(found.jpeg, tmp_path).shape == (160, 120, 3)
    assert found.rotation == 90


def test_wide_pixels_are_stretched(tmp_path: Path) -> None:
    """Pixels twice as wide as high give a thumbnail twice as wide."""
    path = write(tmp_path / "a.mkv", aspect=Fraction(2, 1))

    assert decoded(thumbnail_of(path).jpeg, tmp_path).shape == (120, 320, 3)
    assert facts_of(path).pixel_aspect == 2


def test_facts_of_an_ordinary_file(tmp_path: Path) -> None:
    """Container, length, rates, codec, profile and creation time are told."""
    path = write(tmp_path / "a.mp4", creation_time="2024-05-06T07:08:09Z")

    facts = facts_of(path)

    assert (facts.width, facts.height, facts.video_codec) == (160, 120, "h264")
    assert facts.duration_seconds == pytest.approx(4)
    assert facts.frame_rate == pytest.approx(RATE)
    assert facts.real_frame_rate == pytest.approx(RATE)
    assert facts.profile is not None
    assert "mp4" in facts.container
    assert facts.bit_rate is not None
    assert (facts.audio_codec, facts.hdr, facts.subtitles) == (None, None, ())


def test_length_that_no_header_tells_is_measured(tmp_path: Path) -> None:
    """A bare stream has no length in any header: its packets are counted."""
    source = write(tmp_path / "a.mp4")
    bare = tmp_path / "a.mkv"
    with (
        av.open(str(source)) as given,
        av.open(str(bare), "w", options={"live": "1"}) as made,
    ):
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)

    assert facts_of(bare).duration_seconds == pytest.approx(4, abs=0.2)
    assert thumbnail_of(bare).jpeg


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    """A picture attached to a sound file does not make it a video."""
    path = tmp_path / "song.mp4"
    cover = av.VideoFrame.from_ndarray(pattern(0), format="rgb24")
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        art = container.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 160, 120, "yuvj420p"
        art.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(
            np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate = 44100
        container.mux(art.encode(cover))
        container.mux(art.encode())
        container.mux(sound.encode(frame))
        container.mux(sound.encode())

    with open_video(str(path)) as container:
        assert len(container.streams.video) == 1
    with (
        open_video(str(path)) as container,
        pytest.raises(ItemError, match="no picture"),
    ):
        picture_stream(container)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_pictures_are_spread_over_what_is_shown(tmp_path: Path, name: str) -> None:
    """Also where the first picture comes late, and the length counts from zero."""
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.options = {"g": "5", "bf": "0"}
        for number in range(4 * RATE):
            light = np.full((120, 160, 3), 40 + 5 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(light, format="rgb24")
            frame.pts = 20 * RATE + number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with Sampler(str(path)) as sampler:
        facts = read_facts(sampler.container, sampler.stream, path.stat().st_size)
        sheet = sprite_sheet(sampler, facts.duration_seconds)

    parts = np.split(decoded(sheet.jpeg, tmp_path), sheet.count, axis=1)
    lights = [float(part.mean()) for part in parts]
    assert sheet.count == 8
    assert lights == sorted(lights)
    assert lights[-1] - lights[0] > 150
    light = decoded(thumbnail_of(path).jpeg, tmp_path).mean()
    assert light < lights[2]


def test_sprites_and_their_times(tmp_path: Path) -> None:
    """The VTT names each part of the sheet with its time, to the end."""
    path = write(tmp_path / "a.mp4")
    with Sampler(str(path)) as sampler:
        sheet: SpriteSheet = sprite_sheet(sampler, 4.0)

    lines = sheet.vtt("a.jpg").splitlines()
    assert (sheet.count, sheet.width, sheet.height) == (8, 160, 120)
    assert lines[0] == "WEBVTT"
    assert lines[2:4] == [
        "00:00:00.000 --> 00:00:00.500",
        "a.jpg#xywh=0,0,160,120",
    ]
    assert lines[-2] == "00:00:03.500 --> 00:00:04.000"
    assert decoded(sheet.jpeg, tmp_path).shape == (120, 8 * 160, 3)
