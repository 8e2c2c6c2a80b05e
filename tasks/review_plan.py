"""Decide on the changes of a plan, and show them with their evidence."""

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from stashhog_core.markdown import cells, table
from stashhog_core.params import ApplyPlanParams, ReviewPlanParams
from stashhog_core.plans.plans import change_rows, value_rows
from stashhog_core.plans.review import decide
from stashhog_core.results import ReviewResult
from tasks.apply_plan import apply_plan
from tasks.prefect_api import display
from tasks.runtime import READ_TASK, job_task, open_job


@job_task(name="review_plan", cache_policy=NO_CACHE, **READ_TASK)
def review_plan(params: ReviewPlanParams) -> ReviewResult:
    """Accept, reject or replace changes; then list the plan as tables."""
    with open_job("review_plan") as job:
        with job.database.transaction() as session:
            outcome = decide(session, params)
        link_base = job.settings.stash.link_base
        with job.database.transaction() as session:
            by_value = value_rows(session, params.plan_id)
            changes = change_rows(session, params.plan_id, link_base)
    with display(f"plan {params.plan_id} by value"):
        create_table_artifact(
            cells(by_value),
            key=f"plan-{params.plan_id}-values",
            description=f"Plan {params.plan_id} by value",
        )
    with display(f"the changes of plan {params.plan_id}"):
        create_markdown_artifact(
            table(changes),
            key=f"plan-{params.plan_id}-changes",
            description=f"Plan {params.plan_id}: changes and why",
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
