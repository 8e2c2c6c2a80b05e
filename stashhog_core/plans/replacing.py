"""Giving proposed changes another value: another name, or an edited text."""

import difflib
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from stashhog_core.db.models import Performer, PlanChange, ReviewMemory, Studio, Tag
from stashhog_core.errors import JobError
from stashhog_core.plans.proposals import member_key
from stashhog_core.plans.review import (
    Outcome,
    Selection,
    being_applied,
    count_decisions,
    note_review,
    open_plan,
    outcome_of,
    remember,
)
from stashhog_core.plans.three_way import TEXT_FIELDS

_TABLES: dict[str, tuple[Any, str]] = {
    "tags": (Tag, "tag"),
    "markers": (Tag, "tag"),
    "performers": (Performer, "performer"),
    "studio": (Studio, "studio"),
}
_OPEN = ("pending", "approved")


def replace_value(
    session: Session,
    plan_id: int,
    selection: Selection,
    name: str,
    *,
    again: bool = False,
) -> Outcome:
    """Put an existing tag, performer or studio in place of the selected values.

    The value that was replaced is remembered as turned down. Where a scene has a
    change for the new value already, the old one is rejected; a change that is
    replaced stays pending or approved. What was decided stays as it is, but for
    approved changes that the selection names by id, or with `again`. Returns how many
    changes were replaced or rejected.

    Raises:
        JobError: There is no such plan, or it is closed; the new name is unknown, or
            a text was selected.
    """
    plan = open_plan(session, plan_id)
    explicit = again or selection.names_changes
    replaceable = (
        PlanChange.state.in_(_OPEN if explicit else ["pending"]) & ~being_applied()
    )
    selected = (PlanChange.plan_id == plan_id) & selection.condition
    changes: Sequence[PlanChange] = session.scalars(
        select(PlanChange)
        .where(selected, replaceable)
        .order_by(PlanChange.id)
        .with_for_update()
    ).all()
    found = count_decisions(session, selected, replaceable)
    counts = Counter({key: number for key, number in found.items() if not key[0]})
    members = {c.field: find_member(session, c.field, name) for c in changes}
    rows = session.execute(
        select(
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.value_key,
        ).where(
            PlanChange.plan_id == plan_id,
            PlanChange.scene_id.in_([c.scene_id for c in changes]),
        )
    )
    keys = {tuple(row) for row in rows}
    turned_down: list[tuple[int, str, str, str]] = []
    for change in changes:
        value_key, proposed = _with(change, members[change.field])
        if value_key == change.value_key:
            continue
        counts[True, change.state] += 1
        turned_down.append(
            (change.scene_id, change.field, change.value_key, change.detector)
        )
        key = (change.scene_id, change.field, change.action, value_key)
        if key in keys:
            change.state, change.approved_by = "rejected", None
            continue
        keys.add(key)
        if member_key(members[change.field]["name"]) == _replaced_name(change):
            # Replaced back: only the replacement had turned it down.
            given_back = (change.scene_id, change.field, value_key, change.detector)
            if (row := session.get(ReviewMemory, given_back)) is not None:
                session.delete(row)
        change.evidence = {**change.evidence, "instead of": _name(change)}
        change.proposed, change.value_key = proposed, value_key
    remember(session, turned_down)
    session.flush()
    note_review(session, plan)
    return outcome_of(counts)


def edit_text(session: Session, plan_id: int, change_id: int, value: str) -> None:
    """Put another text in place of a proposed title, details or date.

    Raises:
        JobError: There is no such change, it is decided, or it is no text.
    """
    plan = open_plan(session, plan_id)
    change = session.get(PlanChange, change_id)
    if change is None or change.plan_id != plan_id:
        raise JobError(f"Plan {plan_id} has no change {change_id}")
    under_way = select(being_applied()).where(PlanChange.id == change_id)
    if session.scalar(under_way):
        raise JobError(
            f"Change {change_id} is being applied",
            remedy="apply its plan again to learn whether Stash has the value",
        )
    if change.state not in _OPEN or change.field not in TEXT_FIELDS:
        raise JobError(
            f"Change {change_id} ({change.field}, {change.state}) is no open text",
            remedy="values with a name are replaced",
        )
    change.evidence = {**change.evidence, "edited": True}
    change.proposed = value
    change.value_key = hashlib.sha256(value.encode()).hexdigest()[:16]
    session.flush()
    note_review(session, plan)


def find_member(
    session: Session,
    field: str,
    name: str,
    remedy: str = "create it there, then sync",
) -> dict[str, Any]:
    """Return id and name of what is called `name`, by main name or alias.

    Args:
        session: Open session; nothing is written.
        field: Of which changes it is a value: tags, markers, performers, studio.
        name: The name, whatever its case.
        remedy: What to do where the mirror has neither this name nor one like it.

    Raises:
        JobError: Nothing is called so, or the field's values have no names.
    """
    if field not in _TABLES:
        raise JobError(
            f"A {field} has no name to replace",
            remedy="select tags, performers, studio or markers",
        )
    table, word = _TABLES[field]
    key = member_key(name)
    rows = session.execute(
        select(table.id, table.name)
        .where(
            table.missing_since.is_(None),
            or_(
                func.lower(table.name) == key,
                # An alias, whatever its case.
                text(
                    "EXISTS (SELECT FROM unnest(aliases) AS alias "
                    "WHERE lower(alias) = :alias)"
                ).bindparams(alias=key),
            ),
        )
        .order_by((func.lower(table.name) == key).desc(), table.id)
    ).first()
    if rows is not None:
        return {"id": rows[0], "name": rows[1]}
    near = difflib.get_close_matches(name, session.scalars(select(table.name)), n=1)
    raise JobError(
        f"Stash has no {word} {name!r}",
        remedy=f"did you mean {near[0]}?" if near else remedy,
    )


def _with(change: PlanChange, member: dict[str, Any]) -> tuple[str, Any]:
    """Return value key and proposal of a change with another member."""
    key = member_key(member["name"])
    if change.field != "markers":
        return key, member
    marker = {**change.proposed, "title": member["name"], "tag": member}
    return f"{key}@{marker['seconds']:.2f}", marker


def _replaced_name(change: PlanChange) -> str:
    return member_key(str(change.evidence.get("instead of", "")))


def _name(change: PlanChange) -> str:
    return str(change.proposed["title" if change.field == "markers" else "name"])
