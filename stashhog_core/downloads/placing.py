"""Placing files in the library so that a final name always holds a whole file."""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from stashhog_core.downloads.files import (
    CANNOT_LINK,
    Method,
    clone,
    copy_content,
    is_part_of,
    is_same_content,
    is_same_inode,
    is_unchanged,
    lstat,
    may_be_equal,
    opened,
    publish,
)
from stashhog_core.downloads.filesystems import (
    NAME_REFUSED,
    check_name_fits,
    longest_name_bytes,
    open_folder,
    refused_characters,
    remove_leftovers,
    same_folder,
    survives,
    temporary_name,
    why_no_link,
)
from stashhog_core.downloads.names import Names, with_mark
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.errors import ItemError, JobError
from stashhog_core.hashing import oshash
from stashhog_core.paths import printable
from stashhog_core.progress import before_write
from stashhog_core.settings import PlacePolicy

_log = logging.getLogger(__name__)

_NOT_ALLOWED = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
}
# Far below the usual limit of 1,024 open files of a process.
_OPEN_FOLDERS = 128
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


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


@dataclass(frozen=True)
class Access:
    """Who may use what is made in the library; None: as the system has it.

    A link is left as it is: it shares its permissions with the download.

    Attributes:
        file_mode: Permissions of copied files; None: those of the download.
        folder_mode: Permissions of new folders.
        group: Number of the group of both.
    """

    file_mode: int | None = None
    folder_mode: int | None = None
    group: int | None = None

    def grant(self, opened: int, mode: int | None) -> None:
        """Set group and permissions of an open file or folder that is new."""
        if self.group is not None:
            os.fchown(opened, -1, self.group)
        if mode is not None:
            # Last: a change of the group takes some permissions away.
            os.fchmod(opened, mode)


