"""Probing the files of an index, and scans in shards, on this machine or on others.

First each shard lists the folders that fall to it. When the whole listing is compared
with the index, each shard probes an equal number of the new and changed files.
"""

import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from stashhog_core.db.session import Database
from stashhog_core.file_index.artwork import FOLDER
from stashhog_core.file_index.index import Index, open_index
from stashhog_core.file_index.pool import ProbePool
from stashhog_core.file_index.probe import ProbeOutcome, ProbeRequest, Wanted
from stashhog_core.file_index.walk import (
    Share,
    Walk,
    folders_below,
    list_videos,
    real_roots,
    resolve_scan_folder,
)
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure
from stashhog_core.settings import Settings

MOST_LISTED = 500
BATCH = 300
_READ_AGAIN = {
    "failed": "{}",
    "changed": "The file changed while it was read",
    "interrupted": "The process that read the file was ended",
}
LEFT_TO_THE_NEXT_SCAN = ("vanished", *_READ_AGAIN)
"""Verdicts that say nothing of a file; a second pass does not try it again."""

_BATCH_SECONDS = 5.0
# A hash distributes the folders; with few folders, shards would differ much in size.
_FOLDERS_PER_SHARD = 16
_MOST_FOLDERS = 2000
_DEEPEST = 6


logger = logging.getLogger(__name__)


class TimeIsUp(Exception):  # noqa: N818 - it is no error
    """The scan has used up its time."""


@dataclass
class Counts:
    """What became of the files; those that failed, and warnings, up to 500."""

    new: int = 0
    updated: int = 0
    moved: int = 0
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
        """Add those of a shard."""
        self.new += other.new
        self.updated += other.updated
        self.moved += other.moved
        self.unreadable += other.unreadable
        self.errors += other.errors
        self.failures += other.failures[: MOST_LISTED - len(self.failures)]
        self.warnings += other.warnings[: MOST_LISTED - len(self.warnings)]


@dataclass(frozen=True)
class ListShard:
    """The folders that one shard lists.

    Those `depth` levels below the root are dealt out whole, those above one by one.
    """

    number: int
    """From 1."""

    of: int
    depth: int
    deadline: datetime


@dataclass(frozen=True)
class ProbeShard:
    """The pending files that one shard probes: paths from `low` to before `high`."""

    number: int
    """From 1."""

    of: int
    low: str
    high: str
    deadline: datetime
    workers: int | None = None


@dataclass
class ListedShard:
    """What a shard listed, or could not."""

    walk: Walk = field(default_factory=Walk)
    counts: Counts = field(default_factory=Counts)


@dataclass
class ProbedShard:
    """What a shard probed, and whether it was completed in time."""

    counts: Counts = field(default_factory=Counts)
    in_time: bool = True
    left_ids: set[int] = field(default_factory=set)
    """Files that the next scan probes again."""


@dataclass(frozen=True)
class FanOut:
    """Runs the shards of a scan in parallel.

    Each call gives the outcomes, or what a shard failed with, in the order of the
    shards. `list_all` runs `list_shard_files`, `probe_all` `probe_shard_files`.
    """

    list_all: Callable[[Sequence[ListShard]], Iterable[ListedShard | BaseException]]
    probe_all: Callable[[Sequence[ProbeShard]], Iterable[ProbedShard | BaseException]]
    workers: int | None
    """How many processes read files in each shard; None: one per core."""


def wanted_of(settings: Settings, params: DirectoryScanParams) -> Wanted:
    """Return what a scan makes of each file, and where the pictures go."""
    return Wanted(
        settings.home_folder / FOLDER,
        thumbnails=params.thumbnails,
        sprites=params.sprites,
        phashes=params.phashes,
        file_limit_seconds=params.file_timeout_seconds,
    )


