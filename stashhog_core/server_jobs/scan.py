"""Having Stash scan its library: the job `stash_scan`."""

import logging
import posixpath
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.params import StashScanParams, or_setting
from stashhog_core.paths import PathMap
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, StashScanResult
from stashhog_core.server_jobs.tracking import (
    JobForgottenError,
    WasCancelled,
    carry_out,
    never_cancelled,
    only_one,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)

_LABEL = "Metadata scan"
# Files looked for one by one after a scan whose end nobody saw.
_CHECKED_FILES = 200


def scan(
    stash: StashClient,
    database: Database,
    params: StashScanParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
    was_cancelled: WasCancelled = never_cancelled,
) -> StashScanResult:
    """Have Stash scan paths of its library, and wait until it is done.

    Cancelling never stops Stash: a scan that is cut off may corrupt its data. A run
    that is tried again under the same id follows its first scan. `settings` are those
    of the server that `params.server` names; `was_cancelled` tells whether a run that
    is gone was asked to stop.

    Raises:
        ConfigurationError: A path lies outside Stash's library.
        JobError: The scan failed, or was cancelled in Stash.
        TransientError: Stash was away for too long, or another run is at it.
    """
    start_time = datetime.now(UTC)
    server = params.server or ""
    paths = or_setting(params.paths, settings.scan_paths)

    def send() -> int:
        check_inside(paths, stash.library_roots())
        logger.info("Starting Stash metadata scan of %s", ", ".join(paths))
        return stash.start_job("scan", scan_input(params, paths))

    with only_one(database, "scan", server):
        try:
            job = carry_out(
                stash,
                database,
                send,
                progress,
                label=_LABEL,
                run_id=run_id,
                kind="scan",
                settings=settings,
                server=server,
                was_cancelled=was_cancelled,
            )
        except JobForgottenError as error:
            placed = []
            if params.server is None:
                with database.transaction() as session:
                    placed = _files_awaiting_scan(session, limit=_CHECKED_FILES)
            to_remote = PathMap(settings.path_map).to_remote
            return _verified(stash, list(map(to_remote, placed)), error, start_time)
    # Without a single task Stash never gets to count, and leaves its progress null.
    message = (
        "Metadata scan completed"
        if job.progress is not None
        else "Metadata scan completed; Stash found no file that it accepts"
    )
    progress.update(1.0, message)
    return StashScanResult(
        stash_job_id=str(job.id),
        status="completed",
        message=message,
        start_time=start_time,
        end_time=datetime.now(UTC),
    )


def _verified(
    stash: StashClient,
    paths: Sequence[str],
    error: JobForgottenError,
    start_time: datetime,
) -> StashScanResult:
    """Return the result of a scan whose end nobody saw, by what is in Stash now.

    What was placed for this scan and is known to Stash has been scanned. When there
    was nothing placed, as for an additional server, there is nothing to go by, and the
    scan counts as one with errors.
    """
    absent = [path for path in paths if not stash.has_file(path)]
    message = (
        f"{error.what}; of {len(paths)} placed files, {len(paths) - len(absent)} "
        "are in Stash"
    )
    logger.warning(message)
    return StashScanResult(
        stash_job_id=str(error.stash_job_id),
        status="completed" if paths and not absent else "completed_with_errors",
        message=message,
        start_time=start_time,
        end_time=datetime.now(UTC),
        errors=tuple(
            ItemFailure(item=path, reason="Stash does not have the file after the scan")
            for path in absent
        ),
    )


def scan_input(params: StashScanParams, paths: Sequence[str]) -> dict[str, Any]:
    """Return the scan as Stash takes it."""
    flags = params.model_dump(
        by_alias=True, exclude={"paths", "min_mod_time", "server"}
    )
    wire = {"paths": list(paths), **flags}
    if params.min_mod_time is not None:
        wire["filter"] = {"minModTime": params.min_mod_time.isoformat()}
    return wire


def check_inside(paths: Sequence[str], roots: Sequence[str]) -> None:
    """Make sure that every path is in Stash's library.

    Stash itself ends such a scan as finished, having done nothing.

    Raises:
        ConfigurationError: One is not; names it and the library's folders.
    """
    for path in paths:
        if not any(_is_inside(path, root) for root in roots):
            raise ConfigurationError(
                f"The path {path!r} is not in Stash's library",
                where=f"Stash's library folders are {', '.join(roots) or 'none'}",
                remedy="correct STASHHOG_STASH__SCAN_PATHS or the parameter `paths`, "
                "or add the folder in Stash under Settings, Library",
            )


def _is_inside(path: str, root: str) -> bool:
    return _pure(path).is_relative_to(_pure(root))


def _pure(path: str) -> PurePath:
    """Return the path by the rules of the server it is on, without dots."""
    if "\\" in path or path[1:2] == ":":
        return PureWindowsPath(posixpath.normpath(path.replace("\\", "/")))
    return PurePosixPath(posixpath.normpath(path))


def _files_awaiting_scan(session: Session, *, limit: int) -> list[str]:
    """Return local paths of placed videos that were not scanned yet, newest first."""
    query = (
        select(DownloadItem.target_path)
        .where(
            DownloadItem.state == "placed",
            DownloadItem.target_path.is_not(None),
            DownloadItem.oshash.is_not(None),
        )
        .order_by(DownloadItem.placed_at.desc().nulls_last())
        .limit(limit)
    )
    return [path for path in session.scalars(query) if path]
