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
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from stashhog_core.downloads.files import CANNOT_LINK, clone, is_same_inode, opened
from stashhog_core.downloads.names import LONGEST_NAME_BYTES, with_mark
from stashhog_core.errors import ItemError
from stashhog_core.paths import Mount, mount_of, printable

_log = logging.getLogger(__name__)

TEMPORARY = re.compile(r"\.stashhog-[0-9a-f]{16}.?\.part[. ]?", re.DOTALL)
"""Names of files that exist only while something is placed or tried."""

PROTECTED_LINKS = Path("/proc/sys/fs/protected_hardlinks")
NAME_REFUSED = {errno.EINVAL, errno.ENOENT, errno.EILSEQ, errno.EPROTO}
"""Error numbers of a name that a file system cannot hold, and of other things."""

# What Windows has no names with, and bytes that are no UTF-8.
_ODD = {*'"*:<>?\\|', *map(chr, range(0xDC80, 0xDD00))}
_ODD_AT_THE_END = (".", " ")
# eCryptfs; no file system of today allows less.
_FITS_ANYWHERE_BYTES = 143
_UNIONS = {"overlay", "aufs", "unionfs", "fuse.mergerfs", "fuse.unionfs"}
"""File systems that choose for each new file which of several folders it goes to."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Overlap = Literal["same", "library inside", "downloads inside"]
"""How a library and a download folder are one, or one inside the other."""


def temporary_name(inside: str = "", last: str = "") -> str:
    """Return a new name that `TEMPORARY` matches.

    Args:
        inside: A character that it is to hold.
        last: A dot or space that it is to end with.
    """
    return f".stashhog-{secrets.token_hex(8)}{inside}.part{last}"


@contextlib.contextmanager
def open_folder(path: str | Path) -> Iterator[int]:
    """Yield an open folder."""
    folder = os.open(path, _FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


def remove_leftovers(folder: int) -> int:
    """Remove what killed runs left in an open folder; return how many that were.

    Only one run at a time may place or try something, or it would lose its files.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if TEMPORARY.fullmatch(entry.name)]
    removed = 0
    for name in names:
        try:
            _remove_leftover(Path(f"/proc/self/fd/{folder}", name))
            removed += 1
        except OSError as error:
            _log.warning("Could not remove %s: %s", name, error.strerror)
    return removed


def _remove_leftover(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    for child in path.iterdir():
        if TEMPORARY.fullmatch(child.name) or child.lstat().st_size == 0:
            child.unlink()
    path.rmdir()


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
    with open_folder(library) as there, _probe(there) as name:
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
        with open_folder(library / by_mount) as there, _probe(there) as name:
            if os.path.lexists(downloads / name):
                return "downloads inside"
    return None


class Separation:
    """Makes sure that downloads lie apart from the library root, links resolved."""

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
                "StashHog cannot find out whether download and library are separate "
                "folders",
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


def same_folder(where: str) -> ItemError:
    """Return the error of a file of the library that does not survive."""
    return ItemError(
        "The library file is the download itself: the two folders are the same folder "
        "under two names",
        where=where,
        remedy="save downloads outside STASHHOG_DOWNLOADS__LIBRARY_ROOT",
    )


def refused_characters(folder: int, name: str) -> str:
    """Return the characters of a name that an open folder's file system refuses.

    Only those of `odd_characters` are tried. Nothing remains.
    """
    return "".join(
        character
        for character in odd_characters(name)
        if not _can_be_made(
            folder,
            temporary_name(last=character)
            if character in _ODD_AT_THE_END
            else temporary_name(inside=character),
        )
    )


def odd_characters(name: str) -> str:
    """Return the characters of a name that some file systems refuse.

    The last one may be a dot or a space that the name ends with.
    """
    found = "".join(sorted(_ODD.intersection(name)))
    return found + name[-1] if name.endswith(_ODD_AT_THE_END) else found


def _can_be_made(folder: int, name: str) -> bool:
    try:
        os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=folder))
    except OSError as error:
        if error.errno not in NAME_REFUSED:
            raise
        return False
    os.unlink(name, dir_fd=folder)
    return True


def longest_name_bytes(folder: int) -> int:
    """Return how long a name in a folder may be; some allow longer ones."""
    # FAT counts letters, and reports six bytes for each.
    return min(os.fstatvfs(folder).f_namemax or LONGEST_NAME_BYTES, LONGEST_NAME_BYTES)


def check_name_fits(folder: int, name: str) -> None:
    """Return if a name can be had in an open folder; common names are not tried.

    A trial is made with the very name, in a folder of its own: what a lookup answers
    does not tell what a creation does.

    Raises:
        OSError: It cannot be had, or the folder cannot be written to.
    """
    length = len(os.fsencode(name))
    is_long = length > _FITS_ANYWHERE_BYTES and length > longest_name_bytes(folder)
    if is_long or odd_characters(name):
        with trial_folder(folder) as there:
            os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=there))
            os.unlink(name, dir_fd=there)


