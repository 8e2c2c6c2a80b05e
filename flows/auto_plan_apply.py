"""The scheduled job that applies the approved changes of plans."""

from typing import Any

from prefect.client.schemas.objects import State

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import run_one, skipped
from stashhog_core.params import AutoPlanApplyParams
from tasks.plans import auto_plan_apply as apply_plans
from tasks.plans import plans_to_apply

NO_APPROVED_CHANGES = "Skipped - No approved changes"


@job_flow("auto_plan_apply")
@parameters_of(AutoPlanApplyParams)
def auto_plan_apply(params: AutoPlanApplyParams) -> State[Any]:
    """Apply the approved changes of all plans under review, plan by plan."""
    plan_ids = plans_to_apply(params)
    if not plan_ids:
        return skipped("auto_plan_apply", NO_APPROVED_CHANGES)
    return run_one("auto_plan_apply", apply_plans, plan_ids, params)
