"""The watch folder as a source of finished downloads, and signs of unfinished ones."""

import errno
import fcntl
import hashlib
import logging
import os
import re
import signal
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from stashhog_core.downloads.files import is_same_inode, opened
from stashhog_core.downloads.sources import (
    Entry,
    EntryFiles,
    Problem,
    SourceFile,
    SourceListing,
)
from stashhog_core.errors import ItemError, TransientError, unexpected
from stashhog_core.paths import is_hidden, is_in_hidden, printable
from stashhog_core.progress import Progress

_PART = re.compile(
    r"\.(part|partial|part-frag\d+|!qb|!ut|bc!|jc!|crdownload|aria2|filepart|download"
    r"|opdownload|ytdl|tmp|td|xltd|dctmp)$"
)
"""What browsers, download tools and clients put after the name of a part."""

_AT_WORK = re.compile(r"_unpack_|_unpack$|__admin__$|__incomplete|.+_unpackerred$")
"""SABnzbd unpacks in `_UNPACK_name` and keeps `__ADMIN__` while it downloads, NZBGet
unpacks in `_unpack`, Unpackerr in `name_unpackerred`."""

_GIVEN_UP = "_failed_"
"""SABnzbd renames to `_FAILED_name` what it could not repair or unpack."""

_NO_LEASES = {
    # Somebody else's file; leases need its owner or a capability.
    errno.EACCES,
    errno.EPERM,
    # File systems without leases: network, FUSE.
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOLCK,
}

_log = logging.getLogger(__name__)

Walked = tuple[str, os.stat_result]
"""A path below an entry (empty: the entry), and the status of what it is."""


@dataclass(frozen=True)
class _Snapshot:
    """What one check of an entry found; two equal snapshots mean a quiet period.

    `unfinished` says why it cannot be finished, however long it rests.
    """

    newest_change: float
    digest: bytes
    unfinished: str | None = None


