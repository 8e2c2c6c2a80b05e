"""What two folders have to do with each other, found out by trying.

Names, device numbers and inode numbers do not tell: one folder can have two names (bind
mounts, volumes of a container, a file system that ignores letter case), a pool such as
mergerfs shows the same file under numbers of its own, and two mounts of one file system
have equal device numbers though no link leads from one to the other. So a probe file is
made in the library, and looked for in the other folder. Download folders are never
written to.
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from stashhog_core.downloads.files import CANNOT_LINK, is_same_inode
from stashhog_core.downloads.names import printable
from stashhog_core.errors import ItemError

TEMPORARY = re.compile(r"\.stashhog-[0-9a-f]{16}\.part")
"""Names of files that exist only while something is placed or tried."""

MOUNTS = Path("/proc/self/mountinfo")
_UNIONS = {"overlay", "aufs", "unionfs", "fuse.mergerfs", "fuse.unionfs"}
"""File systems that choose for each new file which of several folders it goes to."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Overlap = Literal["same", "library inside", "downloads inside"]
"""How a library and a download folder are one, or one inside the other."""


class Mount(NamedTuple):
    """A line of the kernel's list of mounts.

    Attributes:
        point: Where it is mounted.
        root: Which folder of the file system is mounted there.
        device: The file system's number, `major:minor`; the same for all its mounts.
        kind: The type of the file system.
        source: What is mounted, such as a disk.
    """

    point: str
    root: str
    device: str
    kind: str
    source: str


def temporary_name() -> str:
    """Return a new name that `TEMPORARY` matches."""
    return f".stashhog-{secrets.token_hex(8)}.part"


@contextlib.contextmanager
def open_folder(path: str | Path) -> Iterator[int]:
    """Yield an open folder."""
    opened = os.open(path, _FOLDER)
    try:
        yield opened
    finally:
        os.close(opened)


def mount_of(path: Path) -> Mount | None:
    """Return the mount that an existing path, links resolved, is on; None: unknown."""
    found = None
    for mount in _mounts():
        # Later mounts hide earlier ones of the same place.
        if path.is_relative_to(mount.point) and (
            found is None or len(mount.point) >= len(found.point)
        ):
            found = mount
    return found


def overlap(library: Path, downloads: Path) -> Overlap | None:
    """Tell whether two folders are one, or one inside the other; None: neither.

    Args:
        library: An existing folder that can be written to, links resolved. A probe
            file is in it for a moment.
        downloads: Another existing folder, links resolved.

    Raises:
        OSError: The library cannot be written to.
    """
    if library == downloads:
        return "same"
    if library.is_relative_to(downloads):
        return "library inside"
    if downloads.is_relative_to(library):
        return "downloads inside"
    with open_folder(library) as opened, _probe(opened) as name:
        if os.path.lexists(downloads / name):
            return "same"
        if any(os.path.lexists(parent / name) for parent in downloads.parents):
            return "downloads inside"
        inner = [library.relative_to(parent) for parent in library.parents]
        if (by_mount := _path_below(library, downloads)) is not None:
            inner.append(by_mount)
        if any(os.path.lexists(downloads / path / name) for path in inner):
            return "library inside"
        branches = _branches(library)
        if not any(os.path.lexists(branch / name) for branch in branches):
            # In a container these paths may be those of other folders.
            branches = []
    for branch in branches:
        if (found := overlap(branch, downloads)) is not None:
            return found
    by_mount = _path_below(downloads, library)
    if by_mount is not None and (library / by_mount).is_dir():
        with open_folder(library / by_mount) as opened, _probe(opened) as name:
            if os.path.lexists(downloads / name):
                return "downloads inside"
    return None


