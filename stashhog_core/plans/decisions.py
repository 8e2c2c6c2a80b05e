"""Decisions of a reviewer: what one act changes is recorded, and can be taken back."""

import difflib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Integer,
    case,
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
from stashhog_core.plans.conflicts import (
    CONFLICT,
    key_of,
    overwrite,
    text_of,
    values_in_stash,
)
from stashhog_core.plans.plans import read_plan
from stashhog_core.plans.proposals import name_key
from stashhog_core.plans.rejections import MEMORY_COLUMNS, was_rejected
from stashhog_core.plans.review import (
    INSTEAD_OF,
    ReviewOutcome,
    cancel,
    decision_so_far,
    decisions_of,
    edit_text,
    find_named,
    lock_plan,
    note_review,
    open_plan,
    replace_value,
    set_state,
)
from stashhog_core.plans.selection import (
    ALL_CHANGES,
    MOST_NAMED,
    Selection,
    being_applied,
    stored_name,
)
from stashhog_core.plans.summaries import PlanSummary
from stashhog_core.results import ReviewResult, TakenBack

Decision = Literal["accept", "reject"]

_NOTHING = ReviewOutcome()
_STATE_OF: Mapping[Decision, Literal["approved", "rejected"]] = {
    "accept": "approved",
    "reject": "rejected",
}

_STATES = ("state", "approved_by", "attempts")
VALUES = (*_STATES, "proposed", "value_key", "evidence")
"""What replacing and editing may change of a change."""

_CONFLICTS = (*_STATES, "base", "effect", "error")


def decide(session: Session, params: ReviewPlanParams) -> ReviewResult:
    """Replace the selected values, then accept or reject the selected changes.

    With `params.over`, the selected changes in conflict are accepted, and no others.

    Changes that were decided before stay as they are and are counted, unless they are
    named by id or `params.again` is set.

    Raises:
        JobError: There is no such plan, or it is closed; no change of the plan matches;
            the new name is unknown, the value to be replaced is missing, or Stash has
            another value than `params.over`.
    """
    result = _decide(session, params)
    is_open = (PlanChange.plan_id == result.plan_id) & (PlanChange.state == "pending")
    pending = session.scalar(select(func.count()).where(is_open))
    return result.model_copy(update={"pending": pending})


def _decide(session: Session, params: ReviewPlanParams) -> ReviewResult:
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
        plan = open_plan(session, plan_id)
        with recorded(session, plan, "cancel", None) as record:
            cancel(session, plan)
        return _result(session, plan, _NOTHING, record=record)
    if params.decision == "show":
        return _result(session, read_plan(session, plan_id), _NOTHING)
    _check_selected(session, plan_id, selection)
    if params.over is not None:
        return _overwrite(session, params, params.over, selection)
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
    plan = open_plan(session, plan_id)
    what = f"{decision} {selection.in_words or 'all changes'}"
    with recorded(session, plan, what, selection.condition) as record:
        decided = set_state(session, plan, selection, _STATE_OF[decision], again=again)
    return _result(session, plan, decided, record=record)


def _overwrite(
    session: Session, params: ReviewPlanParams, over: str, selection: Selection
) -> ReviewResult:
    """Accept the selected changes in conflict over a value that Stash has."""
    plan_id = params.plan_id
    if params.decision != "accept":
        raise JobError(
            "Only accepting a change in conflict overwrites the value in Stash",
            remedy="use the decision accept, or leave `over` out",
        )
    plan = open_plan(session, plan_id)
    found = values_in_stash(session, plan_id, selection.condition)
    agreed = {id_: key_of(now) for id_, now in found.items() if text_of(now) == over}
    if found and not agreed:
        now = sorted({text_of(value) for value in found.values()})
        raise JobError(
            f"Stash does not have the value {over!r} that is to be overwritten",
            remedy=f"Stash now has {' or '.join(map(repr, now[:5]))}: look at the "
            "change again, and name this value",
        )
    if not found:
        return _result(session, plan, _accepted_before(session, plan_id, selection))
    what = f"accept {selection.in_words} over {over!r} in Stash".replace("  ", " ")
    return _decide_named(session, plan, "accept", [], agreed, what)


