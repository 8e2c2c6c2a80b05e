"""Reading a plan's approved changes and recording what became of them."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import case, func, select, text, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.reading import any_of, plan_for_many
from stashhog_core.errors import JobError
from stashhog_core.plans.review import (
    being_applied,
    decidable,
    decision_so_far,
    turned_down,
)
from stashhog_core.plans.three_way import Change
from stashhog_core.plans.writer import AUTOMATIC, TRUSTED

OPEN_STATES = ("pending", "approved", "failed")
"""States of changes that keep a plan from being done."""

MAX_ATTEMPTS = 5
"""Runs in which Stash may refuse a change before a person has to look at it.

A busy database or a full disk is over after a few runs, which are hours apart or more
where they are scheduled; what Stash refuses five times, it refuses for good.
"""

_RECORD = text(
    "UPDATE plan_change SET state = coalesce(r.state, plan_change.state), "
    "effect = r.effect, error = r.error, "
    "applied_at = CASE WHEN r.state = 'applied' THEN now() END "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
    "AS r(id bigint, state text, effect jsonb, error text) "
    "WHERE plan_change.id = r.id AND plan_change.state != 'rejected'"
)

_BEGIN = text(
    "UPDATE plan_change SET effect = r.effect, error = NULL "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
    "AS r(id bigint, proposed jsonb, effect jsonb), analysis_plan "
    "WHERE plan_change.id = r.id AND plan_change.proposed = r.proposed "
    "AND plan_change.state = 'approved' AND analysis_plan.id = plan_change.plan_id "
    "AND analysis_plan.state != 'cancelled' RETURNING plan_change.id"
)


@dataclass(frozen=True)
class Record:
    """What became of a change. Without a state it stays approved.

    Its effect then says that it is about to be applied, or perhaps is; without an
    effect, nothing has come of it.
    """

    id: int
    state: str | None
    effect: dict[str, Any] | None = None
    error: str | None = None


def begin_applying(
    session: Session,
    plan_id: int,
    change_ids: Sequence[int] | None,
    *,
    auto_approve: bool,
    retry: bool,
) -> int:
    """Make a plan ready to be applied; approve what is pending, if told so.

    What was approved automatically, and turned down by people since, is pending again.
    Failed changes are tried again if they are named, or with `retry`.

    Returns how many changes people have rejected, which approving left alone.

    Raises:
        JobError: There is no such plan or change, or the plan was cancelled.
    """
    plan = session.get(AnalysisPlan, plan_id)
    if plan is None:
        raise JobError(
            f"There is no plan {plan_id}", remedy="see `stashhog plans list`"
        )
    if plan.state == "cancelled":
        raise JobError(f"Plan {plan_id} was cancelled", remedy="analyze again")
    if foreign := unknown_changes(session, change_ids or (), plan_id):
        raise JobError(f"Plan {plan_id} has no change {', '.join(map(str, foreign))}")
    if plan.state in ("pending", "draft"):
        # The caller holds the plan's lock: whoever was building it is gone.
        plan.state = "reviewing"
    plan_for_many(session)
    chosen = PlanChange.plan_id == plan_id
    if change_ids is not None:
        chosen &= PlanChange.id == any_of(change_ids)
    if retry or change_ids is not None:
        session.execute(
            update(PlanChange)
            .where(chosen, PlanChange.state == "failed")
            .values(state="approved", attempts=0)
        )
    # People have turned the value down since, in another plan: it is theirs to decide.
    session.execute(
        update(PlanChange)
        .where(
            chosen,
            PlanChange.state == "approved",
            PlanChange.approved_by.in_([AUTOMATIC, TRUSTED]),
            turned_down(),
            ~being_applied(),
        )
        .values(state="pending", approved_by=None)
    )
    if not auto_approve:
        return 0
    session.execute(
        update(PlanChange)
        .where(chosen, decidable("approved", again=False))
        .values(state="approved", approved_by=AUTOMATIC)
    )
    rejected = select(func.count()).where(chosen, decision_so_far() == "rejected")
    return session.scalar(rejected) or 0


def unknown_changes(
    session: Session, change_ids: Collection[int], plan_id: int | None
) -> list[int]:
    """Return those of the ids, sorted, that no change of the plan, or of any, has."""
    if not change_ids:
        return []
    query = select(PlanChange.id).where(PlanChange.id == any_of(change_ids))
    if plan_id is not None:
        query = query.where(PlanChange.plan_id == plan_id)
    return sorted(set(change_ids).difference(session.scalars(query)))


def approved_scene_ids(
    session: Session, plan_id: int, change_ids: Sequence[int] | None
) -> list[int]:
    """Return the scenes with changes to be applied, in order."""
    query = _approved(
        select(PlanChange.scene_id).distinct().order_by(PlanChange.scene_id),
        plan_id,
        change_ids,
    )
    return list(session.scalars(query))


def approved_changes(
    session: Session,
    plan_id: int,
    change_ids: Sequence[int] | None,
    scene_ids: Sequence[int],
) -> list[Change]:
    """Return the changes of some scenes that are to be applied, in order."""
    query = _approved(
        select(
            PlanChange.id,
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.base,
            PlanChange.proposed,
            PlanChange.effect,
        ).order_by(PlanChange.scene_id, PlanChange.id),
        plan_id,
        change_ids,
    )
    rows = session.execute(query.where(PlanChange.scene_id == any_of(scene_ids)))
    return [Change(*row) for row in rows]


def _approved(query: Any, plan_id: int, change_ids: Sequence[int] | None) -> Any:
    query = query.where(PlanChange.plan_id == plan_id, PlanChange.state == "approved")
    if change_ids is None:
        return query
    return query.where(PlanChange.id == any_of(change_ids))


def count_attempts(session: Session, change_ids: Sequence[int]) -> dict[int, int]:
    """Note that a run could not bring approved changes to Stash.

    After `MAX_ATTEMPTS` such runs they are `failed`: a person has to decide.

    Returns:
        Change id → runs so far.
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


