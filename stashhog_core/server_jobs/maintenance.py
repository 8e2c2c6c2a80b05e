"""Stash's own tasks: auto-tagging, identifying, and optimising its database.

Stash gives no counts, and ends these jobs as finished whatever became of the scenes.
The result therefore repeats what Stash's log says of failures.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.params import (
    StashAutoTagParams,
    StashIdentifyParams,
    StashOptimiseParams,
    or_setting,
)
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, StashJobResult, StashTaskResult
from stashhog_core.server_jobs.log import failures_since
from stashhog_core.server_jobs.scan import check_inside
from stashhog_core.server_jobs.tracking import (
    WasCancelled,
    carry_out,
    never_cancelled,
    only_one,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Job

logger = logging.getLogger(__name__)

_ALL = ["*"]
_CREATED = ("performers", "studio", "tags")


def auto_tag(
    stash: StashClient,
    database: Database,
    params: StashAutoTagParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
    was_cancelled: WasCancelled = never_cancelled,
) -> StashTaskResult:
    """Have Stash add the tags, performers and studios that paths name, and wait.

    Cancelling stops Stash's job; what Stash has added by then stays.

    Raises:
        ConfigurationError: A path lies outside Stash's library.
        JobError: The job was cancelled in Stash, or Stash forgot the job.
        TransientError: Stash was away for too long, or another run is at it.
    """
    paths = or_setting(params.paths, settings.scan_paths)
    asked = {
        "paths": list(paths),
        "performers": _ALL if params.performers else [],
        "studios": _ALL if params.studios else [],
        "tags": _ALL if params.tags else [],
    }
    started = datetime.now(UTC)

    def send() -> int:
        check_inside(paths, stash.library_roots())
        logger.info("Starting Stash auto-tagging of %s", ", ".join(paths))
        return stash.start_job("auto_tag", asked)

    with only_one(database, "auto_tag", params.server or ""):
        job = carry_out(
            stash,
            database,
            send,
            progress,
            label="Auto-tagging",
            run_id=run_id,
            kind="auto_tag",
            settings=settings,
            server=params.server or "",
            asked=asked,
            was_cancelled=was_cancelled,
        )
    done = "Auto-tagging completed"
    return StashTaskResult(**_facts(stash, job, progress, started, done))


def identify(
    stash: StashClient,
    database: Database,
    params: StashIdentifyParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
    was_cancelled: WasCancelled = never_cancelled,
) -> StashTaskResult:
    """Have Stash identify scenes at its stash-boxes and write what it finds, and wait.

    Cancelling stops Stash's job; what Stash has written by then stays. All options are
    sent: what Stash takes for options that are left out is not what its schema says.

    Raises:
        ConfigurationError: A path lies outside Stash's library, or Stash does not know
            a stash-box.
        JobError: The job failed, was cancelled in Stash, or Stash forgot the job.
        TransientError: Stash was away for too long, or another run is at it.
    """
    started = datetime.now(UTC)
    endpoints = _endpoints(stash, params.endpoints)
    wanted = list(params.scene_ids or ())
    # Stash fails in the middle at an id that it does not know.
    unknown = sorted(set(wanted) - stash.existing_scene_ids(wanted)) if wanted else []
    failures = tuple(
        ItemFailure(item=f"scene {scene_id}", reason="Stash does not have this scene")
        for scene_id in unknown
    )
    asked: dict[str, Any] = {
        "sources": [{"source": {"stash_box_endpoint": e}} for e in endpoints],
        "options": _options(params),
    }
    known = [str(scene_id) for scene_id in wanted if scene_id not in unknown]
    paths = or_setting(params.paths, settings.scan_paths)
    if wanted and not known:
        raise ConfigurationError(
            "Stash has none of the given scenes",
            where=stash.address,
            remedy="correct the parameter `sceneIDs`",
        )
    asked |= {"sceneIDs": known} if known else {"paths": list(paths)}

    def send() -> int:
        if not known:
            check_inside(paths, stash.library_roots())
        logger.info("Starting Stash's identifying at %s", ", ".join(endpoints))
        return stash.start_job("identify", asked)

    with only_one(database, "identify", params.server or ""):
        job = carry_out(
            stash,
            database,
            send,
            progress,
            label="Identifying",
            run_id=run_id,
            kind="identify",
            settings=settings,
            server=params.server or "",
            asked=asked,
            was_cancelled=was_cancelled,
        )
    done = "Identifying completed"
    return StashTaskResult(**_facts(stash, job, progress, started, done, failures))


def optimise(
    stash: StashClient,
    database: Database,
    params: StashOptimiseParams,
    progress: Progress,
    *,
    run_id: str,
    settings: StashSettings,
    was_cancelled: WasCancelled = never_cancelled,
) -> StashJobResult:
    """Have Stash optimise its database, and wait. Cancelling stops Stash's job.

    Raises:
        JobError: The job failed, was cancelled in Stash, or Stash forgot the job.
        TransientError: Stash was away for too long, or another run is at it.
    """
    started = datetime.now(UTC)
    with only_one(database, "optimise", params.server or ""):
        job = carry_out(
            stash,
            database,
            lambda: stash.start_job("optimise"),
            progress,
            label="Optimising the database",
            run_id=run_id,
            kind="optimise",
            settings=settings,
            server=params.server or "",
            was_cancelled=was_cancelled,
        )
    done = "Optimising completed"
    return StashJobResult(**_facts(stash, job, progress, started, done))


def _facts(
    stash: StashClient,
    job: Job,
    progress: Progress,
    started: datetime,
    message: str,
    failures: tuple[ItemFailure, ...] = (),
) -> Mapping[str, Any]:
    """Return the fields of a job's result."""
    errors = (*failures, *failures_since(stash, job.add_time))
    if not errors and not job.progress:
        # Stash never counted anything.
        message = f"{message}; Stash found nothing to do"
    progress.update(1.0, message)
    return {
        "stash_job_id": str(job.id),
        "status": "completed_with_errors" if errors else "completed",
        "message": message,
        "start_time": started,
        "end_time": datetime.now(UTC),
        "errors": errors,
    }


