"""Bring approved changes to Stash."""

from stashhog_core.params import ApplyPlanParams
from stashhog_core.plans.apply import apply_plan as apply_to_stash
from stashhog_core.results import ApplyResult
from tasks.runtime import JOB_TASK, job_task, open_job


@job_task(name="apply_plan", **JOB_TASK)
def apply_plan(params: ApplyPlanParams) -> ApplyResult:
    """Apply a plan three-way: what changed in Stash meanwhile is left alone."""
    with open_job("apply_plan") as job, job.stash() as stash:
        return apply_to_stash(
            stash,
            job.database,
            params,
            job.progress,
            create_missing_tags=job.settings.analysis.create_missing_tags,
        )