def _accepted_before(
    session: Session, plan_id: int, selection: Selection
) -> ReviewOutcome:
    """Return the outcome where no selected change is in conflict any more.

    The task that decides may be tried again after it has accepted them.
    """
    is_accepted = PlanChange.state.in_(["approved", "applied", "already"])
    query = select(func.count()).where(
        PlanChange.plan_id == plan_id, selection.condition, is_accepted
    )
    if not (accepted := session.scalar(query) or 0):
        raise JobError(
            f"No selected change of plan {plan_id} is in conflict over a value that "
            "can be overwritten",
            remedy=f"see `stashhog plans show {plan_id} --state conflict`",
        )
    return ReviewOutcome(already=accepted)


def decide_seen(
    session: Session,
    plan_id: int,
    decision: Decision,
    seen: Mapping[int, str],
    over: Mapping[int, str] | None = None,
) -> ReviewResult:
    """Accept or reject single changes, unless somebody has decided on them meanwhile.

    Args:
        session: Open session.
        plan_id: The plan.
        decision: What to do.
        seen: Change → its decision so far, as the reviewer saw it. A change that has
            another one by now is left alone.
        over: Change in conflict → the value in Stash that the reviewer saw, as
            `key_of`. To accept a change in conflict without it, or over another value,
            leaves the change alone.

    Raises:
        JobError: There is no such plan or change, or the plan is closed or still being
            built.
    """
    plan = open_plan(session, plan_id)
    kept, left = as_seen(session, plan, seen)
    if not kept:
        return _result(session, plan, ReviewOutcome(left_alone=left))
    overwritten = {
        id_: text
        for id_, text in (over or {}).items()
        if decision == "accept" and id_ in set(kept) and seen[id_] == CONFLICT
    }
    plain = [id_ for id_ in kept if id_ not in overwritten]
    what = f"{decision} {Selection(change_ids=kept).in_words}"
    result = _decide_named(session, plan, decision, plain, overwritten, what)
    both = Counter(result.left_alone) + Counter(left)
    return result.model_copy(update={"left_alone": dict(both)})


def _decide_named(
    session: Session,
    plan: AnalysisPlan,
    decision: Decision,
    change_ids: Sequence[int],
    over: Mapping[int, str],
    what: str,
) -> ReviewResult:
    """Decide on some changes, and accept others that are in conflict, in one act."""
    both = PlanChange.id == any_of([*change_ids, *over])
    columns = _CONFLICTS if over else _STATES
    decided = _NOTHING
    with recorded(session, plan, what, both, columns) as record:
        if over:
            decided += overwrite(session, plan, over)
        if change_ids:
            named = Selection(change_ids=change_ids)
            decided += set_state(session, plan, named, _STATE_OF[decision])
    return _result(session, plan, decided, record=record)


def as_seen(
    session: Session, plan: AnalysisPlan, seen: Mapping[int, str]
) -> tuple[list[int], dict[str, int]]:
    """Return the changes that are as they were seen, and count the rest.

    The rest is counted by the decision that each change has now.

    Raises:
        JobError: The plan has no such change.
    """
    now = decisions_of(session, plan.id, seen)
    if lacking := seen.keys() - now.keys():
        raise JobError(
            f"Plan {plan.id} has no change {min(lacking)}",
            remedy=f"`stashhog plans show {plan.id}` lists the changes",
        )
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
    plan = open_plan(session, plan_id)
    with recorded(session, plan, what, chosen, VALUES) as record:
        edit_text(session, plan_id, change_id, text)
    return _result(session, plan, _NOTHING, ReviewOutcome(changed=1), record=record)


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
    plan = lock_plan(session, plan_id)
    decision = _decision(session, plan_id, decision_id)
    if plan.state not in ("draft", "reviewing", decision.plan_after):
        raise JobError(
            f"Plan {plan_id} is {plan.state}: no decision on it can be taken back",
            remedy="undo what was applied (`stashhog plans undo`), or analyze the "
            "scenes again",
        )
    restored, opened, left = _restore(session, decision)
    if plan.state == decision.plan_after and plan.applied_at is None:
        plan.state = decision.plan_before
    else:
        # That of a plan that was applied depends on what else is open by now.
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
        opened=opened,
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
            f"Decision {decision.id} of plan {plan_id} was taken back before",
            remedy=f"`stashhog plans show {plan_id}` shows what is decided now",
        )
    return decision