class LibraryFolder:
    """The library root. Nothing is ever written outside it, or over another file.

    Only a copy of ours is replaced, if it holds nothing but a part of the new file.

    Folders are opened one below the other without following symbolic links, so that
    neither a name nor a link in the library leads out of it. A copy leaves
    `reserve_bytes` free. `checkpoint` is called while bytes are copied or compared, and
    may raise to stop.

    Attributes:
        root: The root, links resolved.
        checkpoint: As given.
        before_copy: Called before each copy, the only thing that a killed run leaves
            parts of.
    """

    def __init__(
        self,
        root: Path,
        policy: PlacePolicy,
        reserve_bytes: int,
        checkpoint: Callable[[], None],
        access: Access = Access(),
    ) -> None:
        self.root = root.resolve()
        self.checkpoint = checkpoint
        self._root = str(self.root)
        self._policy = policy
        self._links = policy.startswith("hardlink")
        self._reserve_bytes = reserve_bytes
        self._access = access
        self.before_copy: Callable[[], None] = lambda: None
        self._folders: dict[Names, int] = {}
        self._created: set[Names] = set()
        self._swept: set[Names] = set()
        self._whys: dict[tuple[int | None, str, str], str] = {}

    def place(self, file: SourceFile, names: Names) -> Placed:
        """Bring `file` to `names` below the root; a mark in the name avoids others.

        Raises:
            OutOfSpaceError: There is no room.
            ItemError: This file cannot be placed; nothing of it remains.
        """
        before_write()
        try:
            return self._place(file, names)
        except OSError as error:
            self._drop_empty(names[:-1])
            raise cannot_place(error, names) from error
        except BaseException:
            self._drop_empty(names[:-1])
            raise

    def replace(self, file: SourceFile, names: Names, size_bytes: int) -> Placed | None:
        """Replace an earlier copy of `file` by what the file has become since.

        The copy was made at `names`, and was `size_bytes` large.

        Returns:
            None if something else is there, so that nothing is replaced. `is_new` is
            False if the copy holds the same bytes as the file.

        Raises:
            OutOfSpaceError: There is no room for both.
            ItemError: It cannot be replaced; the earlier copy remains.
        """
        path = "/".join((self._root, *names))
        try:
            there = part_of(file, path, size_bytes, self.checkpoint)
            if there is None:
                return None
            if is_equal_to(file, path, self.checkpoint):
                return Placed(path, "existing", is_new=False)
            before_write()
            folder = self._folder(names[:-1])
            method = self._copy(file, regular(file), folder, names[-1], over=there)
        except OSError as error:
            raise cannot_place(error, names) from error
        return Placed(path, method, is_new=True)

    def flush(self) -> None:
        """Make the names of everything placed so far survive a power failure.

        Raises:
            JobError: The disk fails.
        """
        for names, folder in self._folders.items():
            try:
                os.fsync(folder)
            except OSError as error:
                # Some network file systems cannot do it for folders.
                if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}:
                    raise JobError(
                        "The library's disk does not store the written data",
                        where=printable("/".join((str(self.root), *names))),
                        remedy=f"{error.strerror}; check the disk or the mount",
                    ) from error
        self.close()

    def close(self) -> None:
        """Give back what is open."""
        while self._folders:
            os.close(self._folders.popitem()[1])
        self._created.clear()

    def clean(self, folders: Iterable[Path]) -> int:
        """Remove what killed runs left in these folders and the root.

        Only one run at a time may place files, or it would lose its temporary files.

        Returns:
            The number of files removed.
        """
        removed = 0
        for folder in {self.root, *folders}:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if folder.resolve().is_relative_to(self.root):
                    with open_folder(folder) as opened:
                        removed += remove_leftovers(opened)
        return removed

    def _place(self, file: SourceFile, names: Names) -> Placed:
        folder = self._folder(names[:-1])
        path = "/".join((self._root, *names[:-1]))
        longest = partial(longest_name_bytes, folder)
        too_long = None
        for name in candidates(file, names[-1], longest):
            try:
                placed = self._try_name(file, folder, path, name)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise refusal(error, folder, name) from error
                too_long = error
                continue
            if placed is not None:
                return placed
        if too_long is not None:
            raise too_long
        raise all_taken(names)

    def _try_name(
        self, file: SourceFile, folder: int, folder_path: str, name: str
    ) -> Placed | None:
        """Place the file under this name; None if another file has it."""
        path = f"{folder_path}/{name}"
        why = None
        if self._links:
            try:
                self._link(file, folder, name)
                return Placed(path, "link", is_new=True)
            except FileExistsError:
                return self._compare(file, folder, path)
            except OSError as error:
                if error.errno not in CANNOT_LINK:
                    raise
                why = self._why(error, file, folder_path)
                if self._policy == "hardlink":
                    if found := self._compare(file, folder, path):
                        return found
                    raise cannot_link(name, why) from error
        if lstat(folder, name) is not None:
            return self._compare(file, folder, path)
        # Before the bytes are copied.
        check_name_fits(folder, name)
        try:
            method = self._copy(file, regular(file), folder, name)
        except FileExistsError:
            return self._compare(file, folder, path)
        return Placed(path, method, is_new=True, why_no_link=why)

    def _why(self, error: OSError, file: SourceFile, folder: str) -> str:
        """Return why a link was refused; asked once for all files of a folder."""
        key = (error.errno, os.path.dirname(file.path), folder)  # noqa: PTH120
        if key not in self._whys:
            path = os.fspath(file.path)
            self._whys[key] = why_no_link(error, path, Path(folder))
        return self._whys[key]

    def _link(self, file: SourceFile, folder: int, name: str) -> None:
        # A link is whole from its first moment and never replaces: it needs no
        # temporary name. What it was made of is looked at last, when it cannot become
        # something else any more.
        os.link(file.path, name, dst_dir_fd=folder, follow_symlinks=False)
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(there.st_mode) or there.st_size != file.size_bytes:
            os.unlink(name, dir_fd=folder)
            raise changed(file)

    def _compare(self, file: SourceFile, folder: int, path: str) -> Placed | None:
        """Return how the file is already there under this name; None if it is not."""
        name = os.path.basename(path)  # noqa: PTH119 - one of thousands
        status = regular(file)
        there = lstat(folder, name)
        if there is None:
            return None
        method: Method = "link"
        if not is_same_inode(status, there):
            if not may_be_equal(status, there):
                return None
            with opened(file.path) as mine, opened(name, folder) as theirs:
                if not is_same_content(mine, theirs, self.checkpoint):
                    return None
            method = "existing"
        check_own_name(file, status, name, folder)
        return Placed(path, method, is_new=False)

    def _copy(
        self,
        file: SourceFile,
        status: os.stat_result,
        folder: int,
        name: str,
        over: os.stat_result | None = None,
    ) -> Method:
        """Copy under a hidden name, then give it the final one.

        `over` is the file that it replaces; None: no file may have the name.

        Raises:
            FileExistsError: Another file has got the name meanwhile.
        """
        self.before_copy()
        temporary = temporary_name()
        with opened(file.path) as source:
            if not is_unchanged(status, os.fstat(source)):
                raise changed(file)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                target = os.open(temporary, flags, 0o600, dir_fd=folder)
                try:
                    method = self._fill(source, target, status, folder)
                    after = os.fstat(source)
                    written = os.fstat(target).st_size
                    if not is_unchanged(status, after) or written != status.st_size:
                        raise changed(file)
                    self._access.grant(target, self._access.file_mode)
                    self._resemble(target, status)
                    os.fsync(target)
                finally:
                    os.close(target)
                # Copying may have taken hours.
                before_write()
                if over is None:
                    publish(folder, temporary, name)
                else:
                    now = lstat(folder, name)
                    if now is None or not is_unchanged(over, now):
                        raise changed(file)
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
        return method

    def _resemble(self, target: int, status: os.stat_result) -> None:
        """Give a copy the times and, unless others are set, the permissions of a file.

        Nobody asked for these, and a mount that belongs to somebody else (exFAT, CIFS)
        allows neither, though it lets everybody write.
        """
        if self._access.file_mode is None:
            with _tolerating_refusal():
                os.fchmod(target, stat.S_IMODE(status.st_mode) & 0o777 | 0o600)
        with _tolerating_refusal():
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _fill(
        self, source: int, target: int, status: os.stat_result, folder: int
    ) -> Method:
        if self._policy != "copy" and clone(source, target):
            return "reflink"
        space = os.fstatvfs(folder)
        free = space.f_bavail * space.f_frsize
        check_space(free, status.st_size, self._reserve_bytes, self._root)
        copy_content(source, target, self.checkpoint)
        return "copy"

    def _folder(self, names: Names) -> int:
        """Open a folder below the root, creating it and its parents as needed."""
        known = self._folders.get(names)
        if known is not None:
            return known
        if len(self._folders) >= _OPEN_FOLDERS:
            self.flush()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if not names:
            opened = os.open(self.root, flags)
        else:
            parent = self._folder(names[:-1])
            try:
                opened = self._open_or_create(parent, names, flags | os.O_NOFOLLOW)
            except (NotADirectoryError, FileExistsError) as error:
                raise no_folder(names) from error
        self._folders[names] = opened
        return opened

    def _open_or_create(self, parent: int, names: Names, flags: int) -> int:
        with contextlib.suppress(FileNotFoundError):
            opened = os.open(names[-1], flags, dir_fd=parent)
            if names not in self._swept:
                # A killed run or dry run was perhaps trying something in it.
                self._swept.add(names)
                remove_leftovers(opened)
            return opened
        try:
            os.mkdir(names[-1], dir_fd=parent)
        except OSError as error:
            raise refusal(error, parent, names[-1]) from error
        self._created.add(names)
        opened = os.open(names[-1], flags, dir_fd=parent)
        try:
            self._access.grant(opened, self._access.folder_mode)
        except BaseException:
            os.close(opened)
            raise
        return opened

    def _drop_empty(self, names: Names) -> None:
        """Remove the folders that were created for a file that did not come."""
        while names and names not in self._created:
            # A deeper one could not even be created.
            names = names[:-1]
        while names in self._created:
            parent = self._folders.get(names[:-1])
            if parent is None:
                return
            try:
                os.rmdir(names[-1], dir_fd=parent)
            except OSError:
                # Something else is in it: it stays.
                return
            self._created.discard(names)
            opened = self._folders.pop(names, None)
            if opened is not None:
                os.close(opened)
            names = names[:-1]


