"""Walking a folder: its video files, streamed, with what tells whether they changed."""

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stashhog_core.errors import ConfigurationError
from stashhog_core.file_index.file_systems import (
    FileSystems,
    Lookup,
    MountedFileSystems,
)
from stashhog_core.paths import is_hidden, to_text
from stashhog_core.settings import get_settings

_ROOTS_SETTING = "STASHHOG_LIBRARY__ALLOWED_SCAN_ROOTS"

LONGEST_PATH_BYTES = 2500
"""The database's index takes no longer ones; real paths are far from it."""

_BLOCK_LINES = 5000
_MOST_UNKNOWN = 10_000
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})

Report = Callable[[str, str], None]
"""Takes a path and what is wrong with it."""


def resolve_scan_folder(path: str, allowed_roots: Sequence[Path]) -> Path:
    """Return the real folder that `path` names, links resolved.

    Raises:
        ConfigurationError: It is no folder, or lies in none of the allowed roots.
    """
    folder = Path(os.path.realpath(path))
    if not folder.is_dir():
        raise ConfigurationError(
            f"The path {path} is not a directory",
            remedy="name a folder that exists on this machine",
        )
    if not allowed_roots:
        raise ConfigurationError(
            f"The path {path} is not allowed, because no scan root is set",
            remedy=f"set {_ROOTS_SETTING}, for example to {json.dumps([str(folder)])}",
        )
    if not is_inside(folder, real_roots(allowed_roots)):
        raise ConfigurationError(
            f"The path {path} is not inside an allowed scan root",
            where=str(folder),
            remedy=f"{_ROOTS_SETTING} allows "
            + ", ".join(str(root) for root in allowed_roots),
        )
    return folder


def real_roots(roots: Sequence[Path]) -> tuple[Path, ...]:
    """Return the roots with their links resolved."""
    return tuple(Path(os.path.realpath(root.expanduser())) for root in roots)


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Tell whether a resolved path is one of the resolved roots or lies in one."""
    return any(path == root or root in path.parents for root in roots)


@dataclass
class Walk:
    """What a walk came across besides files; complete when the walk is at its end.

    `unknown` are paths of which nothing was learned: what the index has at or below
    them is neither there nor gone. None: too many to keep.
    """

    files: int = 0
    links_skipped: int = 0
    unknown: list[str] | None = field(default_factory=list)
    finished: bool = False

    def is_unknown(self, path: str) -> None:
        """Note that nothing is known of `path` and what is below it."""
        if self.unknown is not None:
            self.unknown.append(path)
            if len(self.unknown) > _MOST_UNKNOWN:
                self.unknown = None

    def add(self, other: "Walk") -> None:
        """Add what the walk of a shard came across."""
        self.files += other.files
        self.links_skipped += other.links_skipped
        self.finished = self.finished and other.finished
        if other.unknown is None:
            self.unknown = None
        for path in other.unknown or ():
            self.is_unknown(path)


@dataclass(frozen=True)
class Share:
    """Which folders fall to one of several walks through the same tree.

    Folders `depth` levels below the root are taken whole, or left to others; of those
    above only the own files are.
    """

    depth: int
    is_mine: Callable[[str], bool]


ALL = Share(0, lambda _: True)


def list_videos(
    folder: Path,
    allowed_roots: Sequence[Path],
    walk: Walk,
    report: Report,
    checkpoint: Callable[[int], None],
    share: Share = ALL,
    file_systems: Lookup = MountedFileSystems,
) -> Iterator[bytes]:
    """Yield lines for COPY: path, file system, inode, size, mtime_ns, ctime_ns.

    Links to folders are not followed: they make loops, and the same file twice. Links
    to files are, while they stay inside the allowed roots. What is no regular file is
    never opened, so that nothing here waits for a pipe or a device.

    Args:
        folder: Where to begin, links resolved.
        allowed_roots: Resolved.
        walk: Filled on the way.
        report: Receives what cannot be read.
        checkpoint: Called with the number of files, at least once a folder and every
            few thousand files.
        share: Which folders to list.
        file_systems: Returns which file systems are there.
    """
    present = file_systems()
    lines: list[str] = []
    for current, folders in _folders(os.fspath(folder), share):
        checkpoint(walk.files)
        listing = _Folder(current, folders, allowed_roots, walk, report, present)
        try:
            for block in listing.videos(lines):
                checkpoint(walk.files)
                yield block
        except OSError as error:
            listing.fails("", f"The folder cannot be read: {error.strerror}")
    yield _encoded(lines, walk)
    walk.finished = True


def _folders(root: str, share: Share) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders to list, each with a list to put those below it on."""
    upper = [(root, 0)]
    while upper:
        path, depth = upper.pop()
        if depth < share.depth:
            below: list[str] = []
            if share.is_mine(path):
                yield path, below
            else:
                below += folders_below(path)
            upper += [(folder, depth + 1) for folder in below]
        elif share.is_mine(path):
            whole = [path]
            while whole:
                yield whole.pop(), whole


def folders_below(path: str) -> list[str]:
    """Return the folders in one that another walk lists, and reports if it cannot."""
    try:
        with os.scandir(path) as entries:
            return [
                entry.path
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name)
            ]
    except OSError:
        return []


