"""Analyse scenes into reviewable plans, one at a time or in mapped batches."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.analysis.job import analyze, unanalyzed_scene_ids
from stashhog_core.analysis.plan_lock import is_worked_on
from stashhog_core.analysis.plans import unapplied_plan_ids
from stashhog_core.params import AnalysisParams, ApplyPlanParams
from stashhog_core.results import AnalysisResult, BatchResult
from stashhog_core.workflow import in_batches
from tasks._runtime import JOB_TASK, READ_TASK, open_job
from tasks.apply_plan import apply_plan


@task(name="analysis", **JOB_TASK)
def analysis(params: AnalysisParams = AnalysisParams()) -> AnalysisResult:
    """Propose changes; nothing is changed in Stash."""
    with open_job("analysis") as job, job.stash() as stash:
        return analyze(
            job.settings, stash, job.database, params, job.progress, run_id=job.run_id
        )


@task(name="plan_batches", **JOB_TASK)
def plan_batches(batch_size: int | None = None) -> list[list[int]]:
    """Return the ids of all scenes not yet video-analysed, newest first, in batches.

    The result is kept, so that a resumed run goes on with the same batches.
    """
    with open_job("plan_batches") as job:
        size = batch_size or job.settings.analysis.batch_size
        with job.database.transaction() as session:
            return in_batches(unanalyzed_scene_ids(session), size)


@task(name="unapplied_plans", cache_policy=NO_CACHE, **READ_TASK)
def unapplied_plans() -> list[int]:
    """Return the plans that a run which died has approved but not applied.

    Their scenes count as analysed, so nothing else would bring these changes to Stash.
    """
    with open_job("unapplied_plans") as job:
        with job.database.transaction() as session:
            plan_ids = unapplied_plan_ids(session)
        return [id_ for id_ in plan_ids if not is_worked_on(job.database, id_)]


@task(name="apply_leftover", task_run_name="apply plan {plan_id}", **JOB_TASK)
def apply_leftover(plan_id: int) -> BatchResult:
    """Apply what an earlier run left."""
    outcome = apply_plan(ApplyPlanParams(plan_id=plan_id))
    return BatchResult(
        batch_num=0,
        changes_applied=outcome.applied + outcome.already,
        errors=tuple(f"{error.item}: {error.reason}" for error in outcome.errors),
    )


@task(name="analysis_batch", task_run_name="analysis batch {batch_num}", **JOB_TASK)
def analysis_batch(scene_ids: list[int], batch_num: int) -> BatchResult:
    """Analyse a batch, approve all it proposes, and apply that to Stash."""
    found = analysis(
        AnalysisParams(
            scene_ids=tuple(scene_ids),
            plan_name=f"Video Tags Analysis - Batch {batch_num} - "
            f"{len(scene_ids)} scenes",
            auto_approve=True,
        )
    )
    errors = [f"{error.item}: {error.reason}" for error in found.errors]
    applied = 0
    if found.plan_id is not None:
        outcome = apply_plan(ApplyPlanParams(plan_id=found.plan_id))
        applied = outcome.applied + outcome.already
        errors += [f"{error.item}: {error.reason}" for error in outcome.errors]
    return BatchResult(
        batch_num=batch_num,
        scenes_analyzed=found.scenes_analyzed,
        changes_approved=found.changes_approved,
        changes_applied=applied,
        errors=tuple(errors),
    )
