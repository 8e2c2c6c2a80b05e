"""What a video file says of itself."""

import os
import wave
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from stashhog_core.errors import ItemError
from stashhog_core.media import pictures
from stashhog_core.media.facts import read_facts
from stashhog_core.media.frames import end_stills
from stashhog_core.media.opening import open_video, picture_stream
from stashhog_core.media.probe import UNREADABLE, probe
from tests.support.sample_video import write_film, write_video


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
    with open_video(str(path)) as container:
        stream = picture_stream(container)
        with pytest.raises(ItemError, match="no decoder"):
            pictures.thumbnail(container, stream, 2.0)
        with pytest.raises(ItemError, match="no decoder"):
            pictures.rotation_of(container, stream)


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