class Separation:
    """Makes sure that downloads lie apart from the library.

    Args:
        library: The library root, links resolved.
    """

    def __init__(self, library: Path) -> None:
        self._library = library
        # Few folders hold all downloads.
        self._by_folder: dict[Path, Overlap | None] = {}

    def check(self, location: Path) -> None:
        """Return if a download and the library are not inside one another.

        Args:
            location: The download's file or folder, links resolved.

        Raises:
            ItemError: They are, perhaps under two names; or it cannot be tried.
        """
        try:
            found = self._overlap(location)
        except OSError as error:
            raise ItemError(
                "It cannot be tried whether download and library are separate folders",
                where=printable(str(self._library)),
                remedy=str(error.strerror),
            ) from error
        if found is not None:
            raise ItemError(
                "Download and library are one folder, or one lies inside the other, "
                "perhaps under two names",
                where=printable(f"{location}, {self._library}"),
                remedy="save downloads outside STASHHOG_DOWNLOADS__LIBRARY_ROOT",
            )

    def _overlap(self, location: Path) -> Overlap | None:
        folder = location.parent
        if folder not in self._by_folder and folder.is_dir():
            self._by_folder[folder] = overlap(self._library, folder)
        found = self._by_folder.get(folder)
        if found == "library inside":
            # Perhaps inside another download of that folder.
            return overlap(self._library, location)
        return found


def survives(
    download: os.stat_result, folders: Iterable[str], name: str, folder: int
) -> bool:
    """Tell whether a file of the library stays when a download is deleted.

    The file is known to be the download's inode, or a copy of it. It stays unless it is
    the very same name, seen through another path. The library's folder gets one more
    name of the file for a moment: a pool of folders makes links beside the file itself,
    but new files where it likes.

    Args:
        download: Status of the download's file.
        folders: Paths of the folders that files are deleted from.
        name: The file in the library.
        folder: Its folder, open; it can be written to.

    Raises:
        ItemError: It cannot be found out.
        OSError: The folder cannot be written to, or the file is gone.
    """
    there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if is_same_inode(download, there) and there.st_nlink < 2:
        return False
    with _probe(folder, like=name) as probe:
        return not any(os.path.lexists(f"{other}/{probe}") for other in folders)


@contextlib.contextmanager
def _probe(folder: int, like: str | None = None) -> Iterator[str]:
    """Yield the name of a file that is in an open folder for a moment.

    Args:
        folder: The folder.
        like: Name of a file in it that is to get this second name if links are
            possible; else the probe is an empty file of its own.
    """
    name = temporary_name()
    if like is None or not _is_linked(folder, like, name):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o600, dir_fd=folder))
    try:
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _is_linked(folder: int, like: str, name: str) -> bool:
    try:
        os.link(like, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        path = Path(f"/proc/self/fd/{folder}").readlink()
        mount = mount_of(path)
        # Across mounts: the file has been mounted over its own name.
        is_mounted = error.errno == errno.EXDEV
        if is_mounted or (mount is not None and mount.kind in _UNIONS):
            raise ItemError(
                "It cannot be proved that the library has a file of its own",
                where=printable(str(path / like)),
                remedy=f"a second name of it cannot be tried ({error.strerror})",
            ) from error
        return False
    return True


def _path_below(inner: Path, outer: Path) -> Path | None:
    """Return where `inner` lies below `outer` if both are mounts of one file system."""
    mine, other = mount_of(inner), mount_of(outer)
    if mine is None or other is None or mine.device != other.device:
        return None
    real = Path(mine.root) / inner.relative_to(mine.point)
    root = Path(other.root) / outer.relative_to(other.point)
    return real.relative_to(root) if real.is_relative_to(root) else None


def _branches(folder: Path) -> list[Path]:
    """Return the folders that a folder of mergerfs is made of."""
    try:
        paths = os.getxattr(folder, "user.mergerfs.allpaths")
    except OSError:
        return []
    branches = [Path(os.fsdecode(path)) for path in paths.split(b"\0") if path]
    return [path for path in branches if path != folder and path.is_dir()]


def _mounts() -> list[Mount]:
    mounts = []
    try:
        lines = os.fsdecode(MOUNTS.read_bytes()).split("\n")
    except OSError:
        return []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        parts, types = fields.split(" "), rest.split(" ")
        if len(parts) >= 5 and len(types) >= 2:
            point, root = _unescaped(parts[4]), _unescaped(parts[3])
            source = _unescaped(types[1])
            mounts.append(Mount(point, root, parts[2], types[0], source))
    return mounts


def _unescaped(text: str) -> str:
    r"""Return a field as it was before spaces and the like became `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
