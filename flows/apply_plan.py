"""Bring the approved changes of a plan to Stash."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import ApplyPlanParams
from tasks.apply_plan import apply_plan as apply_plan_task


@job_flow("apply_plan")
@parameters_of(ApplyPlanParams)
def apply_plan(params: ApplyPlanParams) -> State[Any]:
    """Bring the approved changes of a plan to Stash."""
    return run_one("apply_plan", apply_plan_task, params)
