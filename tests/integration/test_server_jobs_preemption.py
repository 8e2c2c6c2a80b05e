"""A job that a scan in Stash preempts."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.stash.server import StandIn
from stashhog_core.errors import JobCancelled
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.preemption import preemptible, waiting_scan
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.media import write_video
from tests.support.stand_in import until
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow


@pytest.fixture
def stash(stand_in: StandIn) -> Iterator[StashClient]:
    """The client of a stand-in with a video, which takes its time."""
    write_video(stand_in.library / "a.mp4", seconds=4)
    stand_in.faults.on_item = until(threading.Event())
    with StashClient(StashSettings(url=stand_in.url), retry_delays_seconds=()) as stash:
        yield stash


def scan(stash: StashClient, stand_in: StandIn) -> int:
    return stash.start_job("scan", {"paths": [str(stand_in.library)]})


def work(progress: Progress, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress.update(0.5, "working")
        time.sleep(0.02)


def test_only_a_scan_preempts(stash: StashClient, stand_in: StandIn) -> None:
    """A job of another kind is none, nor is a scan that is over."""
    assert waiting_scan(stash) is None

    number = scan(stash, stand_in)

    assert waiting_scan(stash) == number


def test_a_scan_stops_the_job(stash: StashClient, stand_in: StandIn) -> None:
    """The work ends as by any other stop, and it is known why."""
    with preemptible(stash, Progress(), check_interval_seconds=0.05) as preemption:
        scan(stash, stand_in)
        with pytest.raises(JobCancelled):
            work(preemption.progress, PATIENCE_SECONDS)

    assert preemption.has_happened.is_set()


def test_without_a_scan_the_job_goes_on(stash: StashClient) -> None:
    """Reports pass through, and nothing is stopped."""
    seen: list[Any] = []
    watched = Progress(lambda *report: seen.append(report))

    with preemptible(stash, watched, check_interval_seconds=0.05) as preemption:
        work(preemption.progress, 0.3)

    assert not preemption.has_happened.is_set()
    assert (0.5, "working") in seen


def test_an_outage_is_no_scan(stash: StashClient, stand_in: StandIn) -> None:
    """Stash away for a moment: whoever follows the job notices by itself."""
    stand_in.stop()
    with preemptible(stash, Progress(), check_interval_seconds=0.05) as preemption:
        work(preemption.progress, 0.3)
    stand_in.start()

    assert not preemption.has_happened.is_set()
