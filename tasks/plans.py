"""Review plans of proposed changes, bring them to Stash, and take them back."""

from collections import Counter
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from stashhog_core.errors import JobError, TransientError
from stashhog_core.markdown import cells, plan_link, table
from stashhog_core.params import (
    ApplyPlanParams,
    AutoPlanApplyParams,
    ReviewPlanParams,
    UndoParams,
)
from stashhog_core.plans.apply import apply_plan as apply_to_stash
from stashhog_core.plans.decisions import decide
from stashhog_core.plans.plans import change_rows, is_worked_on, value_rows
from stashhog_core.plans.records import OpenPlan, applicable_plans
from stashhog_core.plans.undo import undo
from stashhog_core.results import (
    AppliedChanges,
    ApplyResult,
    AutoApplyResult,
    ItemFailure,
    ReviewResult,
    UndoResult,
)
from tasks.flow_runs import runs_going
from tasks.prefect_api import display, prefect_client
from tasks.runtime import JOB_TASK, READ_TASK, job_task, open_job

_COUNTS = AppliedChanges.model_fields.keys() - {"status", "errors"}


@job_task(name="apply_plan", **JOB_TASK)
def apply_plan(params: ApplyPlanParams) -> ApplyResult:
    """Apply a plan three-way: what changed in Stash meanwhile is left alone."""
    with open_job("apply_plan") as job:
        return apply_to_stash(
            job.stash(),
            job.database,
            params,
            job.progress,
            create_missing_tags=job.settings.analysis.create_missing_tags,
            settings=job.settings.stash,
        )


@job_task(name="undo_plan", **JOB_TASK)
def undo_plan(params: UndoParams) -> UndoResult:
    """Undo three-way: what was changed in Stash since is left alone."""
    with open_job("undo_plan") as job:
        return undo(job.stash(), job.database, params, job.progress)


@job_task(name="review_plan", cache_policy=NO_CACHE, **READ_TASK)
def review_plan(params: ReviewPlanParams) -> ReviewResult:
    """Accept, reject or replace changes; then list the plan as tables."""
    with open_job("review_plan") as job:
        with job.database.transaction() as session:
            outcome = decide(session, params)
        link_base = job.settings.stash.link_base
        page = plan_link(
            "Review the plan in the browser", job.settings.web.link_base, params.plan_id
        )
        with job.database.transaction() as session:
            by_value = value_rows(session, params.plan_id)
            changes = change_rows(session, params.plan_id, link_base)
    with display(f"plan {params.plan_id} by value"):
        create_table_artifact(
            cells(by_value),
            key=f"plan-{params.plan_id}-values",
            description=f"Plan {params.plan_id} by value. {page}",
        )
    with display(f"the changes of plan {params.plan_id}"):
        create_markdown_artifact(
            table(changes),
            key=f"plan-{params.plan_id}-changes",
            description=f"Plan {params.plan_id}: changes with their evidence. {page}",
        )
    if not params.apply:
        return outcome
    applied = apply_plan(ApplyPlanParams(plan_id=params.plan_id))
    return outcome.model_copy(
        update={
            "status": applied.status,
            "applied": applied.applied + applied.already,
            "errors": applied.errors,
        }
    )


@task(name="plans_to_apply", cache_policy=NO_CACHE, **READ_TASK)
def plans_to_apply(params: AutoPlanApplyParams) -> list[int]:
    """Return the plans with changes to apply, oldest first.

    Plans that a living run has made or works on are left to it.
    """
    with open_job("plans_to_apply") as job:
        with job.database.transaction() as session:
            plans = applicable_plans(
                session,
                params.plan_prefix_filter,
                with_pending=params.auto_approve_all_changes,
            )
        busy = _makers_alive(plans)
        return [
            plan.id
            for plan in plans
            if plan.run_id not in busy and not is_worked_on(job.database, plan.id)
        ]


@job_task(name="auto_plan_apply", cache_policy=NO_CACHE)
def auto_plan_apply(
    plan_ids: list[int], params: AutoPlanApplyParams
) -> AutoApplyResult:
    """Apply these plans one after the other; one that fails stops no other."""
    counts: Counter[str] = Counter()
    errors: list[ItemFailure] = []
    for plan_id in plan_ids:
        try:
            result = apply_plan(
                ApplyPlanParams(
                    plan_id=plan_id, auto_approve=params.auto_approve_all_changes
                )
            )
        except (JobError, TransientError) as error:
            errors.append(ItemFailure(item=f"plan {plan_id}", reason=str(error)))
            continue
        counts.update(result.model_dump(include=_COUNTS))
        errors += result.errors
    return AutoApplyResult(
        status="completed_with_errors" if errors else "completed",
        plan_ids=tuple(plan_ids),
        errors=tuple(errors),
        **counts,
    )


def _makers_alive(plans: list[OpenPlan]) -> set[str]:
    """Return which of the runs that made the plans still live."""
    ids = []
    for plan in plans:
        try:
            ids.append(UUID(plan.run_id or ""))
        except ValueError:
            # Made outside of Prefect.
            continue
    if not ids:
        return set()
    with prefect_client() as client:
        alive, _ = runs_going(client, ids=ids)
    return {str(run.id) for run in alive}
