"""Analyze scenes into reviewable plans, one at a time or in mapped batches."""

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import task
from prefect.cache_policies import DEFAULT, NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import task_run
from prefect.states import Completed

from stashhog_core.batches import batched
from stashhog_core.detection.job import analyze, next_scenes, unanalyzed_scene_ids
from stashhog_core.errors import Deferred
from stashhog_core.markdown import plan_address
from stashhog_core.params import AnalysisParams, ApplyPlanParams, or_setting
from stashhog_core.plans.plans import is_worked_on, read_plan
from stashhog_core.plans.records import unapplied_plan_ids
from stashhog_core.results import AnalysisResult, BatchResult
from stashhog_core.settings import get_settings
from stashhog_core.workflow import TIME_IS_OVER, JobDeferred, deferred_result
from tasks.flow_runs import runs_going
from tasks.plans import apply_plan
from tasks.prefect_api import announce, prefect_client
from tasks.runtime import JOB_TASK, READ_TASK, job_task, open_job

ANALYSIS_FLOWS = ("process_new_scenes", "analysis")
"""Flows that analyze scenes themselves: two at the same would do it twice."""

_FAILURES_COUNT_FOR = timedelta(days=1)


@job_task(name="analysis", **JOB_TASK)
def analysis(
    params: AnalysisParams = AnalysisParams(), deadline: datetime | None = None
) -> AnalysisResult:
    """Propose changes; nothing is changed in Stash.

    Args:
        params: Which scenes, and what to propose.
        deadline: When to begin no further scene; None: `params` says after how long.
    """
    with open_job("analysis") as job:
        result = analyze(
            job.settings,
            job.stash(),
            job.database,
            params,
            job.progress,
            run_id=job.run_id,
            deadline=deadline,
        )
    if result.plan_id is not None:
        page = plan_address(job.settings.web.link_base, result.plan_id)
        announce(
            "analysis.completed",
            {"plan_id": result.plan_id, "page": page},
            review="no" if params.auto_approve else "yes",
        )
    return result


def kinds_of_settings() -> dict[str, bool]:
    """Return what the settings have the jobs propose that take no such parameters."""
    settings = get_settings().analysis
    return {
        "detect_performers": settings.detect_performers,
        "detect_studios": settings.detect_studios,
        "detect_details": settings.detect_details,
        "detect_fingerprints": settings.detect_fingerprints,
    }


@task(name="plan_batches", **JOB_TASK)
def plan_batches(batch_size: int | None = None) -> list[list[int]]:
    """Return the ids of all scenes not yet video-analyzed, newest first, in batches.

    The result is kept, so that a resumed run goes on with the same batches.
    """
    with open_job("plan_batches") as job:
        size = or_setting(batch_size, job.settings.analysis.batch_size)
        with job.database.transaction() as session:
            return list(batched(unanalyzed_scene_ids(session), size))


@task(name="unapplied_plans", cache_policy=NO_CACHE, **READ_TASK)
def unapplied_plans() -> list[int]:
    """Return the plans with changes that an earlier run approved but did not apply.

    That run died, or Stash refused the changes. Their scenes count as analyzed, so
    nothing else would bring the changes to Stash. A run that is resumed goes on with
    its own plans by itself, in their batches.
    """
    with open_job("unapplied_plans") as job:
        with job.database.transaction() as session:
            plan_ids = [
                id_
                for id_ in unapplied_plan_ids(session)
                if read_plan(session, id_).run_id != job.run_id
            ]
        return [id_ for id_ in plan_ids if not is_worked_on(job.database, id_)]


@job_task(name="apply_leftover", task_run_name="apply plan {plan_id}", **JOB_TASK)
def apply_leftover(plan_id: int) -> BatchResult:
    """Apply what an earlier run left."""
    outcome = apply_plan(ApplyPlanParams(plan_id=plan_id))
    return BatchResult(
        batch_num=0,
        job_id=task_run.get_id(),
        plan_id=plan_id,
        changes_applied=outcome.applied,
        changes_already=outcome.already,
        errors=tuple(f"{error.item}: {error.reason}" for error in outcome.errors),
    )


@job_task(
    name="analysis_batch",
    task_run_name="analysis batch {batch_num}",
    # A run that is resumed has another deadline, and the same finished batches.
    cache_policy=DEFAULT - "deadline",
    **JOB_TASK,
)
def analysis_batch(
    scene_ids: list[int],
    batch_num: int,
    *,
    auto_approve: bool = True,
    deadline: datetime | None = None,
) -> BatchResult | State[Any]:
    """Analyze a batch, approve all it proposes, and apply that to Stash.

    Args:
        scene_ids: The scenes.
        batch_num: The batch's number, from 1.
        auto_approve: Whether to approve and to apply; if not, the plan is for review.
        deadline: When to begin no further scene; a batch that comes later is skipped.

    Raises:
        JobDeferred: The AI server is away; what was finished by then is applied. It is
            raised and not returned: a result is kept, and a run that is resumed would
            take the batch for finished.
    """
    if deadline is not None and datetime.now(UTC) >= deadline:
        left = BatchResult(
            batch_num=batch_num, job_id=task_run.get_id(), scenes_left=len(scene_ids)
        )
        return Completed(name="Skipped", message=TIME_IS_OVER, data=left)
    try:
        found = analysis(
            AnalysisParams(
                scene_ids=tuple(scene_ids),
                plan_name=f"Video Tags Analysis - Batch {batch_num} - "
                f"{len(scene_ids)} scenes",
                auto_approve=auto_approve,
                **kinds_of_settings(),
            ),
            deadline,
        )
    except Deferred as error:
        found = deferred_result(error)
    errors = [f"{error.item}: {error.reason}" for error in found.errors]
    applied = already = 0
    if found.plan_id is not None and auto_approve:
        outcome = apply_plan(ApplyPlanParams(plan_id=found.plan_id))
        applied, already = outcome.applied, outcome.already
        errors += [f"{error.item}: {error.reason}" for error in outcome.errors]
    unseen = len(scene_ids) - found.scenes_analyzed - len(found.errors)
    result = BatchResult(
        batch_num=batch_num,
        job_id=task_run.get_id(),
        plan_id=found.plan_id,
        scenes_analyzed=found.scenes_analyzed,
        scenes_left=found.scenes_left,
        # A server that was away from the start was asked for no scene at all.
        scenes_deferred=unseen if found.deferred else 0,
        deferred=found.deferred,
        changes_approved=found.changes_approved,
        changes_applied=applied,
        changes_already=already,
        errors=tuple(errors),
    )
    if found.deferred:
        raise JobDeferred(found.deferred, result)
    return result


@task(name="scenes_to_analyze", cache_policy=NO_CACHE, **READ_TASK)
def scenes_to_analyze(size: int) -> list[int]:
    """Return the newest scenes not yet video-analyzed; those that failed come last."""
    with open_job("scenes_to_analyze") as job, job.database.transaction() as session:
        return next_scenes(
            session, size, failed_since=datetime.now(UTC) - _FAILURES_COUNT_FOR
        )


@task(name="analysis_under_way", cache_policy=NO_CACHE, **READ_TASK)
def analysis_under_way() -> str | None:
    """Return the name of a run that analyzes scenes; None: there is none."""
    with prefect_client() as client:
        alive, _ = runs_going(client, flows=ANALYSIS_FLOWS)
    return alive[0].name if alive else None
