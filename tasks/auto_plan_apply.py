"""Apply what was approved, plan after plan."""

from collections import Counter
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from stashhog_core.errors import JobError, TransientError
from stashhog_core.params import ApplyPlanParams, AutoPlanApplyParams
from stashhog_core.plans.plans import is_worked_on
from stashhog_core.plans.records import OpenPlan, applicable_plans
from stashhog_core.results import AutoApplyResult, ItemFailure
from tasks.apply_plan import apply_plan
from tasks.flow_runs import runs_going
from tasks.prefect_api import prefect_client
from tasks.runtime import READ_TASK, job_task, open_job

_COUNTS = (
    "applied",
    "already",
    "conflicts",
    "skipped",
    "to_retry",
    "failed",
    "rejected",
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
        counts.update({name: getattr(result, name) for name in _COUNTS})
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
