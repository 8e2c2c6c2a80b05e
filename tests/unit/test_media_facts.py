"""Every fact that headers hold, on files made to have it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.stream import Disposition

from stashhog_core.media.facts import VideoFacts, read_facts
from stashhog_core.media.opening import open_video, picture_stream

SUBTITLE_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name\n"
    b"Style: Default\n\n[Events]\nFormat: Layer, Start, End, Text\n"
)
FRAMES = 20
RATE = 10


@contextmanager
def making(path: Path) -> Iterator[OutputContainer]:
    """Open a file for writing."""
    with av.open(str(path), "w") as container:
        yield container


def video(container: OutputContainer, codec: str = "libx264", **context: Any) -> Any:
    """Add a video stream; `context` sets properties of its encoder."""
    stream = container.add_stream(codec, rate=RATE)
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    if codec.startswith("libx"):
        stream.options = {"preset": "ultrafast"}
    for name, value in context.items():
        setattr(stream.codec_context, name, value)
    return stream


def sound(container: OutputContainer, layout: str, **metadata: str) -> Any:
    stream = container.add_stream("aac", rate=48000, layout=layout)
    stream.metadata.update(metadata)
    return stream


def fill_video(container: OutputContainer, stream: Any) -> None:
    for number in range(FRAMES):
        picture = np.full((120, 160, 3), number * 10, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def fill_sound(container: OutputContainer, stream: Any) -> None:
    channels = stream.codec_context.channels
    silence = np.zeros((channels, 1024), np.float32)
    layout = stream.codec_context.layout.name
    for _ in range(20):
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout=layout)
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def facts_of(path: Path) -> VideoFacts:
    with open_video(str(path)) as container:
        stream = picture_stream(container)
        return read_facts(container, stream, path.stat().st_size)


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        pytest.param(16, "PQ", id="PQ"),
        pytest.param(18, "HLG", id="HLG"),
        pytest.param(1, None, id="BT.709"),
        pytest.param(2, None, id="unspecified"),
    ],
)
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_high_dynamic_range(
    tmp_path: Path, name: str, transfer: int, expected: str | None
) -> None:
    """The transfer function of the stream tells whether it is HDR, and which."""
    path = tmp_path / name
    with making(path) as container:
        stream = video(container, color_trc=transfer, color_primaries=9, colorspace=9)
        fill_video(container, stream)

    assert facts_of(path).hdr == expected


def test_dolby_vision(tmp_path: Path) -> None:
    """Its streams carry a tag of their own."""
    path = tmp_path / "film.mp4"
    with making(path) as container:
        stream = video(container, "libx265")
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        stream.codec_context.codec_tag = "hvc1"
        fill_video(container, stream)
    # The writer takes that tag only with Dolby's own data.
    path.write_bytes(path.read_bytes().replace(b"hvc1", b"dvhe"))

    facts = facts_of(path)

    assert (facts.video_codec, facts.hdr) == ("hevc", "Dolby Vision")


def test_several_sounds_and_subtitles(tmp_path: Path) -> None:
    """The first sound is the file's; all streams are listed with what they say."""
    path = tmp_path / "film.mkv"
    with making(path) as container:
        picture = video(container)
        english = sound(container, "5.1", language="eng", title="Surround")
        german = sound(container, "mono", language="ger")
        german.disposition = Disposition.forced
        spoken = container.add_stream("subrip")
        spoken.metadata["language"] = "fre"
        unnamed = container.add_stream("subrip")
        for stream in (spoken, unnamed):
            stream.codec_context.subtitle_header = SUBTITLE_HEADER
        fill_video(container, picture)
        for stream in (english, german):
            fill_sound(container, stream)
        for stream in (spoken, unnamed):
            packet = av.Packet(b"Bonjour")
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = 100
            packet.duration = 500
            container.mux(packet)

    facts = facts_of(path)

    assert (facts.audio_codec, facts.audio_channels) == ("aac", 6)
    assert facts.subtitles == ("fre", "und")
    assert [s["type"] for s in facts.streams] == [
        "video",
        "audio",
        "audio",
        "subtitle",
        "subtitle",
    ]
    first, second = facts.streams[1:3]
    assert (first["language"], first["title"]) == ("eng", "Surround")
    assert (first["channels"], first["sample_rate"]) == (6, 48000)
    assert (second["language"], second["channels"]) == ("ger", 1)
    assert second["forced"]
    assert not first["forced"]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_chapters(tmp_path: Path, name: str) -> None:
    """Start and end in seconds, and the title."""
    path = tmp_path / name
    with making(path) as container:
        stream = video(container)
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": start,
                    "end": end,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for number, (start, end, title) in enumerate(
                    [(0, 500, "Opening"), (500, 2000, "Zweites: Fin\u00e9")], 1
                )
            ]
        )
        fill_video(container, stream)

    assert facts_of(path).chapters == (
        {"start": 0.0, "end": 0.5, "title": "Opening"},
        {"start": 0.5, "end": 2.0, "title": "Zweites: Fin\u00e9"},
    )


def test_pixel_aspect_and_rates(tmp_path: Path) -> None:
    """Wide pixels; average and real frame rate, each as the file has it."""
    path = tmp_path / "film.mkv"
    with making(path) as container:
        stream = video(container, sample_aspect_ratio=Fraction(64, 45))
        fill_video(container, stream)

    facts = facts_of(path)

    assert facts.pixel_aspect == pytest.approx(64 / 45)
    assert facts.frame_rate == pytest.approx(RATE)
    assert facts.real_frame_rate == pytest.approx(RATE)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("2024-05-06T07:08:09Z", "2024-05-06T07:08:09+00:00", id="UTC"),
        pytest.param(
            "2024-05-06T07:08:09+02:00", "2024-05-06T05:08:09+00:00", id="zone"
        ),
        pytest.param("1970-01-01T00:00:00Z", None, id="epoch"),
        pytest.param("yesterday", None, id="no date"),
    ],
)
def test_creation_time(tmp_path: Path, written: str, expected: str | None) -> None:
    """An aware time; a camera without a clock tells none."""
    path = tmp_path / "film.mkv"
    with making(path) as container:
        container.metadata["creation_time"] = written
        fill_video(container, video(container))

    created = facts_of(path).created

    assert (created and created.astimezone(UTC).isoformat()) == expected


def _cover_in_film(path: Path) -> None:
    with making(path) as container:
        art = container.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
        art.disposition = Disposition.attached_pic
        film = video(container)
        cover = np.full((64, 64, 3), 99, np.uint8)
        container.mux(art.encode(av.VideoFrame.from_ndarray(cover, format="rgb24")))
        container.mux(art.encode())
        fill_video(container, film)


def test_cover_art_before_the_film_is_passed_over(tmp_path: Path) -> None:
    """The first video stream may be a picture: it is listed, the film is told of."""
    path = tmp_path / "film.mp4"
    _cover_in_film(path)

    facts = facts_of(path)

    covers = [stream["cover"] for stream in facts.streams]
    assert sorted(covers) == [False, True]
    assert (facts.video_codec, facts.width) == ("h264", 160)


def test_file_without_sound_or_extras(tmp_path: Path) -> None:
    """What a file has not is none or empty, never zero."""
    path = tmp_path / "film.avi"
    with making(path) as container:
        fill_video(container, video(container, "mpeg4"))

    facts = facts_of(path)

    assert (facts.audio_codec, facts.audio_channels, facts.created) == (None,) * 3
    assert (facts.hdr, facts.subtitles, facts.chapters) == (None, (), ())
    assert facts.duration_seconds == pytest.approx(2, abs=0.2)
    assert facts.bit_rate is not None
