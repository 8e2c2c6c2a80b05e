"""Changes of a plan in the database while they are applied or undone."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.reading import NOT_READ_BACK, any_of, plan_for_many
from stashhog_core.errors import JobError
from stashhog_core.params import UndoParams
from stashhog_core.plans.plans import (
    AUTOMATIC,
    OPEN_STATES,
    TRUSTED,
    lacks_plan,
)
from stashhog_core.plans.proposals import read_value
from stashhog_core.plans.rejections import remember_rejected, was_rejected
from stashhog_core.plans.review import decidable, decision_so_far
from stashhog_core.plans.selection import being_applied, has_rivals
from stashhog_core.plans.three_way import (
    AppliedChange,
    ApprovedChange,
    ChangeResult,
    is_intended,
    read_effect,
)

MAX_ATTEMPTS = 5
"""Runs in which Stash may refuse a change before a person has to decide.

A busy database or a full disk is over after a few runs, because scheduled runs are
hours apart. What Stash refuses five times, Stash refuses for good.
"""

_RECORD = text(
    "UPDATE plan_change SET state = coalesce(r.state, plan_change.state), "
    "effect = r.effect, error = r.error, "
    "object_created_at = coalesce(r.created_at, object_created_at), "
    "applied_at = CASE WHEN r.state = 'applied' THEN now() END "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
    "AS r(id bigint, state text, effect jsonb, error text, created_at timestamptz) "
    "WHERE plan_change.id = r.id AND plan_change.state != 'rejected'"
)

_BEGIN = text(
    "UPDATE plan_change SET effect = r.effect, error = NULL "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
    "AS r(id bigint, value_key text, effect jsonb), analysis_plan "
    "WHERE plan_change.id = r.id AND plan_change.value_key = r.value_key "
    "AND plan_change.state = 'approved' AND analysis_plan.id = plan_change.plan_id "
    "AND analysis_plan.state != 'cancelled' RETURNING plan_change.id"
)


class OpenPlan(NamedTuple):
    """A plan with changes to apply, and the run that made the plan."""

    id: int
    run_id: str | None


def applicable_plans(
    session: Session, prefixes: Sequence[str], *, with_pending: bool
) -> list[OpenPlan]:
    """Return the plans under review with approved changes, oldest first.

    Args:
        session: Open session; nothing is written.
        prefixes: Beginnings of the names of the plans to return; none: any name.
        with_pending: Also return plans that have only pending changes.
    """
    to_apply = PlanChange.state == "approved"
    if with_pending:
        # A rejected change waits for a person: it is never approved in bulk.
        to_apply |= _approved_automatically()
    query = (
        select(AnalysisPlan.id, AnalysisPlan.run_id)
        .where(
            AnalysisPlan.state.in_(["draft", "reviewing"]),
            select(PlanChange.id)
            .where(PlanChange.plan_id == AnalysisPlan.id, to_apply)
            .exists(),
        )
        .order_by(AnalysisPlan.id)
    )
    if prefixes:
        query = query.where(
            or_(*(AnalysisPlan.name.startswith(p, autoescape=True) for p in prefixes))
        )
    return [OpenPlan._make(row) for row in session.execute(query)]


def unapplied_plan_ids(session: Session) -> list[int]:
    """Return plans with changes that a run should have applied, oldest first.

    A run that dies between analyzing and applying leaves approved changes behind. Its
    scenes are marked as analyzed, so no later analysis proposes these changes again.
    Changes that people approved count only once a run has begun to apply them or has
    failed to.
    """
    return list(
        session.scalars(
            select(PlanChange.plan_id)
            .join(AnalysisPlan, AnalysisPlan.id == PlanChange.plan_id)
            .where(
                PlanChange.state == "approved",
                or_(
                    PlanChange.approved_by == AUTOMATIC,
                    PlanChange.attempts > 0,
                    being_applied(),
                ),
                AnalysisPlan.state != "cancelled",
            )
            .group_by(PlanChange.plan_id)
            .order_by(PlanChange.plan_id)
        )
    )


def begin_applying(
    session: Session,
    plan_id: int,
    change_ids: Sequence[int] | None,
    *,
    auto_approve: bool,
    retry: bool,
) -> int:
    """Make a plan ready to be applied.

    A change that was approved automatically and whose value people have rejected since
    becomes pending again. Failed changes are tried again if `change_ids` has them, or
    with `retry`. With `auto_approve`, pending changes are approved, except for names
    that have rivals.

    Returns:
        Number of changes that `auto_approve` left alone because people rejected them.

    Raises:
        JobError: There is no such plan or change, or the plan was cancelled.
    """
    plan = session.get(AnalysisPlan, plan_id)
    if plan is None:
        raise lacks_plan(plan_id)
    if plan.state == "cancelled":
        raise JobError(
            f"Plan {plan_id} was cancelled",
            remedy="analyze the scenes again to get a new plan",
        )
    _refuse_unknown(session, change_ids or (), plan_id)
    if plan.state in ("pending", "draft"):
        # The caller holds the lock of the plan: the run that built it has ended.
        plan.state = "reviewing"
    plan_for_many(session)
    chosen = PlanChange.plan_id == plan_id
    if change_ids is not None:
        chosen &= PlanChange.id == any_of(change_ids)
    if retry or change_ids is not None:
        session.execute(
            update(PlanChange)
            .where(chosen, PlanChange.state == "failed")
            .values(state="approved", attempts=0),
            execution_options=NOT_READ_BACK,
        )
    # People have rejected the value since, in another plan: people have to decide.
    session.execute(
        update(PlanChange)
        .where(
            chosen,
            PlanChange.state == "approved",
            PlanChange.approved_by.in_([AUTOMATIC, TRUSTED]),
            was_rejected(),
            ~being_applied(),
        )
        .values(state="pending", approved_by=None),
        execution_options=NOT_READ_BACK,
    )
    if auto_approve:
        session.execute(
            update(PlanChange)
            .where(chosen, _approved_automatically())
            .values(state="approved", approved_by=AUTOMATIC),
            execution_options=NOT_READ_BACK,
        )
    _close_if_done(session, plan_id)
    if not auto_approve:
        return 0
    rejected = select(func.count()).where(chosen, decision_so_far() == "rejected")
    return session.scalar(rejected) or 0


def _approved_automatically() -> ColumnElement[bool]:
    """Return the condition of changes that an automatic approval approves."""
    return decidable("approved", again=False) & ~has_rivals()


def _refuse_unknown(
    session: Session, change_ids: Collection[int], plan_id: int | None
) -> None:
    """Raise a JobError for ids that no change of the plan has; None: of any plan."""
    if not change_ids:
        return
    query = select(PlanChange.id).where(PlanChange.id == any_of(change_ids))
    if plan_id is not None:
        query = query.where(PlanChange.plan_id == plan_id)
    if lacking := sorted(set(change_ids).difference(session.scalars(query))):
        place = "There is" if plan_id is None else f"Plan {plan_id} has"
        number = "PLAN" if plan_id is None else plan_id
        raise JobError(
            f"{place} no change {', '.join(map(str, lacking))}",
            remedy=f"see `stashhog plans show {number}`",
        )


def approved_scene_ids(
    session: Session, plan_id: int, change_ids: Sequence[int] | None
) -> list[int]:
    """Return the ids of scenes with changes to apply, in order."""
    approved = _to_apply(plan_id, change_ids)
    query = select(PlanChange.scene_id).distinct().where(*approved)
    return sorted(session.scalars(query))


def count_approved(
    session: Session, plan_id: int, change_ids: Sequence[int] | None
) -> int:
    """Return how many changes there are to apply."""
    approved = _to_apply(plan_id, change_ids)
    query = select(func.count()).select_from(PlanChange).where(*approved)
    return session.scalar(query) or 0


def approved_changes(
    session: Session,
    plan_id: int,
    change_ids: Sequence[int] | None,
    scene_ids: Sequence[int],
) -> list[ApprovedChange]:
    """Return the changes of some scenes to apply, in order."""
    approved = _to_apply(plan_id, change_ids)
    rows = session.execute(
        select(
            PlanChange.id,
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.value_key,
            PlanChange.base,
            PlanChange.proposed,
            PlanChange.effect,
            PlanChange.scene_created_at,
            PlanChange.object_created_at,
        )
        .where(*approved, PlanChange.scene_id == any_of(scene_ids))
        .order_by(PlanChange.scene_id, PlanChange.id)
    )
    return [
        ApprovedChange(
            id=row.id,
            scene_id=row.scene_id,
            field=row.field,
            action=row.action,
            value_key=row.value_key,
            base=read_value(row.base) if row.base is not None else None,
            proposed=read_value(row.proposed),
            intent=read_effect(row.effect) if is_intended(row.effect) else None,
            scene_created_at=row.scene_created_at,
            object_created_at=row.object_created_at,
        )
        for row in rows
    ]


def _to_apply(
    plan_id: int, change_ids: Sequence[int] | None
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of changes to apply."""
    yield PlanChange.plan_id == plan_id
    yield PlanChange.state == "approved"
    if change_ids is not None:
        yield PlanChange.id == any_of(change_ids)