def _endpoints(stash: StashClient, wanted: tuple[str, ...]) -> list[str]:
    """Return the stash-boxes to ask, in order.

    Raises:
        ConfigurationError: Stash does not know one of them, or knows none at all.
    """
    known = stash.stash_boxes()
    folded = {endpoint.casefold() for endpoint in known}
    for endpoint in wanted:
        if endpoint.casefold() not in folded:
            raise ConfigurationError(
                f"Stash knows no stash-box {endpoint}",
                where=f"Stash's stash-boxes are {', '.join(known) or 'none'}",
                remedy="add the stash-box in Stash under Settings, Metadata Providers, "
                "or correct the parameter `endpoints`",
            )
    if not known:
        raise ConfigurationError(
            "Stash knows no stash-box",
            where=stash.address,
            remedy="add a stash-box in Stash under Settings, Metadata Providers",
        )
    return list(wanted) or known


def _options(params: StashIdentifyParams) -> dict[str, Any]:
    strategies = {
        "url" if field == "urls" else field: strategy
        for strategy, fields in (
            ("OVERWRITE", params.overwrite),
            ("IGNORE", params.ignore),
        )
        for field in fields
    }
    options: list[dict[str, Any]] = [
        {
            "field": field,
            "strategy": strategies.pop(field, "MERGE"),
            "createMissing": field in params.create_missing,
        }
        for field in _CREATED
    ]
    options += [{"field": f, "strategy": s} for f, s in strategies.items()]
    return {
        "fieldOptions": options,
        "setCoverImage": params.set_cover_image,
        "setOrganized": params.set_organized,
        "includeMalePerformers": params.include_male_performers,
        "skipMultipleMatches": params.skip_multiple_matches,
        "skipSingleNamePerformers": params.skip_single_name_performers,
    }
