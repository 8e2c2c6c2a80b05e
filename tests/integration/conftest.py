"""Fixtures of the tests that look at a Stash server itself, mostly the stand-in."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.samples import Encoding, write_video
from sandbox.stash.server import StandIn
from tests.support.stand_in import Ask, Stash, asking


@pytest.fixture
def ask(stand_in: StandIn) -> Iterator[Ask]:
    """A connection to the stand-in."""
    with asking(stand_in.url) as send:
        yield send


@pytest.fixture
def stash(stand_in: StandIn, ask: Ask) -> Stash:
    """A stand-in with an empty folder."""
    return Stash(stand_in, ask)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two seconds, to be copied."""
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    write_video(path, Encoding(width=320, height=180, seconds=2))
    return path


@pytest.fixture
def two_videos(stash: Stash, video: Path) -> tuple[Path, Path]:
    """Two different videos in the library, scanned."""
    first, second = stash.server.library / "a.mp4", stash.server.library / "b.mp4"
    shutil.copy(video, first)
    second.write_bytes(video.read_bytes() + b"other content")
    stash.scan()
    return first, second


@pytest.fixture(scope="module")
def stash_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path]]:
    """Address and library folder of a stand-in, or of the Stash to be tested."""
    if url := os.environ.get("STASHHOG_TEST_STASH_URL"):
        yield url, Path(os.environ["STASHHOG_TEST_STASH_LIBRARY"])
        return

    library = tmp_path_factory.mktemp("stash-library")
    home = tmp_path_factory.mktemp("stash-home")
    with StandIn(home=home, library=library, timezone="UTC") as stand_in:
        stand_in.faults.item_seconds = 0
        yield stand_in.url, library
