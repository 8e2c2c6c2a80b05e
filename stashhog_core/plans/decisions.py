"""Decisions of a reviewer: what one act changes is recorded, and can be taken back."""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Integer,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as insert_new
from sqlalchemy.orm import Session, aliased

from stashhog_core.db.models import (
    AnalysisPlan,
    PlanChange,
    ReviewDecision,
    ReviewedChange,
    ReviewMemory,
)
from stashhog_core.db.reading import any_of, plan_for_many
from stashhog_core.errors import JobError
from stashhog_core.params import ReviewPlanParams
from stashhog_core.plans.plans import lacks_plan, read_plan
from stashhog_core.plans.proposals import name_key
from stashhog_core.plans.rejections import MEMORY_COLUMNS, SAME_VALUE, was_rejected
from stashhog_core.plans.review import (
    INSTEAD_OF,
    ReviewOutcome,
    approve,
    cancel,
    decision_so_far,
    edit_text,
    find_named,
    note_review,
    open_plan,
    reject,
    replace_value,
)
from stashhog_core.plans.selection import (
    ALL_CHANGES,
    Selection,
    being_applied,
    stored_name,
)
from stashhog_core.results import ReviewResult, TakenBack

Decision = Literal["accept", "reject"]

_NOTHING = ReviewOutcome()


def decide(session: Session, params: ReviewPlanParams) -> ReviewResult:
    """Replace the selected values, then accept or reject the selected changes.

    Changes that were decided before stay as they are and are counted, unless they are
    named by id or `params.again` is set.

    Raises:
        JobError: There is no such plan, or it is closed; no change of the plan matches;
            the new name is unknown, or the value to be replaced is missing.
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
    if params.replace_by is not None:
        return _replace(session, params, selection)
    if params.decision == "cancel":
        with recorded(session, plan_id, "cancel", None) as record:
            cancel(session, plan_id)
        return _result(session, plan_id, _NOTHING, record=record)
    if params.decision == "show":
        return _result(session, plan_id, _NOTHING)
    _check_selected(session, plan_id, selection)
    return decide_on(session, plan_id, params.decision, selection, again=params.again)


def decide_on(
    session: Session,
    plan_id: int,
    decision: Decision,
    selection: Selection,
    *,
    again: bool = False,
) -> ReviewResult:
    """Accept or reject the selected changes, as `approve` and `reject` do.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    what = f"{decision} {selection.in_words or 'all changes'}"
    with recorded(session, plan_id, what, selection.condition) as record:
        act = approve if decision == "accept" else reject
        decided = act(session, plan_id, selection, again=again)
    return _result(session, plan_id, decided, record=record)


def decide_seen(
    session: Session, plan_id: int, decision: Decision, seen: Mapping[int, str]
) -> ReviewResult:
    """Accept or reject single changes, unless somebody has decided on them meanwhile.

    Args:
        session: Open session.
        plan_id: The plan.
        decision: What to do.
        seen: Change → its decision so far, as the reviewer saw it. A change that has
            another one by now is left alone.

    Raises:
        JobError: There is no such plan or change, or the plan is closed or still being
            built.
    """
    kept, left = as_seen(session, plan_id, seen)
    if not kept:
        return _result(session, plan_id, ReviewOutcome(left_alone=left))
    chosen = Selection(change_ids=kept)
    result = decide_on(session, plan_id, decision, chosen)
    both = Counter(result.left_alone) + Counter(left)
    return result.model_copy(update={"left_alone": dict(both)})