def record(session: Session, records: Iterable[Record]) -> None:
    """Write what became of some changes, in one statement."""
    rows = [asdict(item) for item in records]
    if rows:
        session.execute(_RECORD, {"rows": json.dumps(rows)})


def begin_sending(
    session: Session, intents: Iterable[tuple[Change, Record]]
) -> set[int]:
    """Record of changes that they are about to be sent; return those that may be.

    A change that somebody rejected or replaced since it was read is left alone, and so
    is each one of a plan that was cancelled since. Nobody decides on the others until
    it is known what became of them.
    """
    rows = [
        {"id": change.id, "proposed": change.proposed, "effect": intent.effect}
        for change, intent in intents
    ]
    if not rows:
        return set()
    return set(session.scalars(_BEGIN, {"rows": json.dumps(rows)}))


def note_tag(session: Session, plan_id: int, name: str, tag_id: int | None) -> None:
    """Keep with a plan that it creates a tag; `tag_id` None: it is about to."""
    session.execute(
        text(
            "UPDATE analysis_plan SET facts = jsonb_set(facts, '{created_tags}', "
            "coalesce(facts->'created_tags', '{}'::jsonb) || CAST(:entry AS jsonb)) "
            "WHERE id = :plan"
        ),
        {"plan": plan_id, "entry": json.dumps({name: tag_id})},
    )


def forget_tag(session: Session, plan_id: int, name: str) -> None:
    """Take back that a plan creates a tag: somebody else has."""
    session.execute(
        text(
            "UPDATE analysis_plan SET facts = facts #- ARRAY['created_tags', :name] "
            "WHERE id = :plan"
        ),
        {"plan": plan_id, "name": name},
    )


def unfinished_tags(session: Session, plan_id: int) -> list[str]:
    """Return the tags that a run was about to create, and died before it knew."""
    created = session.scalar(
        select(AnalysisPlan.facts["created_tags"]).where(AnalysisPlan.id == plan_id)
    )
    return [name for name, tag_id in (created or {}).items() if tag_id is None]


def finish_applying(session: Session, plan_id: int) -> bool:
    """Close the plan if no change of it is open any more; return whether it is."""
    left = session.scalar(
        select(func.count()).where(
            PlanChange.plan_id == plan_id, PlanChange.state.in_(OPEN_STATES)
        )
    )
    if left:
        return False
    session.execute(
        update(AnalysisPlan)
        .where(AnalysisPlan.id == plan_id, AnalysisPlan.state != "cancelled")
        .values(
            state="applied",
            applied_at=func.coalesce(AnalysisPlan.applied_at, func.now()),
        )
    )
    return True
