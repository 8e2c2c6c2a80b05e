"""What is to be done for one download, given what the ledger knows of it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from stashhog_core.downloads import ledger
from stashhog_core.downloads.filesystems import Separation, fit_folders
from stashhog_core.downloads.ledger import ImportRecord, Known
from stashhog_core.downloads.names import LibraryLayout, Names, split_names
from stashhog_core.downloads.selection import (
    SHORTEST_SECONDS,
    SelectedFiles,
    is_archive,
    is_video,
    select_files,
)
from stashhog_core.downloads.sources import (
    DownloadSource,
    Entry,
    EntryFiles,
    SourceFile,
)
from stashhog_core.errors import ItemError
from stashhog_core.media.headers import probe
from stashhog_core.paths import from_printable, printable
from stashhog_core.settings import DownloadSettings

_NEEDS_UNPACKING = (
    "The archive needs unpacking: unpack it in the same "
    "folder, and the next run imports the unpacked files"
)
_IS_EXTRA = "The archive is not unpacked: the videos next to it are the main content"
_IS_UNPACKED = "The archive's content lies next to it"
_IS_SAMPLE = (
    "Name and size say that the file is a sample of another video; to import the "
    "file, rename it"
)
_NOTHING_TO_TAKE = "The download contains no video, picture or subtitle"
_log = logging.getLogger(__name__)


class Earlier(NamedTuple):
    """A copy of a file that was made before the file changed: its row and place."""

    record: ImportRecord
    names: Names


class PlannedFile(NamedTuple):
    """A file to be placed at `names` below the library root.

    If `earlier` is given, it goes in the place of that copy, if that still is one.
    `is_another` says that the ledger has placed another file under this name.
    """

    file: SourceFile
    record: ImportRecord
    names: Names
    is_video: bool
    earlier: Earlier | None = None
    is_another: bool = False

    @property
    def is_recheck(self) -> bool:
        """Whether the ledger knows a file of this name and size as placed."""
        return self.record.is_placed


@dataclass(frozen=True)
class Failure:
    """A file, or an entry as a whole, that cannot be taken now.

    `is_final` means that trying again cannot help.
    """

    record: ImportRecord
    reason: str
    is_final: bool = False


@dataclass
class ImportPlan:
    """What is to be done for one entry, and whether it went well.

    Attributes:
        entry: The entry.
        is_folder: Whether its files go into a folder of their own.
        files: To be placed.
        handled: Number of these that were placed, or failed.
        failures: What cannot be placed; not yet recorded.
        archives: New files that need unpacking.
        unpacked: Archives whose content has come to lie next to them.
        noted: New files that are left out though they might be taken: short ones,
            samples, archives of extras, symbolic links.
        left_out: Number of files left out for what they are.
        is_deferred: Something in it waits for its next try, or was given up.
        had_trouble: The ledger holds rows of what could not even be read.
        has_failed: Something of it failed in this run.
        unchanged: Number of the files that were in the library as they are.
        waiting: Why it is not finished yet, so that nothing of it is placed.
    """

    entry: Entry
    is_folder: bool = True
    files: list[PlannedFile] = field(default_factory=list)
    handled: int = 0
    failures: list[Failure] = field(default_factory=list)
    archives: list[ImportRecord] = field(default_factory=list)
    unpacked: list[ImportRecord] = field(default_factory=list)
    noted: list[ImportRecord] = field(default_factory=list)
    left_out: int = 0
    is_deferred: bool = False
    had_trouble: bool = False
    has_failed: bool = False
    unchanged: int = 0
    waiting: str | None = None


class ImportPlanner:
    """Plans one entry after the other.

    Args:
        source: Lists the files of entries.
        settings: The layout, and what is left out.
        library_root: The library, links resolved.
        now: Start of the run, for what waits.
        exclude_short: Leave out videos shorter than 30 seconds, whatever the settings.
    """

    def __init__(
        self,
        source: DownloadSource,
        settings: DownloadSettings,
        library_root: Path,
        now: datetime,
        *,
        exclude_short: bool,
    ) -> None:
        self._source = source
        self._layout = LibraryLayout(settings.layout)
        self._junk_patterns = settings.junk_patterns
        self._library_root = library_root
        self._separation = Separation(library_root)
        self._now = now
        self._shortest_seconds = settings.minimum_length_seconds
        if exclude_short:
            self._shortest_seconds = max(self._shortest_seconds, SHORTEST_SECONDS)
        self._too_short = (
            f"The video is shorter than {self._shortest_seconds:g} seconds"
        )

    def plan(self, entry: Entry, known: Known) -> ImportPlan:
        """Return what is to be done for `entry`.

        Raises:
            TransientError: The source is away.
        """
        plan = ImportPlan(entry)
        trouble = known.get(ledger.WHOLE_ENTRY)
        plan.had_trouble = any(record.is_trouble for record in known.values())
        if trouble is not None and trouble.waits(self._now):
            plan.is_deferred = True
            return plan
        try:
            listed = self._list(entry)
            folder = self._layout.folder(entry)
        except ItemError as error:
            self._add_failure(plan, known, ledger.WHOLE_ENTRY, str(error))
            return plan
        plan.is_folder = listed.is_folder
        selection = select_files(
            listed.files,
            self._duration(known),
            self._shortest_seconds,
            self._junk_patterns,
        )
        for problem in listed.problems:
            key = (printable(problem.name), 0)
            self._add_failure(plan, known, key, problem.reason)
        copies = {
            record.relative_path: record
            for record in known.values()
            if record.is_placed and record.method in ledger.COPIES
        }
        for file in selection.take:
            self._add_file(plan, known, copies, file, folder)
        for note in listed.notes:
            self._add_note(plan, known, (printable(note.name), 0), note.reason)
        anything = bool(listed.problems or listed.notes)
        self._add_left_out(plan, known, selection, anything=anything)
        plan.has_failed = plan.has_failed or bool(plan.failures)
        try:
            waiting = self._source.why_unfinished([file.file for file in plan.files])
        except OSError:
            # Placing says which file it is.
            waiting = None
        if waiting is not None:
            return ImportPlan(
                entry, is_deferred=True, had_trouble=plan.had_trouble, waiting=waiting
            )
        return plan

    def fail(self, entry: Entry, known: Known, reason: str) -> ImportPlan:
        """Return the plan of an entry that cannot be planned."""
        plan = ImportPlan(entry, had_trouble=ledger.WHOLE_ENTRY in known)
        self._add_failure(plan, known, ledger.WHOLE_ENTRY, reason)
        return plan

    def _list(self, entry: Entry) -> EntryFiles:
        self._separation.check(entry.location.resolve())
        return self._source.files(entry)

    def _duration(self, known: Known) -> Callable[[SourceFile], float | None] | None:
        """Return what tells a video's length; None if length does not matter."""
        if not self._shortest_seconds:
            return None

        def duration_seconds(file: SourceFile) -> float | None:
            record = known.get(_key(file))
            if record is not None and record.state != "left_out":
                # It was taken before.
                return None
            if record is not None and record.reason == self._too_short:
                return 0.0
            try:
                return probe(Path(file.path)).duration_seconds
            except ItemError:
                return None
            except Exception:  # noqa: BLE001 - it stays this file's error
                _log.exception("Could not read the length of %s", file.relative_path)
                return None

        return duration_seconds

    def _add_file(
        self,
        plan: ImportPlan,
        known: Known,
        copies: Mapping[str, ImportRecord],
        file: SourceFile,
        folder: Names,
    ) -> None:
        entry = plan.entry
        key = _key(file)
        record = known.get(key)
        is_another = False
        if record is None:
            record = _record(entry, key)
        elif record.is_placed:
            is_another = record.is_another(file)
            if not is_another and not record.has_changed(file):
                return
        elif record.state == "left_out":
            record = record._replace(state="found", reason=None)
        elif (due := self._if_due(plan, record)) is None:
            return
        else:
            record = due
        try:
            if plan.is_folder:
                names = (*folder, *split_names(file.relative_path))
            elif is_archive(entry.name):
                # It came out of the archive, and has a name of its own.
                names = (*folder[:-1], *split_names(file.relative_path))
            else:
                names = self._layout.file(entry, file.relative_path)
        except ItemError as error:
            plan.failures.append(Failure(record, str(error), is_final=True))
            return
        names = (*fit_folders(self._library_root, names[:-1]), names[-1])
        earlier = self._earlier(copies, record)
        if record.is_placed and earlier is None and not is_another:
            return
        plan.files.append(
            PlannedFile(file, record, names, is_video(file), earlier, is_another)
        )

    def _earlier(
        self, copies: Mapping[str, ImportRecord], record: ImportRecord
    ) -> Earlier | None:
        """Return the copy that was made of a file before it changed, if any."""
        copy = record if record.is_placed else copies.get(record.relative_path)
        if copy is None or copy.method not in ledger.COPIES or not copy.target_path:
            return None
        target = from_printable(copy.target_path)
        if target.is_relative_to(self._library_root):
            return Earlier(copy, target.relative_to(self._library_root).parts)
        return None

    def target(self, names: Names) -> str:
        """Return a place in the library as the ledger writes it."""
        return printable("/".join((str(self._library_root), *names)))

    def _add_left_out(
        self,
        plan: ImportPlan,
        known: Known,
        selection: SelectedFiles,
        *,
        anything: bool,
    ) -> None:
        """Note what is not taken; what the ledger has already is not told again."""
        entry = plan.entry
        for file in selection.archives:
            record = known.get(_key(file))
            if record is not None and record.state == "left_out":
                # It was unpacked; what came out may be deleted since.
                continue
            is_asked = record is not None and record.state == "failed"
            if record is None or is_asked or entry.may_retry_blocked:
                record = _record(entry, _key(file))
                if selection.is_packed:
                    plan.archives.append(
                        record._replace(state="blocked", reason=_NEEDS_UNPACKING)
                    )
                else:
                    plan.noted.append(
                        record._replace(state="left_out", reason=_IS_EXTRA)
                    )
            elif not selection.is_packed:
                plan.unpacked.append(
                    record._replace(state="left_out", reason=_IS_UNPACKED)
                )
            plan.is_deferred = plan.is_deferred or selection.is_packed
        if selection.is_packed and plan.archives:
            plan.has_failed = True
        for file in selection.short:
            self._add_note(plan, known, _key(file), self._too_short)
        for file in selection.samples:
            self._add_note(plan, known, _key(file), _IS_SAMPLE)
        if plan.files or plan.noted:
            plan.left_out = len(selection.left_out) + len(selection.short)
        taken = selection.take or selection.archives or selection.short or anything
        is_loose_file = self._source.kind == "folder" and not plan.is_folder
        if not taken and not is_loose_file:
            self._add_failure(
                plan, known, ledger.WHOLE_ENTRY, _NOTHING_TO_TAKE, is_final=True
            )

    def _add_note(
        self, plan: ImportPlan, known: Known, key: ledger.FileKey, reason: str
    ) -> None:
        """Note why a file is left out, unless the ledger says so, or has it."""
        record = known.get(key)
        if record is None:
            record = _record(plan.entry, key)
        elif record.is_placed or record.reason == reason:
            return
        plan.noted.append(record._replace(state="left_out", reason=reason))

    def _add_failure(
        self,
        plan: ImportPlan,
        known: Known,
        key: ledger.FileKey,
        reason: str,
        *,
        is_final: bool = False,
    ) -> None:
        """Note a failure, unless it waits for its next try or was given up."""
        record = known.get(key) or _record(plan.entry, key)
        if (due := self._if_due(plan, record)) is not None:
            plan.failures.append(Failure(due, reason, is_final))
            plan.has_failed = True

    def _if_due(self, plan: ImportPlan, record: ImportRecord) -> ImportRecord | None:
        """Return the record, unless its next try is to come or it was given up."""
        if record.state == "blocked" and plan.entry.may_retry_blocked:
            return record._replace(state="failed", tries=0)
        if record.state == "blocked" or record.waits(self._now):
            plan.is_deferred = True
            return None
        return record


def _key(file: SourceFile) -> ledger.FileKey:
    return printable(file.relative_path), file.size_bytes


def _record(entry: Entry, key: ledger.FileKey) -> ImportRecord:
    return ImportRecord(entry.key, printable(entry.name), *key)