def fit_folders(root: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of folders below the library root, long ones cut.

    A mark of the whole name keeps two apart that begin alike.
    """
    return tuple(
        _cut(root, name) if _is_too_long(root, name) else name for name in names
    )


def _is_too_long(folder: Path, name: str) -> bool:
    if len(os.fsencode(name)) <= _FITS_ANYWHERE_BYTES:
        return False
    try:
        with open_folder(folder) as there:
            check_name_fits(there, name)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _cut(root: Path, name: str) -> str:
    with open_folder(root) as there:
        longest = longest_name_bytes(there)
    mark = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    return with_mark(name, mark, longest)


def link_error(source: str, folder: int) -> OSError | None:
    """Try to hard-link a file into an open folder; return what refused it, or None.

    Nothing remains; the file's ctime moves.

    Raises:
        OSError: The link failed for another reason than that none is possible.
    """
    name = temporary_name()
    try:
        os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        return error
    os.unlink(name, dir_fd=folder)
    return None


def can_clone(source: str, folder: int) -> bool:
    """Try whether a file in an open folder can share the blocks of `source`.

    Raises:
        OSError: The folder cannot be written to, the file cannot be read.
    """
    with opened(source) as mine, _probe(folder) as name:
        target = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            return clone(mine, target)
        finally:
            os.close(target)


@contextlib.contextmanager
def trial_folder(folder: int) -> Iterator[int]:
    """Yield a new folder, open, that is in an open folder for a moment."""
    name = temporary_name()
    os.mkdir(name, dir_fd=folder)
    try:
        new = os.open(name, _FOLDER, dir_fd=folder)
        try:
            yield new
        finally:
            os.close(new)
    finally:
        os.rmdir(name, dir_fd=folder)


def why_no_link(error: OSError, source: str, folder: Path) -> str:
    """Return why `error` kept a file from being hard-linked, naming the mounts.

    `folder` exists: where the link was to be, or what holds that folder if it is new.
    """
    if error.errno == errno.EMLINK:
        return "the file already has as many hard links as its file system allows"
    there = Path(source).parent.resolve()
    folder = folder.resolve()
    mine, other = mount_of(there), mount_of(folder)
    if mine is None or other is None:
        return str(error.strerror)
    if error.errno == errno.EXDEV:
        return _why_no_common_link(there, mine, folder, other)
    if error.errno == errno.EPERM and (owner := _protected_owner(source)) is not None:
        return (
            f"the file belongs to the account with number {owner}, and the kernel "
            "setting fs.protected_hardlinks allows links to the files of others only "
            "if they can be read and written"
        )
    if error.errno == errno.EPERM and _has_links(folder):
        return f"{error.strerror}, perhaps because the file is marked as immutable"
    return f"{_shown(other)} has no hard links"


def _why_no_common_link(there: Path, mine: Mount, folder: Path, other: Mount) -> str:
    if mine.device != other.device:
        return f"{_shown(mine)} and {_shown(other)} are different file systems"
    if mine.point != other.point:
        return (
            f"{printable(mine.point)} and {printable(other.point)} are two mounts of "
            f"one file system ({printable(f'{mine.kind} on {mine.source}')}), and no "
            "link leads from one mount to another; mount one folder that holds both"
        )
    if mine.kind == "fuse.mergerfs":
        return (
            f"{_shown(mine)} has the file and the folder on different "
            "disks; see mergerfs in docs/downloads.md"
        )
    tops = _top(there), _top(folder)
    if tops[0] != tops[1]:
        first, second = (printable(str(top)) for top in tops)
        return f"{first} and {second} are different subvolumes of {_shown(mine)}"
    return (
        f"{_shown(mine)} allows no link between the two folders, "
        "perhaps because of a project quota"
    )


def _shown(mount: Mount) -> str:
    return printable(f"{mount.point} ({mount.kind} on {mount.source})")


def _top(folder: Path) -> Path:
    """Return the highest folder above `folder` that has the same device number."""
    device = folder.stat().st_dev
    while folder.parent != folder and folder.parent.stat().st_dev == device:
        folder = folder.parent
    return folder


def _protected_owner(source: str) -> int | None:
    """Return the owner of a file that only its owner may link; None: it is no such."""
    try:
        is_on = PROTECTED_LINKS.read_text().strip() != "0"
        status = os.stat(source)  # noqa: PTH116
    except OSError:
        return None
    # The kernel asks for the effective account; access() alone asks for the real one.
    if not is_on or status.st_uid == os.geteuid() or os.geteuid() == 0:
        return None
    if os.access(source, os.R_OK | os.W_OK, effective_ids=True):
        return None
    return status.st_uid


def _has_links(folder: Path) -> bool:
    with open_folder(folder) as there, _probe(there) as name:
        return link_error(str(folder / name), there) is None


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
        os.close(os.open(name, _NEW_FILE, 0o600, dir_fd=folder))
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
                "StashHog cannot verify that the library has its own copy of the file",
                where=printable(str(path / like)),
                remedy=f"a second link to the file cannot be made ({error.strerror})",
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