def as_seen(
    session: Session, plan_id: int, seen: Mapping[int, str]
) -> tuple[list[int], dict[str, int]]:
    """Lock the plan; return the changes that are as they were seen, and count the rest.

    The rest is counted by the decision that each change has now.

    Raises:
        JobError: There is no such plan or change, or the plan is closed or still being
            built.
    """
    open_plan(session, plan_id)
    rows = session.execute(
        select(PlanChange.id, decision_so_far()).where(
            PlanChange.plan_id == plan_id, PlanChange.id == any_of(seen)
        )
    )
    now: dict[int, str] = {row[0]: row[1] for row in rows}
    if lacking := seen.keys() - now.keys():
        raise JobError(f"Plan {plan_id} has no change {min(lacking)}")
    kept = sorted(id_ for id_, decision in seen.items() if now[id_] == decision)
    left = Counter(now[id_] for id_ in seen.keys() - set(kept))
    return kept, dict(sorted(left.items()))


def edit(session: Session, plan_id: int, change_id: int, text: str) -> ReviewResult:
    """Put another text in place of a proposed one, as `edit_text` does.

    Raises:
        JobError: There is no such change, it is no longer open, or it is not a text.
    """
    chosen = PlanChange.id == change_id
    what = f"edit change {change_id}"
    with recorded(session, plan_id, what, chosen, values=True) as record:
        edit_text(session, plan_id, change_id, text)
    return _result(session, plan_id, _NOTHING, ReviewOutcome(changed=1), record=record)


def take_back(
    session: Session, plan_id: int, decision_id: int | None = None
) -> TakenBack:
    """Restore what a decision changed, as far as nobody has changed it since.

    Args:
        session: Open session.
        plan_id: The plan.
        decision_id: The decision; None: the newest that was not taken back.

    Raises:
        JobError: There is no such plan or decision, the decision was taken back before,
            or the plan was closed since.
    """
    plan = session.get(AnalysisPlan, plan_id, with_for_update=True)
    if plan is None:
        raise lacks_plan(plan_id)
    decision = _decision(session, plan_id, decision_id)
    if plan.state not in ("draft", "reviewing", decision.plan_after):
        raise JobError(
            f"Plan {plan_id} is {plan.state}: no decision on it can be taken back",
            remedy="undo what was applied (`stashhog plans undo`), or analyze the "
            "scenes again",
        )
    restored, left = _restore(session, decision)
    if plan.state == decision.plan_after:
        plan.state = decision.plan_before
    else:
        note_review(session, plan)
    decision.taken_back_at = func.now()
    session.flush()
    return TakenBack(
        status="completed",
        plan_id=plan_id,
        plan_state=plan.state,
        decision_id=decision.id,
        what=decision.what,
        restored=restored,
        left_alone=left,
    )


def _decision(
    session: Session, plan_id: int, decision_id: int | None
) -> ReviewDecision:
    query = select(ReviewDecision).where(ReviewDecision.plan_id == plan_id)
    if decision_id is None:
        query = query.where(ReviewDecision.taken_back_at.is_(None))
    else:
        query = query.where(ReviewDecision.id == decision_id)
    decision = session.scalars(
        query.order_by(ReviewDecision.id.desc()).limit(1)
    ).first()
    if decision is None:
        which = "no decision" if decision_id is None else f"no decision {decision_id}"
        raise JobError(f"Plan {plan_id} has {which} that can be taken back")
    if decision.taken_back_at is not None:
        raise JobError(
            f"Decision {decision.id} of plan {plan_id} was taken back before"
        )
    return decision


