"""Deciding on proposed changes, and remembering what was turned down."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.analysis.proposals import member_key
from stashhog_core.db.models import AnalysisPlan, PlanChange, ReviewMemory
from stashhog_core.errors import JobError

BY_USER = "user"


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

    def narrow(self, query: Any) -> Any:
        """Return `query` restricted to the selected changes."""
        if self.change_ids is not None:
            query = query.where(PlanChange.id.in_(self.change_ids))
        if self.field is not None:
            query = query.where(PlanChange.field == self.field)
        if self.value is not None:
            of_marker = func.lower(PlanChange.proposed["title"].astext)
            query = query.where(
                case(
                    (PlanChange.field == "markers", of_marker),
                    else_=PlanChange.value_key,
                )
                == member_key(self.value)
            )
        if self.scene_ids is not None:
            query = query.where(PlanChange.scene_id.in_(self.scene_ids))
        if self.detector is not None:
            query = query.where(PlanChange.detector == self.detector)
        if self.confidence_from is not None:
            query = query.where(PlanChange.confidence >= self.confidence_from)
        if self.confidence_below is not None:
            query = query.where(PlanChange.confidence < self.confidence_below)
        return query


def approve(
    session: Session, plan_id: int, selection: Selection, *, by: str = BY_USER
) -> int:
    """Approve the selected changes that are pending or rejected; return how many.

    An approved value is no longer remembered as turned down.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    plan = open_plan(session, plan_id)
    rows = session.execute(
        _decided(selection, plan_id, ["pending", "rejected"], "approved", by)
    ).all()
    if rows:
        keys = [tuple(row) for row in rows]
        session.execute(
            delete(ReviewMemory).where(
                tuple_(
                    ReviewMemory.scene_id,
                    ReviewMemory.field,
                    ReviewMemory.value_key,
                    ReviewMemory.detector,
                ).in_(keys)
            )
        )
    note_review(session, plan)
    return len(rows)


def reject(session: Session, plan_id: int, selection: Selection) -> int:
    """Reject the selected changes that are pending or approved; return how many.

    They are remembered by scene, field, value and detector, and not proposed again.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    plan = open_plan(session, plan_id)
    rows = session.execute(
        _decided(selection, plan_id, ["pending", "approved"], "rejected", None)
    ).all()
    remember(session, rows)
    note_review(session, plan)
    return len(rows)


def cancel(session: Session, plan_id: int) -> None:
    """Close a plan; what it proposed may be proposed again.

    Raises:
        JobError: There is no such plan, or it is closed or still being built.
    """
    open_plan(session, plan_id).state = "cancelled"


def remember(session: Session, keys: Iterable[Sequence[Any]]) -> None:
    """Keep (scene, field, value, detector) as turned down."""
    names = ("scene_id", "field", "value_key", "detector")
    rows = [dict(zip(names, key, strict=True)) for key in {tuple(key) for key in keys}]
    if rows:
        session.execute(insert(ReviewMemory).values(rows).on_conflict_do_nothing())


def _decided(
    selection: Selection, plan_id: int, states: list[str], state: str, by: str | None
) -> Any:
    return (
        selection.narrow(
            update(PlanChange).where(
                PlanChange.plan_id == plan_id, PlanChange.state.in_(states)
            )
        )
        .values(state=state, approved_by=by)
        .returning(
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.value_key,
            PlanChange.detector,
        )
    )


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