def _are_many(session: Session, decision: ReviewDecision) -> bool:
    """Tell whether a decision has changed more than some changes."""
    changed = select(ReviewedChange).where(ReviewedChange.decision_id == decision.id)
    one_more = changed.offset(MOST_NAMED).limit(1)
    return session.scalar(select(one_more.exists())) or False


def _restore(
    session: Session, decision: ReviewDecision
) -> tuple[int, int, dict[str, int]]:
    """Give the changes of a decision what they had before.

    A change is left alone, and counted by its decision so far, if it is no longer as
    the decision left it, or if another change of the plan now has its earlier value.

    Returns:
        How many changes were restored, how many more are open now, and decision so far
        → number of those that were left alone.
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
    if _are_many(session, decision):
        plan_for_many(session)
    of_plan = PlanChange.plan_id == decision.plan_id
    locked = select(PlanChange.id).where(of_plan, of_decision).order_by(PlanChange.id)
    # Counted, as the server would send what it locks.
    session.execute(
        select(func.count()).select_from(
            locked.with_for_update(of=PlanChange).subquery()
        )
    )
    is_as_left = _standing({*VALUES, *_CONFLICTS}).contains(ReviewedChange.after)
    was_remembered = before["rejected"].astext == "true"
    # In one statement, as the changes may be too many to be named in the next ones.
    restored = (
        update(PlanChange)
        .where(of_plan, of_decision, is_as_left, ~being_applied(), has_place)
        .values(
            state=before["state"].astext,
            approved_by=before["approved_by"].astext,
            attempts=before["attempts"].astext.cast(Integer),
            proposed=func.coalesce(before["proposed"], PlanChange.proposed),
            value_key=func.coalesce(before["value_key"].astext, PlanChange.value_key),
            evidence=func.coalesce(before["evidence"], PlanChange.evidence),
            base=func.coalesce(before["base"], PlanChange.base),
            effect=func.coalesce(before["effect"], PlanChange.effect),
            error=case(
                (before.has_key("error"), before["error"].astext),
                else_=PlanChange.error,
            ),
        )
        .returning(
            PlanChange.id,
            *(getattr(PlanChange, name) for name in MEMORY_COLUMNS),
            was_remembered.label("was_remembered"),
            _opened(ReviewedChange.after, before).label("opened"),
        )
        .cte("restored")
    )
    key = [restored.c[name] for name in MEMORY_COLUMNS]
    remembered = (
        insert_new(ReviewMemory)
        .from_select(MEMORY_COLUMNS, select(*key).where(restored.c.was_remembered))
        .on_conflict_do_nothing()
        .cte("remembered")
    )
    same_value = [
        getattr(ReviewMemory, name) == restored.c[name] for name in MEMORY_COLUMNS
    ]
    forgotten = (
        delete(ReviewMemory)
        .where(*same_value, ~restored.c.was_remembered)
        .cte("forgotten")
    )
    left_as = case((restored.c.id.is_(None), decision_so_far()))
    rows = session.execute(
        select(left_as, func.count(), func.coalesce(func.sum(restored.c.opened), 0))
        .select_from(PlanChange)
        .join(ReviewedChange, of_decision)
        .outerjoin(restored, restored.c.id == PlanChange.id)
        .where(of_plan)
        .group_by(left_as)
        .add_cte(remembered, forgotten)
    )
    counts = {row[0]: (row[1], int(row[2])) for row in rows}
    session.expire_all()
    done, opened = counts.pop(None, (0, 0))
    return done, opened, {left: number for left, (number, _) in sorted(counts.items())}


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
    plan = open_plan(session, plan_id)
    with recorded(session, plan, what, touched, VALUES) as record:
        replaced = replace_value(session, plan_id, selection, name, again=params.again)
        if params.decision in ("accept", "reject"):
            state = _STATE_OF[params.decision]
            for each in selections:
                decided += set_state(session, plan, each, state, again=params.again)
        elif params.decision == "cancel":
            cancel(session, plan)
    return _result(session, plan, decided, replaced, record=record)


def _result(
    session: Session,
    plan: AnalysisPlan | PlanSummary,
    decided: ReviewOutcome,
    replaced: ReviewOutcome = _NOTHING,
    record: "Record | None" = None,
) -> ReviewResult:
    session.flush()
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
        opened=record.opened if record else 0,
    )


@dataclass
class Record:
    """What was recorded.

    Attributes:
        decision_id: Its id; None: the decision has changed nothing.
        opened: Open changes after the decision, less those before it.
    """

    decision_id: int | None = None
    opened: int = 0


@contextmanager
def recorded(
    session: Session,
    plan: AnalysisPlan,
    what: str,
    condition: ColumnElement[bool] | None,
    columns: Collection[str] = _STATES,
) -> Iterator[Record]:
    """Record what happens inside to the changes that meet the condition.

    Args:
        session: Open session.
        plan: The plan, as `open_plan` has returned it in this transaction.
        what: The decision, in words.
        condition: Which changes may change; None: none, only the plan itself.
        columns: What may change of them: by default only their states.
    """
    decision = ReviewDecision(
        plan_id=plan.id, what=what, plan_before=plan.state, plan_after=plan.state
    )
    session.add(decision)
    session.flush()
    standing = _standing(columns)
    if condition is not None:
        found = select(literal(decision.id), PlanChange.id, standing, standing)
        session.execute(
            insert(ReviewedChange).from_select(
                ["decision_id", "change_id", "before", "after"],
                found.where(PlanChange.plan_id == plan.id, condition),
            )
        )
    record = Record()
    yield record
    session.flush()
    changed, record.opened = _keep_changed(session, decision, standing)
    if changed or plan.state != decision.plan_before:
        decision.plan_after = plan.state
        record.decision_id = decision.id
    else:
        session.delete(decision)


def _keep_changed(
    session: Session, decision: ReviewDecision, standing: ColumnElement[Any]
) -> tuple[int, int]:
    """Record what a decision has left, and forget the changes that it left as before.

    Returns:
        The number of changes that it has changed, and how many more are open now.
    """
    of_decision = (ReviewedChange.decision_id == decision.id) & (
        ReviewedChange.change_id == PlanChange.id
    )
    # In one statement, in which both see what was there before: no row is in both.
    unchanged = (
        delete(ReviewedChange)
        .where(of_decision, ReviewedChange.before == standing)
        .returning(ReviewedChange.change_id)
        .cte()
    )
    changed = (
        update(ReviewedChange)
        .where(of_decision, ReviewedChange.before != standing)
        .values(after=standing)
        .returning(_opened(ReviewedChange.before, ReviewedChange.after).label("opened"))
        .add_cte(unchanged)
        .cte()
    )
    counted = select(func.count(), func.coalesce(func.sum(changed.c.opened), 0))
    number, opened = session.execute(counted.select_from(changed)).one()
    return number, int(opened)


def _opened(before: Any, after: Any) -> ColumnElement[int]:
    """Return 1 for a change that became open, -1 for one that was, else 0."""

    def is_open(standing: Any) -> ColumnElement[int]:
        return case((standing["state"].astext == "pending", 1), else_=0)

    return is_open(after) - is_open(before)


def _standing(columns: Collection[str]) -> ColumnElement[Any]:
    """Return what a decision may change of a change, as JSON."""
    facts: list[Any] = []
    for name in sorted(columns):
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
