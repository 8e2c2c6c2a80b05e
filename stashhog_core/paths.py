"""Paths: which are hidden, and where another machine mounts the same files."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_WINDOWS = re.compile(r"[A-Za-z]:($|[\\/])|\\\\")


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden.

    Two or more dots begin a title, such as `...And Justice.mp4`.
    """
    return name.startswith(".") and not name.startswith("..")


def is_in_hidden(path: str) -> bool:
    """Tell whether any part of a path (with `/`) is hidden."""
    return "." in path and any(map(is_hidden, path.split("/")))


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
