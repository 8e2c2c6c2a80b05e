"""Generate by schedule, when nothing more urgent is to be done."""

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.errors import JobCancelled
from stashhog_core.params import StashGenerateParams
from stashhog_core.report import counted
from stashhog_core.results import StashGenerateResult
from stashhog_core.server_jobs.generate import generate, scenes_to_generate
from stashhog_core.server_jobs.generate_request import with_profile
from stashhog_core.server_jobs.preemption import preemptible, waiting_scan
from stashhog_core.stash.servers import server_settings
from tasks.cancellation import was_cancelled
from tasks.flow_runs import runs_going, runs_waiting
from tasks.impacted_scenes import show_impacted_scenes
from tasks.prefect_api import prefect_client
from tasks.runtime import JOB_TASK, READ_TASK, job_task, open_job

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
    "Skipped - No scenes without generated media, but for %s that Stash cannot make"
)
PREEMPTED = "Skipped - Preempted by a scan in Stash; generated media stays"


@task(name="why_not_now", cache_policy=NO_CACHE, **READ_TASK)
def why_not_now(params: StashGenerateParams) -> str | None:
    """Return why the run must not generate now, in words; None: it may begin."""
    with open_job("why_not_now") as job, job.stash(params.server) as stash:
        if (scan := waiting_scan(stash)) is not None:
            return f"Skipped - Stash is scanning (its job {scan})"
        with prefect_client() as client:
            going, _ = runs_going(client, flows=URGENT)
            others = going + runs_waiting(client, URGENT)
        if others:
            return f"Skipped - {others[0].name} goes first"
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
    with open_job("auto_stash_generate") as job, job.stash(params.server) as stash:
        settings = server_settings(job.settings.stash, params.server)
        with preemptible(stash, job.progress) as preemption:
            try:
                result = generate(
                    stash,
                    job.database,
                    params,
                    preemption.progress,
                    run_id=job.run_id,
                    settings=settings,
                    was_cancelled=was_cancelled,
                )
            except JobCancelled:
                if not preemption.has_happened:
                    raise
                return StashGenerateResult(
                    job_id=job.run_id,
                    stash_job_id=None,
                    status="completed",
                    start_time=started,
                    end_time=datetime.now(UTC),
                    gave_way=True,
                )
        show_impacted_scenes(job.database, result.scenes_updated, settings.link_base)
    return result
