"""Removing torrents that are in the library and need not seed any more."""

import logging
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stashhog_core.batches import batched
from stashhog_core.db.session import Database
from stashhog_core.downloads import ledger
from stashhog_core.downloads.files import (
    is_same_content,
    is_same_inode,
    may_be_equal,
    opened,
)
from stashhog_core.downloads.filesystems import (
    open_folder,
    remove_leftovers,
    same_folder,
    survives,
)
from stashhog_core.downloads.ledger import ImportRecord, Known
from stashhog_core.downloads.selection import select_files
from stashhog_core.downloads.sources import DownloadSource, Entry, SourceFile
from stashhog_core.errors import ItemError, StashHogError, unexpected
from stashhog_core.paths import from_printable, printable
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure
from stashhog_core.settings import Settings

_ENTRIES_AT_ONCE = 100

_log = logging.getLogger(__name__)


@dataclass
class CleanedUp:
    """Names of the torrents that were removed, and those that were left, and why."""

    removed: list[str] = field(default_factory=list)
    kept: list[ItemFailure] = field(default_factory=list)


def clean_up(
    source: DownloadSource,
    settings: Settings,
    database: Database,
    entries: Sequence[Entry],
    progress: Progress,
    *,
    dry_run: bool,
) -> CleanedUp:
    """Remove entries whose files are all in the library, up to the limit of a run.

    Files are deleted with an entry only if each of them, wanted or not, is in the
    library as the same file or with the same bytes, and no other entry uses them.
    `entries` are those that the source would not miss; a dry run only names what would
    be removed.

    Raises:
        TransientError: The source is away; what was removed is removed.
        JobCancelled: A stop was asked for, perhaps while bytes were compared.
    """
    with_files = settings.qbittorrent.clean_up == "remove_torrent_and_files"
    check = _Check(
        source,
        settings.downloads.junk_patterns,
        progress.checkpoint,
        everything=with_files,
    )
    cleaned = CleanedUp()
    for batch in batched(entries, _ENTRIES_AT_ONCE):
        with database.transaction() as session:
            known = ledger.known_files(
                session, source.kind, [entry.key for entry in batch]
            )
        for entry in batch:
            progress.checkpoint()
            if len(cleaned.removed) >= settings.qbittorrent.clean_up_limit:
                _log.info(
                    "This run has reached STASHHOG_QBITTORRENT__CLEAN_UP_LIMIT; "
                    "the next run removes more torrents"
                )
                return cleaned
            name = printable(entry.name)
            try:
                check.check(entry, known[entry.key])
            except ItemError as error:
                reason = str(error)
            except OSError as error:
                reason = f"The torrent cannot be verified: {error.strerror}"
            except StashHogError:
                raise
            except Exception as error:  # noqa: BLE001 - it keeps this torrent only
                _log.exception("Could not verify %s", name)
                reason = f"The torrent cannot be verified: {unexpected(error)}"
            else:
                if not dry_run:
                    source.remove(entry, with_files=with_files)
                    files = " and its files" if with_files else ""
                    _log.info("Removed %s%s", name, files)
                cleaned.removed.append(name)
                continue
            cleaned.kept.append(ItemFailure(item=name, reason=reason))
    return cleaned


class _Check:
    """Makes sure that entries can go.

    Args:
        source: Where they come from.
        junk_patterns: Names that are never taken.
        checkpoint: Called while bytes are compared; may raise to stop.
        everything: All files must be in the library, and nothing else use them; not
            only those that are taken.
    """

    def __init__(
        self,
        source: DownloadSource,
        junk_patterns: Sequence[str],
        checkpoint: Callable[[], None],
        *,
        everything: bool,
    ) -> None:
        self._source = source
        self._junk_patterns = junk_patterns
        self._checkpoint = checkpoint
        self._everything = everything
        self._swept: set[Path] = set()

    def check(self, entry: Entry, known: Known) -> None:
        """Return if `entry` can go.

        Raises:
            ItemError: It cannot; says why.
            OSError: A file cannot be read.
        """
        for record in known.values():
            if not record.is_placed and record.state != "left_out":
                raise _missing(record.relative_path, record.reason)
        listed = self._source.files(entry)
        if listed.problems:
            raise _missing(listed.problems[0].name, listed.problems[0].reason)
        needed: Sequence[SourceFile] = listed.files
        if not self._everything:
            selection = select_files(listed.files, junk_patterns=self._junk_patterns)
            needed = (*selection.take, *selection.archives)
        elif listed.unwanted:
            raise _missing(
                listed.unwanted[0], "the file was deselected, but is on the disk"
            )
        elif (other := self._source.sharing(entry)) is not None:
            raise ItemError(
                "Another torrent uses the same files",
                where=printable(other),
                remedy="remove one of the torrents in qBittorrent, and keep the files",
            )
        if not needed:
            raise ItemError(
                "None of the torrent's files is in the library",
                remedy="see `stashhog downloads list` for the reasons",
            )
        folders = {os.path.dirname(file.path) for file in listed.files}  # noqa: PTH120
        for file in needed:
            key = printable(file.relative_path), file.size_bytes
            self._check_file(file, known.get(key), folders)

    def _check_file(
        self, file: SourceFile, record: ImportRecord | None, folders: Collection[str]
    ) -> None:
        if record is None:
            raise _missing(file.relative_path, None)
        if record.state == "left_out" and not self._everything:
            return
        if not record.is_placed or record.target_path is None:
            raise _missing(file.relative_path, record.reason)
        target = from_printable(record.target_path)
        if not self._is_whole(file, target):
            raise ItemError(
                "The library file is gone, or another file has its name",
                where=record.target_path,
                remedy="put the file back, or remove the torrent yourself",
            )
        if not self._has_own_name(file, target, folders):
            raise same_folder(record.target_path)

    def _is_whole(self, file: SourceFile, target: Path) -> bool:
        """Tell whether a file's target is the same file, or equal to it."""
        mine = os.lstat(file.path)
        try:
            theirs = target.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if is_same_inode(mine, theirs):
            return True
        if not may_be_equal(mine, theirs):
            return False
        with opened(file.path) as first, opened(target) as second:
            return is_same_content(first, second, self._checkpoint)

    def _has_own_name(
        self, file: SourceFile, target: Path, folders: Collection[str]
    ) -> bool:
        """Tell whether the library keeps its file when those of `folders` go."""
        if os.path.realpath(file.path) == os.path.realpath(target):
            # The probe must not be made in a download folder that is a link's target.
            return False
        with open_folder(target.parent) as folder:
            if target.parent not in self._swept:
                self._swept.add(target.parent)
                remove_leftovers(folder)
            return survives(os.lstat(file.path), folders, target.name, folder)


def _missing(relative_path: str, reason: str | None) -> ItemError:
    return ItemError(
        "Not all of the torrent's files are in the library",
        where=printable(relative_path),
        remedy=reason or "",
    )
