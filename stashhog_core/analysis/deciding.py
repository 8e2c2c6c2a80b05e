"""What the job `review_plan` does to a plan, in one transaction."""

from sqlalchemy.orm import Session

from stashhog_core.analysis.plans import read_plan
from stashhog_core.analysis.replacing import replace_value
from stashhog_core.analysis.review import Selection, approve, cancel, reject
from stashhog_core.errors import JobError
from stashhog_core.params import ReviewPlanParams
from stashhog_core.results import ReviewResult


def decide(session: Session, params: ReviewPlanParams) -> ReviewResult:
    """Replace, then accept or reject, what is selected.

    Raises:
        JobError: There is no such plan, or it is closed; a name to be put in place of
            another is unknown, or nothing says which one it replaces.
    """
    selection = Selection(
        change_ids=params.change_ids,
        field=params.field,
        value=params.value,
        scene_ids=params.scene_ids,
        detector=params.detector,
        confidence_from=params.confidence_from,
        confidence_below=params.confidence_below,
    )
    replaced = decided = 0
    if params.replace_by is not None:
        if params.value is None and params.change_ids is None:
            raise JobError(
                "Nothing says what is to be replaced", remedy="name value or change_ids"
            )
        replaced = replace_value(session, params.plan_id, selection, params.replace_by)
        if params.value is not None:
            selection = Selection(**{**vars(selection), "value": params.replace_by})
    if params.decision == "accept":
        decided = approve(session, params.plan_id, selection)
    elif params.decision == "reject":
        decided = reject(session, params.plan_id, selection)
    elif params.decision == "cancel":
        cancel(session, params.plan_id)
    session.flush()
    plan = read_plan(session, params.plan_id)
    return ReviewResult(
        status="completed",
        plan_id=plan.id,
        plan_state=plan.state,
        decided=decided,
        replaced=replaced,
        pending=plan.counts.get("pending", 0),
    )
