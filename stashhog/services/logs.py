"""The logs of the services: files that programs append to, kept at a bounded size."""

import os
import shutil
from itertools import pairwise
from pathlib import Path

from stashhog_core.settings import Settings

LOG_LIMIT_BYTES = 10_000_000
"""A log that grew beyond it is put aside, as `<name>.1` and so on."""

KEPT_LOGS = 3
"""How many older ones are kept."""


def log_folder(settings: Settings) -> Path:
    """Return where the services' logs are."""
    return settings.home_folder / "logs"


def open_log(settings: Settings, name: str) -> int:
    """Open a service's log for appending; return its file descriptor."""
    folder = log_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.open(folder / f"{name}.log", flags, 0o600)


def rotate_logs(settings: Settings) -> None:
    """Put aside the logs of the services and of the embedded database that are full."""
    logs = list(log_folder(settings).glob("*.log"))
    for path in (*logs, settings.home_folder / "postgres" / "log"):
        rotate(path)


def rotate(
    path: Path, *, limit_bytes: int = LOG_LIMIT_BYTES, keep: int = KEPT_LOGS
) -> None:
    """Put a full log aside while programs go on appending to it.

    It is copied and emptied, not renamed: the programs hold it open and outlive whoever
    rotates it. A line written between the two is lost.
    """
    if not path.exists() or path.stat().st_size <= limit_bytes:
        return
    older = [path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1)]
    for newer, old in reversed(list(pairwise(older))):
        if newer.exists():
            newer.replace(old)
    shutil.copy2(path, older[0])
    os.truncate(path, 0)