@contextlib.contextmanager
def _tolerating_refusal() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_ALLOWED:
            raise


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

    `size_bytes` is how large the copy was when it was made, before the file was whole.
    None: something else is there, and nothing may be lost by replacing it.
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
        return there if is_part_of(mine, theirs, checkpoint) else None


def is_equal_to(file: SourceFile, path: str, checkpoint: Callable[[], None]) -> bool:
    """Tell whether a file of the library holds the same bytes as a download's."""
    with opened(path) as mine, opened(file.path) as theirs:
        return is_same_content(mine, theirs, checkpoint)


def check_space(
    free_bytes: int, size_bytes: int, reserve_bytes: int, root: str
) -> None:
    """Return if a copy leaves the reserve free.

    Raises:
        OutOfSpaceError: It does not.
    """
    if free_bytes < size_bytes + reserve_bytes:
        raise OutOfSpaceError(
            f"The library has {free_bytes} bytes free, but the file "
            f"needs {size_bytes} bytes and a reserve of {reserve_bytes} "
            "bytes",
            where=printable(root),
            remedy="free space, or lower STASHHOG_DOWNLOADS__RESERVE_BYTES",
        )


def cannot_place(error: OSError, names: Names) -> ItemError:
    """Return the error of a file that the system lets nobody place."""
    kind = OutOfSpaceError if error.errno in _NO_SPACE else ItemError
    return kind(
        f"The file cannot be placed: {error.strerror}", where=printable("/".join(names))
    )


