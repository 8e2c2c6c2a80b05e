"""Translating paths between machines that mount the same files elsewhere."""

from collections.abc import Mapping


class PathMap:
    """Rewrites a path by its longest matching prefix.

    Args:
        prefixes: Remote prefix → local prefix. Windows prefixes (D: and so on) match
            without regard to case and either slash.
    """

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = sorted(
            (
                (_normal(remote), local.rstrip("/") or "/")
                for remote, local in prefixes.items()
            ),
            key=lambda pair: len(pair[0]),
            reverse=True,
        )

    def to_local(self, path: str) -> str:
        """Return the local form of `path`; unchanged when no prefix matches."""
        normal = _normal(path)
        windows = _is_windows(path)
        for remote, local in self._prefixes:
            head = normal[: len(remote)]
            same = head.casefold() == remote.casefold() if windows else head == remote
            rest = normal[len(remote) :]
            if same and (not rest or rest.startswith("/") or remote.endswith("/")):
                return f"{local.rstrip('/')}/{rest.lstrip('/')}".rstrip("/") or "/"
        return path

    def to_remote(self, path: str) -> str:
        """Return the remote form of a local `path`; unchanged when none matches."""
        best: tuple[str, str] | None = None
        for remote, local in self._prefixes:
            inside = path == local or path.startswith(local.rstrip("/") + "/")
            if inside and (best is None or len(local) > len(best[1])):
                best = (remote, local)
        if best is None:
            return path
        rest = path[len(best[1].rstrip("/")) :]
        return (best[0].rstrip("/") + rest) or "/"


def _is_windows(path: str) -> bool:
    return "\\" in path or (len(path) > 1 and path[1] == ":")


def _normal(path: str) -> str:
    """Return `path` with forward slashes and no slash at its end."""
    if _is_windows(path):
        path = path.replace("\\", "/")
    return path.rstrip("/") or "/"
