"""Waiting for changes in a folder, to start a scan when something has changed."""

import ctypes
import errno
import logging
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stashhog_core.errors import ConfigurationError
from stashhog_core.file_index.walk import is_video
from stashhog_core.paths import Mount, Mounts

MORE_WATCHES = "sudo sysctl -w fs.inotify.max_user_watches=1048576"
"""Raises the limit of watched folders until the next start of the machine."""

MORE_INSTANCES = "sudo sysctl -w fs.inotify.max_user_instances=1024"
"""Likewise raises the limit of programs that watch."""

# The kernel reports no change that another machine made.
_BLIND = ("nfs", "cifs", "smb", "fuse", "9p", "afs", "ceph", "gluster", "virtiofs")
_QUIET_SECONDS = 10.0
_POLL_SECONDS = 30.0
_CHECK_SECONDS = 1.0
# Where something is always being written, finished files wait no longer than this many
# quiet periods.
_MOST_PERIODS = 30
_POLLS_TO_BE_QUIET = 1.5

# Flags of Linux's notices.
_MODIFIED, _ATTRIBUTES, _WRITTEN = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATED, _DELETED = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _FORGOTTEN, _IS_FOLDER = 0x4000, 0x8000, 0x40000000

_CHANGES = (
    _MODIFIED | _ATTRIBUTES | _WRITTEN | _MOVED_FROM | _MOVED_TO | _CREATED | _DELETED
)
_ONLY_FOLDERS, _NO_LINKS, _NOT_UNLINKED = 0x1000000, 0x2000000, 0x4000000
_EVENT = struct.Struct("iIII")
_BUFFER_BYTES = 65536

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """A change of `name` in the folder with this number; `what` holds the flags above.

    Where the system had more to tell than it keeps, `what` is `_OVERFLOW` alone.
    """

    folder: int
    what: int
    name: str


class Notices:
    """What the system tells this program; a context manager.

    Raises:
        OSError: EMFILE: too many programs of this user watch already.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0:
            raise _last_error("inotify")

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)

    def watch(self, folder: str) -> int:
        """Watch a folder, without those below; return the number in its notices.

        Raises:
            OSError: ENOSPC: no watch is left for this user. Others are the folder's.
        """
        number: int = self._libc.inotify_add_watch(
            self._descriptor,
            os.fsencode(folder),
            _CHANGES | _ONLY_FOLDERS | _NO_LINKS | _NOT_UNLINKED,
        )
        if number < 0:
            raise _last_error(folder)
        return number

    def forget(self, folder: int) -> None:
        """Watch the folder with this number no longer."""
        self._libc.inotify_rm_watch(self._descriptor, folder)

    def read(self, timeout_seconds: float) -> Iterator[Notice]:
        """Yield the notices of the kernel; wait for the first if there is none yet."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLIN)
        if not ready.poll(timeout_seconds * 1000):
            return
        events = os.read(self._descriptor, _BUFFER_BYTES)
        place = 0
        while place < len(events):
            folder, what, _, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size
            name = events[place : place + length].rstrip(b"\0")
            place += length
            yield Notice(folder, what, os.fsdecode(name))


def _last_error(about: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), about)