def count_attempts(session: Session, change_ids: Sequence[int]) -> dict[int, int]:
    """Count a run that could not apply approved changes.

    After `MAX_ATTEMPTS` runs the changes are `failed`: a person has to decide.

    Returns:
        Change id → number of runs so far.
    """
    if not change_ids:
        return {}
    counted = PlanChange.attempts + 1
    rows = session.execute(
        update(PlanChange)
        .where(PlanChange.id == any_of(change_ids), PlanChange.state == "approved")
        .values(
            attempts=counted,
            state=case((counted >= MAX_ATTEMPTS, "failed"), else_=PlanChange.state),
        )
        .returning(PlanChange.id, PlanChange.attempts)
    )
    return {row[0]: row[1] for row in rows}


def record_outcomes(
    session: Session, plan_id: int, results: Iterable[ChangeResult]
) -> None:
    """Store the outcomes of some changes of a plan; the last one closes the plan."""
    record(session, results)
    _close_if_done(session, plan_id)


def record(session: Session, results: Iterable[ChangeResult]) -> None:
    """Store the results of some changes in one statement."""
    rows = [
        {
            "id": r.id,
            "state": r.state,
            "effect": r.stored_effect,
            "error": r.error,
            "created_at": r.object_created_at,
        }
        for r in results
    ]
    if rows:
        session.execute(_RECORD, {"rows": json.dumps(rows, default=str)})