def _restore(session: Session, decision: ReviewDecision) -> tuple[int, dict[str, int]]:
    """Give the changes of a decision what they had before; return how many.

    A change is left alone, and counted by its decision so far, if it is no longer as
    the decision left it, or if another change of the plan now has its earlier value.
    """
    of_decision = (ReviewedChange.change_id == PlanChange.id) & (
        ReviewedChange.decision_id == decision.id
    )
    before = ReviewedChange.before
    other = aliased(PlanChange)
    has_place = ~exists().where(
        other.plan_id == PlanChange.plan_id,
        other.scene_id == PlanChange.scene_id,
        other.field == PlanChange.field,
        other.action == PlanChange.action,
        other.value_key == before["value_key"].astext,
        other.id != PlanChange.id,
    )
    plan_for_many(session)
    of_plan = PlanChange.plan_id == decision.plan_id
    locked = select(PlanChange.id).where(of_plan, of_decision).order_by(PlanChange.id)
    session.execute(locked.with_for_update(of=PlanChange))
    is_as_left = _standing(values=True).contains(ReviewedChange.after)
    restored = session.scalars(
        update(PlanChange)
        .where(of_plan, of_decision, is_as_left, ~being_applied(), has_place)
        .values(
            state=before["state"].astext,
            approved_by=before["approved_by"].astext,
            attempts=before["attempts"].astext.cast(Integer),
            proposed=func.coalesce(before["proposed"], PlanChange.proposed),
            value_key=func.coalesce(before["value_key"].astext, PlanChange.value_key),
            evidence=func.coalesce(before["evidence"], PlanChange.evidence),
        )
        .returning(PlanChange.id)
        .execution_options(synchronize_session=False)
    ).all()
    session.expire_all()
    chosen = PlanChange.id == any_of(restored)
    was_remembered = before["rejected"].astext == "true"
    columns = [getattr(PlanChange, name) for name in MEMORY_COLUMNS]
    remembered = select(*columns).where(chosen, of_decision, was_remembered)
    session.execute(
        insert_new(ReviewMemory)
        .from_select(MEMORY_COLUMNS, remembered)
        .on_conflict_do_nothing()
    )
    session.execute(
        delete(ReviewMemory).where(SAME_VALUE, chosen, of_decision, ~was_remembered)
    )
    rows = session.execute(
        select(PlanChange.id, decision_so_far())
        .join(ReviewedChange, of_decision)
        .where(of_plan)
    )
    done = set(restored)
    left = Counter(row[1] for row in rows if row[0] not in done)
    return len(done), dict(sorted(left.items()))


def _replace(
    session: Session, params: ReviewPlanParams, selection: Selection
) -> ReviewResult:
    plan_id, name = params.plan_id, str(params.replace_by)
    if params.value is None and params.change_ids is None:
        raise JobError(
            "The value to be replaced is missing",
            remedy="give `value` or `change_ids`",
        )
    _check_selected(session, plan_id, selection, replacing=True)
    selections = [selection]
    if params.value is not None:
        names = _main_names(session, plan_id, selection, name)
        selections = [replace(selection, value=name) for name in names]
    what = f"replace {selection.in_words} by {name!r}"
    touched = or_(selection.condition, *(each.condition for each in selections))
    decided = ReviewOutcome()
    with recorded(session, plan_id, what, touched, values=True) as record:
        replaced = replace_value(session, plan_id, selection, name, again=params.again)
        if params.decision in ("accept", "reject"):
            act = approve if params.decision == "accept" else reject
            for each in selections:
                decided += act(session, plan_id, each, again=params.again)
        elif params.decision == "cancel":
            cancel(session, plan_id)
    return _result(session, plan_id, decided, replaced, record=record)


def _result(
    session: Session,
    plan_id: int,
    decided: ReviewOutcome,
    replaced: ReviewOutcome = _NOTHING,
    record: "Record | None" = None,
) -> ReviewResult:
    session.flush()
    plan = read_plan(session, plan_id)
    both = replaced + decided
    return ReviewResult(
        status="completed",
        plan_id=plan.id,
        plan_state=plan.state,
        decision_id=record.decision_id if record else None,
        decided=decided.changed,
        replaced=replaced.changed,
        overruled=both.overruled,
        already=both.already,
        left_alone=dict(both.left_alone),
        pending=plan.counts.get("pending", 0),
    )


@dataclass
class Record:
    """The id of what was recorded; None: the decision has changed nothing."""

    decision_id: int | None = None


