"""Foretelling what placing would do, for a dry run."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from stashhog_core.downloads.files import Method, is_same_inode, may_be_equal
from stashhog_core.downloads.filesystems import (
    can_clone,
    check_name_fits,
    link_error,
    longest_name_bytes,
    open_folder,
    trial_folder,
    why_no_link,
)
from stashhog_core.downloads.names import Names
from stashhog_core.downloads.placing import (
    Placed,
    all_taken,
    candidates,
    cannot_link,
    cannot_place,
    check_own_name,
    check_space,
    is_equal_to,
    no_folder,
    part_of,
    refusal,
    regular,
)
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.paths import Mount, mount_of
from stashhog_core.settings import PlacePolicy


class PlacingPreview:
    """Says what `LibraryFolder.place` would do, and changes nothing.

    Whether a link or a clone is possible shows only when it is tried: for a moment a
    link to one of the files, or a clone of it, is in the library under a hidden name.
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
        self._links = policy.startswith("hardlink")
        self._reserve_bytes = reserve_bytes
        self._checkpoint = checkpoint
        self._trials: dict[tuple[object, ...], _Trial] = {}
        self._mounts: dict[str, Mount | None] = {}
        # What would have been placed by now: files by their target, and copied bytes.
        self._placed: dict[str, SourceFile] = {}
        self._copied_bytes = 0

    def place(self, file: SourceFile, names: Names) -> Placed:
        """Return where `file` would be, and how it would get there.

        Raises:
            OutOfSpaceError: There would be no room.
            ItemError: It could not be placed.
        """
        try:
            return self._place(file, names)
        except OSError as error:
            raise cannot_place(error, names) from error

    def replace(self, file: SourceFile, names: Names, size_bytes: int) -> Placed | None:
        """Return what `LibraryFolder.replace` would."""
        path = "/".join((str(self._root), *names))
        try:
            if part_of(file, path, size_bytes, self._checkpoint) is None:
                return None
            if is_equal_to(file, path, self._checkpoint):
                return Placed(path, "existing", is_new=False)
            folder = os.path.dirname(path)  # noqa: PTH120 - one of thousands
            trial = self._try(file, regular(file), folder, is_new=False)
            if self._policy != "copy" and trial.clones:
                return Placed(path, "reflink", is_new=True)
            self._take_space(file.size_bytes, folder)
        except OSError as error:
            raise cannot_place(error, names) from error
        return Placed(path, "copy", is_new=True)

    def _place(self, file: SourceFile, names: Names) -> Placed:
        status = regular(file)
        folder, existing = self._folder(names[:-1])
        depth = len(Path(existing).relative_to(self._root).parts)
        with open_folder(existing) as opened:
            for name in names[depth:-1]:
                self._check_name(opened, name)
            return self._place_in(file, status, folder, existing, opened, names[-1])

    def _check_name(self, folder: int, name: str) -> None:
        try:
            check_name_fits(folder, name)
        except OSError as error:
            raise refusal(error, folder, name) from error

    def _place_in(
        self,
        file: SourceFile,
        status: os.stat_result,
        folder: str,
        existing: str,
        opened_folder: int,
        wanted: str,
    ) -> Placed:
        too_long = None
        longest = partial(longest_name_bytes, opened_folder)
        for name in candidates(file, wanted, longest):
            try:
                self._check_name(opened_folder, name)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                too_long = error
                continue
            target = os.path.join(folder, name)  # noqa: PTH118 - one of thousands
            there = self._placed[target].path if target in self._placed else target
            try:
                status_there = os.lstat(there)
            except (FileNotFoundError, NotADirectoryError):
                method, why = self._method(file, status, target, existing)
                self._placed[target] = file
                return Placed(target, method, is_new=True, why_no_link=why)
            found = self._existing(file, status, status_there, there)
            if found is not None:
                if there == target:
                    check_own_name(file, status, name, opened_folder)
                return Placed(target, found, is_new=False)
        if too_long is not None:
            raise too_long
        raise all_taken((*Path(folder).relative_to(self._root).parts, wanted))

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
        if may_be_equal(status, status_there) and is_equal_to(
            file, os.fspath(there), self._checkpoint
        ):
            return "existing"
        return None

    def _folder(self, names: Names) -> tuple[str, str]:
        """Return a folder of the library, and what there is of it."""
        path = str(self._root)
        for depth, name in enumerate(names, start=1):
            deeper = f"{path}/{name}"
            try:
                status = os.lstat(deeper)
            except FileNotFoundError:
                return "/".join((str(self._root), *names)), path
            if not stat.S_ISDIR(status.st_mode):
                raise no_folder(names[:depth])
            path = deeper
        return path, path

    def _method(
        self, file: SourceFile, status: os.stat_result, target: str, existing: str
    ) -> tuple[Method, str | None]:
        """Return how a file would be placed, and why not as a link."""
        why = None
        if self._policy != "copy":
            folder, name = os.path.split(target)
            trial = self._try(file, status, existing, is_new=folder != existing)
            if trial.error is None and self._links:
                return "link", None
            if trial.error is not None:
                why = why_no_link(trial.error, os.fspath(file.path), Path(existing))
            if self._policy == "hardlink":
                raise cannot_link(name, why or "")
            if trial.clones:
                return "reflink", why
        self._take_space(status.st_size, existing)
        return "copy", why

    def _take_space(self, size_bytes: int, folder: str) -> None:
        space = os.statvfs(folder)
        free = space.f_bavail * space.f_frsize - self._copied_bytes
        check_space(free, size_bytes, self._reserve_bytes, str(self._root))
        self._copied_bytes += size_bytes

    def _try(
        self, file: SourceFile, status: os.stat_result, existing: str, *, is_new: bool
    ) -> "_Trial":
        """Try to link and to clone a file, once for all files that are alike.

        A pool of folders may answer otherwise for each folder, and for a new one.
        """
        source = os.fspath(file.path)
        folder = os.path.dirname(source)  # noqa: PTH120 - one of thousands
        mounts = self._mount(folder), self._mount(existing)
        devices = status.st_dev, os.stat(existing).st_dev  # noqa: PTH116
        alike: tuple[object, ...] = (status.st_uid, status.st_mode, status.st_nlink)
        if any(mount is None or mount.kind.startswith("fuse") for mount in mounts):
            alike = (*alike, folder, existing, is_new)
        key = (*mounts, *devices, *alike)
        if key not in self._trials:
            with (
                open_folder(existing) as there,
                trial_folder(there) if is_new else nullcontext(there) as tried,
            ):
                error = link_error(source, tried) if self._links else None
                is_linked = self._links and error is None
                clones = not is_linked and can_clone(source, tried)
            self._trials[key] = _Trial(error, clones)
        return self._trials[key]

    def _mount(self, folder: str) -> Mount | None:
        if folder not in self._mounts:
            self._mounts[folder] = mount_of(Path(folder).resolve())
        return self._mounts[folder]


class _Trial(NamedTuple):
    """What refused a link, and whether a clone is possible where no link was made."""

    error: OSError | None
    clones: bool