def changes(
    folder: Path,
    stop: threading.Event,
    *,
    quiet_seconds: float = _QUIET_SECONDS,
    poll_seconds: float = _POLL_SECONDS,
    mounts: Callable[[], Mounts | None] = Mounts.now,
    notices: Callable[[], Notices] = Notices,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[int]:
    """Yield 0 once the folder is watched, then numbers of changed videos.

    Changes are told after a quiet period.

    Folders that cannot be read are left out. Links to folders are not followed, as in a
    scan. A folder that is replaced, mounted or unmounted counts as a change.

    Args:
        folder: Watched with all folders below; links resolved.
        stop: Ends it.
        quiet_seconds: Time without any change after which changes are reported.
        poll_seconds: Time between polls of file systems that report no changes.
        mounts: Returns what is mounted now.
        notices: Opens the system's notices.
        clock: Returns seconds, for the quiet period.

    Raises:
        ConfigurationError: The system's limit of watches is used up; says what to do.
    """
    pending = QuietPeriod(clock)
    check_seconds = min(_CHECK_SECONDS, quiet_seconds / 2)
    watched = _Watched(os.fspath(folder), poll_seconds, mounts, notices)
    try:
        watched.build()
        yield 0
        while not stop.is_set():
            pending.add(watched.next(check_seconds, stop))
            period = quiet_seconds
            if watched.is_polling:
                # Where the folder is polled, only two polls tell that it is quiet.
                period = max(period, _POLLS_TO_BE_QUIET * poll_seconds)
            if count := pending.take(period):
                yield count
    except OSError as error:
        raise _translated(error, folder) from error
    finally:
        watched.close()


def is_blind(mount: Mount | None) -> bool:
    """Tell whether the kernel does not report changes on a mount (NFS, FUSE, …)."""
    return mount is None or mount.kind.startswith(_BLIND)


class QuietPeriod:
    """Changes that are reported once none has come for long enough.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed_at: dict[str, float] = {}
        self._since = 0.0

    def add(self, paths: Iterable[str]) -> None:
        """Note changes that have come now."""
        now = self._clock()
        for path in paths:
            if not self._changed_at:
                self._since = now
            self._changed_at[path] = now

    def take(self, seconds: float) -> int:
        """Take out what is quiet: all of it, or what has waited for many periods."""
        now = self._clock()
        quiet = [p for p, at in self._changed_at.items() if now - at >= seconds]
        is_all = len(quiet) == len(self._changed_at)
        if not is_all and now - self._since < _MOST_PERIODS * seconds:
            return 0
        for path in quiet:
            del self._changed_at[path]
        if quiet:
            self._since = now
        return len(quiet)


_State = tuple[int, int, tuple[Mount | None, ...]]
"""Device and inode of the watched folder, and the mounts that concern it."""


class _Watched:
    """A tree: watched by notices of the system, and polled where there are none."""

    def __init__(
        self,
        root: str,
        poll_seconds: float,
        mounts: Callable[[], Mounts | None],
        notices: Callable[[], Notices],
    ) -> None:
        self._root = root
        self._poll_seconds = poll_seconds
        self._mounts = mounts
        self._open_notices = notices
        self._notices: Notices | None = None
        self._built: _State | None = None
        self._poll_at = self._check_at = 0.0
        self._blind: list[str] = []

    @property
    def is_polling(self) -> bool:
        return bool(self._blind)

    def close(self) -> None:
        if self._notices:
            self._notices.close()
            self._notices = None

    def next(self, timeout_seconds: float, stop: threading.Event) -> set[str]:
        """Return the videos and folders that have changed by then."""
        if self._built is None or time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + timeout_seconds
            if self._state() != self._built:
                self.close()
                self.build()
                return {self._root}
        changed: set[str] = set()
        if self._notices:
            for notice in self._notices.read(timeout_seconds):
                if notice.what & _OVERFLOW:
                    self._built = None
                else:
                    changed |= self._changed_by(notice)
        else:
            stop.wait(timeout_seconds)
        if self._blind and time.monotonic() >= self._poll_at:
            changed |= self._poll()
        return changed

    def _state(self) -> _State:
        """Return what must be the same for what is watched to be what is there."""
        try:
            facts = Path(self._root).stat()
        except OSError:
            return 0, 0, ()
        mounts = self._mounts()
        there = (
            (mounts.holding(self._root), *mounts.below(self._root)) if mounts else ()
        )
        return facts.st_dev, facts.st_ino, there

    def build(self) -> None:
        """Watch what is there now."""
        self._built = self._state()
        self._folders: dict[int, str] = {}
        self._blind = []
        self._seen: dict[str, tuple[int, int, int]] = {}
        mounts = self._mounts()
        self._at = {m.point: m for m in mounts.below(self._root)} if mounts else {}
        self._is_root_blind = sys.platform != "linux" or is_blind(
            mounts.holding(self._root) if mounts else None
        )
        if self._is_root_blind:
            self._blind.append(self._root)
        self._blind += [point for point, mount in self._at.items() if is_blind(mount)]
        watched = [point for point, mount in self._at.items() if not is_blind(mount)]
        if not self._is_root_blind:
            watched.append(self._root)
        if watched:
            self._notices = self._open_notices()
        for folder in watched:
            self._watch_tree(folder)
        self._poll()

    def _watch_tree(self, folder: str) -> set[str]:
        """Watch a folder and those below, up to other mounts; return its videos."""
        videos: set[str] = set()
        left = [folder]
        while left:
            current = left.pop()
            try:
                # Before it is listed: what comes meanwhile is seen twice, not never.
                number = self._notices.watch(current) if self._notices else 0
                self._folders[number] = current
                found, below = _listed(current)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    logger.warning("Could not watch %s: %s", current, error.strerror)
                continue
            videos.update(found)
            left += [path for path in below if path not in self._at]
        return videos

    def _changed_by(self, notice: Notice) -> set[str]:
        folder = self._folders.get(notice.folder)
        if notice.what & _FORGOTTEN:
            self._folders.pop(notice.folder, None)
            if folder == self._root or folder in self._at:
                # It was deleted. One that is made anew may have the same inode number.
                self._built = None
        if folder is None or not notice.name:
            return set()
        path = os.path.join(folder, notice.name)  # noqa: PTH118 - most of the work
        if not notice.what & _IS_FOLDER:
            return {path} if is_video(notice.name) else set()
        if notice.what & _MOVED_FROM:
            self._forget_tree(path)
            return {path}
        if notice.what & (_CREATED | _MOVED_TO):
            return self._watch_tree(path)
        return set()

    def _forget_tree(self, folder: str) -> None:
        below = folder + "/"
        for number, path in list(self._folders.items()):
            if path == folder or path.startswith(below):
                if self._notices:
                    self._notices.forget(number)
                del self._folders[number]

    def _poll(self) -> set[str]:
        """Poll the mounts without notices; return what has changed since last time."""
        now: dict[str, tuple[int, int, int]] = {}
        left = list(self._blind)
        while left:
            try:
                found, below = _listed(left.pop())
            except OSError:
                # It counts as changed when it can be read again.
                continue
            for path in found:
                try:
                    facts = os.lstat(path)
                except OSError:
                    continue
                now[path] = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            left += [path for path in below if path not in self._at]
        before = self._seen
        changed = {p for p in now.keys() | before.keys() if now.get(p) != before.get(p)}
        self._seen = now
        self._poll_at = time.monotonic() + self._poll_seconds
        return changed


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """Return the videos in a folder, and the folders; links to folders are not."""
    videos, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif is_video(entry.name):
                videos.append(entry.path)
    return videos, folders


def _translated(error: OSError, folder: Path) -> ConfigurationError:
    if error.errno == errno.ENOSPC:
        return _limit(folder, "watches of folders", MORE_WATCHES)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _limit(folder, "watching programs", MORE_INSTANCES)
    return ConfigurationError(
        "The folder cannot be watched",
        where=os.fspath(folder),
        remedy=error.strerror or str(error),
    )


def _limit(folder: Path, of_what: str, command: str) -> ConfigurationError:
    return ConfigurationError(
        f"This user has reached the system's limit of {of_what}",
        where=os.fspath(folder),
        remedy=f"raise the limit: {command}",
    )
