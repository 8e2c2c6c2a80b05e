"""What the headers of a video file say, on files made to say it."""

import os
import wave
from collections.abc import Callable, Iterator
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

from stashhog_core.errors import ItemError
from stashhog_core.media import pictures
from stashhog_core.media.frames import end_stills
from stashhog_core.media.headers import (
    UNREADABLE,
    VideoFacts,
    open_video,
    picture_stream,
    probe,
    read_facts,
)
from stashhog_core.media.sampler import Sampler
from tests.support.media import write_film, write_video

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


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_the_headers_tell_the_facts(tmp_path: Path, name: str) -> None:
    """Length, picture and codecs, whatever the container."""
    facts = probe(write_video(tmp_path / name, seconds=2, width=80, height=60))

    assert facts.duration_seconds == pytest.approx(2, abs=0.2)
    assert (facts.width, facts.height) == (80, 60)
    assert facts.frame_rate == pytest.approx(10)
    assert (facts.video_codec, facts.audio_codec) == ("h264", None)


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    """Such names are common in old downloads."""
    video = write_video(tmp_path / "film.mp4", seconds=1, width=40, height=40)
    odd = video.rename(tmp_path / os.fsdecode(b"odd\xff.mp4"))

    assert probe(odd).width == 40


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))


def _cut(path: Path) -> None:
    whole = write_video(path.with_name("whole.mp4"), seconds=1, width=40, height=40)
    path.write_bytes(whole.read_bytes()[:600])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: None, id="missing"),
        pytest.param(lambda path: path.mkdir(), id="folder"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\x17" * 50_000), id="noise"),
        pytest.param(_cut, id="cut off"),
        pytest.param(_sound, id="sound only"),
    ],
)
def test_what_is_no_video_is_refused_in_words(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """The reason begins the same each time, so that it is known again."""
    path = tmp_path / "film.mp4"
    make(path)

    with pytest.raises(ItemError) as caught:
        probe(path)

    assert str(caught.value).startswith(UNREADABLE)


def _retagged(path: Path, old: bytes, new: bytes) -> Path:
    """Rename a format in a file's headers to one that no decoder here knows."""
    film = write_film(path)
    film.write_bytes(film.read_bytes().replace(old, new).replace(b"esds", b"free"))
    return film


@pytest.mark.parametrize(
    ("old", "new", "codecs"),
    [
        pytest.param(b"mp4a", b"mhm1", ("h264", None), id="MPEG-H 3D audio"),
        pytest.param(b"avc1", b"dav1", (None, "aac"), id="dav1 video"),
        pytest.param(b"avc1", b"zzzz", (None, "aac"), id="unheard-of video"),
    ],
)
def test_a_stream_without_a_decoder_is_read_as_far_as_it_goes(
    tmp_path: Path, old: bytes, new: bytes, codecs: tuple[str | None, str | None]
) -> None:
    """PyAV has no codec context for it; length and the other streams are facts."""
    path = _retagged(tmp_path / "film.mp4", old, new)

    facts = probe(path)
    with open_video(str(path)) as container:
        more = read_facts(container, picture_stream(container), path.stat().st_size)

    assert facts.video_codec == more.video_codec == codecs[0]
    assert (facts.audio_codec is None) == (codecs[1] is None)
    assert more.audio_codec == facts.audio_codec
    size = (160, 120) if codecs[0] else (None, None)
    assert (facts.width, facts.height) == (more.width, more.height) == size
    assert facts.duration_seconds == more.duration_seconds == pytest.approx(2, abs=0.2)
    assert [stream["type"] for stream in more.streams] == ["video", "audio"]


def test_pictures_without_a_decoder_are_refused_in_words(tmp_path: Path) -> None:
    """Stills, thumbnail and rotation name the reason, as an error of that file."""
    path = _retagged(tmp_path / "film.mp4", b"avc1", b"dav1")

    with pytest.raises(ItemError, match="no decoder"):
        end_stills(path)
    with Sampler(str(path)) as sampler:
        with pytest.raises(ItemError, match="no decoder"):
            pictures.thumbnail(sampler, 2.0)
        with pytest.raises(ItemError, match="no decoder"):
            pictures.rotation_of(sampler)


@pytest.mark.parametrize(
    ("name", "seconds"), [("a.ts", 6), ("a.flv", 6), ("b.ts", 30), ("b.flv", 30)]
)
def test_a_picture_that_begins_late_is_found(
    tmp_path: Path, name: str, seconds: int
) -> None:
    """Such formats say nothing of a picture before it begins: they are read further."""
    path = write_film(tmp_path / name, silent_seconds=seconds)

    facts = probe(path)

    assert (facts.width, facts.height, facts.video_codec) == (160, 120, "h264")


def test_the_name_of_a_format_is_not_that_of_its_decoder(tmp_path: Path) -> None:
    """AV1 is `av1`, whichever library decodes it."""
    path = write_film(tmp_path / "film.mkv", codec="libsvtav1")

    assert probe(path).video_codec == "av1"


def test_an_error_that_nobody_foresaw_is_the_files_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reader raises; in other words than those that give a file up."""

    def open_with_a_fault(*_: object, **__: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'name'")

    video = write_video(tmp_path / "film.mp4", seconds=0.5)
    monkeypatch.setattr(av, "open", open_with_a_fault)

    with pytest.raises(ItemError, match="AttributeError") as caught:
        probe(video)

    assert not str(caught.value).startswith(UNREADABLE)
