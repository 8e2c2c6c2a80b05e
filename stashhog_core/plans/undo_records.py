"""Finding the applied changes that are to be undone, and recording that they are."""

import json
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.reading import any_of
from stashhog_core.errors import JobError
from stashhog_core.params import UndoParams
from stashhog_core.plans import review
from stashhog_core.plans.change_records import unknown_changes
from stashhog_core.plans.reversal import Applied

_WAS_APPLIED = or_(
    PlanChange.state == "applied",
    # Killed between doing and recording, or without a readable answer: it may be in
    # Stash.
    and_(
        PlanChange.state.in_(["approved", "failed"]),
        PlanChange.effect.has_key("intended"),
    ),
)


def require_changes(session: Session, params: UndoParams) -> None:
    """Make sure that the changes named are there: none would pass for none applied.

    Raises:
        JobError: One is not, or is of another plan.
    """
    if lacking := unknown_changes(session, params.change_ids or (), params.plan_id):
        where = "There" if params.plan_id is None else f"In plan {params.plan_id} there"
        raise JobError(
            f"{where} is no change {', '.join(map(str, lacking))}",
            remedy="see `stashhog plans show`",
        )


def plan_ids_of(session: Session, params: UndoParams) -> list[int]:
    """Return the plans with changes that are to be undone, in order."""
    query = select(PlanChange.plan_id).distinct().where(*_conditions(params))
    return sorted(session.scalars(query))


def scene_ids_of(session: Session, params: UndoParams) -> list[int]:
    """Return the scenes with changes that are to be undone, in order."""
    query = select(PlanChange.scene_id).distinct().where(*_conditions(params))
    return sorted(session.scalars(query))


def applied_changes(
    session: Session, params: UndoParams, scene_ids: Sequence[int]
) -> list[Applied]:
    """Return the changes of some scenes that are to be undone, the last one first."""
    query = (
        select(
            PlanChange.id,
            PlanChange.plan_id,
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.proposed,
            PlanChange.effect,
            PlanChange.state == "applied",
        )
        .where(*_conditions(params), PlanChange.scene_id == any_of(scene_ids))
        .order_by(PlanChange.id.desc())
    )
    return [Applied(*row) for row in session.execute(query)]


def held_by_others(session: Session, changes: Sequence[Applied]) -> set[int]:
    """Return those of `changes` whose value another applied change still stands for.

    Two names of one tag are two changes and one tag in Stash; and what a later plan
    added again after a user had removed it is that plan's.
    """
    mine = [change.id for change in changes]
    other = aliased(PlanChange)
    rows = session.scalars(
        select(PlanChange.id)
        .join(
            other,
            (other.scene_id == PlanChange.scene_id)
            & (other.field == PlanChange.field)
            & (other.action == PlanChange.action)
            & (other.effect["id"] == PlanChange.effect["id"]),
        )
        .where(
            PlanChange.id == any_of(mine),
            PlanChange.field.in_(["tags", "performers"]),
            other.id.not_in(mine),
            other.state == "applied",
            or_(other.plan_id == PlanChange.plan_id, other.id > PlanChange.id),
        )
    )
    return set(rows)


def _conditions(params: UndoParams) -> Iterator[ColumnElement[bool]]:
    yield _WAS_APPLIED
    if params.plan_id is not None:
        yield PlanChange.plan_id == params.plan_id
    if params.scene_id is not None:
        yield PlanChange.scene_id == params.scene_id
    if params.change_ids is not None:
        yield PlanChange.id == any_of(params.change_ids)
    if params.detector is not None:
        yield PlanChange.detector == params.detector
        if params.detector_version is not None:
            version = AnalysisPlan.detectors[params.detector].astext
            yield (AnalysisPlan.id == PlanChange.plan_id) & (
                version == params.detector_version
            )


def record_undone(
    session: Session, change_ids: Sequence[int], *, remember: bool
) -> None:
    """Mark changes as undone; with `remember` also as turned down."""
    if not change_ids:
        return
    rows = session.execute(
        update(PlanChange)
        .where(PlanChange.id == any_of(change_ids))
        .values(state="undone", error=None)
        .returning(
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.value_key,
            PlanChange.detector,
        )
    ).all()
    if remember:
        review.remember(session, rows)


def record_reasons(session: Session, reasons: Iterable[tuple[int, str]]) -> None:
    """Keep why changes could not be undone; they stay applied."""
    rows = [{"id": change_id, "error": reason} for change_id, reason in reasons]
    if rows:
        session.execute(
            text(
                "UPDATE plan_change SET error = r.error "
                "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(id bigint, "
                "error text) WHERE plan_change.id = r.id"
            ),
            {"rows": json.dumps(rows)},
        )


def created_tags(
    session: Session, plan_ids: Sequence[int]
) -> list[tuple[str, int | None]]:
    """Return name and id of the tags that plans created; no id: a run died at it."""
    rows = session.scalars(
        select(AnalysisPlan.facts["created_tags"]).where(
            AnalysisPlan.id.in_(plan_ids),
            func.jsonb_typeof(AnalysisPlan.facts["created_tags"]) == "object",
        )
    )
    return sorted(
        {name: tag_id for row in rows for name, tag_id in row.items()}.items()
    )
