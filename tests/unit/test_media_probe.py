"""What a video file says of itself."""

import os
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from stashhog_core.errors import ItemError
from stashhog_core.media.probe import UNREADABLE, probe
from tests.sample_video import write_video


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
