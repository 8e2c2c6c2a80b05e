"""The watch folder as a source of finished downloads."""

import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stashhog_core.downloads.sources import (
    Entry,
    EntryFiles,
    Listing,
    Problem,
    SourceFile,
)
from stashhog_core.downloads.unfinished import (
    bases_of_parts,
    is_written_to,
    named_unfinished,
    part_beside,
)
from stashhog_core.errors import ItemError, TransientError, unexpected
from stashhog_core.paths import is_hidden, is_in_hidden, printable
from stashhog_core.progress import Progress

_FILES_KEPT = 10_000
"""Files that are remembered from the last look, so that memory stays flat."""

_log = logging.getLogger(__name__)

Walked = tuple[str, os.stat_result]
"""A path below an entry (empty: the entry), and the status of what it is."""


@dataclass(frozen=True)
class _Look:
    """What one look at an entry saw; two equal looks mean that it rests.

    `unfinished` says why it cannot be finished, however long it rests.
    """

    newest_change: float
    digest: bytes
    unfinished: str | None = None


class WatchFolder:
    """A folder whose files and folders are downloads; each is taken when it rests.

    Args:
        folder: The folder; entries lie directly below it.
        settle_seconds: An entry is finished when all sizes and times were equal in two
            looks so far apart. Times older than that stand for the first look; those
            of the last write and of the last change of any kind (ctime) both count.
    """

    kind = "folder"

    def __init__(self, folder: Path, settle_seconds: float) -> None:
        self._folder = folder.resolve()
        self._settle_seconds = settle_seconds
        self._kept: dict[Path, EntryFiles] = {}
        self._kept_files = 0

    def finished(self, progress: Progress) -> Listing:
        """List the entries that rest; waits once for those that are young."""
        names, waiting = self._names()
        looks: dict[str, _Look] = {}
        problems = []
        for name in names:
            progress.checkpoint()
            try:
                look = self._look(name)
            except OSError as error:
                problems.append(_unreadable(name, str(error.strerror)))
                continue
            except Exception as error:  # noqa: BLE001 - it stays this entry's error
                _log.exception("Could not check %s", name)
                problems.append(_unreadable(name, unexpected(error)))
                continue
            if look.unfinished is not None:
                waiting.append(Problem(name, look.unfinished, printable(name)))
            else:
                looks[name] = look
        settled_before = time.time() - self._settle_seconds
        young = [
            name for name, look in looks.items() if look.newest_change > settled_before
        ]
        if young:
            self._wait(progress, len(young))
        for name in young:
            try:
                again = self._look(name)
            except OSError:
                # It is being moved away or renamed: the next run looks again.
                again = None
            if again != looks[name]:
                del looks[name]
                waiting.append(Problem(name, "It is still changing", printable(name)))
        entries = tuple(
            Entry(
                key=printable(name),
                name=name,
                location=self._folder / name,
                boundary=self._folder,
            )
            for name in looks
        )
        return Listing(
            entries,
            tuple(problems),
            unfinished=len(waiting),
            waiting=tuple(waiting),
        )

    def files(self, entry: Entry) -> EntryFiles:
        """List the files of an entry, in the order of their paths."""
        kept = self._kept.pop(entry.location, None)
        if kept is not None:
            return kept
        try:
            return list_files(entry.location, entry.boundary)
        except OSError as error:
            raise ItemError(
                f"It cannot be read: {error.strerror}", where=printable(entry.name)
            ) from error

    def why_unfinished(self, files: Sequence[SourceFile]) -> str | None:
        """Return why files that rest are not finished: somebody writes to one."""
        for file in files:
            if is_written_to(file.path):
                return f"A program has it open for writing: {file.relative_path}"
        return None

    def mark_done(self, entries: Sequence[Entry]) -> None:
        """Do nothing: the ledger alone knows; the folder is never written to."""

    def mark_failed(self, keys: Sequence[str]) -> None:
        """Do nothing: the ledger alone knows; the folder is never written to."""

    def sharing(self, entry: Entry) -> str | None:
        """Return None: no file is in two entries."""

    def remove(self, entry: Entry, *, with_files: bool) -> None:
        """Do nothing: nothing is listed as removable, the folder is not written to."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _names(self) -> tuple[list[str], list[Problem]]:
        """Return the names of the entries, and those that are not finished."""
        try:
            names = sorted(os.listdir(self._folder))  # noqa: PTH208 - names, not paths
        except OSError as error:
            raise TransientError(
                "The download folder cannot be read",
                where=printable(str(self._folder)),
                remedy=f"{error.strerror}; see STASHHOG_DOWNLOADS__FOLDER",
            ) from error
        parts = bases_of_parts(names)
        finished, waiting = [], []
        for name in names:
            if is_hidden(name):
                continue
            why = named_unfinished(name) or part_beside(name, parts)
            if why is None:
                finished.append(name)
            else:
                waiting.append(Problem(name, printable(why), printable(name)))
        return finished, waiting

    def _look(self, name: str) -> _Look:
        """Look at an entry and all below it."""
        seen = []
        newest = 0
        location = self._folder / name
        walked = list(_walk(location))
        for path, status in walked:
            if path and (why := named_unfinished(path.rpartition("/")[2])):
                return _Look(0, b"", printable(why))
            changed = _changed_ns(status)
            newest = max(newest, changed)
            seen.append(f"{path}\0{status.st_size}\0{changed}\0")
        digest = hashlib.blake2b(os.fsencode("".join(seen)), digest_size=16)
        if self._kept_files + len(walked) <= _FILES_KEPT:
            self._kept_files += len(walked)
            self._kept[location] = _files_of(walked, location, self._folder)
        return _Look(newest / 1e9, digest.digest())

    def _wait(self, progress: Progress, young: int) -> None:
        progress.update(None, f"Watching {young} new downloads come to rest")
        progress.sleep(self._settle_seconds)


def list_files(location: Path, boundary: Path) -> EntryFiles:
    """List a file, or the files below a folder; hidden ones are left out.

    Symbolic links are never followed: one to a place inside `boundary` is left out,
    since its target is there by itself, any other is a problem, as are devices.

    Raises:
        OSError: Something cannot be read.
    """
    return _files_of(_walk(location), location, boundary)


def _files_of(walked: Iterable[Walked], location: Path, boundary: Path) -> EntryFiles:
    files = []
    problems = []
    is_folder = False
    base = os.fspath(location)
    for relative, status in walked:
        path = f"{base}/{relative}" if relative else base
        name = relative or location.name
        if is_in_hidden(relative):
            continue
        if stat.S_ISREG(status.st_mode):
            files.append(SourceFile(name, path, status.st_size, _changed_ns(status)))
        elif stat.S_ISDIR(status.st_mode):
            is_folder = is_folder or not relative
        elif not stat.S_ISLNK(status.st_mode):
            problems.append(Problem(name, "It is no regular file"))
        elif not Path(os.path.realpath(path)).is_relative_to(boundary):
            problems.append(
                Problem(name, "It is a symbolic link that points outside the downloads")
            )
    files.sort()
    return EntryFiles(is_folder, tuple(files), tuple(problems))


def _walk(location: Path) -> Iterator[Walked]:
    """Yield a file or folder, and all below it; links are not followed."""
    status = location.lstat()
    yield "", status
    if not stat.S_ISDIR(status.st_mode):
        return
    folders = [(os.fspath(location), "")]
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    while folders:
        folder, prefix = folders.pop()
        # Looks from an open folder need not walk its path again for each file, and do
        # not follow a link that took its place.
        opened = os.open(folder, flags)
        try:
            with os.scandir(opened) as children:
                for child in sorted(children, key=_name):
                    path = f"{prefix}/{child.name}" if prefix else child.name
                    status = child.stat(follow_symlinks=False)
                    yield path, status
                    if stat.S_ISDIR(status.st_mode):
                        folders.append((f"{folder}/{child.name}", path))
        finally:
            os.close(opened)


def _changed_ns(status: os.stat_result) -> int:
    """Return when a file last changed: its time may be set to an old one, ctime not."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _name(child: "os.DirEntry[str]") -> str:
    return child.name


def _unreadable(name: str, why: str) -> Problem:
    return Problem(name, f"It cannot be read: {why}", printable(name))
