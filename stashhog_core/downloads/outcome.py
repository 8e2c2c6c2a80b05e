"""What placing a file can come to, the same for a dry run."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from stashhog_core.downloads.content import Method, is_part, same
from stashhog_core.downloads.files import is_same_inode, opened
from stashhog_core.downloads.filesystems import (
    NAME_REFUSED,
    refused_characters,
    survives,
)
from stashhog_core.downloads.names import with_mark
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.errors import ItemError
from stashhog_core.hashing import oshash
from stashhog_core.paths import printable

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

Names = tuple[str, ...]
"""A file's or folder's place below the library root."""


class OutOfSpaceError(ItemError):
    """The library has no room for a file; it says nothing about the file."""


class Placed(NamedTuple):
    """Where a file is in the library, and how it got there.

    `is_new` is False when it had been there, linked or equal, before. `why_no_link`
    says why it is no hard link although the policy asks for one first.
    """

    path: str
    method: Method
    is_new: bool
    why_no_link: str | None = None


class NameRefusedError(ItemError):
    """The library's file system cannot hold the name; trying again cannot help."""


def candidates(
    file: SourceFile, name: str, longest_bytes: Callable[[], int]
) -> Iterator[str]:
    """Yield the names a file may get: its own, then ones marked by its content.

    Those with a mark are cut to the longest length that a name can have there.
    """
    yield name
    mark = oshash(Path(file.path))
    longest = longest_bytes()
    yield with_mark(name, mark[:8], longest)
    yield with_mark(name, mark, longest)


def regular(file: SourceFile) -> os.stat_result:
    """Return the status of a source file that is as it was listed.

    Raises:
        ItemError: It has become something else.
    """
    status = os.lstat(file.path)
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size_bytes:
        raise changed(file)
    return status


def part_of(
    file: SourceFile,
    path: str,
    size_bytes: int,
    checkpoint: Callable[[], None],
) -> os.stat_result | None:
    """Return the status of an earlier copy that holds nothing but a part of `file`.

    Args:
        file: What was copied before it was whole.
        path: Where the earlier copy was made.
        size_bytes: How large it was then.
        checkpoint: Called while bytes are compared; may raise to stop.

    Returns:
        None if something else is there: nothing may be lost by replacing it.
    """
    status = regular(file)
    try:
        there = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if (
        not stat.S_ISREG(there.st_mode)
        or there.st_size != size_bytes
        or is_same_inode(status, there)
    ):
        return None
    with opened(path) as mine, opened(file.path) as theirs:
        return there if is_part(mine, theirs, checkpoint) else None


def is_equal_to(file: SourceFile, path: str, checkpoint: Callable[[], None]) -> bool:
    """Tell whether a file of the library holds the same bytes as a download's."""
    with opened(path) as mine, opened(file.path) as theirs:
        return same(mine, theirs, checkpoint)


def check_space(
    free_bytes: int, size_bytes: int, reserve_bytes: int, root: str
) -> None:
    """Return if a copy leaves the reserve free.

    Raises:
        OutOfSpaceError: It does not.
    """
    if free_bytes < size_bytes + reserve_bytes:
        raise OutOfSpaceError(
            f"The library has {free_bytes} bytes free where {size_bytes} and a "
            f"reserve of {reserve_bytes} are needed",
            where=printable(root),
            remedy="make room, or lower STASHHOG_DOWNLOADS__RESERVE_BYTES",
        )


def cannot_place(error: OSError, names: Names) -> ItemError:
    """Return the error of a file that the system lets nobody place."""
    kind = OutOfSpaceError if error.errno in _NO_SPACE else ItemError
    return kind(
        f"It cannot be placed: {error.strerror}", where=printable("/".join(names))
    )


def cannot_link(name: str, reason: str) -> ItemError:
    """Return the error of a link that cannot be made where nothing else will do."""
    return ItemError(
        f"It cannot be hard-linked: {reason}",
        where=printable(name),
        remedy="put downloads and library on one mount of one file system, or let "
        "files be cloned or copied with STASHHOG_DOWNLOADS__PLACE=hardlink_or_copy",
    )


def refusal(error: OSError, folder: int, name: str) -> ItemError | OSError:
    """Return the error of a name that an open folder cannot hold, or `error` itself.

    Args:
        error: What the system answered when the name was to be made.
        folder: The folder.
        name: The name.
    """
    if error.errno not in NAME_REFUSED:
        return error
    characters = refused_characters(folder, name)
    if not characters:
        return error
    shown = " ".join(printable(character) for character in characters)
    return NameRefusedError(
        "The library's file system cannot hold the name, since it refuses "
        f"'{shown}' in names",
        where=printable(name),
        remedy="rename the download or its file, then ask for it again",
    )


def no_folder(names: Names) -> ItemError:
    """Return the error of a folder whose name something else has."""
    return ItemError(
        "In the library a file or symbolic link has the name of its folder",
        where=printable("/".join(names)),
    )


def all_taken(names: Names) -> ItemError:
    """Return the error of a file for which no name is left."""
    return ItemError(
        "Other files have its name and the names it could get instead",
        where=printable("/".join(names)),
    )


def check_own_name(
    file: SourceFile, status: os.stat_result, name: str, folder: int
) -> None:
    """Return if the library has a file, or a name of it, beside the download.

    Where that cannot be found out it is let pass: nothing is deleted now, and clean-up
    keeps what it cannot prove.

    Args:
        file: The download's file.
        status: Its status.
        name: The equal file in the library.
        folder: Its folder, open.

    Raises:
        ItemError: Both are one name, seen through two paths.
    """
    path = os.fspath(file.path)
    try:
        is_own = survives(status, [os.path.dirname(path)], name, folder)  # noqa: PTH120
    except (OSError, ItemError):
        return
    if not is_own:
        raise ItemError(
            "Its place in the library is the download itself: the two folders are one "
            "under two names",
            where=printable(path),
            remedy="save downloads outside STASHHOG_DOWNLOADS__LIBRARY_ROOT",
        )


def changed(file: SourceFile) -> ItemError:
    """Return the error of a file that is not what it was when it was listed."""
    return ItemError(
        "It changed while it was being placed", where=printable(file.relative_path)
    )
