"""Looking into what is new or changed, and keeping what was found, in batches."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from stashhog_core.file_index.index import Index
from stashhog_core.file_index.pool import ExaminerPool
from stashhog_core.file_index.probe import Outcome, Request, Wanted
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure

MOST_LISTED = 500
BATCH = 300
LEFT_TO_THE_NEXT_SCAN = ("vanished", "unsettled", "interrupted", "failed")
"""Verdicts that say nothing of a file; a second pass does not try it again."""

_BATCH_SECONDS = 5.0

logger = logging.getLogger(__name__)


class TimeIsUp(Exception):  # noqa: N818 - it is no error
    """The scan has used up its time."""


@dataclass
class Counts:
    """What became of the files; those that failed, and warnings, up to 500."""

    new: int = 0
    updated: int = 0
    moved: int = 0
    opened: int = 0
    unreadable: int = 0
    errors: int = 0
    failures: list[ItemFailure] = field(default_factory=list)
    warnings: list[ItemFailure] = field(default_factory=list)

    def failed(self, item: str, problem: str) -> None:
        """Count an error, and keep it while there is room."""
        self.errors += 1
        if len(self.failures) < MOST_LISTED:
            self.failures.append(ItemFailure(item=item, reason=problem))

    def warn(self, item: str, problem: str) -> None:
        """Keep a warning while there is room, and log it."""
        logger.warning("%s: %s", item, problem)
        if len(self.warnings) < MOST_LISTED:
            self.warnings.append(ItemFailure(item=item, reason=problem))

    def add(self, other: "Counts") -> None:
        """Add those of a part."""
        self.new += other.new
        self.updated += other.updated
        self.moved += other.moved
        self.opened += other.opened
        self.unreadable += other.unreadable
        self.errors += other.errors
        self.failures += other.failures[: MOST_LISTED - len(self.failures)]
        self.warnings += other.warnings[: MOST_LISTED - len(self.warnings)]


class Looker:
    """Looks into the pending files of an index.

    Args:
        index: Says which files, and keeps what is found.
        wanted: What is made of each file.
        workers: How many processes read files; None: one per core.
        progress: Told of each file.
        deadline: On the monotonic clock, in seconds.
        counts: Added to.
    """

    def __init__(
        self,
        index: Index,
        wanted: Wanted,
        workers: int | None,
        progress: Progress,
        deadline: float,
        counts: Counts,
    ) -> None:
        self._index = index
        self._wanted = wanted
        self._workers = workers
        self._progress = progress
        self._deadline = deadline
        self._counts = counts
        self._new_ids: set[int] = set()
        self._left_ids: set[int] = set()

    def look(self, pending: int, passes: int) -> bool:
        """Look into all pending files; tell whether it came to its end in time.

        Args:
            pending: How many there are.
            passes: A second one looks at what the first could not know to be new:
                copies of a moved file.
        """
        opened = 0
        try:
            with ExaminerPool(self._wanted, self._workers) as pool:
                for _ in range(passes):
                    requests = self._noting_new(self._index.pending(BATCH))
                    outcomes = pool.examine(requests, self._checkpoint)
                    with closing(outcomes):
                        opened = self._keep(outcomes, opened, pending)
                    if not self._index.count_pending():
                        break
        except TimeIsUp:
            return False
        return True

    def _keep(self, outcomes: Iterable[Outcome], opened: int, pending: int) -> int:
        """Store outcomes set-wise; whatever ends the run, what was found is kept."""
        batch: list[Outcome] = []
        stored_at = time.monotonic()
        try:
            for outcome in outcomes:
                batch.append(outcome)
                opened += 1
                self._counts.opened += 1
                self._progress.update(
                    min(1.0, opened / pending),
                    f"{Path(outcome.path).name} {opened}/{pending}",
                )
                self._check_time()
                late = time.monotonic() - stored_at > _BATCH_SECONDS
                if len(batch) >= BATCH or late:
                    self._store(batch)
                    batch = []
                    stored_at = time.monotonic()
        except BaseException:
            # A stop or the end of time: not a reason to read these files again.
            self._store(batch)
            raise
        self._store(batch)
        return opened

    def _store(self, batch: list[Outcome]) -> None:
        """Store outcomes and count them; one that cannot be stored stops no other."""
        counts = self._counts
        try:
            moved = self._index.store(batch) if batch else set()
        except (psycopg.DataError, ValueError) as error:
            if len(batch) > 1:
                for outcome in batch:
                    self._store([outcome])
                return
            logger.exception("Storing %s failed", batch[0].path)
            self._left_ids.add(batch[0].id)
            counts.failed(batch[0].path, f"What was found cannot be stored: {error}")
            return
        counts.moved += len(moved)
        for outcome in batch:
            if outcome.verdict in LEFT_TO_THE_NEXT_SCAN:
                self._left_ids.add(outcome.id)
            was_new = outcome.id in self._new_ids
            self._new_ids.discard(outcome.id)
            if outcome.id in moved:
                # It is counted as that, whatever was read of it on the way.
                pass
            elif outcome.verdict == "video":
                counts.new += was_new
                counts.updated += not was_new
            elif outcome.verdict == "same":
                counts.updated += not was_new
            elif outcome.verdict == "unreadable":
                counts.unreadable += 1
                counts.failed(outcome.path, outcome.problem or "")
            elif outcome.verdict == "failed":
                counts.failed(
                    outcome.path, f"{outcome.problem}; the next scan tries again"
                )
            elif outcome.verdict == "unsettled":
                counts.failed(
                    outcome.path, "It changed while it was read; the next scan reads it"
                )
            elif outcome.verdict == "interrupted":
                counts.failed(
                    outcome.path,
                    "Its reader process was ended; the next scan reads the file",
                )
            for warning in outcome.warnings:
                counts.warn(outcome.path, warning)

    def _noting_new(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            if request.id in self._left_ids:
                continue
            if request.is_new:
                self._new_ids.add(request.id)
            yield request

    def _checkpoint(self) -> None:
        self._progress.checkpoint()
        self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise TimeIsUp