class Prober:
    """Probes the pending files of an index.

    `deadline` is in seconds of the monotonic clock. `counts` and `left_ids`, the files
    that the next scan probes again, are added to.
    """

    def __init__(
        self,
        index: Index,
        wanted: Wanted,
        workers: int | None,
        progress: Progress,
        deadline: float,
        counts: Counts,
        left_ids: set[int],
    ) -> None:
        self._index = index
        self._wanted = wanted
        self._workers = workers
        self._progress = progress
        self._deadline = deadline
        self._counts = counts
        self._new_ids: set[int] = set()
        self._left_ids = left_ids

    def probe(self, pending: int, passes: int) -> bool:
        """Probe all pending files; tell whether this was completed in time.

        A second pass probes what the first could not know to be new: copies of a moved
        file.
        """
        opened = 0
        try:
            with ProbePool(self._wanted, self._workers) as pool:
                for _ in range(passes):
                    requests = self._noting_new(self._index.pending(BATCH))
                    outcomes = pool.probe(requests, self._checkpoint)
                    with closing(outcomes):
                        opened = self._keep(outcomes, opened, pending)
                    if not self._index.count_pending():
                        break
        except TimeIsUp:
            return False
        return True

    def _keep(self, outcomes: Iterable[ProbeOutcome], opened: int, pending: int) -> int:
        """Store outcomes set-wise; whatever ends the run, what was found is kept."""
        batch: list[ProbeOutcome] = []
        stored_at = time.monotonic()
        try:
            for outcome in outcomes:
                batch.append(outcome)
                opened += 1
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

    def _store(self, batch: list[ProbeOutcome]) -> None:
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
            counts.failed(
                batch[0].path, f"The results of the file cannot be stored: {error}"
            )
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
            elif problem := _READ_AGAIN.get(outcome.verdict):
                problem = problem.format(outcome.problem)
                counts.failed(
                    outcome.path, f"{problem}; the next scan reads the file again"
                )
            for warning in outcome.warnings:
                counts.warn(outcome.path, warning)

    def _noting_new(self, requests: Iterable[ProbeRequest]) -> Iterator[ProbeRequest]:
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


def list_shard_files(
    settings: Settings,
    database: Database,
    params: DirectoryScanParams,
    shard: ListShard,
    progress: Progress,
) -> ListedShard:
    """List a shard's folders into the table that all shards share.

    Raises:
        ConfigurationError: The folder is not here, or must not be scanned here.
        TransientError: The database is away.
        JobCancelled: A stop was asked for.
    """
    folder = resolve_scan_folder(params.path, settings.library.allowed_scan_roots)
    listed = ListedShard()
    share = share_of(folder, shard.number, shard.of, shard.depth)
    with open_index(database, folder) as index:
        deadline = time.monotonic() + index.seconds_until(shard.deadline)

        def checkpoint(files: int) -> None:
            if time.monotonic() > deadline:
                raise TimeIsUp
            progress.update(
                None, f"shard {shard.number}/{shard.of}: {files} video files listed"
            )

        lines = list_videos(
            folder,
            real_roots(settings.library.allowed_scan_roots),
            listed.walk,
            listed.counts.failed,
            checkpoint,
            share,
        )
        index.start_listing()
        index.add_listed(until_time_is_up(lines))
        index.share_listed(shard.number)
    return listed


def probe_shard_files(
    settings: Settings,
    database: Database,
    params: DirectoryScanParams,
    shard: ProbeShard,
    progress: Progress,
) -> ProbedShard:
    """Probe a shard's files; what is done by a stop or the deadline stays.

    Raises:
        ConfigurationError: The folder is not here, or must not be scanned here.
        TransientError: The database is away.
        JobCancelled: A stop was asked for.
    """
    folder = resolve_scan_folder(params.path, settings.library.allowed_scan_roots)
    probed = ProbedShard()
    with open_index(database, folder, (shard.low, shard.high)) as index:
        pending = index.count_pending()
        prober = Prober(
            index,
            wanted_of(settings, params),
            shard.workers,
            progress.words_only(f"shard {shard.number}/{shard.of}: "),
            time.monotonic() + index.seconds_until(shard.deadline),
            probed.counts,
            probed.left_ids,
        )
        probed.in_time = not pending or prober.probe(pending, 1)
    return probed


def depth_for(folder: Path, shards: int) -> int:
    """Return how deep to go so that there are enough folders to deal out evenly."""
    level = [str(folder)]
    for depth in range(1, _DEEPEST):
        below: list[str] = []
        for path in level:
            below += folders_below(path)
            if len(below) > _MOST_FOLDERS:
                return depth
        if not below:
            return depth - 1
        if len(below) >= shards * _FOLDERS_PER_SHARD:
            return depth
        level = below
    return _DEEPEST - 1


def until_time_is_up(lines: Iterable[bytes]) -> Iterable[bytes]:
    """Yield what there is; the walk itself tells whether it came to its end."""
    try:
        yield from lines
    except TimeIsUp:
        return


def share_of(folder: Path, number: int, shards: int, depth: int) -> Share:
    """Return what falls to one of the shards, numbered from 1."""
    return Share(depth, lambda path: _owner(folder, path, shards) == number)


def _owner(folder: Path, path: str, shards: int) -> int:
    """Return the number of the shard that a folder falls to."""
    below = os.fsencode(os.path.relpath(path, folder))
    return zlib.crc32(below) % shards + 1
