"""One run of `process_downloads`: entries in batches, and what happened to them."""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from stashhog_core.db.session import Database
from stashhog_core.downloads import ledger
from stashhog_core.downloads.clean_up import CleanedUp
from stashhog_core.downloads.in_stash import NotInStash
from stashhog_core.downloads.ledger import ImportRecord
from stashhog_core.downloads.placing import (
    LibraryFolder,
    NameRefusedError,
    OutOfSpaceError,
    Placed,
)
from stashhog_core.downloads.planning import (
    Earlier,
    Failure,
    ImportPlan,
    ImportPlanner,
    PlannedFile,
)
from stashhog_core.downloads.preview import PlacingPreview
from stashhog_core.downloads.sources import DownloadSource, Entry, Problem
from stashhog_core.errors import ItemError, StashHogError, unexpected
from stashhog_core.hashing import oshash
from stashhog_core.media.headers import probe
from stashhog_core.params import ProcessDownloadsParams
from stashhog_core.paths import from_printable, printable
from stashhog_core.progress import Progress
from stashhog_core.results import DownloadsResult, ItemFailure
from stashhog_core.settings import Settings

_FILES_AT_ONCE = 2500
_RECORD_INTERVAL_SECONDS = 2.0
_REPORT_INTERVAL_SECONDS = 0.5
_SHOWN_PATHS = 100
_REASONS = 10
"""Reasons for links that are not possible: a few mounts make few of them."""

_REPLACED = (
    "The download has changed since. The new version has "
    "replaced the file in the library"
)

_log = logging.getLogger(__name__)


@dataclass
class _Counts:
    """What happened, named as in the result."""

    synced_items: int = 0
    skipped_items: int = 0
    failed_items: int = 0
    files_linked: int = 0
    files_cloned: int = 0
    files_copied: int = 0
    files_skipped: int = 0
    bytes_linked: int = 0
    bytes_cloned: int = 0
    bytes_copied: int = 0
    why_no_links: list[str] = field(default_factory=list)
    placed_paths: list[str] = field(default_factory=list)
    errors: list[ItemFailure] = field(default_factory=list)
    waiting: list[ItemFailure] = field(default_factory=list)
    left_out: list[ItemFailure] = field(default_factory=list)

    def add(self, placed: Placed, size_bytes: int) -> None:
        """Count a file that is in the library."""
        if len(self.placed_paths) < _SHOWN_PATHS:
            self.placed_paths.append(printable(placed.path))
        if not placed.is_new:
            return
        why = placed.why_no_link
        if why and why not in self.why_no_links and len(self.why_no_links) < _REASONS:
            _log.info(
                "Files are cloned or copied because hard links are not possible: %s",
                why,
            )
            self.why_no_links.append(why)
        if placed.method == "copy":
            self.files_copied += 1
            self.bytes_copied += size_bytes
        elif placed.method == "reflink":
            self.files_cloned += 1
            self.bytes_cloned += size_bytes
        else:
            self.files_linked += 1
            self.bytes_linked += size_bytes


