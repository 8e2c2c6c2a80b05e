"""What a reviewer has done to a plan, in one transaction; slips are refused."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange
from stashhog_core.errors import JobError
from stashhog_core.params import ReviewPlanParams
from stashhog_core.plans.proposals import member_key
from stashhog_core.plans.queries import read_plan
from stashhog_core.plans.replacing import find_member, replace_value
from stashhog_core.plans.review import (
    Outcome,
    Selection,
    approve,
    cancel,
    open_plan,
    reject,
)
from stashhog_core.results import ReviewResult


def decide(session: Session, params: ReviewPlanParams) -> ReviewResult:
    """Replace, then accept or reject, what is selected.

    Changes that were decided before stay as they are and are counted, unless they are
    named by id or `params.again` is set.

    Raises:
        JobError: There is no such plan, or it is closed; nothing of it matches; a name
            to be put in place of another is unknown, or nothing says which one it
            replaces.
    """
    plan_id = params.plan_id
    selection = Selection(
        change_ids=params.change_ids,
        field=params.field,
        value=params.value,
        scene_ids=params.scene_ids,
        detector=params.detector,
        confidence_from=params.confidence_from,
        confidence_below=params.confidence_below,
    )
    selections = [selection]
    again = params.again
    replaced = decided = Outcome()
    if params.replace_by is not None:
        if params.value is None and params.change_ids is None:
            raise JobError(
                "Nothing says what is to be replaced", remedy="name value or change_ids"
            )
        selected(session, plan_id, selection, replacing=True)
        if params.value is not None:
            names = _main_names(session, plan_id, selection, params.replace_by)
            selections = [replace(selection, value=name) for name in names]
        replaced = replace_value(
            session, plan_id, selection, params.replace_by, again=again
        )
    elif params.decision in ("accept", "reject"):
        selected(session, plan_id, selection)
    if params.decision == "accept":
        for each in selections:
            decided += approve(session, plan_id, each, again=again)
    elif params.decision == "reject":
        for each in selections:
            decided += reject(session, plan_id, each, again=again)
    elif params.decision == "cancel":
        cancel(session, plan_id)
    session.flush()
    plan = read_plan(session, plan_id)
    both = replaced + decided
    return ReviewResult(
        status="completed",
        plan_id=plan.id,
        plan_state=plan.state,
        decided=decided.changed,
        replaced=replaced.changed,
        overruled=both.overruled,
        already=both.already,
        left_alone=dict(both.left_alone),
        pending=plan.counts.get("pending", 0),
    )


def selected(
    session: Session, plan_id: int, selection: Selection, *, replacing: bool = False
) -> dict[str, int]:
    """Return how many changes are selected, by state; only a whole plan may have none.

    Args:
        session: Open session; the plan is locked until its transaction ends.
        plan_id: The plan.
        selection: Which changes.
        replacing: Count what the selected value was replaced in before, too: the task
            that replaces may be tried again.

    Raises:
        JobError: There is no such plan, it is closed, or nothing of it matches.
    """
    open_plan(session, plan_id)
    query = (
        select(PlanChange.state, func.count())
        .where(PlanChange.plan_id == plan_id)
        .group_by(PlanChange.state)
        .order_by(PlanChange.state)
    )
    condition = _or_replaced(selection) if replacing else selection.condition
    rows = session.execute(query.where(condition))
    states = {row[0]: row[1] for row in rows}
    if not states and selection != Selection():
        raise JobError(
            f"No change of plan {plan_id} matches {_in_words(selection)}",
            remedy=_remedy(session, plan_id, selection),
        )
    return states


def _or_replaced(selection: Selection) -> ColumnElement[bool]:
    if selection.value is None:
        return selection.condition
    before = func.lower(PlanChange.evidence["instead of"].astext)
    return replace(selection, value=None).condition & (
        selection.condition | (before == member_key(selection.value))
    )


def _main_names(
    session: Session, plan_id: int, selection: Selection, name: str
) -> set[str]:
    """Return what `name`, perhaps an alias, is called in the fields selected."""
    query = select(PlanChange.field).where(PlanChange.plan_id == plan_id).distinct()
    fields = session.scalars(query.where(_or_replaced(selection))).all()
    return {find_member(session, field, name)["name"] for field in fields}


def _in_words(selection: Selection) -> str:
    words = []
    for one, many, ids in (
        ("change", "changes", selection.change_ids),
        ("scene", "scenes", selection.scene_ids),
    ):
        if ids is not None:
            words.append(f"{one if len(ids) == 1 else many} {_listed(ids)}")
    if selection.field is not None:
        words.append(f"field {selection.field}")
    if selection.value is not None:
        words.append(f"value {selection.value!r}")
    if selection.detector is not None:
        words.append(f"detector {selection.detector!r}")
    if selection.confidence_from is not None:
        words.append(f"confidence from {selection.confidence_from:g}")
    if selection.confidence_below is not None:
        words.append(f"confidence below {selection.confidence_below:g}")
    return ", ".join(words)


def _listed(ids: Sequence[int], most: int = 5) -> str:
    shown = ", ".join(map(str, ids[:most]))
    return f"{shown} …" if len(ids) > most else shown


def _remedy(session: Session, plan_id: int, selection: Selection) -> str:
    """Return a name of the plan like the one that it lacks, or where to look."""
    if selection.value is not None:
        proposed = PlanChange.proposed
        names = select(
            func.coalesce(proposed["name"].astext, proposed["title"].astext)
        ).where(
            PlanChange.plan_id == plan_id,
            PlanChange.field.in_(["tags", "performers", "studio", "markers"]),
        )
        keys = {member_key(name): name for name in session.scalars(names) if name}
        wanted = member_key(selection.value)
        near = difflib.get_close_matches(wanted, keys, n=1)
        if near and near[0] != wanted:
            return f"did you mean {keys[near[0]]!r}?"
    return f"`stashhog plans show {plan_id}` lists its changes"
