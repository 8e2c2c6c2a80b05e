"""A scan in parts that run side by side, in other processes or on other machines.

First each part lists the folders that fall to it; when all is listed, and compared as
a whole, each looks into as many of the new and changed files as the others.
"""

import os
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from stashhog_core.db.session import Database
from stashhog_core.file_index.artwork import FOLDER
from stashhog_core.file_index.index import open_index
from stashhog_core.file_index.probe import Wanted
from stashhog_core.file_index.probing import Counts, Looker, TimeIsUp
from stashhog_core.file_index.roots import real_roots, resolve_scan_folder
from stashhog_core.file_index.walk import Share, Walk, folders_below, list_videos
from stashhog_core.params import DirectoryScanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings

# A hash deals the folders out; with few of them the parts would differ much.
_FOLDERS_PER_PART = 16
_MOST_FOLDERS = 2000
_DEEPEST = 6


@dataclass(frozen=True)
class ListPart:
    """The folders that one part lists.

    Those `depth` levels below the root are dealt out whole, those above one by one.
    """

    number: int
    """From 1."""

    of: int
    depth: int
    deadline: datetime


@dataclass(frozen=True)
class LookPart:
    """The pending files that one part looks into: paths from `low` to before `high`."""

    number: int
    """From 1."""

    of: int
    low: str
    high: str
    deadline: datetime
    workers: int | None = None


@dataclass
class Listed:
    """What a part listed, or could not."""

    walk: Walk = field(default_factory=Walk)
    counts: Counts = field(default_factory=Counts)


@dataclass
class Looked:
    """What a part looked into, and whether it came to its end in time."""

    counts: Counts = field(default_factory=Counts)
    in_time: bool = True


class FanOut(Protocol):
    """Runs the parts of a scan side by side.

    Each method gives the outcomes, or what a part failed with, in the order of the
    parts.
    """

    @property
    def parts(self) -> int:
        """How many."""

    @property
    def workers(self) -> int | None:
        """How many processes read files in each part; None: one per core."""

    def list(self, parts: Sequence[ListPart]) -> Iterable[Listed | BaseException]:
        """Run `list_part` for each."""

    def look(self, parts: Sequence[LookPart]) -> Iterable[Looked | BaseException]:
        """Run `look_part` for each."""


def wanted_of(settings: Settings, params: DirectoryScanParams) -> Wanted:
    """Return what a scan makes of each file, and where the pictures go."""
    return Wanted(
        settings.home_folder / FOLDER,
        thumbnails=params.thumbnails,
        sprites=params.sprites,
        phashes=params.phashes,
    )


def list_part(
    settings: Settings,
    database: Database,
    params: DirectoryScanParams,
    part: ListPart,
    progress: Progress,
) -> Listed:
    """List a part's folders into the table that all parts share.

    Raises:
        ConfigurationError: The folder is not here, or must not be scanned here.
        TransientError: The database is away.
        JobCancelled: A stop was asked for.
    """
    folder = resolve_scan_folder(params.path, settings.library.allowed_scan_roots)
    listed = Listed()
    share = share_of(folder, part.number, part.of, part.depth)
    with open_index(database, folder) as index:
        deadline = time.monotonic() + index.seconds_until(part.deadline)

        def checkpoint(files: int) -> None:
            if time.monotonic() > deadline:
                raise TimeIsUp
            progress.update(
                None, f"part {part.number}/{part.of}: {files} video files listed"
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
        index.share_listed(part.number)
    return listed


def look_part(
    settings: Settings,
    database: Database,
    params: DirectoryScanParams,
    part: LookPart,
    progress: Progress,
) -> Looked:
    """Look into a part's files; what is done by a stop or the deadline stays.

    Raises:
        ConfigurationError: The folder is not here, or must not be scanned here.
        TransientError: The database is away.
        JobCancelled: A stop was asked for.
    """
    folder = resolve_scan_folder(params.path, settings.library.allowed_scan_roots)
    looked = Looked()
    with open_index(database, folder, (part.low, part.high)) as index:
        pending = index.count_pending()
        looker = Looker(
            index,
            wanted_of(settings, params),
            part.workers,
            progress.words_only(f"part {part.number}/{part.of}: "),
            time.monotonic() + index.seconds_until(part.deadline),
            looked.counts,
        )
        looked.in_time = not pending or looker.look(pending, 1)
    return looked


def depth_for(folder: Path, parts: int) -> int:
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
        if len(below) >= parts * _FOLDERS_PER_PART:
            return depth
        level = below
    return _DEEPEST - 1


def until_time_is_up(lines: Iterable[bytes]) -> Iterable[bytes]:
    """Yield what there is; the walk itself tells whether it came to its end."""
    try:
        yield from lines
    except TimeIsUp:
        return


def share_of(folder: Path, number: int, parts: int, depth: int) -> Share:
    """Return what falls to one of the parts, numbered from 1."""
    return Share(depth, lambda path: _owner(folder, path, parts) == number)


def _owner(folder: Path, path: str, parts: int) -> int:
    """Return the number of the part that a folder falls to."""
    below = os.fsencode(os.path.relpath(path, folder))
    return zlib.crc32(below) % parts + 1
