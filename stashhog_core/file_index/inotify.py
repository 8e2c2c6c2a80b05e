"""Linux's notices of changes in folders, one folder at a time."""

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass

MODIFIED, ATTRIBUTES, WRITTEN = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATED, DELETED = 0x40, 0x80, 0x100, 0x200
OVERFLOW, FORGOTTEN, IS_FOLDER = 0x4000, 0x8000, 0x40000000

_CHANGES = MODIFIED | ATTRIBUTES | WRITTEN | MOVED_FROM | MOVED_TO | CREATED | DELETED
_ONLY_FOLDERS, _NO_LINKS, _NOT_UNLINKED = 0x1000000, 0x2000000, 0x4000000
_EVENT = struct.Struct("iIII")
_BUFFER_BYTES = 65536


@dataclass(frozen=True)
class Notice:
    """A change of `name` in the folder with this number; `what` holds the flags above.

    Where the system had more to tell than it keeps, `what` is `OVERFLOW` alone.
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
        """Yield what is told, waiting for the first notice if there is none yet."""
        ready = select.poll()
        ready.register(self._descriptor, select.POLLIN)
        if not ready.poll(timeout_seconds * 1000):
            return
        told = os.read(self._descriptor, _BUFFER_BYTES)
        place = 0
        while place < len(told):
            folder, what, _, length = _EVENT.unpack_from(told, place)
            place += _EVENT.size
            name = told[place : place + length].rstrip(b"\0")
            place += length
            yield Notice(folder, what, os.fsdecode(name))


def _last_error(about: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), about)