class WatchFolderSource:
    """A folder whose files and folders are downloads, finished after a quiet period.

    Args:
        folder: The folder; entries lie directly below it.
        settle_seconds: An entry is finished when all sizes and times were equal in two
            checks so far apart. Times older than that stand for the first check; those
            of the last write and of the last change of any kind (ctime) both count.
        files_kept: Number of files and folders that are remembered from the last
            check; all others are listed anew. It keeps memory flat.
    """

    kind = "folder"

    def __init__(
        self, folder: Path, settle_seconds: float, files_kept: int = 10_000
    ) -> None:
        self._folder = folder.resolve()
        self._room = files_kept
        self._quiet_seconds = settle_seconds
        self._kept: dict[Path, EntryFiles] = {}

    def finished(self, progress: Progress) -> SourceListing:
        """List the entries that are quiet; waits once for those that are young."""
        names, waiting = self._names()
        snapshots: dict[str, _Snapshot] = {}
        problems = []
        for name in names:
            progress.checkpoint()
            try:
                snapshot = self._snapshot(name)
            except OSError as error:
                problems.append(_unreadable(name, str(error.strerror)))
                continue
            except Exception as error:  # noqa: BLE001 - it stays this entry's error
                _log.exception("Could not check %s", name)
                problems.append(_unreadable(name, unexpected(error)))
                continue
            if snapshot.unfinished is not None:
                waiting.append(Problem(name, snapshot.unfinished, printable(name)))
            else:
                snapshots[name] = snapshot
        quiet_since = time.time() - self._quiet_seconds
        young = [
            name
            for name, snapshot in snapshots.items()
            if snapshot.newest_change > quiet_since
        ]
        if young:
            self._wait(progress, len(young))
        for name in young:
            try:
                again = self._snapshot(name)
            except OSError:
                # It is being moved away or renamed: the next run checks again.
                again = None
            if again != snapshots[name]:
                del snapshots[name]
                waiting.append(
                    Problem(name, "The download is still changing", printable(name))
                )
        entries = [
            Entry(
                key=printable(name),
                name=name,
                location=self._folder / name,
                boundary=self._folder,
            )
            for name in snapshots
        ]
        return SourceListing(
            entries, problems, unfinished=len(waiting), waiting=waiting
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
                f"The download cannot be read: {error.strerror}",
                where=printable(entry.name),
                remedy="check the permissions of the download",
            ) from error

    def why_unfinished(self, files: Sequence[SourceFile]) -> str | None:
        """Return why files that rest are not finished: somebody writes to one."""
        for file in files:
            if is_written_to(file.path):
                return f"A program has a file open for writing: {file.relative_path}"
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
                remedy=f"{error.strerror}; check STASHHOG_DOWNLOADS__FOLDER",
            ) from error
        parts = bases_of_parts(names)
        finished, waiting = [], []
        for name in names:
            if is_hidden(name):
                continue
            why = named_unfinished(name) or part_next_to(name, parts)
            if why is None:
                finished.append(name)
            else:
                waiting.append(Problem(name, printable(why), printable(name)))
        return finished, waiting

    def _snapshot(self, name: str) -> _Snapshot:
        """Look at an entry and all below it."""
        seen = []
        newest = 0
        location = self._folder / name
        walked = list(_walk(location))
        for path, status in walked:
            if path and (why := named_unfinished(path.rpartition("/")[2])):
                return _Snapshot(0, b"", printable(why))
            changed = _changed_ns(status)
            newest = max(newest, changed)
            seen.append(f"{path}\0{status.st_size}\0{changed}\0")
        digest = hashlib.blake2b(os.fsencode("".join(seen)), digest_size=16)
        if len(walked) <= self._room:
            self._room -= len(walked)
            self._kept[location] = _files_of(walked, location, self._folder)
        return _Snapshot(newest / 1e9, digest.digest())

    def _wait(self, progress: Progress, young: int) -> None:
        progress.update(None, f"Waiting until {young} new downloads stop changing")
        progress.sleep(self._quiet_seconds)


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
            times = _changed_ns(status), status.st_mtime_ns
            files.append(SourceFile(name, path, status.st_size, *times, status.st_ino))
        elif stat.S_ISDIR(status.st_mode):
            is_folder = is_folder or not relative
        elif not stat.S_ISLNK(status.st_mode):
            problems.append(Problem(name, "This is not a regular file"))
        elif not Path(os.path.realpath(path)).is_relative_to(boundary):
            problems.append(
                Problem(
                    name, "This is a symbolic link that points outside the downloads"
                )
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
        # A stat call from an open folder does not resolve its path again for each file,
        # and does not follow a link that took its place.
        descriptor = os.open(folder, flags)
        try:
            with os.scandir(descriptor) as children:
                for child in sorted(children, key=attrgetter("name")):
                    path = f"{prefix}/{child.name}" if prefix else child.name
                    status = child.stat(follow_symlinks=False)
                    yield path, status
                    if stat.S_ISDIR(status.st_mode):
                        folders.append((f"{folder}/{child.name}", path))
        finally:
            os.close(descriptor)


def _changed_ns(status: os.stat_result) -> int:
    """Return when a file last changed: its time may be set to an old one, ctime not."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _unreadable(name: str, why: str) -> Problem:
    return Problem(name, f"The download cannot be read: {why}", printable(name))


def named_unfinished(name: str) -> str | None:
    """Return why the name of a file or folder says that it is not finished.

    None: it does not.
    """
    folded = name.casefold()
    if _PART.search(folded):
        return f"{name} is a part file of another program"
    if _AT_WORK.match(folded):
        return f"Another program is still working on {name}"
    if folded.startswith(_GIVEN_UP):
        return (
            f"The download program marked {name} as failed; rename "
            "the folder to import it"
        )
    return None


def bases_of_parts(names: Collection[str]) -> dict[str, str]:
    """Return the names that part files stand for, folded, each with its part file.

    `film.mp4.part` stands for `film.mp4`, and so does `film.part` next to `film.mp4`.
    """
    found = {}
    for name in names:
        folded = name.casefold()
        if match := _PART.search(folded):
            found[folded[: match.start()]] = name
    return found


def part_next_to(name: str, bases: dict[str, str]) -> str | None:
    """Return why a file is not finished, given the `bases_of_parts` of its folder."""
    if not bases:
        return None
    folded = name.casefold()
    part = bases.get(folded) or bases.get(folded.rpartition(".")[0])
    return (
        None
        if part is None
        else f"{part}, a part file of another program, lies next to it"
    )


def is_written_to(path: str | os.PathLike[str]) -> bool:
    """Tell whether a program on this machine has a file open for writing.

    False also where nothing tells: a program on another machine, or one of another
    account on a file system without leases.

    Raises:
        OSError: The file cannot be read.
    """
    with opened(path) as file:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return False
        try:
            # A program that opens the file meanwhile makes the kernel signal the holder
            # of the lease. The usual signal would end this process; nobody acts on
            # this.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            # Refused for reading while somebody has the file open for writing.
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return True
            if error.errno not in _NO_LEASES:
                raise
            return any(is_same_inode(status, other) for other in _opened_for_writing())
    return False


def _opened_for_writing() -> Iterator[os.stat_result]:
    """Yield what the programs that may be looked at have open for writing."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            numbers = os.listdir(process / "fd")  # noqa: PTH208 - numbers, not paths
        except OSError:
            # Another account's, or it has ended.
            continue
        for number in numbers:
            try:
                facts = (process / "fdinfo" / number).read_text()
                words = facts.split()
                flags = int(words[words.index("flags:") + 1], 8)
                if flags & os.O_ACCMODE != os.O_RDONLY:
                    yield (process / "fd" / number).stat()
            except (OSError, ValueError):
                continue