def begin_sending(
    session: Session, intents: Iterable[tuple[ApprovedChange, ChangeResult]]
) -> set[int]:
    """Record that changes are about to be sent; return the ids of those that may be.

    A change that somebody rejected or replaced since it was read is left alone, and so
    is every change of a plan that was cancelled since. Reviewers cannot decide on the
    other changes until their outcome is known.
    """
    rows = [
        {
            "id": change.id,
            "value_key": change.value_key,
            "effect": intent.stored_effect,
        }
        for change, intent in intents
    ]
    if not rows:
        return set()
    return set(session.scalars(_BEGIN, {"rows": json.dumps(rows)}))


def _close_if_done(session: Session, plan_id: int) -> None:
    """Close the plan if none of its changes is open.

    In the transaction that decides the last change: a run that dies right afterwards
    leaves no plan that seems to wait for a review.
    """
    is_open = select(PlanChange.id).where(
        PlanChange.plan_id == plan_id, PlanChange.state.in_(OPEN_STATES)
    )
    session.execute(
        update(AnalysisPlan)
        .where(
            AnalysisPlan.id == plan_id,
            AnalysisPlan.state != "cancelled",
            ~is_open.exists(),
        )
        .values(
            state="applied",
            applied_at=func.coalesce(AnalysisPlan.applied_at, func.now()),
        )
    )


