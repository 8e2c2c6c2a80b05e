"""Deciding on proposed changes, and remembering what was turned down."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    delete,
    false,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan, PlanChange, ReviewMemory
from stashhog_core.db.reading import any_of, plan_for_many
from stashhog_core.errors import JobError
from stashhog_core.plans.proposals import member_key

BY_USER = "user"

BEING_APPLIED = "being applied"
"""What is said of an approved change that a run has begun to bring to Stash."""

_MEMORY = ("scene_id", "field", "value_key", "detector")
_SAME_VALUE = and_(
    *(getattr(ReviewMemory, name) == getattr(PlanChange, name) for name in _MEMORY)
)


@dataclass(frozen=True)
class Selection:
    """Changes of a plan. What is given narrows; nothing given means all.

    Attributes:
        change_ids: Only these.
        field: Only this field.
        value: Only this tag, performer or studio, whatever its case; of markers, those
            with this tag.
        scene_ids: Only changes of these scenes.
        detector: Only what this detector proposed.
        confidence_from: Only changes at least so sure.
        confidence_below: Only changes less sure than this.
    """

    change_ids: Sequence[int] | None = None
    field: str | None = None
    value: str | None = None
    scene_ids: Sequence[int] | None = None
    detector: str | None = None
    confidence_from: float | None = None
    confidence_below: float | None = None

    @property
    def names_changes(self) -> bool:
        """Tell whether somebody named the changes one by one: no bulk selection."""
        return self.change_ids is not None

    @property
    def condition(self) -> ColumnElement[bool]:
        """The condition that the selected changes meet.

        It stands in the statement itself, never in a subquery for the same table: the
        planner, which does not know how many ids there are, would search the whole
        selection once for each change.
        """
        conditions: list[ColumnElement[bool]] = []
        if self.change_ids is not None:
            conditions.append(PlanChange.id == any_of(self.change_ids))
        if self.field is not None:
            conditions.append(PlanChange.field == self.field)
        if self.value is not None:
            of_marker = func.lower(PlanChange.proposed["title"].astext)
            key = case(
                (PlanChange.field == "markers", of_marker),
                else_=PlanChange.value_key,
            )
            conditions.append(key == member_key(self.value))
        if self.scene_ids is not None:
            conditions.append(PlanChange.scene_id == any_of(self.scene_ids))
        if self.detector is not None:
            conditions.append(PlanChange.detector == self.detector)
        if self.confidence_from is not None:
            conditions.append(PlanChange.confidence >= self.confidence_from)
        if self.confidence_below is not None:
            conditions.append(PlanChange.confidence < self.confidence_below)
        return and_(true(), *conditions)


@dataclass(frozen=True)
class Outcome:
    """What a decision came to, counted in changes.

    Attributes:
        changed: Changes that have the decision now and had not before.
        overruled: Of these, changes that had been decided otherwise.
        already: Selected changes that had this decision before.
        left_alone: Selected changes that were decided otherwise and stay as they are,
            by what became of them: a state, or `being applied`.
    """

    changed: int = 0
    overruled: int = 0
    already: int = 0
    left_alone: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
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
    by: str = BY_USER,
    again: bool = False,
) -> Outcome:
    """Approve the selected changes that are open.

    What was rejected stays rejected, be it here or for the same scene, value and
    detector in another plan, unless the selection names changes by id or `again` is
    set: then it is approved, and no longer remembered as turned down. So is what
    failed, for another try.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    return _decide(session, plan_id, selection, "approved", by, again=again)