def cannot_link(name: str, reason: str) -> ItemError:
    """Return the error of a link that cannot be made where nothing else will do."""
    return ItemError(
        f"The file cannot be hard-linked: {reason}",
        where=printable(name),
        remedy="put downloads and library on one mount of one file system, or allow "
        "clones and copies with STASHHOG_DOWNLOADS__PLACE=hardlink_or_copy",
    )


def refusal(error: OSError, folder: int, name: str) -> ItemError | OSError:
    """Return the error of a name that an open folder cannot hold, or `error` itself.

    `error` is what the system answered when the name was to be made.
    """
    if error.errno not in NAME_REFUSED:
        return error
    characters = refused_characters(folder, name)
    if not characters:
        return error
    shown = " ".join(printable(character) for character in characters)
    return NameRefusedError(
        "The library's file system cannot hold the name, because "
        f"it does not allow '{shown}' in names",
        where=printable(name),
        remedy="rename the download or its file, then request another try",
    )


def no_folder(names: Names) -> ItemError:
    """Return the error of a folder whose name something else has."""
    return ItemError(
        "In the library, a file or symbolic link has the name of the folder",
        where=printable("/".join(names)),
        remedy="rename the file in the library",
    )


def all_taken(names: Names) -> ItemError:
    """Return the error of a file for which no name is left."""
    return ItemError(
        "The library has other files under the file's name "
        "and under all alternative names",
        where=printable("/".join(names)),
        remedy="rename or remove some of the files in the library",
    )


def check_own_name(
    file: SourceFile, status: os.stat_result, name: str, folder: int
) -> None:
    """Return if the library has a file, or a name of it, besides the download.

    Where that cannot be found out it is let pass: nothing is deleted now, and clean-up
    keeps what it cannot prove. `status` is that of the download's file, `name` the
    equal file in an open `folder` of the library.

    Raises:
        ItemError: Both are one name, seen through two paths.
    """
    path = os.fspath(file.path)
    try:
        is_own = survives(status, [os.path.dirname(path)], name, folder)  # noqa: PTH120
    except (OSError, ItemError):
        return
    if not is_own:
        raise same_folder(printable(path))


def changed(file: SourceFile) -> ItemError:
    """Return the error of a file that is not what it was when it was listed."""
    return ItemError(
        "The file changed while it was being placed",
        where=printable(file.relative_path),
        remedy="wait for the program that writes to the file; the next run tries again",
    )
