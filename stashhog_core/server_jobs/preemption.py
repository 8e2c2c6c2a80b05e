"""Giving way: a job that stops by itself when something more urgent waits in Stash.

Stash does one job at a time. A scan that is queued behind hours of generating would
keep new scenes waiting; what was generated so far stays, and the rest can come later.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stashhog_core.errors import StashHogError
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient

LOOK_INTERVAL_SECONDS = 30.0
_LAST_LOOK_SECONDS = 1.0
SCAN = "Scanning..."
"""How Stash calls a scan in its queue."""

logger = logging.getLogger(__name__)


def waiting_scan(stash: StashClient) -> int | None:
    """Return the number of a scan that waits or runs in Stash; None: there is none."""
    for job in stash.job_queue():
        if job.description == SCAN and not job.is_over:
            return job.id
    return None


class Way:
    """Whether a scan came in the way; `progress` stops the job when one does."""

    def __init__(self, progress: Progress) -> None:
        self._given = threading.Event()
        self.progress = Progress(progress.update, self._given)

    @property
    def was_given(self) -> bool:
        """Whether the job was stopped for a scan."""
        return self._given.is_set()

    def give(self) -> None:
        """Stop the job at its next report."""
        self._given.set()


@contextmanager
def giving_way(
    stash: StashClient,
    progress: Progress,
    *,
    look_interval_seconds: float = LOOK_INTERVAL_SECONDS,
) -> Iterator[Way]:
    """Watch Stash's queue while the block works; stop its job for a scan.

    The block's job then raises `JobCancelled`, as for any other stop.

    Args:
        stash: The server, also used by another thread.
        progress: Told what the block reports.
        look_interval_seconds: Time between looks at the queue.
    """
    way = Way(progress)
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(look_interval_seconds):
            try:
                scan = waiting_scan(stash)
            except StashHogError as error:
                # Whoever follows the job notices an outage by itself.
                logger.info("Stash's queue could not be looked at: %s", error)
                continue
            if scan is not None:
                logger.info("Giving way to Stash job %s, a scan", scan)
                way.give()
                return

    watcher = threading.Thread(target=watch, name="giving-way", daemon=True)
    watcher.start()
    try:
        yield way
    finally:
        is_over.set()
        # It may be waiting for an answer of a Stash that hangs.
        watcher.join(_LAST_LOOK_SECONDS)