class ImportRun:
    """One run: takes entries in batches, and adds up what happened."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        params: ProcessDownloadsParams,
        source: DownloadSource,
        library: LibraryFolder,
    ) -> None:
        self._database = database
        self._dry_run = params.dry_run
        self._max_tries = settings.downloads.max_tries
        self._source = source
        self._library = library
        self._now = datetime.now(UTC)
        self._planner = ImportPlanner(
            source,
            settings.downloads,
            library.root,
            self._now,
            exclude_short=params.exclude_small_vids,
        )
        self._place_file = library.place
        self._replace_file = library.replace
        if params.dry_run:
            preview = PlacingPreview(
                library.root,
                settings.downloads.place,
                settings.downloads.reserve_bytes,
                library.checkpoint,
            )
            self._place_file = preview.place
            self._replace_file = preview.replace
        self._counts = _Counts()
        self._unwritten: list[ImportRecord] = []
        self._unannounced: Sequence[ImportPlan] = ()
        library.before_copy = self._write_announced
        self._written_at = time.monotonic()
        self._reported_at = 0.0

    def report_problems(self, problems: Iterable[Problem]) -> None:
        """Report entries that the source shows as broken, each when it is due."""
        problems = list(problems)
        if not problems:
            return
        known = self._known([problem.key for problem in problems])
        failed = []
        for problem in problems:
            name = printable(problem.name)
            record = known[problem.key].get(ledger.WHOLE_ENTRY)
            if record is None:
                record = ImportRecord(problem.key, name, *ledger.WHOLE_ENTRY)
            if record.state == "blocked" or record.waits(self._now):
                self._counts.skipped_items += 1
                continue
            self._fail(record, name, problem.reason)
            self._counts.failed_items += 1
            failed.append(problem.key)
        self._write()
        if not self._dry_run:
            self._source.mark_failed(failed)

    def report_waiting(self, problems: Iterable[Problem]) -> None:
        """Report entries that other programs seem to be at work on."""
        for problem in problems:
            self._wait_for(printable(problem.name), problem.reason)

    def confirm_again(self, entries: Sequence[Entry]) -> int:
        """Tell the source of what is in the library, if the ledger says that it is.

        Returns:
            How many of the entries that were; they count as skipped.
        """
        known = self._known([entry.key for entry in entries])
        done = [entry for entry in entries if _is_all_there(known[entry.key])]
        self._counts.skipped_items += len(done)
        if not self._dry_run:
            self._source.mark_done(done)
        return len(done)

    def take(
        self, entries: Sequence[Entry], progress: Progress, done: int, total: int
    ) -> None:
        """Place the files of these entries, then tell ledger and source."""
        known = self._known([entry.key for entry in entries])
        plans: list[ImportPlan] = []
        for number, entry in enumerate(entries, start=done + 1):
            progress.checkpoint()
            plans.append(self._plan(entry, known[entry.key]))
            # As many at a time that memory stays flat.
            if sum(len(plan.files) for plan in plans) >= _FILES_AT_ONCE:
                self._carry_out(plans, progress, number - len(plans), total)
                plans = []
        self._carry_out(plans, progress, done + len(entries) - len(plans), total)

    def _plan(self, entry: Entry, known: ledger.Known) -> ImportPlan:
        try:
            return self._planner.plan(entry, known)
        except (StashHogError, SQLAlchemyError, psycopg.Error):
            # A stop, the source or the database: no fault of this entry.
            raise
        except Exception as error:  # noqa: BLE001 - it stays this entry's error
            _log.exception("Could not check %s", printable(entry.name))
            reason = f"Checking the download failed: {unexpected(error)}"
            return self._planner.fail(entry, known, reason)

    def _carry_out(
        self, plans: Sequence[ImportPlan], progress: Progress, done: int, total: int
    ) -> None:
        self._follow_renamed(plans)
        self._announce(plans)
        videos: list[tuple[ImportRecord, Path]] = []
        try:
            for number, plan in enumerate(plans, start=done):
                self._report(progress, plan.entry, number, total)
                videos += self._place_all(plan, progress)
        finally:
            # Also when it was stopped: what is in the library stands in the ledger.
            self._write()
        self._probe_videos(videos, progress)
        self._conclude(plans)

    def result(
        self,
        total: int,
        done: int,
        cleaned: CleanedUp,
        missing: NotInStash,
    ) -> DownloadsResult:
        """Return what happened."""
        counts = self._counts
        counts.skipped_items += done
        del counts.waiting[_SHOWN_PATHS:], counts.left_out[_SHOWN_PATHS:]
        return DownloadsResult(
            status="completed_with_errors" if counts.errors else "completed",
            total_items=total,
            files=counts.files_linked + counts.files_cloned + counts.files_copied,
            awaiting_scan=missing.awaiting_scan,
            unseen=tuple(missing.videos[:_SHOWN_PATHS]),
            removed_items=len(cleaned.removed),
            removed=tuple(cleaned.removed),
            kept=tuple(cleaned.kept[:_SHOWN_PATHS]),
            **vars(counts),
        )

    def _known(self, keys: Sequence[str]) -> dict[str, ledger.Known]:
        if not keys:
            return {}
        with self._database.transaction() as session:
            return ledger.known_files(session, self._source.kind, keys)

    def _follow_renamed(self, plans: Sequence[ImportPlan]) -> None:
        """Leave out new files that were in the library before they were renamed.

        The ledger goes on with their new names; the library keeps its own.
        """
        new = [
            (plan, file)
            for plan in plans
            for file in plan.files
            if file.record.state == "found" and file.earlier is None
        ]
        # A torrent is known by its hash, whatever it is called.
        if not new or self._source.kind != "folder":
            return
        with self._database.transaction() as session:
            same = ledger.same_files(
                session, self._source.kind, [file.file for _, file in new]
            )
        names: dict[int, ImportRecord] = {}
        for row in same:
            plan, file = new[row.number]
            if file not in plan.files or os.path.lexists(_place_of(plan.entry, row)):
                # It has more than one name in the watch folder.
                continue
            _log.info(
                "%s is in the library: its download was %s before",
                _item(plan, file.record),
                row.entry_key,
            )
            plan.files.remove(file)
            names[row.id] = file.record
        if names and not self._dry_run:
            with self._database.transaction() as session:
                ledger.rename(session, self._source.kind, names)

    def _announce(self, plans: Sequence[ImportPlan]) -> None:
        """Note what is about to be placed; record what is reported or left out."""
        for plan in plans:
            name = printable(plan.entry.name)
            for failure in plan.failures:
                self._note(failure, name)
            if plan.archives:
                first = plan.archives[0]
                self._error(
                    name,
                    f"{len(plan.archives)} archives need unpacking, the "
                    f"first is {first.relative_path}. Unpack them in the "
                    "same folder, and the next run imports the unpacked "
                    "files",
                )
            for record in plan.noted:
                item = _item(plan, record)
                _log.info("%s is left out: %s", item, record.reason)
                self._counts.left_out.append(
                    ItemFailure(item=item, reason=record.reason or "")
                )
            self._unwritten += [*plan.archives, *plan.unpacked, *plan.noted]
            self._counts.files_skipped += plan.left_out
        self._unannounced = plans
        self._write()

    def _note(self, failure: Failure, entry_name: str) -> None:
        """Report what could not even be planned."""
        record = failure.record
        item = entry_name
        if record.relative_path not in {"", entry_name}:
            item = f"{entry_name}/{record.relative_path}"
        if not failure.is_final:
            self._fail(record, item, failure.reason)
            return
        self._error(item, failure.reason)
        self._unwritten.append(
            record._replace(state="blocked", reason=failure.reason, next_try_at=None)
        )

    def _place_all(
        self, plan: ImportPlan, progress: Progress
    ) -> list[tuple[ImportRecord, Path]]:
        """Place the files of one entry; return the videos among them."""
        videos = []
        for file in plan.files:
            progress.checkpoint()
            record = self._place(plan, file)
            plan.handled += 1
            if record is not None and record.oshash is not None:
                videos.append((record, Path(file.file.path)))
            due = time.monotonic() - self._written_at > _RECORD_INTERVAL_SECONDS
            if due or len(self._unwritten) >= _FILES_AT_ONCE:
                self._write()
        return videos

    def _place(self, plan: ImportPlan, file: PlannedFile) -> ImportRecord | None:
        """Place one file; return its record, or None if it failed."""
        source_file = file.file
        try:
            content_hash = oshash(Path(source_file.path)) if file.is_video else None
            placed = self._bring(file, content_hash)
        except (ItemError, OSError) as error:
            if not file.is_recheck:
                self._placing_failed(plan, file, error)
                return None
            # The earlier copy remains; the next run compares it again.
            plan.has_failed = True
            self._error(_item(plan, file.record), _worded(error))
            return None
        except (StashHogError, SQLAlchemyError, psycopg.Error):
            # A stop, the disk or the database: no fault of this file.
            raise
        except Exception as error:  # noqa: BLE001 - it stays this file's error
            plan.has_failed = True
            _log.exception("Could not place %s", _item(plan, file.record))
            reason = f"The file cannot be placed: {unexpected(error)}"
            if file.is_recheck:
                self._error(_item(plan, file.record), reason)
            else:
                self._fail(file.record, _item(plan, file.record), reason)
            return None
        known = file.record
        if placed is None or (file.is_recheck and not placed.is_new):
            # It has not changed, or somebody has put something else in its place.
            plan.unchanged += 1
            seen = known._replace(placed_at=datetime.now(UTC))
            self._unwritten.append(seen.placed_from(source_file))
            return None
        self._counts.add(placed, source_file.size_bytes)
        record = ImportRecord(
            known.entry_key,
            known.entry_name,
            known.relative_path,
            known.size_bytes,
            "placed",
            target_path=printable(placed.path),
            method=placed.method,
            oshash=content_hash,
            tries=known.tries,
            placed_at=datetime.now(UTC),
        ).placed_from(source_file)
        self._unwritten.append(record)
        return record

    def _placing_failed(
        self, plan: ImportPlan, file: PlannedFile, error: ItemError | OSError
    ) -> None:
        """Note why a file could not be placed, and whether it is tried again."""
        plan.has_failed = True
        if isinstance(error, NameRefusedError):
            failure = Failure(file.record, str(error), is_final=True)
            self._note(failure, printable(plan.entry.name))
            return
        record = file.record._replace(target_path=self._planner.target(file.names))
        if not isinstance(error, OutOfSpaceError):
            self._fail(record, _item(plan, file.record), _worded(error))
            return
        # No try of the file's: the next run may have room.
        self._error(_item(plan, file.record), str(error))
        reason = str(error)
        record = record._replace(state="failed", reason=reason, next_try_at=None)
        self._unwritten.append(record)

    def _bring(self, file: PlannedFile, content_hash: str | None) -> Placed | None:
        """Bring a file into the library; None if what is there must stay there."""
        earlier = file.earlier
        if earlier is not None and (placed := self._replace(file, earlier)):
            return placed
        # A video that has come again: a person may have moved the first one.
        is_same = content_hash is not None and content_hash == file.record.oshash
        if file.is_recheck and (is_same or not file.is_another):
            return None
        return self._place_file(file.file, file.names)

    def _replace(self, file: PlannedFile, earlier: Earlier) -> Placed | None:
        """Put a file in the place of an earlier copy of it; None if it is none."""
        size_bytes = earlier.record.size_bytes
        placed = self._replace_file(file.file, earlier.names, size_bytes)
        if placed is not None and placed.is_new:
            _log.info("Replaced %s, because its download has changed", placed.path)
            if not file.is_recheck:
                self._unwritten.append(
                    earlier.record._replace(state="left_out", reason=_REPLACED)
                )
        return placed

    def _probe_videos(
        self, videos: Iterable[tuple[ImportRecord, Path]], progress: Progress
    ) -> None:
        """Report the new videos that cannot be read.

        They stay in the library: the importer is no judge, and Stash may read what we
        cannot. This comes after the ledger knows them, so that a file that brings the
        reader down does so only once.
        """
        for record, path in videos:
            progress.checkpoint()
            try:
                probe(path)
            except ItemError as error:
                self._error(record.target_path or str(path), str(error))
                self._unwritten.append(record._replace(reason=str(error)))
            except Exception as error:  # noqa: BLE001 - it stays this file's error
                _log.exception("%s cannot be read", path)
                self._error(record.target_path or str(path), unexpected(error))
        self._write()

    def _conclude(self, plans: Iterable[ImportPlan]) -> None:
        """Count the entries, and show in the source what became of them."""
        done, failed, cleared = [], [], []
        for plan in plans:
            if plan.has_failed:
                self._counts.failed_items += 1
                if not plan.entry.is_marked_failed:
                    failed.append(plan.entry.key)
            elif plan.is_deferred:
                self._counts.skipped_items += 1
                if plan.waiting is not None:
                    self._wait_for(printable(plan.entry.name), plan.waiting)
            else:
                if len(plan.files) > plan.unchanged:
                    self._counts.synced_items += 1
                else:
                    self._counts.skipped_items += 1
                done.append(plan.entry)
            if plan.had_trouble and not plan.is_deferred and not plan.failures:
                cleared.append(plan.entry.key)
        if self._dry_run:
            return
        if cleared:
            with self._database.transaction() as session:
                ledger.clear_trouble(session, self._source.kind, cleared)
        self._source.mark_done(done)
        self._source.mark_failed(failed)

    def _fail(self, record: ImportRecord, item: str, reason: str) -> None:
        """Note one more failed try, and report it."""
        failed = record.failed(reason, self._now, self._max_tries)
        if failed.state == "blocked":
            reason = f"{reason} (blocked after {failed.tries} tries)"
        self._error(item, reason)
        self._unwritten.append(failed)

    def _wait_for(self, item: str, reason: str) -> None:
        _log.info("%s is not finished yet: %s", item, reason)
        self._counts.waiting.append(ItemFailure(item=item, reason=reason))

    def _error(self, item: str, reason: str) -> None:
        _log.warning("%s: %s", item, reason)
        self._counts.errors.append(ItemFailure(item=item, reason=reason))

    def _write(self) -> None:
        """Make everything placed so far last, then record it."""
        records, self._unwritten = self._unwritten, []
        self._written_at = time.monotonic()
        if self._dry_run or not records:
            return
        self._library.flush()
        self._record(records)

    def _record(self, records: Sequence[ImportRecord]) -> None:
        with self._database.transaction() as session:
            ledger.write(session, self._source.kind, records)

    def _write_announced(self) -> None:
        """Record where copies will be made, so that what a killed run leaves is found.

        Links leave nothing, and are recorded when they are made.
        """
        announced = [
            file.record._replace(target_path=self._planner.target(file.names))
            for plan in self._unannounced
            for file in plan.files[plan.handled :]
            if not file.is_recheck
        ]
        self._unannounced = ()
        if announced:
            self._record(announced)

    def _report(
        self, progress: Progress, entry: Entry, number: int, total: int
    ) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_INTERVAL_SECONDS:
            self._reported_at = now
            progress.update(
                number / total, f"{printable(entry.name)} {number + 1}/{total}"
            )


def _is_all_there(known: ledger.Known) -> bool:
    records = known.values()
    return any(record.is_placed for record in records) and all(
        record.is_placed or record.state == "left_out" for record in records
    )


def _place_of(entry: Entry, renamed: ledger.Renamed) -> Path:
    """Return where a file lay before its entry was perhaps renamed to this one."""
    key = from_printable(renamed.entry_key)
    if renamed.relative_path == renamed.entry_key:
        return entry.boundary / key
    return entry.boundary / key / from_printable(renamed.relative_path)


def _item(plan: ImportPlan, record: ImportRecord) -> str:
    name = printable(plan.entry.name)
    return f"{name}/{record.relative_path}" if plan.is_folder else name


def _worded(error: StashHogError | OSError) -> str:
    if isinstance(error, OSError):
        return f"The file cannot be read: {error.strerror}"
    return str(error)
