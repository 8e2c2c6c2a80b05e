"""Single files: opening them, naming them, and cloning, copying and comparing them.

Nothing here follows a symbolic link.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from typing import Literal

CANNOT_LINK = {
    errno.EXDEV,
    errno.EPERM,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
}
"""Error numbers of a link between these places never being possible."""
_FICLONE = 0x40049409
"""Linux: the target shares the source's blocks until one of them is written to."""

_CHUNK_BYTES = 16 * 1024 * 1024
_COMPARE_BYTES = 1024 * 1024
_PAGE_BYTES = 4096
_CANNOT_CLONE = {
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    # ZFS, shortly after the file was written.
    errno.EWOULDBLOCK,
}
_CANNOT_COPY_IN_KERNEL = {
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EPERM,
    errno.EBADF,
}

Checkpoint = Callable[[], None]

Method = Literal["link", "reflink", "copy", "existing"]
"""How a file got into the library; `existing`: an equal one was there."""


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], folder: int | None = None) -> Iterator[int]:
    """Yield a file, open for reading; a symbolic link is an error.

    With an open `folder`, `path` is a name in it.
    """
    # O_NONBLOCK: opening a pipe that took the file's place does not wait.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(path, flags, dir_fd=folder)
    try:
        yield opened
    finally:
        os.close(opened)


def publish(folder: int, temporary: str, name: str) -> None:
    """Give a file its final name without replacing another one."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        # No links here, as on exFAT; only one run at a time places files.
        if lstat(folder, name) is not None:
            raise FileExistsError(errno.EEXIST, "The name is taken") from error
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def lstat(folder: int, name: str) -> os.stat_result | None:
    """Return the status of what has this name in an open folder; None: nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def is_same_inode(mine: os.stat_result, theirs: os.stat_result) -> bool:
    """Tell whether two names are of one file."""
    return mine.st_ino == theirs.st_ino and mine.st_dev == theirs.st_dev


def is_unchanged(before: os.stat_result, now: os.stat_result) -> bool:
    """Tell whether a file is still the same, and not written to since."""
    return (
        is_same_inode(before, now)
        and before.st_size == now.st_size
        and before.st_mtime_ns == now.st_mtime_ns
    )


def may_be_equal(mine: os.stat_result, theirs: os.stat_result) -> bool:
    """Tell whether two files may hold the same bytes, going by what they are."""
    return stat.S_ISREG(theirs.st_mode) and mine.st_size == theirs.st_size


def clone(source: int, target: int) -> bool:
    """Make `target` share the blocks of `source`; False if that is not possible."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True


def copy_content(source: int, target: int, checkpoint: Checkpoint) -> int:
    """Copy `source` to its end, and return how many bytes that were.

    Args:
        source: Open for reading, at its start.
        target: Open for writing, empty.
        checkpoint: Called between blocks; may raise to stop.
    """
    copied = 0
    if hasattr(os, "copy_file_range"):
        copied = _copy_in_kernel(source, target, checkpoint)
    # What the kernel could not do; at its best this reads the end of the file only.
    # Some file systems make copy_file_range stop early without an error.
    buffer = memoryview(bytearray(_COMPARE_BYTES))
    while count := os.readv(source, [buffer]):
        done = 0
        while done < count:
            done += os.write(target, buffer[done:count])
        copied += count
        checkpoint()
    return copied


def is_same_content(first: int, second: int, checkpoint: Checkpoint) -> bool:
    """Tell whether two open files hold the same bytes."""
    mine, theirs = bytearray(_COMPARE_BYTES), bytearray(_COMPARE_BYTES)
    offset = 0
    while True:
        count = os.preadv(first, [mine], offset)
        other = os.preadv(second, [theirs], offset)
        # Two regular files give short counts only at their ends.
        if count != other or mine[:count] != theirs[:count]:
            return False
        if count == 0:
            return True
        offset += count
        checkpoint()


def is_part_of(first: int, second: int, checkpoint: Checkpoint) -> bool:
    """Tell whether an open file holds nothing but a part of another one.

    That is so if each of its bytes is that of the other file at the same place, or 0,
    as where nothing had been written yet.
    """
    mine, theirs = bytearray(_COMPARE_BYTES), bytearray(_COMPARE_BYTES)
    offset = 0
    while count := os.preadv(first, [mine], offset):
        if os.preadv(second, [theirs], offset) < count:
            return False
        if mine[:count] != theirs[:count]:
            for start in range(0, count, _PAGE_BYTES):
                end = min(start + _PAGE_BYTES, count)
                if not _is_part_of_page(mine[start:end], theirs[start:end]):
                    return False
        offset += count
        checkpoint()
    return True


def _is_part_of_page(mine: bytearray, theirs: bytearray) -> bool:
    return (
        mine == theirs
        or not any(mine)
        or all(byte in (0, other) for byte, other in zip(mine, theirs, strict=True))
    )


def _copy_in_kernel(source: int, target: int, checkpoint: Checkpoint) -> int:
    copied = 0
    while True:
        try:
            count = os.copy_file_range(source, target, _CHUNK_BYTES)
        except OSError as error:
            if error.errno in _CANNOT_COPY_IN_KERNEL:
                return copied
            raise
        if count == 0:
            return copied
        copied += count
        checkpoint()
