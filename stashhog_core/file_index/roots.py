"""Which folders may be scanned."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from stashhog_core.errors import ConfigurationError

SETTING = "STASHHOG_LIBRARY__ALLOWED_SCAN_ROOTS"


def resolve_scan_folder(path: str, allowed_roots: Sequence[Path]) -> Path:
    """Return the real folder that `path` names, links resolved.

    Raises:
        ConfigurationError: It is no folder, or lies in none of the allowed roots.
    """
    folder = Path(os.path.realpath(path))
    if not folder.is_dir():
        raise ConfigurationError(
            f"The path {path} is not a directory",
            remedy="name a folder that exists and can be reached from here",
        )
    if not allowed_roots:
        raise ConfigurationError(
            f"The path {path} is not allowed: no scan root is",
            remedy=f"set {SETTING}, such as {json.dumps([str(folder)])}",
        )
    if not is_inside(folder, real_roots(allowed_roots)):
        raise ConfigurationError(
            f"The path {path} is not inside an allowed scan root",
            where=str(folder),
            remedy=f"{SETTING} allows "
            + ", ".join(str(root) for root in allowed_roots),
        )
    return folder


def real_roots(roots: Sequence[Path]) -> tuple[Path, ...]:
    """Return the roots with their links resolved."""
    return tuple(Path(os.path.realpath(root.expanduser())) for root in roots)


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Tell whether a resolved path is one of the resolved roots or lies in one."""
    return any(path == root or root in path.parents for root in roots)
