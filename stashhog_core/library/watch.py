"""Waiting for changes in a folder, to start a scan when something has changed."""

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import watchfiles

from stashhog_core.errors import ConfigurationError
from stashhog_core.library.discover import EXTENSIONS

MORE_WATCHES = "sudo sysctl -w fs.inotify.max_user_watches=1048576"
"""Raises the limit of watched folders until the next start of the machine."""

MORE_INSTANCES = "sudo sysctl -w fs.inotify.max_user_instances=1024"
"""Likewise that of programs that watch."""

# A change made by another machine is told to nobody here.
_BLIND = ("nfs", "cifs", "smb", "fuse", "9p", "afs", "ceph", "gluster", "virtiofs")
_MOUNTS = Path("/proc/self/mounts")
_POLL_MILLISECONDS = 30_000
_SETTLE_MILLISECONDS = 10_000
_LOOK_MILLISECONDS = 1000
_IN_DELETE_SELF = 0x400


def changes(
    folder: Path,
    stop: threading.Event,
    *,
    settle_milliseconds: int = _SETTLE_MILLISECONDS,
    poll_milliseconds: int = _POLL_MILLISECONDS,
    polling: bool | None = None,
) -> Iterator[int]:
    """Yield the number of changed videos, each time after some quiet.

    Args:
        folder: Watched with all folders below.
        stop: Ends it.
        settle_milliseconds: Changes closer together are one.
        poll_milliseconds: Time between looks, where the system tells of no changes.
        polling: Look instead of being told; None: where the file system needs it.

    Raises:
        ConfigurationError: The system watches no more folders; says what to do.
    """
    is_told = not (needs_polling(folder) if polling is None else polling)
    try:
        for changed in watchfiles.watch(
            folder,
            watch_filter=lambda _, path: _is_of_interest(path),
            stop_event=stop,
            debounce=settle_milliseconds,
            force_polling=not is_told,
            poll_delay_ms=poll_milliseconds,
            rust_timeout=_LOOK_MILLISECONDS,
            yield_on_timeout=True,
            # A folder such as lost+found must not end it. Nor does, then, a folder for
            # which there are no watches left: that is looked for below.
            ignore_permission_denied=True,
        ):
            if changed:
                yield len(changed)
            elif is_told and no_watches_left(folder):
                raise _limit(folder, "watches of folders", MORE_WATCHES)
    except (OSError, RuntimeError) as error:
        raise _translated(error, folder) from error


def no_watches_left(folder: Path) -> bool:
    """Tell whether the system would watch no further folder for this user."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    instance = libc.inotify_init1(os.O_CLOEXEC)
    if instance < 0:
        return False
    try:
        watch = libc.inotify_add_watch(instance, os.fsencode(folder), _IN_DELETE_SELF)
        return watch < 0 and ctypes.get_errno() == errno.ENOSPC
    finally:
        os.close(instance)


def needs_polling(folder: Path, mounts: str | None = None) -> bool:
    """Tell whether the folder lies where changes are not told of (NFS, FUSE, …).

    Args:
        folder: A real path.
        mounts: What `/proc/self/mounts` says; None: read it.
    """
    if mounts is None:
        if not _MOUNTS.exists():
            return False
        mounts = _MOUNTS.read_text()
    kind, longest = "", -1
    for line in mounts.splitlines():
        _, point, fs_type, *_ = line.split(" ")
        place = Path(point.replace("\\040", " "))
        if (place == folder or place in folder.parents) and len(point) >= longest:
            kind, longest = fs_type, len(point)
    return kind.startswith(_BLIND)


def _is_of_interest(path: str) -> bool:
    # A folder that was moved here tells only of itself.
    extension = Path(path).suffix.lstrip(".").lower()
    return not extension or extension in EXTENSIONS


def _translated(error: Exception, folder: Path) -> ConfigurationError:
    # The package words what its own part in Rust met, without an error number.
    if "limit reached" in str(error):
        return _limit(folder, "watches of folders", MORE_WATCHES)
    if "Too many open files" in str(error):
        return _limit(folder, "watching programs", MORE_INSTANCES)
    return ConfigurationError(
        "The folder cannot be watched", where=os.fspath(folder), remedy=str(error)
    )


def _limit(folder: Path, of_what: str, command: str) -> ConfigurationError:
    return ConfigurationError(
        f"The system has no {of_what} left for this user",
        where=os.fspath(folder),
        remedy=f"raise its limit: {command}",
    )
