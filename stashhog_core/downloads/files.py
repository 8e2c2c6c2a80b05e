"""Single files: looking, opening and naming without following links."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

CANNOT_LINK = {
    errno.EXDEV,
    errno.EPERM,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
}
"""Error numbers of a link between these places never being possible."""


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], folder: int | None = None) -> Iterator[int]:
    """Yield a file, open for reading; a symbolic link is an error.

    Args:
        path: The file, or its name in `folder`.
        folder: An open folder.
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
