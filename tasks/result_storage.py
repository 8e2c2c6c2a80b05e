"""The files in which Prefect keeps the results of tasks."""

import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from prefect.settings import get_current_settings

from stashhog_core.cleanup.findings import Findings
from stashhog_core.settings import Settings

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def close_folder_to_others(settings: Settings) -> None:
    """Let no other account of this machine enter the folder of the results.

    A run does so before it writes any result, so that no moment is left open.
    """
    folder = _folder(settings)
    if folder is None:
        return
    folder.mkdir(_PRIVATE_FOLDER, parents=True, exist_ok=True)
    if folder.stat().st_mode & _OF_OTHERS:
        folder.chmod(_PRIVATE_FOLDER)


def close_results_to_others(settings: Settings) -> None:
    """Let no other account of this machine read the results of tasks.

    They name files, scenes and people. Prefect writes them with the rights that any
    file gets. Each file is looked at, so a run does this once, at its end.
    """
    close_folder_to_others(settings)
    folder = _folder(settings)
    if folder is None:
        return
    for path, about in _files(folder):
        if about.st_mode & _OF_OTHERS:
            try:
                path.chmod(_PRIVATE_FILE)
            except FileNotFoundError:
                continue


def forget_old_results(
    settings: Settings, findings: Findings, *, now: datetime, dry_run: bool
) -> None:
    """Delete files of task results that no run needs any more."""
    folder = _folder(settings)
    if folder is None or not folder.is_dir():
        return
    days = max(settings.cleanup.reports_days, settings.cleanup.runs_days)
    before = (now - timedelta(days=days)).timestamp()
    old = [path for path, about in _files(folder) if about.st_mtime < before]
    if not dry_run:
        for path in old:
            path.unlink(missing_ok=True)
    findings.remove("result file", len(old), [path.name for path in old])


def _folder(settings: Settings) -> Path | None:
    """Return the folder of the results, there or not; None: it is not ours alone.

    Ours lies below STASHHOG_HOME; elsewhere it may be another project's as well.
    """
    folder = Path(get_current_settings().results.local_storage_path).expanduser()
    return folder if folder.resolve().is_relative_to(settings.home_folder) else None


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                # Another clean-up was faster.
                continue
            if stat.S_ISREG(about.st_mode):
                yield Path(entry.path), about
