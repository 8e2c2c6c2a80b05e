"""Fixtures of the tests that talk to a Stash: the stand-in, on its own folders."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.stash.server import StandIn

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """A running stand-in with an empty library; its folder is `stand_in.library`."""
    folder = tmp_path / "stash-library"
    folder.mkdir()
    with StandIn(home=tmp_path / "stash-home", library=folder) as server:
        server.faults.item_seconds = 0
        yield server


@pytest.fixture
def ask(stand_in: StandIn) -> Iterator[Ask]:
    """Sends a document with variables; returns the whole decoded answer."""
    with httpx.Client(base_url=stand_in.url, trust_env=False, timeout=60) as client:

        def send(query: str, **variables: Any) -> dict[str, Any]:
            content = {"query": query, "variables": variables}
            answer: dict[str, Any] = client.post("/graphql", json=content).json()
            return answer

        yield send