def reject(
    session: Session, plan_id: int, selection: Selection, *, again: bool = False
) -> Outcome:
    """Reject the selected changes that are open.

    They are remembered by scene, field, value and detector, and not proposed again.
    What was approved stays approved, unless the selection names changes by id or
    `again` is set.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    return _decide(session, plan_id, selection, "rejected", None, again=again)


def _decide(
    session: Session,
    plan_id: int,
    selection: Selection,
    state: Literal["approved", "rejected"],
    by: str | None,
    *,
    again: bool,
) -> Outcome:
    # Reviewers come one after the other: each sees what the one before has decided.
    plan = open_plan(session, plan_id)
    plan_for_many(session)
    selected = (PlanChange.plan_id == plan_id) & selection.condition
    of_plan = select(PlanChange.id).where(selected)
    # Held, so that no run begins to send them between the statements here.
    held = of_plan.order_by(PlanChange.id).with_for_update().subquery()
    session.execute(select(func.count()).select_from(held))
    explicit = again or selection.names_changes
    open_now = decidable(state, again=explicit)
    counts = count_decisions(session, selected, open_now)
    chosen = selected & open_now
    if state == "approved":
        if explicit:
            session.execute(delete(ReviewMemory).where(chosen, _SAME_VALUE))
    else:
        session.execute(
            insert(ReviewMemory)
            .from_select(
                _MEMORY,
                select(*(getattr(PlanChange, n) for n in _MEMORY)).where(chosen),
            )
            .on_conflict_do_nothing()
        )
    session.execute(
        update(PlanChange).where(chosen).values(state=state, approved_by=by, attempts=0)
    )
    note_review(session, plan)
    return outcome_of(counts, wanted=state)


def count_decisions(
    session: Session, selected: ColumnElement[bool], changing: ColumnElement[bool]
) -> dict[tuple[bool, str], int]:
    """Return how many changes there are by (whether they change, what they were)."""
    change, was = changing.label("change"), decision_so_far().label("was")
    rows = session.execute(
        select(change, was, func.count()).where(selected).group_by(change, was)
    )
    return {(row[0], row[1]): row[2] for row in rows}


def outcome_of(
    counts: Mapping[tuple[bool, str], int], *, wanted: str | None = None
) -> Outcome:
    """Return what a decision came to.

    Args:
        counts: (whether the decision changes them, what they were) → changes.
        wanted: The decision; None: another value.
    """
    changed = Counter({was: n for (yes, was), n in counts.items() if yes})
    left = {was: n for (yes, was), n in counts.items() if not yes}
    already = left.pop(wanted, 0) if wanted else 0
    return Outcome(
        changed=changed.total(),
        overruled=changed.total() - changed["pending"],
        already=already,
        left_alone=dict(sorted(left.items())),
    )


def decidable(
    state: Literal["approved", "rejected"], *, again: bool
) -> ColumnElement[bool]:
    """Return the condition of changes that a decision may change.

    A bulk decision takes what is open: pending, and to be approved not turned down in
    another plan either. With `again` it also takes what was decided otherwise. What a
    run is bringing to Stash is never taken: only after it is known whether Stash has
    the value can it be undone.
    """
    if again:
        other = "rejected" if state == "approved" else "approved"
        taken: ColumnElement[bool] = PlanChange.state.in_(["pending", other, "failed"])
        if state == "approved":
            # Approved automatically and turned down later, it needs a person's yes.
            taken |= (PlanChange.state == "approved") & turned_down()
        return taken & ~being_applied()
    if state == "approved":
        return (PlanChange.state == "pending") & ~turned_down()
    return PlanChange.state == "pending"


def decision_so_far() -> ColumnElement[str]:
    """Return what became of a change by now, in a word that people understand."""
    return case(
        (being_applied(), BEING_APPLIED),
        ((PlanChange.state == "pending") & turned_down(), "rejected"),
        else_=PlanChange.state,
    )


def being_applied() -> ColumnElement[bool]:
    """Return the condition of changes that may be in Stash without a record of it."""
    return (PlanChange.state == "approved") & func.coalesce(
        PlanChange.effect.has_key("intended"), false()
    )


def turned_down() -> ColumnElement[bool]:
    """Return the condition of changes whose value people have rejected for the scene.

    A pending change can be one: the same value was rejected in another plan, undone
    for good, or taken away in Stash.
    """
    return (
        select(ReviewMemory.scene_id).where(_SAME_VALUE).correlate(PlanChange).exists()
    )


def cancel(session: Session, plan_id: int) -> None:
    """Close a plan; what it proposed may be proposed again.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    open_plan(session, plan_id).state = "cancelled"


def remember(session: Session, keys: Iterable[Sequence[Any]]) -> None:
    """Keep (scene, field, value, detector) as turned down."""
    rows = [
        dict(zip(_MEMORY, key, strict=True)) for key in {tuple(key) for key in keys}
    ]
    if rows:
        session.execute(insert(ReviewMemory).on_conflict_do_nothing(), rows)


def open_plan(session: Session, plan_id: int) -> AnalysisPlan:
    """Return a plan that can be reviewed, locked until the transaction ends.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    plan = session.get(AnalysisPlan, plan_id, with_for_update=True)
    if plan is None:
        raise JobError(
            f"There is no plan {plan_id}", remedy="see `stashhog plans list`"
        )
    if plan.state not in ("draft", "reviewing"):
        raise JobError(
            f"Plan {plan_id} is {plan.state} and cannot be reviewed",
            remedy="a plan can be reviewed once its analysis has ended and until it "
            "is applied or cancelled",
        )
    return plan


def note_review(session: Session, plan: AnalysisPlan) -> None:
    """Move the plan on: reviewing, or cancelled when everything was turned down."""
    left = session.scalar(
        select(func.count()).where(
            PlanChange.plan_id == plan.id, PlanChange.state != "rejected"
        )
    )
    plan.state = "reviewing" if left else "cancelled"
