"""Changes in conflict: what Stash has instead, and overwriting it all the same.

Fields with one value, such as the title, come into conflict. Tags and performers are
added and removed one by one beside those that somebody else has set.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, select, true, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    AnalysisPlan,
    PlanChange,
    ReviewMemory,
    Scene,
    Studio,
)
from stashhog_core.db.reading import any_of
from stashhog_core.plans.plans import BY_USER, ChangeDetails
from stashhog_core.plans.proposals import (
    TEXT_FIELDS,
    NamedValue,
    TextValue,
    Value,
    read_value,
)
from stashhog_core.plans.rejections import SAME_VALUE
from stashhog_core.plans.review import ReviewOutcome, note_review

CONFLICT = "conflict"
"""The state of a change whose field has another value in Stash than expected."""

_UNKNOWN = object()


def values_in_stash(
    session: Session, plan_id: int, condition: ColumnElement[bool] | None = None
) -> dict[int, Value | None]:
    """Return what Stash has in place of the values of changes in conflict.

    This is the value that the mirror has. If the mirror still has the value from before
    the proposal, no sync has run since the conflict was found: then it is the value
    that was found.

    Args:
        session: Open session; nothing is written.
        plan_id: The plan.
        condition: Only the changes in conflict that meet this; None: all.

    Returns:
        Change → the value; None: the field is empty in Stash. The cover of a scene and
        its id at a stash-box are left out: they are never overwritten.
    """
    rows = session.execute(
        select(
            PlanChange.id,
            PlanChange.field,
            PlanChange.base,
            PlanChange.effect,
            Scene.id.label("scene_id"),
            *(getattr(Scene, name) for name in TEXT_FIELDS),
            Studio.id.label("studio_id"),
            Studio.name.label("studio"),
        )
        .outerjoin(Scene, Scene.id == PlanChange.scene_id)
        .outerjoin(Studio, Studio.id == Scene.studio_id)
        .where(
            PlanChange.plan_id == plan_id,
            PlanChange.state == CONFLICT,
            PlanChange.action == "set",
            PlanChange.field != "cover",
            true() if condition is None else condition,
        )
    ).all()
    found = {row.id: (row.effect or {}).get("before", _UNKNOWN) for row in rows}
    studio_ids = {value for value in found.values() if isinstance(value, int)}
    names = select(Studio.id, Studio.name).where(Studio.id == any_of(studio_ids))
    studios = dict(session.execute(names).tuples().all()) if studio_ids else {}
    return {row.id: _in_stash(row, found[row.id], studios) for row in rows}


def _in_stash(row: Row[Any], found: Any, studios: Mapping[int, str]) -> Value | None:
    mirrored: Value | None
    if row.field == "studio":
        mirrored = None if row.studio is None else NamedValue(row.studio_id, row.studio)
    else:
        mirrored = _text(getattr(row, row.field))
    expected = None if row.base is None else read_value(row.base)
    is_newer = row.scene_id is not None and _identity(mirrored) != _identity(expected)
    if is_newer or found is _UNKNOWN:
        return mirrored
    if isinstance(found, int):
        return NamedValue(found, studios.get(found, f"studio {found}"))
    return _text(found)


def _text(words: str | None) -> TextValue | None:
    return TextValue(words) if words else None


def _identity(value: Value | None) -> int | str | None:
    """Return what tells two values apart: a studio may have got another name."""
    if isinstance(value, NamedValue):
        return value.id
    return value.as_text if value is not None else ""


def text_of(value: Value | None) -> str:
    """Return a value as reviewers read it and name it; empty: the field is empty."""
    return "" if value is None else value.as_text


def key_of(value: Value | None) -> str:
    """Return what a decision to overwrite a value names it by, however long it is."""
    return TextValue(text_of(value)).key


def conflicts_in_words(
    session: Session, plan_id: int, changes: Sequence[ChangeDetails]
) -> dict[int, str]:
    """Return what was expected and what Stash has, for those that are in conflict."""
    ids = [change.id for change in changes if change.state == CONFLICT]
    if not ids:
        return {}
    present = values_in_stash(session, plan_id, PlanChange.id == any_of(ids))
    return {
        change.id: f"Stash has {text_of(present[change.id])!r}, expected {change.now!r}"
        for change in changes
        if change.id in present
    }


def overwrite(
    session: Session, plan: AnalysisPlan, over: Mapping[int, str]
) -> ReviewOutcome:
    """Approve changes in conflict: the proposal goes over the value that Stash has.

    The value that Stash has becomes the base of the change. So applying sends the
    proposal only if Stash still has this value; else the change is in conflict again.

    Args:
        session: Open session; nothing is committed.
        plan: The plan, as `open_plan` has returned it in this transaction.
        over: Change → the value in Stash that the reviewer has seen, as `key_of`. If
            Stash has another value by now, or the change is not in conflict, the change
            is left alone.
    """
    chosen = PlanChange.id == any_of(over)
    locked = select(PlanChange.id).where(PlanChange.plan_id == plan.id, chosen)
    session.execute(locked.order_by(PlanChange.id).with_for_update())
    present = values_in_stash(session, plan.id, chosen)
    agreed = [id_ for id_, value in present.items() if key_of(value) == over[id_]]
    session.execute(
        delete(ReviewMemory).where(PlanChange.id == any_of(agreed), SAME_VALUE)
    )
    if agreed:
        approved = {
            "state": "approved",
            "approved_by": BY_USER,
            "attempts": 0,
            "effect": None,
            "error": None,
        }
        bases = {id_: present[id_] for id_ in agreed}
        session.execute(
            update(PlanChange),
            [
                {"id": id_, "base": base.stored if base else None, **approved}
                for id_, base in bases.items()
            ],
        )
        session.expire_all()
    note_review(session, plan)
    left = len(present) - len(agreed)
    return ReviewOutcome(
        changed=len(agreed), left_alone={CONFLICT: left} if left else {}
    )
