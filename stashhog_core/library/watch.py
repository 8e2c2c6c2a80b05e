"""Waiting for changes in a folder, to start a scan when something has changed."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import watchfiles

from stashhog_core.errors import ConfigurationError
from stashhog_core.library.discover import EXTENSIONS

SYSCTL = "sudo sysctl -w fs.inotify.max_user_watches=1048576"
"""Raises the limit of watched folders until the next start of the machine."""

# A change made by another machine is told to nobody here.
_BLIND = ("nfs", "cifs", "smb", "fuse", "9p", "afs", "ceph", "gluster", "virtiofs")
_MOUNTS = Path("/proc/self/mounts")
_POLL_MILLISECONDS = 30_000
_SETTLE_MILLISECONDS = 10_000


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
    try:
        for changed in watchfiles.watch(
            folder,
            watch_filter=lambda _, path: _is_of_interest(path),
            stop_event=stop,
            debounce=settle_milliseconds,
            force_polling=needs_polling(folder) if polling is None else polling,
            poll_delay_ms=poll_milliseconds,
            rust_timeout=1000,
            ignore_permission_denied=True,
        ):
            yield len(changed)
    except OSError as error:
        raise _translated(error, folder) from error


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


def _translated(error: OSError, folder: Path) -> ConfigurationError:
    full = error.errno in {errno.ENOSPC, errno.EMFILE} or "limit" in str(error)
    if full:
        return ConfigurationError(
            "The system watches no more folders",
            where=os.fspath(folder),
            remedy=f"raise its limit: {SYSCTL}",
        )
    return ConfigurationError(
        "The folder cannot be watched", where=os.fspath(folder), remedy=str(error)
    )
