"""Have Stash scan its library and generate media, and check what it has made."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from stashhog_core.db.scenes import scene_titles
from stashhog_core.db.session import Database
from stashhog_core.downloads.in_stash import awaiting_scan, mark_scanned
from stashhog_core.errors import JobCancelled, StashHogError
from stashhog_core.health.checks import Checkup, require_ready
from stashhog_core.health.registry import CHECKS
from stashhog_core.markdown import scene_link, table
from stashhog_core.params import (
    CheckStashGenerateParams,
    StashAutoTagParams,
    StashBackupParams,
    StashCleanParams,
    StashGenerateParams,
    StashIdentifyParams,
    StashOptimiseParams,
    StashScanParams,
    SyncParams,
)
from stashhog_core.progress import Progress
from stashhog_core.report import counted
from stashhog_core.results import (
    CheckStashGenerateResult,
    ItemFailure,
    StashBackupResult,
    StashCleanResult,
    StashGenerateResult,
    StashJobResult,
    StashScanResult,
    StashTaskResult,
)
from stashhog_core.server_jobs.backup import back_up
from stashhog_core.server_jobs.clean import clean
from stashhog_core.server_jobs.generate import generate, scenes_to_generate
from stashhog_core.server_jobs.generate_request import with_profile
from stashhog_core.server_jobs.maintenance import auto_tag, identify, optimise
from stashhog_core.server_jobs.media_check import check_generate
from stashhog_core.server_jobs.preemption import preemptible, waiting_scan
from stashhog_core.server_jobs.scan import scan
from stashhog_core.stash.servers import server_settings
from tasks.cancellation import was_cancelled
from tasks.flow_runs import runs_going, runs_waiting
from tasks.prefect_api import display, prefect_client
from tasks.runtime import JOB_TASK, READ_TASK, Job, job_task, open_job
from tasks.sync import sync

logger = logging.getLogger("stashhog_core.stash_jobs")

URGENT = (
    "process_new_scenes",
    "process_downloads",
    "stash_scan",
    "stash_generate",
    "check_stash_generate",
)
"""Flows that go first: they use Stash, or lead to a scan."""

NOTHING_LACKING = "Skipped - No scenes without generated media"
NOTHING_MAKEABLE = (
    "Skipped - No scenes without generated media, except "
    "%s with media that Stash cannot make"
)
PREEMPTED = "Skipped - Preempted by a scan in Stash; generated media stays"

ChangedScenes = TypeVar("ChangedScenes", bound=StashTaskResult)
Outcome = TypeVar("Outcome")
JobOfStash = (
    StashScanParams
    | StashAutoTagParams
    | StashIdentifyParams
    | StashCleanParams
    | StashOptimiseParams
    | StashGenerateParams
)

SHOWN = 500
"""Scenes with new media that a run lists."""


@task(name="check_services", cache_policy=NO_CACHE)
def check_services() -> None:
    """Return if the database and Stash can be used; nothing is changed.

    Raises:
        ConfigurationError: One of them cannot, or Stash would not scan where the
            settings say; names the setting to mend.
    """
    with (
        open_job("check_services") as job,
        Checkup(job.settings, job.stash()) as checkup,
    ):
        for sentence in require_ready(checkup, CHECKS):
            logger.warning("%s", sentence)


@job_task(name="stash_scan", **JOB_TASK)
def stash_scan(params: StashScanParams = StashScanParams()) -> StashScanResult:
    """Scan and wait for the end. Cancelling it leaves Stash's own scan running."""
    with open_job("stash_scan") as job:
        placed = awaiting_scan(job.database)
        result = _in_stash(scan, job, params)
        if params.server is None and result.status == "completed":
            mark_scanned(job.database, placed)
    return result


@job_task(name="stash_auto_tag", **JOB_TASK)
def stash_auto_tag(
    params: StashAutoTagParams = StashAutoTagParams(),
) -> StashTaskResult:
    """Auto-tag, then sync the mirror; cancelling stops Stash's job."""
    with open_job("stash_auto_tag") as job:
        result = _in_stash(auto_tag, job, params)
    return _mirrored(result, "stash_auto_tag", params.server)


@job_task(name="stash_identify", **JOB_TASK)
def stash_identify(
    params: StashIdentifyParams = StashIdentifyParams(),
) -> StashTaskResult:
    """Identify by Stash's own task, then sync; cancelling stops Stash's job."""
    with open_job("stash_identify") as job:
        result = _in_stash(identify, job, params)
    return _mirrored(result, "stash_identify", params.server)


@job_task(name="stash_clean", **JOB_TASK)
def stash_clean(params: StashCleanParams = StashCleanParams()) -> StashCleanResult:
    """Look for gone files; if asked, have Stash remove them, then sync the mirror."""
    with open_job("stash_clean") as job:
        result = _in_stash(clean, job, params)
    if not result.removed:
        return result
    confirmed = params.confirm_removals
    return _mirrored(result, "stash_clean", params.server, confirmed=confirmed)


@job_task(name="stash_optimise", **JOB_TASK)
def stash_optimise(
    params: StashOptimiseParams = StashOptimiseParams(),
) -> StashJobResult:
    """Optimise Stash's database; cancelling stops Stash's job."""
    with open_job("stash_optimise") as job:
        return _in_stash(optimise, job, params)


