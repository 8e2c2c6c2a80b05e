"""Reviewing a plan: a person accepts, rejects, replaces or edits proposed changes."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Select,
    case,
    delete,
    func,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    AnalysisPlan,
    Performer,
    PlanChange,
    ReviewMemory,
    Studio,
    Tag,
)
from stashhog_core.db.reading import NOT_READ_BACK, any_of, plan_for_many
from stashhog_core.db.scenes import is_called
from stashhog_core.errors import JobError
from stashhog_core.plans.plans import BY_USER, OPEN_STATES, lacks_plan
from stashhog_core.plans.proposals import (
    TEXT_FIELDS,
    NamedValue,
    TextValue,
    name_key,
    read_value,
    with_name,
)
from stashhog_core.plans.rejections import (
    MEMORY_COLUMNS,
    SAME_VALUE,
    Rejection,
    of_another_scene,
    remember_rejected,
    was_rejected,
)
from stashhog_core.plans.selection import (
    Selection,
    being_applied,
    has_rivals,
)
from stashhog_core.results import ONE_OF_SEVERAL

BEING_APPLIED = "being applied"
"""The word for an approved change that a run has begun to send to Stash."""

INSTEAD_OF = "instead of"
"""Key in the evidence of a change: the name that a reviewer replaced."""

_NAMED: dict[str, tuple[type[Tag] | type[Performer] | type[Studio], str]] = {
    "tags": (Tag, "tag"),
    "markers": (Tag, "tag"),
    "performers": (Performer, "performer"),
    "studio": (Studio, "studio"),
}
_REPLACEABLE = ("pending", "approved", "conflict")
"""States in which a change may get another value, if it is named."""


@dataclass(frozen=True)
class ReviewOutcome:
    """Numbers of changes that a decision changed or left alone.

    Attributes:
        changed: Changes that the decision changed.
        overruled: Changes among them that had another decision before.
        already: Selected changes that had this decision before.
        left_alone: Selected changes that keep another decision, counted by state; the
            state of a change that a run is sending to Stash is `being applied`, and
            that of a value that a person has to choose by itself is `one of several
            possible values`.
    """

    changed: int = 0
    overruled: int = 0
    already: int = 0
    left_alone: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "ReviewOutcome") -> "ReviewOutcome":
        return ReviewOutcome(
            self.changed + other.changed,
            self.overruled + other.overruled,
            self.already + other.already,
            dict(Counter(self.left_alone) + Counter(other.left_alone)),
        )


def approve(
    session: Session,
    plan_id: int,
    selection: Selection,
    *,
    again: bool = False,
) -> ReviewOutcome:
    """Approve the selected changes that are open.

    A change stays rejected if it was rejected in this plan, or if its value was
    rejected for the same scene and detector in another plan. If the selection names
    changes by id, or with `again`, rejected and failed changes are approved as well,
    and the rejection is forgotten. Where several values are possible, only one is
    right: such a change stays open unless the selection names the value.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    plan = open_plan(session, plan_id)
    return set_state(session, plan, selection, "approved", again=again)


