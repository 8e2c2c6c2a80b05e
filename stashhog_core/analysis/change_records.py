"""Reading a plan's approved changes and recording what became of them."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from stashhog_core.analysis.plan_writing import AUTOMATIC
from stashhog_core.analysis.review import decidable, decision_so_far
from stashhog_core.analysis.three_way import Change
from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.errors import JobError

OPEN_STATES = ("pending", "approved")
"""States of changes that keep a plan from being done."""

_RECORD = text(
    "UPDATE plan_change SET state = coalesce(r.state, plan_change.state), "
    "effect = r.effect, error = r.error, "
    "applied_at = CASE WHEN r.state = 'applied' THEN now() END "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
    "AS r(id bigint, state text, effect jsonb, error text) "
    "WHERE plan_change.id = r.id"
)


@dataclass(frozen=True)
class Record:
    """What became of a change. Without a state it is only about to be applied."""

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
) -> int:
    """Make a plan ready to be applied; approve what is pending, if told so.

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
        raise JobError(f"Plan {plan_id} was cancelled", remedy="analyse again")
    if foreign := unknown_changes(session, change_ids or (), plan_id):
        raise JobError(f"Plan {plan_id} has no change {', '.join(map(str, foreign))}")
    if plan.state in ("pending", "draft"):
        # The caller holds the plan's lock: whoever was building it is gone.
        plan.state = "reviewing"
    if not auto_approve:
        return 0
    chosen = PlanChange.plan_id == plan_id
    if change_ids is not None:
        chosen &= PlanChange.id.in_(change_ids)
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
    query = select(PlanChange.id).where(PlanChange.id.in_(change_ids))
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
    rows = session.execute(query.where(PlanChange.scene_id.in_(scene_ids)))
    return [Change(*row) for row in rows]


def _approved(query: Any, plan_id: int, change_ids: Sequence[int] | None) -> Any:
    query = query.where(PlanChange.plan_id == plan_id)
    if change_ids is None:
        return query.where(PlanChange.state == "approved")
    # Whoever names a failed change wants it tried again.
    return query.where(
        PlanChange.id.in_(change_ids), PlanChange.state.in_(["approved", "failed"])
    )


def record(session: Session, records: Iterable[Record]) -> None:
    """Write what became of some changes, in one statement."""
    rows = [asdict(item) for item in records]
    if rows:
        session.execute(_RECORD, {"rows": json.dumps(rows)})


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
        .where(AnalysisPlan.id == plan_id)
        .values(
            state="applied",
            applied_at=func.coalesce(AnalysisPlan.applied_at, func.now()),
        )
    )
    return True