@contextmanager
def recorded(
    session: Session,
    plan_id: int,
    what: str,
    condition: ColumnElement[bool] | None,
    *,
    values: bool = False,
) -> Iterator[Record]:
    """Record what happens inside to the changes that meet the condition.

    Args:
        session: Open session.
        plan_id: The plan; locked from now on.
        what: The decision, in words.
        condition: Which changes may change; None: none, only the plan itself.
        values: Whether their values may change, and not only their states.
    """
    plan = open_plan(session, plan_id)
    decision = ReviewDecision(
        plan_id=plan_id, what=what, plan_before=plan.state, plan_after=plan.state
    )
    session.add(decision)
    session.flush()
    standing = _standing(values=values)
    if condition is not None:
        found = select(literal(decision.id), PlanChange.id, standing, standing)
        session.execute(
            insert(ReviewedChange).from_select(
                ["decision_id", "change_id", "before", "after"],
                found.where(PlanChange.plan_id == plan_id, condition),
            )
        )
    record = Record()
    yield record
    session.flush()
    of_decision = ReviewedChange.decision_id == decision.id
    session.execute(
        update(ReviewedChange)
        .where(of_decision, ReviewedChange.change_id == PlanChange.id)
        .values(after=standing)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        delete(ReviewedChange).where(
            of_decision, ReviewedChange.before == ReviewedChange.after
        )
    )
    has_changed = session.scalar(select(exists().where(of_decision)))
    if not has_changed and plan.state == decision.plan_before:
        session.delete(decision)
        return
    decision.plan_after = plan.state
    record.decision_id = decision.id


def _standing(*, values: bool) -> ColumnElement[Any]:
    """Return what a decision may change of a change, as JSON."""
    facts: list[Any] = []
    names = ["state", "approved_by", "attempts"]
    if values:
        names += ["proposed", "value_key", "evidence"]
    for name in names:
        facts += [name, getattr(PlanChange, name)]
    return type_coerce(
        func.jsonb_build_object(*facts, "rejected", was_rejected()), JSONB
    )


def _check_selected(
    session: Session, plan_id: int, selection: Selection, *, replacing: bool = False
) -> None:
    """Check that a selection matches a change; that of a whole plan may match none.

    With `replacing`, a change whose selected value was replaced before matches too,
    because the task that replaces values may be tried again.

    Raises:
        JobError: There is no such plan, it is closed, or no change of it matches.
    """
    open_plan(session, plan_id)
    if selection == ALL_CHANGES:
        return
    condition = _or_replaced(selection) if replacing else selection.condition
    matching = select(PlanChange.id).where(PlanChange.plan_id == plan_id, condition)
    if session.scalar(matching.limit(1)) is None:
        raise JobError(
            f"No change of plan {plan_id} matches {selection.in_words}",
            remedy=_remedy(session, plan_id, selection),
        )


def _or_replaced(selection: Selection) -> ColumnElement[bool]:
    if selection.value is None:
        return selection.condition
    before = func.lower(PlanChange.evidence[INSTEAD_OF].astext)
    return replace(selection, value=None).condition & (
        selection.condition | (before == name_key(selection.value))
    )


def _main_names(
    session: Session, plan_id: int, selection: Selection, name: str
) -> set[str]:
    """Return the main names that `name`, perhaps an alias, has in the fields."""
    query = select(PlanChange.field).where(PlanChange.plan_id == plan_id).distinct()
    fields = session.scalars(query.where(_or_replaced(selection))).all()
    return {find_named(session, field, name).name for field in fields}


def _remedy(session: Session, plan_id: int, selection: Selection) -> str:
    """Return a similar name that the plan has, or where to look."""
    if selection.value is not None:
        names = select(stored_name()).where(PlanChange.plan_id == plan_id).distinct()
        keys = {name_key(name): name for name in session.scalars(names) if name}
        wanted = name_key(selection.value)
        near = difflib.get_close_matches(wanted, keys, n=1)
        if near and near[0] != wanted:
            return f"did you mean {keys[near[0]]!r}?"
    return f"`stashhog plans show {plan_id}` lists its changes"