def reject(
    session: Session, plan_id: int, selection: Selection, *, again: bool = False
) -> ReviewOutcome:
    """Reject the selected changes that are open.

    Their values are not proposed again for the same scene by the same detector.
    Approved changes stay approved, and changes in conflict stay in conflict, unless the
    selection names changes by id or `again` is set. To reject a change in conflict is
    to keep the value that Stash has.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    plan = open_plan(session, plan_id)
    return set_state(session, plan, selection, "rejected", again=again)


def set_state(
    session: Session,
    plan: AnalysisPlan,
    selection: Selection,
    state: Literal["approved", "rejected"],
    *,
    again: bool = False,
) -> ReviewOutcome:
    """Approve or reject, as `approve` and `reject` do, in a plan that is open already.

    Args:
        session: Open session; nothing is committed.
        plan: The plan, as `open_plan` has returned it in this transaction: each
            reviewer sees what the reviewer before has decided.
        selection: Which of its changes.
        state: The decision.
        again: Whether to change earlier decisions.
    """
    if not selection.names_few:
        plan_for_many(session)
    selected = (PlanChange.plan_id == plan.id) & selection.condition
    explicit = again or selection.names_changes
    open_now = decidable(state, again=explicit)
    if state == "approved" and not selection.names_values:
        open_now &= ~has_rivals()
    counts = _count_decisions(session, selected, open_now)
    if any(changing for changing, _ in counts):
        _write_state(session, selected & open_now, state, forget=explicit)
    note_review(session, plan)
    return _outcome_of(counts, wanted=state)


def _write_state(
    session: Session,
    chosen: ColumnElement[bool],
    state: Literal["approved", "rejected"],
    *,
    forget: bool,
) -> None:
    """Store a decision on changes that are locked.

    Args:
        session: Open session.
        chosen: Which changes.
        state: The decision.
        forget: Whether to forget that the values of approved changes were rejected.
    """
    if state == "rejected":
        session.execute(
            insert(ReviewMemory)
            .from_select(
                MEMORY_COLUMNS,
                select(*(getattr(PlanChange, n) for n in MEMORY_COLUMNS)).where(
                    chosen, ~of_another_scene()
                ),
            )
            .on_conflict_do_nothing()
        )
    elif forget:
        session.execute(
            delete(ReviewMemory).where(chosen, SAME_VALUE),
            execution_options=NOT_READ_BACK,
        )
    by = BY_USER if state == "approved" else None
    session.execute(
        update(PlanChange)
        .where(chosen)
        .values(state=state, approved_by=by, attempts=0),
        execution_options=NOT_READ_BACK,
    )
    for read in session.identity_map.values():
        if isinstance(read, PlanChange):
            session.expire(read)


def _count_decisions(
    session: Session, selected: ColumnElement[bool], changing: ColumnElement[bool]
) -> dict[tuple[bool, str], int]:
    """Return (whether changes are changed, decision before) → number of changes.

    The changes are locked, so that no run begins to send one of them before the
    decision is stored.
    """
    waits_for_choice = (decision_so_far() == "pending") & has_rivals() & ~changing
    change = changing.label("change")
    was = case((waits_for_choice, ONE_OF_SEVERAL), else_=decision_so_far()).label("was")
    rows = session.execute(
        _locked_and_counted(select(change, was).where(selected)),
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _locked_and_counted(query: Select[Any]) -> Select[Any]:
    """Return how often `query` for changes has each row, and lock the changes."""
    locked = query.order_by(PlanChange.id).with_for_update(of=PlanChange).subquery()
    return select(*locked.c, func.count()).group_by(*locked.c)


def _outcome_of(
    counts: Mapping[tuple[bool, str], int], *, wanted: str | None = None
) -> ReviewOutcome:
    """Return the outcome of a decision.

    Args:
        counts: (whether changes are changed, decision before) → number of changes.
        wanted: The decision; None: changes got another value.
    """
    changed = Counter({was: n for (yes, was), n in counts.items() if yes})
    left = {was: n for (yes, was), n in counts.items() if not yes}
    already = left.pop(wanted, 0) if wanted else 0
    return ReviewOutcome(
        changed=changed.total(),
        # A conflict was found by a run: nobody has decided on it.
        overruled=changed.total() - changed["pending"] - changed["conflict"],
        already=already,
        left_alone=dict(sorted(left.items())),
    )


@cache
def decidable(
    state: Literal["approved", "rejected"], *, again: bool
) -> ColumnElement[bool]:
    """Return the condition of changes that a decision may change.

    A bulk decision changes what is open: pending changes; and bulk approval leaves
    out those whose value was rejected in another plan. With `again`, a decision also
    changes what was decided otherwise. A change that a run is sending to Stash is
    never changed: it can be undone only once it is known whether Stash has the value.
    """
    if again:
        other = "rejected" if state == "approved" else "approved"
        taken: ColumnElement[bool] = PlanChange.state.in_(["pending", other, "failed"])
        if state == "approved":
            # Approved automatically and rejected later: a person has to confirm.
            taken |= (PlanChange.state == "approved") & was_rejected()
        else:
            # To accept it takes more: the value in Stash that it overwrites.
            taken |= PlanChange.state == "conflict"
        return taken & ~being_applied()
    if state == "approved":
        return (PlanChange.state == "pending") & ~was_rejected()
    return PlanChange.state == "pending"


@cache
def decision_so_far() -> ColumnElement[str]:
    """Return the state of a change as reviewers see it, rejections included."""
    return case(
        (being_applied(), BEING_APPLIED),
        ((PlanChange.state == "pending") & was_rejected(), "rejected"),
        else_=PlanChange.state,
    )


def decisions_of(
    session: Session, plan_id: int, change_ids: Iterable[int]
) -> dict[int, str]:
    """Return the decisions so far; of changes that are gone, nothing."""
    rows = session.execute(
        select(PlanChange.id, decision_so_far()).where(
            PlanChange.plan_id == plan_id, PlanChange.id == any_of(change_ids)
        )
    )
    return {row[0]: row[1] for row in rows}


def cancel(session: Session, plan: AnalysisPlan) -> None:
    """Close a plan; later plans may propose its values again.

    Args:
        session: Open session.
        plan: The plan, as `open_plan` has returned it in this transaction.

    Raises:
        JobError: The plan was applied, and only changes in conflict have opened it
            again.
    """
    if plan.applied_at is not None:
        raise JobError(
            f"Plan {plan.id} was applied and cannot be cancelled",
            remedy="reject its changes in conflict to keep the values in Stash, or "
            "undo what was applied",
        )
    plan.state = "cancelled"


def replace_value(
    session: Session,
    plan_id: int,
    selection: Selection,
    name: str,
    *,
    again: bool = False,
) -> ReviewOutcome:
    """Put an existing tag, performer or studio in place of the selected values.

    The replaced value is remembered as rejected. If the scene already has a change for
    the new value, the old change is rejected; otherwise the change stays pending or
    approved. Changes that were decided before stay as they are, except for approved
    changes and changes in conflict that the selection names by id, or with `again`.

    Returns:
        The changes that were replaced or rejected, and those that were left alone.

    Raises:
        JobError: There is no such plan, or it is closed; the new name is unknown, or
            a text was selected.
    """
    plan = open_plan(session, plan_id)
    explicit = again or selection.names_changes
    replaceable = (
        PlanChange.state.in_(_REPLACEABLE if explicit else ["pending"])
        & ~being_applied()
    )
    selected = (PlanChange.plan_id == plan_id) & selection.condition
    changes: Sequence[PlanChange] = session.scalars(
        select(PlanChange)
        .where(selected, replaceable)
        .order_by(PlanChange.id)
        .with_for_update()
    ).all()
    found = _count_decisions(session, selected, replaceable)
    counts = Counter({key: number for key, number in found.items() if not key[0]})
    named = {c.field: find_named(session, c.field, name) for c in changes}
    rows = session.execute(
        select(
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.value_key,
        ).where(
            PlanChange.plan_id == plan_id,
            PlanChange.scene_id == any_of(c.scene_id for c in changes),
        )
    )
    keys = {tuple(row) for row in rows}
    of_others = select(PlanChange.id).where(
        PlanChange.id == any_of(c.id for c in changes), of_another_scene()
    )
    strangers = frozenset(session.scalars(of_others))
    rejected: list[Rejection] = []
    for change in changes:
        old, other = read_value(change.proposed), named[change.field]
        new = with_name(old, other)
        if new.key == change.value_key:
            continue
        counts[True, change.state] += 1
        if change.id not in strangers:
            rejected.append(
                (change.scene_id, change.field, change.value_key, change.detector)
            )
        key = (change.scene_id, change.field, change.action, new.key)
        if key in keys:
            change.state, change.approved_by = "rejected", None
            continue
        keys.add(key)
        if other.key == name_key(str(change.evidence.get(INSTEAD_OF, ""))):
            # Replaced back: only the replacement had rejected this value.
            restored = (change.scene_id, change.field, new.key, change.detector)
            if (row := session.get(ReviewMemory, restored)) is not None:
                session.delete(row)
        change.evidence = {**change.evidence, INSTEAD_OF: old.as_text}
        change.proposed, change.value_key = new.stored, new.key
    remember_rejected(session, rejected)
    session.flush()
    note_review(session, plan)
    return _outcome_of(counts)


def edit_text(session: Session, plan_id: int, change_id: int, value: str) -> None:
    """Put another text in place of a proposed text, such as a title or a date.

    Raises:
        JobError: There is no such change, it is no longer open, or it is not a text.
    """
    plan = open_plan(session, plan_id)
    change = session.get(PlanChange, change_id)
    if change is None or change.plan_id != plan_id:
        raise JobError(
            f"Plan {plan_id} has no change {change_id}",
            remedy=f"`stashhog plans show {plan_id}` lists the changes",
        )
    is_being_applied = select(being_applied()).where(PlanChange.id == change_id)
    if session.scalar(is_being_applied):
        raise JobError(
            f"Change {change_id} is being applied",
            remedy="apply the plan again to find out whether Stash has the value",
        )
    if change.state not in _REPLACEABLE or change.field not in TEXT_FIELDS:
        raise JobError(
            f"Change {change_id} ({change.field}, {change.state}) is not an open text",
            remedy="only a text that is pending, approved or in conflict can be "
            "edited; replace the value of tags, performers, studio and markers, and "
            "reject other values",
        )
    change.evidence = {**change.evidence, "edited": True}
    text = TextValue(value)
    change.proposed, change.value_key = text.stored, text.key
    session.flush()
    note_review(session, plan)


def find_named(
    session: Session,
    field: str,
    name: str,
    remedy: str = "create the tag, performer or studio in Stash, then run a sync",
) -> NamedValue:
    """Return the tag, performer or studio with a name or alias; main names go first.

    Args:
        session: Open session; nothing is written.
        field: Field whose values to search: tags, markers, performers or studio.
        name: The name or alias; case does not matter.
        remedy: What to do if the mirror has no similar name either.

    Raises:
        JobError: The mirror has no such name, or the values of the field have no names.
    """
    if field not in _NAMED:
        raise JobError(
            f"The field {field} has no name to replace",
            remedy="select tags, performers, studio or markers",
        )
    model, word = _NAMED[field]
    is_main = func.lower(model.name) == func.lower(name.strip())
    row = session.execute(
        select(model.id, model.name)
        .where(model.missing_since.is_(None), is_called(model, name.strip()))
        .order_by(is_main.desc(), model.id)
    ).first()
    if row is not None:
        return NamedValue(row[0], row[1])
    near = difflib.get_close_matches(name, session.scalars(select(model.name)), n=1)
    raise JobError(
        f"Stash has no {word} {name!r}",
        remedy=f"did you mean {near[0]}?" if near else remedy,
    )


def names_like(
    session: Session, field: str, text: str, limit: int = 8
) -> list[dict[str, str]]:
    """Return existing names that contain a text, or have an alias that does.

    Names that begin with the text come first. A field without names has none.

    Returns:
        Rows with `name`, and with the matching `alias` where the name does not match.
    """
    wanted = text.strip()
    if field not in _NAMED or not wanted:
        return []
    model, _ = _NAMED[field]
    alias = func.unnest(model.aliases).column_valued("alias")
    matching_alias = (
        select(func.min(alias))
        .where(alias.icontains(wanted, autoescape=True))
        .scalar_subquery()
    )
    matches = model.name.icontains(wanted, autoescape=True)
    begins = model.name.istartswith(wanted, autoescape=True)
    rows = session.execute(
        select(model.name, case((matches, null()), else_=matching_alias))
        .where(model.missing_since.is_(None), matches | matching_alias.is_not(None))
        .order_by(begins.desc(), matches.desc(), func.lower(model.name))
        .limit(limit)
    )
    return [{"name": row[0], "alias": row[1] or ""} for row in rows]


def lock_plan(session: Session, plan_id: int) -> AnalysisPlan:
    """Return a plan, locked until the transaction ends: reviewers take turns.

    A run that applies the plan meanwhile does not wait for the lock, because the run
    only refers to the plan: `FOR NO KEY UPDATE` lets references through.

    Raises:
        JobError: There is no such plan.
    """
    lock = {"key_share": True}
    plan = session.get(AnalysisPlan, plan_id, with_for_update=lock)
    if plan is None:
        raise lacks_plan(plan_id)
    return plan


def open_plan(session: Session, plan_id: int) -> AnalysisPlan:
    """Return a plan that can be reviewed, locked until the transaction ends.

    A plan that was applied can be reviewed as long as it has changes in conflict.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    plan = lock_plan(session, plan_id)
    in_conflict = select(PlanChange.id).where(
        PlanChange.plan_id == plan_id, PlanChange.state == "conflict"
    )
    is_open = plan.state in ("draft", "reviewing") or (
        plan.state == "applied" and session.scalar(select(in_conflict.exists()))
    )
    if not is_open:
        raise JobError(
            f"Plan {plan_id} is {plan.state} and cannot be reviewed",
            remedy="review a plan after its analysis has ended and before it is "
            "applied or cancelled",
        )
    return plan


def note_review(session: Session, plan: AnalysisPlan) -> None:
    """Set the state of the plan: reviewing, or cancelled if everything is rejected.

    A plan that was applied before is applied again as soon as no change is open.
    """
    was_applied = plan.applied_at is not None
    counts = (
        PlanChange.state.in_(OPEN_STATES)
        if was_applied
        else PlanChange.state != "rejected"
    )
    left = select(PlanChange.id).where(PlanChange.plan_id == plan.id, counts)
    # One is enough: a long plan is not counted for each decision.
    if session.scalar(select(left.exists())):
        plan.state = "reviewing"
    else:
        plan.state = "applied" if was_applied else "cancelled"
