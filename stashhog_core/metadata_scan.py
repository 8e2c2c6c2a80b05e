"""Having Stash scan its library: the job `stash_scan`."""

import logging
import posixpath
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from stashhog_core.db.session import Database
from stashhog_core.db.stash_jobs import close_job
from stashhog_core.errors import ConfigurationError
from stashhog_core.params import StashScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import StashScanResult
from stashhog_core.server_job import (
    find_started,
    follow_to_end,
    is_cancellation,
    settle_cancelled,
    start,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

logger = logging.getLogger(__name__)

CANCELLED_MESSAGE = (
    "StashHog job cancelled (Stash server job continues to prevent data corruption)"
)
"""What a cancelled scan says about itself."""

_LABEL = "Metadata scan"


def scan(
    stash: StashClient,
    database: Database,
    params: StashScanParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
) -> StashScanResult:
    """Have Stash scan paths of its library, and wait until it is done.

    Cancelling never stops Stash: a scan that is cut off may corrupt its data.

    Args:
        stash: The server.
        database: Where the server job is noted.
        params: What to scan, and what to generate on the way.
        progress: Told how far Stash is.
        run_id: A run that is tried again under the same id follows its first scan.
        settings: Default paths, poll interval.

    Raises:
        ConfigurationError: A path lies outside Stash's library.
        JobError: The scan failed, or Stash forgot it.
        TransientError: Stash was away for too long.
    """
    start_time = datetime.now(UTC)
    try:
        server_job = find_started(stash, database, run_id=run_id, kind="scan")
        if server_job is None:
            paths = params.paths or settings.scan_paths
            check_inside(paths, stash.library_roots())
            logger.info("Starting Stash metadata scan of %s", ", ".join(paths))
            server_job = start(
                stash,
                database,
                lambda: stash.start_scan(scan_input(params, paths)),
                run_id=run_id,
                kind="scan",
            )
        job = follow_to_end(
            stash, database, server_job, progress, label=_LABEL, settings=settings
        )
        with database.transaction() as session:
            close_job(session, server_job.row_id, "finished")
    except BaseException as error:
        if is_cancellation(error):
            settle_cancelled(stash, database, run_id=run_id, kind="scan")
        raise
    # Without a single task Stash never gets to count, and leaves its progress null.
    message = (
        "Metadata scan completed"
        if job.progress is not None
        else "Metadata scan completed; Stash found no file there that it takes"
    )
    progress.update(1.0, message)
    return StashScanResult(
        stash_job_id=str(job.id),
        status="completed",
        message=message,
        start_time=start_time,
        end_time=datetime.now(UTC),
    )


def scan_input(params: StashScanParams, paths: Sequence[str]) -> dict[str, Any]:
    """Return the scan as Stash takes it."""
    flags = params.model_dump(by_alias=True, exclude={"paths"})
    return {"paths": list(paths), **flags}


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
                where=f"its folders are {', '.join(roots) or 'none'}",
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