_WAS_APPLIED = or_(
    PlanChange.state == "applied",
    # The run was killed before it could record, or got no readable response: Stash may
    # have the change.
    and_(
        PlanChange.state.in_(["approved", "failed"]),
        PlanChange.effect.has_key("intended"),
    ),
)


def require_changes(session: Session, params: UndoParams) -> None:
    """Check that the named changes exist: an unknown id would look like no change.

    Raises:
        JobError: A change does not exist, or belongs to another plan.
    """
    _refuse_unknown(session, params.change_ids or (), params.plan_id)


def plan_ids_of(session: Session, params: UndoParams) -> list[int]:
    """Return the ids of plans with changes to undo, in order."""
    query = select(PlanChange.plan_id).distinct().where(*_to_undo(params))
    return sorted(session.scalars(query))


def scene_ids_of(
    session: Session, params: UndoParams, plan_ids: Sequence[int]
) -> list[int]:
    """Return the ids of scenes with changes of these plans to undo, in order."""
    query = select(PlanChange.scene_id).distinct()
    query = query.where(*_to_undo(params), PlanChange.plan_id == any_of(plan_ids))
    return sorted(session.scalars(query))


def applied_changes(
    session: Session,
    params: UndoParams,
    plan_ids: Sequence[int],
    scene_ids: Sequence[int],
) -> list[AppliedChange]:
    """Return the changes of these plans and scenes to undo, the newest first."""
    rows = session.execute(
        select(
            PlanChange.id,
            PlanChange.plan_id,
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.proposed,
            PlanChange.effect,
            PlanChange.state,
            PlanChange.scene_created_at,
            PlanChange.object_created_at,
        )
        .where(
            *_to_undo(params),
            PlanChange.plan_id == any_of(plan_ids),
            PlanChange.scene_id == any_of(scene_ids),
        )
        .order_by(PlanChange.id.desc())
    )
    return [
        AppliedChange(
            id=row.id,
            plan_id=row.plan_id,
            scene_id=row.scene_id,
            field=row.field,
            action=row.action,
            proposed=read_value(row.proposed),
            effect=read_effect(row.effect),
            recorded=row.state == "applied",
            scene_created_at=row.scene_created_at,
            object_created_at=row.object_created_at,
        )
        for row in rows
    ]


def applied_by_others(session: Session, changes: Sequence[AppliedChange]) -> set[int]:
    """Return the ids of changes whose value another applied change has set as well.

    Two names of one tag are two changes and one tag in Stash. If a user removed a value
    and a later plan added the value again, the value belongs to the later plan.
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
            & (
                (other.effect["id"] == PlanChange.effect["id"])
                | (other.effect["item"] == PlanChange.effect["item"])
            ),
        )
        .where(
            PlanChange.id == any_of(mine),
            PlanChange.field.in_(["tags", "performers", "urls", "stash_ids"]),
            other.id.not_in(mine),
            other.state == "applied",
            or_(other.plan_id == PlanChange.plan_id, other.id > PlanChange.id),
        )
    )
    return set(rows)


def _to_undo(params: UndoParams) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of changes to undo."""
    yield _WAS_APPLIED
    # Without a record of the effect, as of changes that were applied by the original
    # StashHog, nothing says what to undo.
    yield PlanChange.effect.is_not(None)
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
    """Mark changes as undone; with `remember`, reject their values as well."""
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
        remember_rejected(session, rows)


def record_reasons(session: Session, reasons: Iterable[tuple[int, str]]) -> None:
    """Store why changes could not be undone; the changes stay applied."""
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
