"""Stash jobs: how long it takes to notice that one ended."""

import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measurement import Measurement
from sandbox.stash.jobs import Job
from sandbox.stash.server import StandIn
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.stash.watch import JobWatch

_TIMES = 10
_POLL_SECONDS = 2.0


def measure() -> Iterator[Measurement]:
    """Yield the time between a job's end and the end of the wait for it."""
    logging.getLogger("stashhog_core").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        library.mkdir()
        with StandIn(home=Path(folder) / "home", library=library) as stand_in:
            reported = _notice(stand_in, websocket=True)
            polled = _notice(stand_in, websocket=False)
    yield Measurement(
        "notice the end of a Stash job, with the websocket",
        max(reported),
        "s",
        0.3,
        "max",
    )
    yield Measurement(
        "notice the end of a Stash job, looks alone / with the websocket (medians)",
        statistics.median(polled) / statistics.median(reported),
        "x",
        2,
        "min",
    )


def _notice(stand_in: StandIn, *, websocket: bool) -> list[float]:
    settings = StashSettings(
        url=stand_in.url, websocket=websocket, poll_interval_seconds=_POLL_SECONDS
    )
    taken = []
    with StashClient(settings) as stash:
        for number in range(_TIMES):
            # Spread over the time between two looks.
            runs_for = 1 + _POLL_SECONDS * number / _TIMES
            taken.append(_one(stand_in, stash, settings, runs_for))
    print(f"   {statistics.median(taken):.3f} s, at most {max(taken):.3f} s")
    return taken


def _one(
    stand_in: StandIn, stash: StashClient, settings: StashSettings, runs_for: float
) -> float:
    ends: list[float] = []

    def work(job: Job) -> None:
        job.pause(runs_for)
        ends.append(time.perf_counter())

    job_id = stand_in.jobs.add("Generating...", work)
    with JobWatch(settings, job_id) as watch:
        follow(
            stash,
            JobKey(job_id),
            Progress(),
            label="Generate",
            poll_interval_seconds=settings.poll_interval_seconds,
            outage_limit_seconds=0,
            watch=watch,
        )
        return time.perf_counter() - ends[0]