class _Folder:
    """One folder: its files become lines, its folders are put on the list."""

    def __init__(
        self,
        path: str,
        folders: list[str],
        allowed_roots: Sequence[Path],
        walk: Walk,
        report: Report,
        present: FileSystems,
    ) -> None:
        self._present = present
        self._path = path
        self._prefix = path.rstrip("/") + "/"
        self._folders = folders
        self._roots = allowed_roots
        self._walk = walk
        self._report = report
        # A byte may be written with four; only near the limit is it worth measuring.
        self._near_limit = len(self._prefix) * 4 > LONGEST_PATH_BYTES - 4 * 255

    def videos(self, lines: list[str]) -> Iterator[bytes]:
        """Add the lines of the folder's files; yield blocks of them when it is full."""
        prefix = self._prefix
        odd = not _is_plain(prefix)
        # Below an open folder, a stat call does not resolve the path again.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            extensions = get_settings().library.video_extensions
            # What most names end in, as it is.
            endings = {f".{extension}" for extension in extensions}
            device = os.fstat(descriptor).st_dev
            here = between = self._column(self._path)
            with os.scandir(descriptor) as entries:
                # Each step here is taken once a file: most of a scan is this loop.
                for entry in entries:
                    name = entry.name
                    facts: os.stat_result | None
                    try:
                        if entry.is_file(follow_symlinks=False):
                            if (
                                name[-4:] not in endings
                                and name.rpartition(".")[2].lower() not in extensions
                            ):
                                continue
                            if name[0] == "." and is_hidden(name):
                                continue
                            facts = entry.stat(follow_symlinks=False)
                        else:
                            facts = self._stat_of_other(entry)
                    except OSError as error:
                        self.fails(name, f"The file cannot be read: {error.strerror}")
                        continue
                    if facts is None or (self._near_limit and not self._fits(name)):
                        continue
                    if facts.st_dev == device:
                        between = here
                    else:
                        # A link that leads elsewhere, or a file that is mounted here.
                        between = self._column(os.path.realpath(prefix + name))
                    path = prefix + name
                    if odd or "\\" in name or not name.isprintable():
                        path = to_text(path).translate(_ESCAPES)
                    inode = facts.st_ino
                    mtime, ctime = facts.st_mtime_ns, facts.st_ctime_ns
                    if (inode | mtime | ctime) >> 63:
                        inode, mtime, ctime = (
                            signed(inode),
                            signed(mtime),
                            signed(ctime),
                        )
                    lines.append(
                        f"{path}{between}{inode}\t{facts.st_size}\t{mtime}\t{ctime}\n"
                    )
                    if len(lines) == _BLOCK_LINES:
                        yield _encoded(lines, self._walk)
        finally:
            os.close(descriptor)

    def fails(self, name: str, problem: str) -> None:
        """Report a name of this folder, or the folder itself; it is unknown now."""
        path = to_text(self._prefix + name if name else self._path)
        self._walk.is_unknown(path)
        self._report(path, problem)

    def _stat_of_other(self, entry: "os.DirEntry[str]") -> os.stat_result | None:
        """Put a folder on the list; return the stat of the video a link leads to."""
        name = entry.name
        if is_hidden(name):
            return None
        if entry.is_dir(follow_symlinks=False):
            if not self._near_limit or self._fits(name):
                self._folders.append(self._prefix + name)
            return None
        path = Path(self._prefix + name)
        is_link = entry.is_symlink()
        if not is_video(name):
            self._walk.links_skipped += is_link and path.is_dir()
            return None
        if not is_link:
            self._report(to_text(str(path)), "This is not a regular file")
            return None
        facts = _followed(path, self._roots)
        self._walk.links_skipped += facts is None
        return facts

    def _column(self, path: str) -> str:
        return f"\t{self._present.holding(path)}\t"

    def _fits(self, name: str) -> bool:
        if len(to_text(self._prefix + name).encode()) > LONGEST_PATH_BYTES:
            self.fails(name, f"The path is longer than {LONGEST_PATH_BYTES} bytes")
            return False
        return True


def is_video(name: str) -> bool:
    """Tell whether a file of this name counts as a video."""
    extension = name.rpartition(".")[2].lower()
    return extension in get_settings().library.video_extensions


def signed(number: int) -> int:
    """Return a number modulo 2**64 as the database's signed one."""
    return (number + 2**63) % 2**64 - 2**63


def _followed(link: Path, allowed_roots: Sequence[Path]) -> os.stat_result | None:
    """Return the stat of what a link leads to; None: to no file within the roots."""
    target = Path(os.path.realpath(link))
    if not is_inside(target, allowed_roots):
        return None
    try:
        facts = target.stat()
    except FileNotFoundError:
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None


def _is_plain(text: str) -> bool:
    return "\\" not in text and text.isprintable()


def _encoded(lines: list[str], walk: Walk) -> bytes:
    """Take the lines out of the list, as bytes, and count them."""
    walk.files += len(lines)
    block = "".join(lines).encode()
    lines.clear()
    return block
