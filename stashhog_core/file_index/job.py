"""The directory scan: list, compare, probe what changed, store what was found."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from stashhog_core.batches import batched
from stashhog_core.db.locks import job_lock
from stashhog_core.db.session import Database
from stashhog_core.file_index.artwork import FOLDER, stored_artwork
from stashhog_core.file_index.file_systems import (
    Lookup,
    MountedFileSystems,
    is_gone,
)
from stashhog_core.file_index.index import Index, open_index
from stashhog_core.file_index.shards import (
    BATCH,
    Counts,
    FanOut,
    ListedShard,
    ListShard,
    ProbedShard,
    Prober,
    ProbeShard,
    TimeIsUp,
    depth_for,
    until_time_is_up,
    wanted_of,
)
from stashhog_core.file_index.walk import (
    Walk,
    list_videos,
    real_roots,
    resolve_scan_folder,
)
from stashhog_core.params import DirectoryScanParams, removal_limit
from stashhog_core.progress import Progress
from stashhog_core.results import DirectoryScanResult
from stashhog_core.settings import Settings

JOB = "directory_scan"

# A walk that takes longer leaves time to probe what it has found so far.
_SHARE_OF_WALK = 0.8
_LISTED, _COMPARED = 0.1, 0.12
_PASSES = 2

DoneShard = TypeVar("DoneShard", ListedShard, ProbedShard)

logger = logging.getLogger(__name__)


def scan_directory(
    settings: Settings,
    database: Database,
    params: DirectoryScanParams,
    progress: Progress,
    fan_out: AbstractContextManager[FanOut] | None = None,
    file_systems: Lookup = MountedFileSystems,
) -> DirectoryScanResult:
    """Bring the index of a folder up to date.

    Unchanged files are not opened. What was found stays when the scan is cancelled,
    killed or runs out of time; the next one goes on from there.

    Without `fan_out` the scan runs here, as a whole. With it shards run in parallel;
    if an error ends its block, it stops them.

    Raises:
        ConfigurationError: The path is no folder, or must not be scanned.
        TransientError: The database is away, or another scan is under way.
        JobCancelled: A stop was asked for.
    """
    folder = resolve_scan_folder(params.path, settings.library.allowed_scan_roots)
    with (
        job_lock(database, JOB),
        open_index(database, folder) as index,
        fan_out or nullcontext() as shards,
    ):
        return _Scan(
            settings, params, progress, index, folder, shards, file_systems
        ).run()


class _Scan:
    """One run."""

    def __init__(
        self,
        settings: Settings,
        params: DirectoryScanParams,
        progress: Progress,
        index: Index,
        folder: Path,
        fan_out: FanOut | None,
        file_systems: Lookup,
    ) -> None:
        self._file_systems = file_systems
        self._params = params
        self._progress = progress
        self._index = index
        self._folder = folder
        self._fan_out = fan_out
        self._roots = real_roots(settings.library.allowed_scan_roots)
        self._artwork = settings.home_folder / FOLDER
        self._wanted = wanted_of(settings, params)
        self._started = time.monotonic()
        self._walk = Walk()
        self._counts = Counts()
        self._lost_shards = 0
        self._left_ids: set[int] = set()
        self._to_open = 0
        self._removed = 0
        self._blocked: str | None = None

    def run(self) -> DirectoryScanResult:
        began = self._index.now()
        self._index.start_listing(by_shards=self._fan_out is not None)
        self._list(began)
        self._progress.update(_LISTED, f"{self._walk.files} video files listed")
        in_time = self._walk.finished
        complete = in_time and not self._lost_shards
        # Read after the walk: what was unmounted meanwhile is not there.
        present = self._file_systems()

        def gone(path: str, file_system: str) -> bool:
            return is_gone(path, file_system, present)

        difference = self._index.compare(
            self._walk.unknown if complete else None, self._wanted, gone
        )
        if self._fan_out:
            self._index.forget_shards()
        if difference.new:
            self._index.mark_moved_away(gone)
        pending = self._to_open = self._index.count_pending()
        logger.info(
            "Found %d video files in %s; %d files to probe",
            self._walk.files,
            self._folder,
            pending,
        )
        self._progress.update(_COMPARED, f"{pending} files to probe")
        if pending:
            in_time = self._probe(began, pending) and in_time
        if complete and difference.missing:
            self._remove(began, difference.away)
        if complete and (self._counts.updated or self._removed):
            self._clean_artwork()
        return self._result(in_time=in_time)

    def _list(self, began: datetime) -> None:
        """List the folder; the walk tells whether it came to its end in time."""
        limit = self._params.timeout_seconds * _SHARE_OF_WALK
        if self._fan_out:
            self._list_in_shards(self._fan_out, began + timedelta(seconds=limit))
            return

        def checkpoint(files: int) -> None:
            self._progress.checkpoint()
            if time.monotonic() - self._started > limit:
                raise TimeIsUp
            if files:
                self._progress.update(None, f"{files} video files listed")

        lines = list_videos(
            self._folder,
            self._roots,
            self._walk,
            self._counts.failed,
            checkpoint,
            file_systems=self._file_systems,
        )
        self._index.add_listed(until_time_is_up(lines))

    def _list_in_shards(self, fan_out: FanOut, deadline: datetime) -> None:
        count = self._params.shards
        depth = depth_for(self._folder, count)
        shards = [
            ListShard(number, count, depth, deadline) for number in range(1, count + 1)
        ]
        self._walk.finished = True
        outcomes = fan_out.list_all(shards)
        for listed in self._reported(outcomes, "list", len(shards), 0, _LISTED):
            self._counts.add(listed.counts)
            self._walk.add(listed.walk)

    def _probe(self, began: datetime, pending: int) -> bool:
        """Probe all pending files; tell whether this was completed in time."""
        passes = _PASSES
        if self._fan_out:
            if not self._probe_in_shards(self._fan_out, began):
                return False
            # What the shards could not know to be new, or have failed to probe.
            pending = self._index.count_pending()
            passes -= 1
            if not pending:
                return True
        return Prober(
            self._index,
            self._wanted,
            self._params.workers,
            self._progress.within(_COMPARED, 1),
            self._started + self._params.timeout_seconds,
            self._counts,
            self._left_ids,
        ).probe(pending, passes)

    def _probe_in_shards(self, fan_out: FanOut, began: datetime) -> bool:
        deadline = began + timedelta(seconds=self._params.timeout_seconds)
        ranges = self._index.pending_ranges(self._params.shards)
        shards = [
            ProbeShard(number, len(ranges), low, high, deadline, fan_out.workers)
            for number, (low, high) in enumerate(ranges, 1)
        ]
        in_time = True
        outcomes = fan_out.probe_all(shards)
        for probed in self._reported(outcomes, "probe", len(shards), _COMPARED, 1):
            self._counts.add(probed.counts)
            self._left_ids |= probed.left_ids
            in_time = in_time and probed.in_time
        return in_time

    def _reported(
        self,
        outcomes: Iterable[DoneShard | BaseException],
        what: str,
        total: int,
        start: float,
        end: float,
    ) -> Iterator[DoneShard]:
        """Yield the shards that are done; one that failed is an error of the scan."""
        for number, outcome in enumerate(outcomes, 1):
            name = f"shard {number}/{total}"
            if isinstance(outcome, BaseException):
                self._counts.failed(f"{name} ({what})", str(outcome))
                self._lost_shards += 1
            else:
                yield outcome
            self._progress.update(
                start + (end - start) * number / total, f"{name} is done"
            )

    def _remove(self, began: datetime, away: int) -> None:
        """Remove what an earlier run had marked as missing, up to the removal limit."""
        gone = self._index.gone(began)
        limit = removal_limit(gone.files)
        if gone.missing > limit and not self._params.confirm_removals:
            self._blocked = (
                f"{gone.missing} of {gone.files} files are gone. This is more than the "
                f"removal limit of {limit} files, so no file was removed from the "
                "index. If the files were really deleted, run directory_scan with "
                "confirm_removals=true"
            )
        else:
            self._removed = self._index.remove_gone(began)
        if away and self._params.forget_unreachable:
            forgotten = self._index.remove_unreachable(began)
            self._removed += forgotten
            away -= forgotten
        if away:
            unseen = (
                f"{away} indexed files were not found, but StashHog "
                "cannot verify that the files are gone: their folder "
                "is empty, unreadable, or not mounted. If the disk "
                "never comes back, run directory_scan with forget_unreachable=true"
            )
            blocked = self._blocked
            self._blocked = f"{blocked}. {unseen}" if blocked else unseen

    def _clean_artwork(self) -> None:
        """Delete the pictures of content that no file has any longer."""
        pictures = stored_artwork(self._artwork)
        for some in batched(pictures, BATCH):
            orphans = self._index.unknown_hashes([h for _, h in some if h])
            for path, oshash in some:
                if oshash is not None and oshash not in orphans:
                    continue
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    self._counts.warn(
                        str(path), f"The picture cannot be deleted: {error.strerror}"
                    )

    def _result(self, *, in_time: bool) -> DirectoryScanResult:
        counts = self._counts
        pending = self._index.count_pending()
        troubled = counts.errors or self._blocked
        if not in_time:
            status = "timeout"
        else:
            status = "completed_with_errors" if troubled else "completed"
        return DirectoryScanResult(
            status=status,
            path=str(self._folder),
            scanned=self._walk.files,
            new=counts.new,
            updated=counts.updated,
            skipped=max(0, self._walk.files - self._to_open),
            moved=counts.moved,
            missing=self._index.count_missing(),
            removed=self._removed,
            unreadable=counts.unreadable,
            pending=pending,
            listed=self._walk.finished,
            links_skipped=self._walk.links_skipped,
            error_count=counts.errors,
            errors=tuple(counts.failures),
            warnings=tuple(counts.warnings),
            held=self._blocked,
            duration_seconds=round(time.monotonic() - self._started, 3),
        )
