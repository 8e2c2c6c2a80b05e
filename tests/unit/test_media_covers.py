"""Covers: which bytes are taken for one, and what the others are."""

import base64
import struct
from pathlib import Path

import pytest

from stashhog_core.media.covers import (
    MOST_BYTES,
    CoverFacts,
    NoCoverError,
    as_data_url,
    cover_content,
    read_cover,
)
from stashhog_core.media.pictures import still
from tests.support.media import write_video
from tests.support.pictures import png


def url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_a_picture_comes_and_goes_unchanged() -> None:
    """Byte by byte, whatever type came with it."""
    picture = png(320, 180)

    assert cover_content(url(picture, "image/jpeg")) == picture
    assert cover_content(as_data_url(picture)) == picture
    assert as_data_url(picture).startswith("data:image/png;base64,")
    assert read_cover(picture) == CoverFacts("PNG", 320, 180)


def test_a_jpeg(tmp_path: Path) -> None:
    """Its size stands behind other parts of the file."""
    video = write_video(tmp_path / "a.mp4", seconds=2, width=320, height=180)
    picture = still(video, 1.0)
    assert picture is not None

    facts = read_cover(picture)

    assert (facts.kind, facts.width > 159, facts.height > 89) == ("JPEG", True, True)


@pytest.mark.parametrize(
    ("data_url", "words"),
    [
        pytest.param(
            url(b"<html>not found</html>", "text/html"), "text/html", id="page"
        ),
        pytest.param("http://images.example/1.jpg", "no picture", id="address"),
        pytest.param("", "no picture", id="nothing"),
        pytest.param("data:image/png;base64,%%%", "cannot be read", id="damaged"),
        pytest.param(
            "data:image/png;base64," + "A" * (MOST_BYTES * 2), "MB", id="too-large"
        ),
    ],
)
def test_what_is_no_cover(data_url: str, words: str) -> None:
    """The reason is one sentence for the evidence."""
    with pytest.raises(NoCoverError, match=words):
        cover_content(data_url)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"<html>not found</html>", "neither JPEG", id="page"),
        pytest.param(b"", "neither JPEG", id="nothing"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0", "neither JPEG", id="header-cut-off"),
        pytest.param(b"\xff\xd8\xff\xc0\0", "neither JPEG", id="jpeg-cut-off"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8 \0", "neither JPEG", id="webp-cut-off"),
        pytest.param(png(1, 1), "1x1 pixels", id="pixel"),
        pytest.param(png(159, 90), "159x90 pixels", id="small"),
        pytest.param(
            png(320, 180).replace(
                struct.pack(">II", 320, 180), struct.pack(">II", 60_000, 60_000)
            ),
            "60000x60000 pixels",
            id="bomb",
        ),
        pytest.param(png(320, 180)[:60], "damaged", id="cut-off"),
    ],
)
def test_pictures_that_are_no_covers(content: bytes, words: str) -> None:
    """Nothing is decoded before its size is known to be sane."""
    with pytest.raises(NoCoverError, match=words):
        read_cover(content)
