"""What a run asks of others when there is nothing to do, counted."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine, event

from flows.auto_stash_sync import auto_stash_sync
from flows.process_new_scenes import process_new_scenes
from tasks import run_progress
from tests.support.services import Services

pytestmark = pytest.mark.slow


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the SQL statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """How often each server was asked, by its address."""
    counts: Counter[str] = Counter()
    send = httpx.Client.send

    def count(client: httpx.Client, request: httpx.Request, **options: Any) -> Any:
        counts[f"{request.url.host}:{request.url.port}"] += 1
        return send(client, request, **options)

    monkeypatch.setattr(httpx.Client, "send", count)
    return counts


def test_a_scheduled_sync_that_finds_nothing(
    services: Services, requests: "Counter[str]"
) -> None:
    """At most three requests to Stash and five SQL statements, opening included."""
    auto_stash_sync()
    # The second takes note that there is nothing more.
    auto_stash_sync()
    stash = urlsplit(services.stash.url).netloc
    requests.clear()

    with statements() as sent:
        state: Any = auto_stash_sync(return_state=True)

    assert state.name == "Skipped"
    assert requests[stash] <= 3, requests
    assert len(sent) <= 5, sent


def test_an_idle_main_job(
    few_services: Services,
    requests: "Counter[str]",
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each service is opened once, and Prefect's API is not asked for each report."""
    process_new_scenes()
    process_new_scenes()
    # However long the run takes here, it ends before its bar is due again.
    monkeypatch.setattr(run_progress, "UPDATE_INTERVAL_SECONDS", 3600.0)
    stash = urlsplit(few_services.stash.url).netloc
    requests.clear()

    with statements() as sent:
        process_new_scenes()

    assert len([s for s in sent if "stashhog_schema" in s and "SELECT" in s]) <= 2, sent
    assert requests[stash] <= 12, requests
    assert requests[urlsplit(prefect_api).netloc] <= 20, requests
