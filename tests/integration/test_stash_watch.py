"""Being told by Stash that a job ended, and doing without it."""

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from sandbox.stash.jobs import Job
from sandbox.stash.server import StandIn
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.stash.watch import JobWatch
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

# So long that only news can end the wait.
SLOW_POLL_SECONDS = 3600.0


@pytest.fixture
def settings(stand_in: StandIn) -> StashSettings:
    """Settings that lead to the stand-in, whose jobs are hardly ever looked at."""
    return StashSettings(url=stand_in.url, poll_interval_seconds=SLOW_POLL_SECONDS)


@pytest.fixture
def stash(settings: StashSettings) -> Iterator[StashClient]:
    """The product's client."""
    with StashClient(settings) as client:
        yield client


def add_job(stand_in: StandIn, ended: threading.Event) -> int:
    """Queue a job that ends when it is told to."""

    def work(job: Job) -> None:
        while not ended.is_set():
            job.pause(0.02)

    return stand_in.jobs.add("Generating...", work)


def test_end_is_noticed_at_once(
    stand_in: StandIn, stash: StashClient, settings: StashSettings
) -> None:
    """The end of the job is seen though the next look is due in an hour."""
    ended = threading.Event()
    job_id = add_job(stand_in, ended)

    def end(fraction: float | None, message: str) -> None:
        ended.set()

    with JobWatch(settings, job_id) as watch:
        assert watch.listening.wait(PATIENCE_SECONDS)
        job = follow(
            stash,
            JobKey(job_id),
            Progress(end),
            label="Generate",
            poll_interval_seconds=SLOW_POLL_SECONDS,
            outage_limit_seconds=0,
            watch=watch,
        )

    assert job is not None
    assert job.status == "FINISHED"


def test_end_before_it_listens(
    stand_in: StandIn, stash: StashClient, settings: StashSettings
) -> None:
    """Once Stash listens the job is looked at: it may have ended meanwhile."""
    job_id = stand_in.jobs.add("Generating...", lambda _: None)
    stand_in.jobs.wait()

    with JobWatch(settings, job_id) as watch:
        assert watch.wait(PATIENCE_SECONDS)


def test_news_of_other_jobs_wakes_nobody(
    stand_in: StandIn, settings: StashSettings
) -> None:
    """Only the end of the own job counts."""
    ended = threading.Event()
    job_id = add_job(stand_in, ended)

    with JobWatch(settings, job_id + 1) as watch:
        assert watch.wait(PATIENCE_SECONDS)
        ended.set()

        assert not watch.wait(1)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"websocket": False}, id="switched-off"),
        pytest.param({"api_key": "wrong"}, id="refused"),
        pytest.param({"url": "http://127.0.0.1:9"}, id="nobody-there"),
    ],
)
def test_does_without(
    stand_in: StandIn, stash: StashClient, changes: dict[str, object]
) -> None:
    """Without a websocket the looks go on at their interval."""
    settings = StashSettings.model_validate({"url": stand_in.url, **changes})
    ended = threading.Event()
    job_id = add_job(stand_in, ended)
    threading.Timer(0.5, ended.set).start()

    with JobWatch(settings, job_id) as watch:
        job = follow(
            stash,
            JobKey(job_id),
            Progress(),
            label="Generate",
            poll_interval_seconds=0.1,
            outage_limit_seconds=0,
            watch=watch,
        )

    assert job is not None
    assert job.status == "FINISHED"


def test_connection_that_breaks(
    stand_in: StandIn, stash: StashClient, settings: StashSettings
) -> None:
    """When Stash goes away the watch falls silent; nothing is raised."""
    job_id = add_job(stand_in, threading.Event())

    with JobWatch(settings, job_id) as watch:
        assert watch.wait(PATIENCE_SECONDS)
        stand_in.restart()

        assert not watch.wait(0.5)


@pytest.mark.parametrize(
    "said", [b'{"type":"\xff"}', b"[" * 100_000, b"{", "no JSON", ""]
)
def test_news_that_cannot_be_read(said: bytes | str) -> None:
    """Whatever answers there: the watch falls silent, and its thread ends well."""

    def answer(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(said)
        with suppress(ConnectionClosed):
            connection.recv()

    with serve(
        answer, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")]
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        with JobWatch(StashSettings(url=f"http://127.0.0.1:{port}"), 1) as watch:
            assert not watch.wait(0.3)
            assert not watch.listening.is_set()
        server.shutdown()
