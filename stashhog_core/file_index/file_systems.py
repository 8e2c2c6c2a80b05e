"""Which file system holds a file: by what it is, not by the number it has today.

Device numbers follow the order in which disks are found. After a restart, one disk may
have the number of another that is missing.
"""

import array
import fcntl
import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

from stashhog_core.paths import Mount, Mounts, from_text

NUMBERED = "device:"
"""How the identity of a file system begins that has nothing but a number."""

# FS_IOC_GETFSUUID, since Linux 6.9; a length and up to 16 bytes.
_GET_UUID = 0x80111500
_BY_UUID = Path("/dev/disk/by-uuid")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# The kernel derives their number for statvfs from the UUID; on btrfs, from the
# subvolume as well.
_FSID_OF_UUID = ("ext2", "ext3", "ext4", "btrfs")
_NAMED_BY_SOURCE = ("nfs", "cifs", "smb", "zfs", "9p", "ceph", "virtiofs", "fuse.")


class FileSystems(Protocol):
    """The file systems that are there at one moment."""

    def holding(self, path: str) -> str:
        """Return the identity of the one that holds an existing path.

        Args:
            path: As `os` functions give it, links resolved.

        Raises:
            OSError: The path cannot be reached.
        """


Lookup = Callable[[], FileSystems]
"""Returns which file systems are there now."""


class MountedFileSystems:
    """Those that this machine has mounted.

    An identity is made of the UUID of the file system, or of the address of a share,
    with the mounted folder of it and the place where it is mounted: a folder that a
    missing mount leaves behind belongs to another one. If there is neither, it begins
    with `NUMBERED` and is good until the next restart at most.
    """

    def __init__(self) -> None:
        self._mounts = Mounts.now()
        self._known: dict[int, str] = {}

    def holding(self, path: str) -> str:
        """Return the identity of the one that holds an existing path."""
        mount = self._mounts.holding(path) if self._mounts else None
        if mount and mount.kind == "autofs":
            # Opening the folder may have mounted it.
            self._mounts = Mounts.now()
            mount = self._mounts.holding(path) if self._mounts else None
        if mount is None:
            return _numbered(path, None)
        if mount.id not in self._known:
            self._known[mount.id] = _identity(mount)
        return self._known[mount.id]


def is_gone(path: str, file_system: str, present: FileSystems) -> bool:
    """Tell whether nothing is at a path of the index, on the file system it was on.

    Where that is not among those present, or a folder cannot be read, nothing is
    proved.
    """
    here = Path(from_text(path))
    try:
        here.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _holds_nearest(here, file_system, present)
    except OSError:
        return False
    return False


def _holds_nearest(path: Path, file_system: str, present: FileSystems) -> bool:
    """Tell whether the nearest folder above that exists is on the file system."""
    for folder in path.parents:
        try:
            folder.lstat()
            return present.holding(os.path.realpath(folder)) == file_system
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return False
    return False


def _identity(mount: Mount) -> str:
    if mount.kind.startswith(_NAMED_BY_SOURCE):
        return _digest("source:", mount, mount.kind, mount.source)
    uuid = _own_uuid(mount.point) or _uuid_by_link(mount.source)
    fsid = ""
    if mount.kind in _FSID_OF_UUID:
        fsid = str(os.statvfs(mount.point).f_fsid)
    if uuid or fsid:
        return _digest("uuid:", mount, uuid or "", fsid)
    return _numbered(mount.point, mount)


def _numbered(path: str, mount: Mount | None) -> str:
    return _digest(NUMBERED, mount, _boot_id(), str(Path(path).stat().st_dev))


def _digest(kind: str, mount: Mount | None, *facts: str) -> str:
    place = (mount.root, mount.point) if mount else ()
    text = "\0".join((*facts, *place))
    return kind + hashlib.blake2b(os.fsencode(text), digest_size=8).hexdigest()


def _own_uuid(point: str) -> str | None:
    """Ask the file system itself; None: it has none, or the kernel is older."""
    answer = array.array("B", bytes(17))
    try:
        descriptor = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(descriptor, _GET_UUID, answer)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    uuid = bytes(answer[1 : 1 + answer[0]])
    return uuid.hex() if any(uuid) else None


def _uuid_by_link(source: str) -> str | None:
    if not source.startswith("/dev/"):
        return None
    device = os.path.realpath(source)
    try:
        return next(
            (link.name for link in _BY_UUID.iterdir() if str(link.resolve()) == device),
            None,
        )
    except OSError:
        return None


@cache
def _boot_id() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
