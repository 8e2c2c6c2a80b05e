"""Preemption: a job stops by itself when a scan waits in Stash's queue.

Stash does one job at a time. A scan that is queued behind hours of generating would
keep new scenes waiting; the media generated so far stays, and the rest can come later.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stashhog_core.errors import StashHogError
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient

CHECK_INTERVAL_SECONDS = 30.0
_LAST_CHECK_SECONDS = 1.0
SCAN = "Scanning..."
"""How Stash calls a scan in its queue."""

logger = logging.getLogger(__name__)


def waiting_scan(stash: StashClient) -> int | None:
    """Return the number of a scan that waits or runs in Stash; None: there is none."""
    for job in stash.job_queue():
        if job.description == SCAN and not job.is_over:
            return job.id
    return None


@dataclass(frozen=True)
class Preemption:
    """Whether a scan has preempted the job, which `progress` then stops."""

    progress: Progress
    has_happened: threading.Event


@contextmanager
def preemptible(
    stash: StashClient,
    progress: Progress,
    *,
    check_interval_seconds: float = CHECK_INTERVAL_SECONDS,
) -> Iterator[Preemption]:
    """Watch Stash's queue while the block works; stop its job for a scan.

    The block's job then raises `JobCancelled`, as for any other stop. Another thread
    uses `stash` as well.
    """
    preempted = threading.Event()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(check_interval_seconds):
            try:
                scan = waiting_scan(stash)
            except StashHogError as error:
                # Whoever follows the job notices an outage by itself.
                logger.info("Could not check Stash's queue: %s", error)
                continue
            if scan is not None:
                logger.info(
                    "Stopping this job, because a scan (Stash job %s) has priority",
                    scan,
                )
                preempted.set()
                return

    watcher = threading.Thread(target=watch, name="preemption", daemon=True)
    watcher.start()
    try:
        yield Preemption(Progress(progress.update, preempted), preempted)
    finally:
        is_over.set()
        # It may be waiting for an answer of a Stash that hangs.
        watcher.join(_LAST_CHECK_SECONDS)
