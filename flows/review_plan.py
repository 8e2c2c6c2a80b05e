"""Review a plan with a form: list, accept, reject, replace, apply."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import ReviewPlanParams
from tasks.review_plan import review_plan as review_task


@job_flow("review_plan")
@parameters_of(ReviewPlanParams)
def review_plan(params: ReviewPlanParams) -> State[Any]:
    """Decide on the changes of a plan; see its tables under the run's artifacts."""
    return run_one("review_plan", review_task, params)
