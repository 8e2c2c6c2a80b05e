"""Where finished downloads come from: what every source can tell and be told."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from stashhog_core.progress import Progress


@dataclass(frozen=True)
class Entry:
    """A finished download: one torrent, or one file or folder of the watch folder.

    Attributes:
        key: What the ledger knows it by: info hash, or name in the watch folder,
            printable.
        name: What it is called in the library; a single file keeps its extension.
        location: Its file or folder on this machine.
        boundary: The folder that its files must really lie in.
        is_marked_failed: The source shows it as failed, so that success must be told.
        may_retry_blocked: A person asked for it again.
        category: Its category in the source; empty if it has none.
    """

    key: str
    name: str
    location: Path
    boundary: Path
    is_marked_failed: bool = False
    may_retry_blocked: bool = False
    category: str = ""


class SourceFile(NamedTuple):
    """A file of an entry; `relative_path` is below the entry, with `/`.

    `changed_ns` is the time of its last change of any kind, since 1970. With `mtime_ns`
    and `inode` it tells later whether this is still the same file. All are 0 where the
    source promises that a finished file does not change.
    """

    relative_path: str
    path: str | os.PathLike[str]
    size_bytes: int
    changed_ns: int = 0
    mtime_ns: int = 0
    inode: int = 0


@dataclass(frozen=True)
class Problem:
    """Something that cannot be taken, and why.

    `name` is an entry's name, or a file's path below its entry.
    """

    name: str
    reason: str
    key: str = ""


@dataclass
class SourceListing:
    """What a source has.

    Attributes:
        entries: Finished, in a fixed order; none that the source knows as done.
        problems: Entries that will not finish by themselves.
        done: Number of entries that the source knows as done.
        unfinished: Number of entries still on their way.
        removable: Those of the done ones that the source would not miss.
        unconfirmed: Perhaps in the library, though the source does not show them as
            done: an earlier run could not update it completely. The ledger knows.
        waiting: Those of the unfinished ones that may need somebody's help, and why.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    done: int = 0
    unfinished: int = 0
    removable: list[Entry] = field(default_factory=list)
    unconfirmed: list[Entry] = field(default_factory=list)
    waiting: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class EntryFiles:
    """The files of one entry, and those that cannot be taken at all.

    `unwanted` are the paths of what is there though nobody asked for it; `notes` are
    files that are left out for a reason that needs nobody's help.
    """

    is_folder: bool
    files: tuple[SourceFile, ...]
    problems: tuple[Problem, ...] = ()
    unwanted: tuple[str, ...] = ()
    notes: tuple[Problem, ...] = ()


class DownloadSource(Protocol):
    """A place that finished downloads come from."""

    @property
    def kind(self) -> str:
        """Its name in the ledger."""

    def finished(self, progress: Progress) -> SourceListing:
        """List what is finished.

        Raises:
            ConfigurationError: The source refuses.
            TransientError: It is away; never an empty listing.
        """

    def files(self, entry: Entry) -> EntryFiles:
        """List the files of an entry.

        Raises:
            ItemError: The entry as a whole cannot be taken.
            TransientError: The source is away.
        """

    def why_unfinished(self, files: Sequence[SourceFile]) -> str | None:
        """Return why files that were listed are not finished yet; None: they are.

        Raises:
            OSError: A file cannot be read.
        """

    def mark_done(self, entries: Sequence[Entry]) -> None:
        """Show in the source that these are in the library."""

    def mark_failed(self, keys: Sequence[str]) -> None:
        """Show in the source that these failed."""

    def sharing(self, entry: Entry) -> str | None:
        """Return the name of another entry that uses files of this one; None: none."""

    def remove(self, entry: Entry, *, with_files: bool) -> None:
        """Remove an entry from the source, and perhaps its files from the disk."""

    def close(self) -> None:
        """Log out and give back connections."""
