"""Fixtures of the tests that talk to a Stash: the stand-in, on its own folders."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.stash.server import StandIn


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """A running stand-in with an empty library; its folder is `stand_in.library`."""
    folder = tmp_path / "stash-library"
    folder.mkdir()
    with StandIn(home=tmp_path / "stash-home", library=folder) as server:
        server.faults.item_seconds = 0
        yield server
