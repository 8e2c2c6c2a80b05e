"""The directory scan: list, compare, look into what changed, keep what was found."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from stashhog_core.db.locks import job_lock
from stashhog_core.db.session import Database
from stashhog_core.library.artwork import FOLDER, stored_artwork
from stashhog_core.library.discover import Walk, list_videos
from stashhog_core.library.examine import Outcome, Request, Wanted
from stashhog_core.library.index import Index, open_index
from stashhog_core.library.pool import ExaminerPool
from stashhog_core.library.roots import real_roots, resolve_scan_folder
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import DirectoryScanResult, ItemFailure
from stashhog_core.settings import Settings

JOB = "directory_scan"
MOST_LISTED = 500

_BATCH = 300
_BATCH_SECONDS = 5.0
# A walk that takes longer leaves time for looking into what it has found so far.
_SHARE_OF_WALK = 0.8
_LISTED, _COMPARED = 0.1, 0.12
# The second looks at what the first could not know to be new: copies of a moved file.
_PASSES = 2

logger = logging.getLogger(__name__)


class _TimeIsUp(Exception):  # noqa: N818 - it is no error
    """The scan has used up its time."""


def scan_directory(
    settings: Settings,
    database: Database,
    params: DirectoryScanParams,
    progress: Progress,
) -> DirectoryScanResult:
    """Bring the index of a folder up to date.

    Unchanged files are not opened. What was found stays when the scan is cancelled,
    killed or runs out of time; the next one goes on from there.

    Raises:
        ConfigurationError: The path is no folder, or must not be scanned.
        TransientError: The database is away, or another scan is under way.
        JobCancelled: A stop was asked for.
    """
    folder = resolve_scan_folder(params.path, settings.library.allowed_scan_roots)
    with job_lock(database, JOB), open_index(database, folder) as index:
        return _Scan(settings, params, progress, index, folder).run()


@dataclass
class _Counts:
    new: int = 0
    updated: int = 0
    moved: int = 0
    to_open: int = 0
    opened: int = 0
    unreadable: int = 0
    errors: int = 0
    removed: int = 0
    held: str | None = None
    failures: list[ItemFailure] = field(default_factory=list)
    warnings: list[ItemFailure] = field(default_factory=list)


class _Scan:
    """One run."""

    def __init__(
        self,
        settings: Settings,
        params: DirectoryScanParams,
        progress: Progress,
        index: Index,
        folder: Path,
    ) -> None:
        self._params = params
        self._progress = progress
        self._index = index
        self._folder = folder
        self._roots = real_roots(settings.library.allowed_scan_roots)
        self._artwork = settings.home_folder / FOLDER
        self._wanted = Wanted(
            self._artwork,
            thumbnails=params.thumbnails,
            sprites=params.sprites,
            phashes=params.phashes,
        )
        self._started = time.monotonic()
        self._walk = Walk()
        self._counts = _Counts()
        self._new_ids: set[int] = set()

    def run(self) -> DirectoryScanResult:
        began = self._index.now()
        self._index.start_listing()
        in_time = self._list()
        self._progress.update(_LISTED, f"{self._walk.files} video files listed")
        complete = self._walk.finished
        difference = self._index.compare(
            self._walk.unknown if complete else None, self._wanted
        )
        pending = self._counts.to_open = self._index.count_pending()
        logger.info(
            "%d video files in %s, %d to look into",
            self._walk.files,
            self._folder,
            pending,
        )
        self._progress.update(_COMPARED, f"{pending} files to look into")
        if pending:
            in_time = self._look(pending) and in_time
        if complete and difference.missing:
            self._remove(began, difference.away)
        if complete and (self._counts.updated or self._counts.removed):
            self._clean_artwork()
        return self._result(in_time=in_time)

    def _list(self) -> bool:
        """List the folder; tell whether it came to its end in time."""
        limit = self._params.timeout_seconds * _SHARE_OF_WALK

        def checkpoint(files: int) -> None:
            self._progress.checkpoint()
            if time.monotonic() - self._started > limit:
                raise _TimeIsUp
            if files:
                self._progress.update(None, f"{files} video files listed")

        lines = list_videos(
            self._folder, self._roots, self._walk, self._failed, checkpoint
        )
        self._index.add_listed(_until_time_is_up(lines))
        return self._walk.finished

    def _look(self, pending: int) -> bool:
        """Look into all pending files; tell whether it came to its end in time."""
        try:
            with ExaminerPool(self._wanted, self._params.workers) as pool:
                for _ in range(_PASSES):
                    requests = self._noting_new(self._index.pending(_BATCH))
                    outcomes = pool.examine(requests, self._checkpoint)
                    with closing(outcomes):
                        self._keep(outcomes, pending)
                    if not self._index.count_pending():
                        break
        except _TimeIsUp:
            return False
        return True

    def _keep(self, outcomes: Iterable[Outcome], pending: int) -> None:
        """Store outcomes set-wise; whatever ends the run, what was found is kept."""
        batch: list[Outcome] = []
        stored_at = time.monotonic()
        try:
            for outcome in outcomes:
                batch.append(outcome)
                self._counts.opened += 1
                self._progress.update(
                    _COMPARED
                    + (1 - _COMPARED) * min(1.0, self._counts.opened / pending),
                    f"{Path(outcome.path).name} {self._counts.opened}/{pending}",
                )
                self._check_time()
                late = time.monotonic() - stored_at > _BATCH_SECONDS
                if len(batch) >= _BATCH or late:
                    self._store(batch)
                    batch = []
                    stored_at = time.monotonic()
        except BaseException:
            # A stop or the end of time: not a reason to read these files again.
            self._store(batch)
            raise
        self._store(batch)

    def _store(self, batch: list[Outcome]) -> None:
        moved = self._index.store(batch) if batch else 0
        counts = self._counts
        counts.moved += moved
        for outcome in batch:
            was_new = outcome.id in self._new_ids
            self._new_ids.discard(outcome.id)
            if outcome.verdict == "video":
                counts.new += was_new
                counts.updated += not was_new
            elif outcome.verdict == "same":
                counts.updated += not was_new
            elif outcome.verdict == "unreadable":
                counts.unreadable += 1
                self._failed(outcome.path, outcome.problem or "")
            elif outcome.verdict == "unsettled":
                self._failed(
                    outcome.path, "It changed while it was read; the next scan reads it"
                )
            for warning in outcome.warnings:
                logger.warning("%s: %s", outcome.path, warning)
                if len(counts.warnings) < MOST_LISTED:
                    counts.warnings.append(
                        ItemFailure(item=outcome.path, reason=warning)
                    )

    def _noting_new(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            if request.is_new:
                self._new_ids.add(request.id)
            yield request

    def _checkpoint(self) -> None:
        self._progress.checkpoint()
        self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() - self._started > self._params.timeout_seconds:
            raise _TimeIsUp

    def _failed(self, path: str, problem: str) -> None:
        self._counts.errors += 1
        if len(self._counts.failures) < MOST_LISTED:
            self._counts.failures.append(ItemFailure(item=path, reason=problem))

    def _remove(self, began: datetime, away: int) -> None:
        """Remove what an earlier run had marked as missing, unless it is too much."""
        gone = self._index.gone(began)
        limit = removal_limit(gone.files)
        if gone.missing > limit and not self._params.confirm_removals:
            self._counts.held = (
                f"{gone.missing} of {gone.files} files are gone, more than the {limit} "
                "that one run removes unasked, so none was removed. If they were "
                "really deleted, run directory_scan with confirm_removals=true"
            )
        else:
            self._counts.removed = self._index.remove_gone(began)
        if away:
            unseen = (
                f"{away} indexed files were not found, but nothing proves that they "
                "are gone: their folder is empty, unreadable, or not mounted"
            )
            held = self._counts.held
            self._counts.held = f"{held}. {unseen}" if held else unseen

    def _clean_artwork(self) -> None:
        """Delete the pictures of content that no file has any longer."""
        pictures = stored_artwork(self._artwork)
        while some := list(islice(pictures, _BATCH)):
            orphans = self._index.unknown_hashes([h for _, h in some if h])
            for path, oshash in some:
                if oshash is None or oshash in orphans:
                    path.unlink(missing_ok=True)

    def _result(self, *, in_time: bool) -> DirectoryScanResult:
        counts = self._counts
        pending = self._index.count_pending()
        troubled = counts.errors or counts.held
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
            skipped=max(0, self._walk.files - counts.to_open),
            moved=counts.moved,
            missing=self._index.count_missing(),
            removed=counts.removed,
            unreadable=counts.unreadable,
            pending=pending,
            links_skipped=self._walk.links_skipped,
            error_count=counts.errors,
            errors=tuple(counts.failures),
            warnings=tuple(counts.warnings),
            held=counts.held,
            duration_seconds=round(time.monotonic() - self._started, 3),
        )


def removal_limit(files: int) -> int:
    """Return how many files one run may remove from the index unasked."""
    return max(20, files * 5 // 100)


def _until_time_is_up(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what there is; the walk itself tells whether it came to its end."""
    try:
        yield from lines
    except _TimeIsUp:
        return
