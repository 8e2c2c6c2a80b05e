"""Signs that another program is still at work on a file: names, and open writers."""

import errno
import fcntl
import os
import re
import signal
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

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


def named_unfinished(name: str) -> str | None:
    """Return why the name of a file or folder says that it is not finished.

    None: it does not.
    """
    folded = name.casefold()
    if _PART.search(folded):
        return f"{name} is a part file of another program"
    if _AT_WORK.match(folded):
        return f"{name} is a folder or file that another program still works in"
    if folded.startswith(_GIVEN_UP):
        return (
            f"{name} was given up by the program that downloaded it: rename it to "
            "have it taken"
        )
    return None


def bases_of_parts(names: Collection[str]) -> dict[str, str]:
    """Return the names that part files stand for, folded, each with its part file.

    `film.mp4.part` stands for `film.mp4`, and so does `film.part` beside `film.mp4`.
    """
    found = {}
    for name in names:
        folded = name.casefold()
        if match := _PART.search(folded):
            found[folded[: match.start()]] = name
    return found


def part_beside(name: str, bases: dict[str, str]) -> str | None:
    """Return why a file is not finished, given the part files beside it.

    Args:
        name: The file.
        bases: What `bases_of_parts` found in its folder.
    """
    if not bases:
        return None
    folded = name.casefold()
    part = bases.get(folded) or bases.get(folded.rpartition(".")[0])
    return None if part is None else f"{part} lies beside it, a part of another program"


def is_written_to(path: str | os.PathLike[str]) -> bool:
    """Tell whether a program on this machine has a file open for writing.

    False also where nothing tells: a program on another machine, or one of another
    account on a file system without leases.

    Raises:
        OSError: The file cannot be read.
    """
    # O_NONBLOCK: opening a pipe that took the file's place does not wait.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(path, flags)
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            return False
        # A program that opens the file meanwhile makes the kernel signal the holder
        # of the lease. The usual signal would end this process; nobody acts on this.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
        # A lease for reading is refused while somebody has the file open for writing.
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return True
        if error.errno not in _NO_LEASES:
            raise
        return any(_is_same(written, status) for written in _opened_for_writing())
    finally:
        os.close(opened)
    return False


def _is_same(theirs: os.stat_result, mine: os.stat_result) -> bool:
    return theirs.st_ino == mine.st_ino and theirs.st_dev == mine.st_dev


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
