"""The kernel's list of mounts: which one holds a path, and which lie below it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A file system, or a folder of one, at a place of the tree.

    `device` is the file system's number, `major:minor`, the same for all its mounts;
    `root` the folder of it that is shown, `kind` its type, such as `ext4`, `source`
    what was mounted: a device, an address, or any name.
    """

    id: int
    parent: int
    device: str
    root: str
    point: str
    kind: str
    source: str


class Mounts:
    """The mounts at one moment.

    Args:
        table: What `/proc/self/mountinfo` says. Names in it are bytes of any kind.
    """

    def __init__(self, table: bytes) -> None:
        mounts = list(_parsed(table))
        ids = {mount.id for mount in mounts}
        # A later mount at the same place hides the earlier one.
        self._roots = [m for m in mounts if m.parent not in ids or m.parent == m.id]
        self._at = {(m.parent, m.point): m for m in mounts if m not in self._roots}

    @classmethod
    def now(cls) -> "Mounts | None":
        """Return the mounts that this process sees; None: this system has no list."""
        try:
            return cls(MOUNTS.read_bytes())
        except OSError:
            return None

    def holding(self, path: str) -> Mount | None:
        """Return the mount that a path, links resolved, lies on."""
        found = None
        for root in self._roots:
            if root.point == "/" or path == root.point or _is_below(path, root.point):
                found = root
        place = ""
        for name in ["", *path.strip("/").split("/")]:
            place = f"{place.rstrip('/')}/{name}"
            while found and (deeper := self._at.get((found.id, place))):
                found = deeper
        return found

    def below(self, path: str) -> list[Mount]:
        """Return the mounts below a path, links resolved, that nothing hides."""
        return [
            mount
            for mount in self._at.values()
            if _is_below(mount.point, path) and self.holding(mount.point) == mount
        ]


def mount_of(path: str | os.PathLike[str]) -> Mount | None:
    """Return the mount that a path, links resolved, is on; None: unknown."""
    mounts = Mounts.now()
    return None if mounts is None else mounts.holding(os.fspath(path))


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/") and path != folder


def _parsed(table: bytes) -> Iterator[Mount]:
    # Only the line feed ends a line: names may hold any other separator.
    for line in os.fsdecode(table).split("\n"):
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kinds) < 2:
            continue
        yield Mount(
            int(fields[0]),
            int(fields[1]),
            fields[2],
            _unescaped(fields[3]),
            _unescaped(fields[4]),
            kinds[0],
            _unescaped(kinds[1]),
        )


def _unescaped(text: str) -> str:
    """Undo the kernel's way to write blanks, tabs, line feeds and backslashes."""
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), text)
