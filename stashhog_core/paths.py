"""Paths: hidden names, names that are not UTF-8, paths of other machines, mounts."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_ODD_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as `os` functions give it."""

_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")
_ESCAPED_TEXT = re.compile(r"\\(\\|x[0-9a-f]{2})")
_CONTROL = re.compile("[\0-\x1f\x7f]")
_WINDOWS = re.compile(r"[A-Za-z]:($|[\\/])|\\\\")
MOUNTS = Path("/proc/self/mountinfo")
"""The kernel's list of mounts."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden.

    Two or more dots begin a title, such as `...And Justice.mp4`.
    """
    return name.startswith(".") and not name.startswith("..")


def is_in_hidden(path: str) -> bool:
    """Tell whether any part of a path (with `/`) is hidden."""
    return "." in path and any(map(is_hidden, path.split("/")))


def printable(text: str) -> str:
    r"""Return a name or path as plain Unicode on one line, for reports and the ledger.

    Bytes that are not UTF-8 become `\xff`, control characters `\x0a`.
    """
    if text.isprintable():
        return text
    plain = _escape_bytes(text)
    # Half a character, as JSON may hold one.
    plain = plain.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", plain)


def from_printable(text: str) -> Path:
    """Return the path that `printable` was given.

    A name that really holds the four characters of such an escape is not told apart,
    unless a file of that name exists.
    """
    path = Path(text)
    if "\\x" not in text or path.exists():
        return path
    return Path(_ESCAPED_BYTE.sub(lambda found: _byte(found[1]), text))


def has_control_character(name: str) -> bool:
    """Tell whether a name holds one, such as a line break."""
    return not name.isprintable() and _CONTROL.search(name) is not None


def to_text(path: str) -> str:
    r"""Return the text of a path in a form that `from_text` always turns back.

    Bytes that are not UTF-8 become `\xff`, a backslash becomes two.

    Args:
        path: As `os` functions give it.
    """
    return _escape_bytes(path.replace("\\", "\\\\"))


def from_text(text: str) -> str:
    """Return the path, as `os` functions take it, that `to_text` was given."""
    return _ESCAPED_TEXT.sub(
        lambda found: "\\" if found[1] == "\\" else _byte(found[1][1:]), text
    )


def to_bytes(text: str) -> bytes:
    """Return the bytes of the path that `to_text` was given."""
    return os.fsencode(from_text(text))


def _escape_bytes(text: str) -> str:
    return _ODD_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)


def _byte(digits: str) -> str:
    return chr(0xDC00 + int(digits, 16))


class _Prefix(NamedTuple):
    remote: str
    local: str
    separator: str


class PathMap:
    r"""Rewrites a path by its longest matching prefix.

    Args:
        prefixes: Remote prefix → local prefix. Windows prefixes (`D:`, `\\nas`) match
            without regard to case and either slash.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = sorted(
            (
                _Prefix(_normal(remote), local.rstrip("/") or "/", _separator(remote))
                for remote, local in prefixes.items()
            ),
            key=lambda prefix: len(prefix.remote),
            reverse=True,
        )

    def to_local(self, path: str) -> str:
        """Return the local form of `path`; unchanged when no prefix matches."""
        normal = _normal(path)
        windows = _is_windows(path)
        for remote, local, _ in self._prefixes:
            head = normal[: len(remote)]
            same = head.casefold() == remote.casefold() if windows else head == remote
            rest = normal[len(remote) :]
            if same and (not rest or rest.startswith("/") or remote.endswith("/")):
                return f"{local.rstrip('/')}/{rest.lstrip('/')}".rstrip("/") or "/"
        return path

    def to_remote(self, path: str) -> str:
        """Return the remote form of a local `path`; unchanged when it has none.

        A path that another prefix hides has none: with `/a` → `/x` and `/a/b` → `/y`,
        the remote `/a/b/c` is `/y/c`, so that `/x/b/c` cannot be named remotely.
        """
        path = path.rstrip("/") or "/"
        for remote, local, separator in sorted(
            self._prefixes, key=lambda prefix: len(prefix.local), reverse=True
        ):
            if path != local and not path.startswith(local.rstrip("/") + "/"):
                continue
            rest = path[len(local.rstrip("/")) :]
            candidate = (remote.rstrip("/") + rest).rstrip("/") or "/"
            candidate = candidate.replace("/", separator)
            if self.to_local(candidate) == path:
                return candidate
        return path


def is_below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or lies below it, both of one machine."""
    is_windows = _is_windows(folder)
    path, folder = _normal(path), _normal(folder)
    if is_windows:
        path, folder = path.casefold(), folder.casefold()
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_windows(path: str) -> bool:
    # A backslash alone proves nothing: on Linux it is a letter like any other.
    return _WINDOWS.match(path) is not None


def _separator(remote: str) -> str:
    """Return what the remote machine writes between names."""
    return "\\" if _is_windows(remote) and "/" not in remote else "/"


def _normal(path: str) -> str:
    """Return `path` with forward slashes and no slash at its end."""
    if _is_windows(path):
        path = path.replace("\\", "/")
    return path.rstrip("/") or "/"


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
