"""Foretelling what placing would do, for a dry run."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from stashhog_core.downloads import content
from stashhog_core.downloads.content import Method
from stashhog_core.downloads.files import is_same_inode, may_be_equal, opened
from stashhog_core.downloads.filesystems import open_folder, survives
from stashhog_core.downloads.outcome import (
    Names,
    Placed,
    all_taken,
    candidates,
    cannot_link,
    check_space,
    no_folder,
    one_folder,
    regular,
)
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.settings import PlacePolicy


class Preview:
    """Says what `Library.place` would do, and changes nothing.

    Whether a file system can clone files shows only when it is tried: with the policy
    `reflink` the answer is that it can.

    Args:
        root: The library root, links resolved.
        policy: How files would be placed.
        reserve_bytes: Space that copies would leave free.
        checkpoint: Called while bytes are compared; may raise to stop.
    """

    def __init__(
        self,
        root: Path,
        policy: PlacePolicy,
        reserve_bytes: int,
        checkpoint: Callable[[], None],
    ) -> None:
        self._root = root
        self._policy = policy
        self._reserve_bytes = reserve_bytes
        self._checkpoint = checkpoint
        # What would have been placed by now: files by their target, and copied bytes.
        self._placed: dict[str, SourceFile] = {}
        self._copied_bytes = 0

    def place(self, file: SourceFile, names: Names) -> Placed:
        """Return where `file` would be, and how it would get there.

        Raises:
            OutOfSpaceError: There would be no room.
            ItemError: It could not be placed.
        """
        status = regular(file)
        folder, device = self._folder(names[:-1])
        for name in candidates(file, names[-1]):
            target = os.path.join(folder, name)  # noqa: PTH118 - one of thousands
            there = self._placed[target].path if target in self._placed else target
            try:
                status_there = os.lstat(there)
            except (FileNotFoundError, NotADirectoryError):
                method = self._method(status, device, name)
                self._placed[target] = file
                return Placed(target, method, is_new=True)
            existing = self._existing(file, status, status_there, there)
            if existing is not None:
                if there == target:
                    self._check_own_name(file, status, folder, name)
                return Placed(target, existing, is_new=False)
        raise all_taken(names)

    def _existing(
        self,
        file: SourceFile,
        status: os.stat_result,
        status_there: os.stat_result,
        there: str | os.PathLike[str],
    ) -> Method | None:
        """Return how a file is already there; None if that is another file."""
        if is_same_inode(status, status_there):
            return "link"
        if may_be_equal(status, status_there):
            with opened(file.path) as mine, opened(there) as theirs:
                if content.same(mine, theirs, self._checkpoint):
                    return "existing"
        return None

    def _check_own_name(
        self, file: SourceFile, status: os.stat_result, folder: str, name: str
    ) -> None:
        with open_folder(folder) as opened:
            if not survives(status, [os.path.dirname(file.path)], name, opened):  # noqa: PTH120
                raise one_folder(file)

    def _folder(self, names: Names) -> tuple[str, int]:
        """Return a folder of the library, and the device of what there is of it."""
        path = str(self._root)
        device = os.stat(path).st_dev  # noqa: PTH116 - one of thousands
        for depth, name in enumerate(names, start=1):
            path = f"{path}/{name}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                return "/".join((str(self._root), *names)), device
            if not stat.S_ISDIR(status.st_mode):
                raise no_folder(names[:depth])
            device = status.st_dev
        return path, device

    def _method(self, status: os.stat_result, device: int, name: str) -> Method:
        if self._policy.startswith("hardlink"):
            if status.st_dev == device:
                return "link"
            if self._policy == "hardlink":
                raise cannot_link(name, "Invalid cross-device link")
        if self._policy == "reflink":
            return "reflink"
        space = os.statvfs(self._root)
        free = space.f_bavail * space.f_frsize - self._copied_bytes
        check_space(free, status.st_size, self._reserve_bytes, str(self._root))
        self._copied_bytes += status.st_size
        return "copy"