@job_task(name="stash_backup", **JOB_TASK)
def stash_backup(params: StashBackupParams = StashBackupParams()) -> StashBackupResult:
    """Back up Stash's database; Stash goes on meanwhile."""
    with open_job("stash_backup") as job:
        return back_up(
            job.stash(params.server),
            job.progress,
            settings=server_settings(job.settings.stash, params.server),
        )


def _in_stash(
    work: Callable[..., Outcome],
    job: Job,
    params: JobOfStash,
    progress: Progress | None = None,
) -> Outcome:
    """Call what has a Stash server work, and waits for it, with what the job has."""
    return work(
        job.stash(params.server),
        job.database,
        params,
        progress or job.progress,
        run_id=job.run_id,
        settings=server_settings(job.settings.stash, params.server),
        was_cancelled=was_cancelled,
    )


def _mirrored(
    result: ChangedScenes, job: str, server: str | None, *, confirmed: bool = False
) -> ChangedScenes:
    """Return the result with what a sync has mirrored of the changes.

    What Stash has done is done: a sync that fails is an error of the result, and the
    next sync catches up. An additional server is not mirrored.
    """
    if server is not None:
        return result
    failed = None
    try:
        seen = sync(SyncParams(confirm_removals=confirmed), trigger=job, step=job)
    except StashHogError as error:
        failed = str(error)
    else:
        counts = {"scenes_created": seen.created, "scenes_updated": seen.updated}
        result = result.model_copy(update=counts)
        failed = seen.held
    if failed is None:
        return result
    failure = ItemFailure(item="the sync after the job", reason=failed)
    facts = {"status": "completed_with_errors", "errors": (*result.errors, failure)}
    return result.model_copy(update=facts)


@job_task(name="stash_generate", **JOB_TASK)
def stash_generate(
    params: StashGenerateParams = StashGenerateParams(),
) -> StashGenerateResult:
    """Generate, then mark the scenes that lacked media; cancelling stops Stash's job.

    An error or a cancellation leaves every `generated` flag as it was.
    """
    with open_job("stash_generate") as job:
        return _generate(job, params, job.progress)


@job_task(name="check_stash_generate", **JOB_TASK)
def check_stash_generate(
    params: CheckStashGenerateParams = CheckStashGenerateParams(),
) -> CheckStashGenerateResult:
    """Look for each scene's media; unmark what is incomplete, mark what is proven."""
    with open_job("check_stash_generate") as job:
        return check_generate(
            job.stash(params.server),
            job.database,
            params,
            job.progress,
            settings=job.settings.stash,
        )


@task(name="why_not_now", cache_policy=NO_CACHE, **READ_TASK)
def why_not_now(params: StashGenerateParams) -> str | None:
    """Return why the run must not generate now, in words; None: it may begin."""
    with open_job("why_not_now") as job:
        stash = job.stash(params.server)
        if (stash_job_id := waiting_scan(stash)) is not None:
            return f"Skipped - Stash is scanning (Stash job {stash_job_id})"
        with prefect_client() as client:
            going, _ = runs_going(client, flows=URGENT)
            others = going + runs_waiting(client, URGENT)
        if others:
            return f"Skipped - {others[0].name} has priority"
        if params.server or params.scene_ids or params.marker_ids:
            return None
        settings = job.settings.stash
        to_do, unmakeable = scenes_to_generate(
            stash, job.database, with_profile(params, settings), settings
        )
        if to_do:
            return None
        if unmakeable:
            return NOTHING_MAKEABLE % counted(len(unmakeable), "scene", "scenes")
        return NOTHING_LACKING


@job_task(name="auto_stash_generate", **JOB_TASK)
def auto_stash_generate(params: StashGenerateParams) -> StashGenerateResult:
    """Generate as `stash_generate` does; for a scan, Stash's job is stopped."""
    started = datetime.now(UTC)
    with (
        open_job("auto_stash_generate") as job,
        preemptible(job.stash(params.server), job.progress) as preemption,
    ):
        try:
            return _generate(job, params, preemption.progress)
        except JobCancelled:
            if not preemption.has_happened.is_set():
                raise
            return StashGenerateResult(
                job_id=job.run_id,
                stash_job_id=None,
                status="completed",
                start_time=started,
                end_time=datetime.now(UTC),
                gave_way=True,
            )


def _generate(
    job: Job, params: StashGenerateParams, progress: Progress
) -> StashGenerateResult:
    result = _in_stash(generate, job, params, progress)
    link_base = server_settings(job.settings.stash, params.server).link_base
    show_impacted_scenes(job.database, result.scenes_updated, link_base)
    return result


def show_impacted_scenes(
    database: Database, scene_ids: Sequence[str], link_base: str | None
) -> None:
    """Make a table of the first 500 scenes, each with its link to Stash."""
    if not scene_ids:
        return
    shown = [int(scene_id) for scene_id in scene_ids[:SHOWN]]
    with database.transaction() as session:
        titles = scene_titles(session, shown)
    rows = [
        {
            "id": scene_id,
            "scene": scene_link(
                titles.get(scene_id) or f"Scene {scene_id}", link_base, scene_id
            ),
        }
        for scene_id in shown
    ]
    with display("the table of scenes with new media"):
        create_markdown_artifact(
            table(rows),
            key="impacted-scenes",
            description=f"{len(scene_ids)} scenes have new media"
            + (f"; the first {SHOWN} are shown" if len(scene_ids) > SHOWN else ""),
        )
