"""Waiting for a job of the Stash server to end."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from stashhog_core.errors import JobError, TransientError
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Job
from stashhog_core.stash.watch import JobWatch

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0
# Stash counts on while work goes on: its 100 % is not the end.
_ALMOST_DONE = 0.99
_ACTIVITY = re.compile(
    r"(?P<verb>Generating|Scanning|Identifying|Assessing file|Assessing folder)"
    r"(?: (?P<kind>[\w ]+?) (?:for image Clip|for image|for marker ID|for))?"
    r" (?P<item>.+)"
)
_FOR_CLEAN = " for clean"
_PLURALS = {
    "cover": "covers",
    "heatmap and speed": "heatmaps",
    "marker preview": "markers",
    "phash": "phashes",
    "preview": "previews",
    "thumbnail": "thumbnails",
    "transcode": "transcodes",
}


class DeadlineError(JobError):
    """A server job took longer than it was given."""


@dataclass(frozen=True)
class JobKey:
    """What tells a server job apart: ids alone start at 1 again with the server."""

    stash_job_id: int
    add_time: str = ""

    def matches(self, job: Job | None) -> bool:
        """Tell whether `job` is this one; an empty `add_time` was never checked."""
        return (
            job is not None
            and job.id == self.stash_job_id
            and self.add_time in ("", job.add_time)
        )


def follow(
    stash: StashClient,
    key: JobKey,
    progress: Progress,
    *,
    label: str,
    poll_interval_seconds: float,
    outage_limit_seconds: float,
    on_first_check: Callable[[Job], None] | None = None,
    deadline_seconds: float | None = None,
    watch: JobWatch | None = None,
) -> Job | None:
    """Return the job once it is over; None if Stash forgot it.

    A forgotten job may have ended well, badly or not at all: Stash was restarted, or
    ten other jobs ended since the last check.

    Args:
        stash: The server.
        key: The job.
        progress: Receives what the job does; may raise to stop the waiting.
        label: How messages start, such as "Generate metadata".
        poll_interval_seconds: Time between checks.
        outage_limit_seconds: How long the server may be away.
        on_first_check: Called once, with the job as found by the first check.
        deadline_seconds: How long to wait for the end; None: as long as it takes.
        watch: Tells that the job ended, so that it is checked sooner.

    Raises:
        TransientError: The server was away for too long; the job may still run.
        DeadlineError: The job did not end in time; it still runs.
    """
    started = time.monotonic()
    away_since: float | None = None
    pause_seconds = poll_interval_seconds
    while True:
        try:
            job = stash.find_job(key.stash_job_id)
        except TransientError as error:
            now = time.monotonic()
            away_since = away_since or now
            if now - away_since >= outage_limit_seconds:
                raise
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            logger.warning("Waiting for Stash to come back: %s", error)
            progress.update(None, f"{label}: Waiting for Stash to come back...")
        else:
            away_since, pause_seconds = None, poll_interval_seconds
            if job is None or not key.matches(job):
                return None
            if on_first_check is not None:
                on_first_check(job)
                on_first_check = None
                key = JobKey(key.stash_job_id, job.add_time)
            if job.is_over:
                return job
            fraction = job.progress
            if fraction is not None:
                fraction = min(fraction, _ALMOST_DONE)
            progress.update(fraction, f"{label}: {describe(job)}")
        if deadline_seconds is not None and (
            time.monotonic() - started >= deadline_seconds
        ):
            raise DeadlineError(
                f"Stash job {key.stash_job_id} did not end within "
                f"{deadline_seconds:g} s",
                where=stash.address,
                remedy="check the job under Settings, Tasks in Stash, or raise "
                "STASHHOG_STASH__JOB_DEADLINE_SECONDS",
            )
        progress.sleep(pause_seconds, watch.wait if watch else None)


def describe(job: Job) -> str:
    """Say what a running job does, such as "Generating previews... (a.mp4)"."""
    if job.status == "READY":
        return "Waiting for other jobs of Stash..."
    if job.status == "STOPPING":
        return "Stopping..."
    activity = job.sub_tasks[0] if job.sub_tasks else ""
    match = _ACTIVITY.fullmatch(activity)
    if match is None:
        return f"{activity}..." if activity else job.description
    verb, kind, item = match["verb"], match["kind"], match["item"]
    if verb.startswith("Assessing"):
        item = item.removesuffix(_FOR_CLEAN)
    what = f"{verb} {_PLURALS.get(kind.lower(), kind)}" if kind else verb
    return f"{what}... ({_base_name(item)})"


def _base_name(path: str) -> str:
    pure = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    return pure.name or path
