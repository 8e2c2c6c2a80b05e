"""Reading plans: what was proposed, why, and what became of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import computed_field
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene, SceneFile
from stashhog_core.errors import JobError
from stashhog_core.plans.review import being_applied, decidable
from stashhog_core.plans.wording import (
    attention_in_words,
    change_in_words,
    evidence_in_words,
)
from stashhog_core.plans.writer import AUTOMATIC
from stashhog_core.results import ItemFailure, Result, SceneChanges


class PlanSummary(Result):
    """A plan. `counts` has the number of its changes per state, zero ones left out."""

    id: int
    name: str
    state: str
    run_id: str | None
    created_at: datetime
    applied_at: datetime | None
    detectors: dict[str, str]
    facts: dict[str, Any]
    counts: dict[str, int]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def changes(self) -> int:
        """Changes of all states."""
        return sum(self.counts.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def applied(self) -> int:
        """Changes that were brought to Stash."""
        return self.counts.get("applied", 0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def needs_attention(self) -> int:
        """Changes that came to nothing in several runs: a person has to decide."""
        return self.counts.get("failed", 0)


class ChangeRow(Result):
    """A change, as a reviewer sees it."""

    id: int
    scene_id: int
    field: str
    action: str
    base: Any
    proposed: Any
    confidence: float
    detector: str
    evidence: dict[str, Any]
    state: str
    approved_by: str | None
    attempts: int
    effect: Any
    error: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def in_words(self) -> str:
        """What is proposed."""
        return change_in_words(self.field, self.action, self.proposed)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def why(self) -> str:
        """The evidence; for a change that came to nothing, what hindered it."""
        return self.error or evidence_in_words(self.evidence)


_READ_TOGETHER = 1000
"""Changes that are fetched from the database at once."""

_COLUMNS = {name: getattr(PlanChange, name) for name in ChangeRow.model_fields}


def list_plans(
    session: Session,
    states: Sequence[str] | None = None,
    limit: int = 50,
    *,
    attention: bool = False,
) -> list[PlanSummary]:
    """Return plans, newest first.

    Args:
        session: Open session; nothing is written.
        states: Only plans in these states; None: all.
        limit: At most so many.
        attention: Only open plans with failed changes: a person has to decide.
    """
    query = select(AnalysisPlan).order_by(AnalysisPlan.id.desc()).limit(limit)
    if attention:
        query = query.where(_needs_attention())
    if states is not None:
        query = query.where(AnalysisPlan.state.in_(states))
    return _summaries(session, session.scalars(query).all())


def read_plan(session: Session, plan_id: int) -> PlanSummary:
    """Return one plan.

    Raises:
        JobError: There is none of this number.
    """
    plan = session.get(AnalysisPlan, plan_id)
    if plan is None:
        raise JobError(
            f"There is no plan {plan_id}", remedy="see `stashhog plans list`"
        )
    return _summaries(session, [plan])[0]


def plan_changes(
    session: Session,
    plan_id: int,
    *,
    states: Sequence[str] | None = None,
    field: str | None = None,
    limit: int | None = None,
) -> list[ChangeRow]:
    """Return changes of a plan: all that `each_change` yields."""
    found = each_change(session, plan_id, states=states, field=field, limit=limit)
    return list(found)


def each_change(
    session: Session,
    plan_id: int,
    *,
    states: Sequence[str] | None = None,
    field: str | None = None,
    limit: int | None = None,
) -> Iterator[ChangeRow]:
    """Yield changes of a plan by scene, then by number, read as they are asked for.

    The session must stay open meanwhile.

    Args:
        session: Open session; nothing is written.
        plan_id: The plan.
        states: Only changes in these states; None: all.
        field: Only changes of this field; None: all.
        limit: At most so many; None: all.

    Raises:
        JobError: There is no such plan.
    """
    read_plan(session, plan_id)
    query = (
        select(*_COLUMNS.values())
        .where(PlanChange.plan_id == plan_id)
        .order_by(PlanChange.scene_id, PlanChange.id)
        .limit(limit)
    )
    if states is not None:
        query = query.where(PlanChange.state.in_(states))
    if field is not None:
        query = query.where(PlanChange.field == field)
    for row in session.execute(query.execution_options(yield_per=_READ_TOGETHER)):
        yield ChangeRow(**dict(zip(_COLUMNS, row, strict=True)))


def changes_of_run(
    session: Session, run_id: str, limit: int | None = None
) -> list[SceneChanges]:
    """Return what the plans of a run changed in Stash, by scene, in words.

    Args:
        session: Open session; nothing is written.
        run_id: The run that made the plans.
        limit: At most so many scenes; None: all.
    """
    applied = (
        select(
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.proposed,
        )
        .join(AnalysisPlan, AnalysisPlan.id == PlanChange.plan_id)
        .where(AnalysisPlan.run_id == run_id, PlanChange.state == "applied")
    )
    scenes = (
        applied.with_only_columns(PlanChange.scene_id)
        .distinct()
        .order_by(PlanChange.scene_id)
        .limit(limit)
    )
    words: dict[int, list[str]] = defaultdict(list)
    for scene_id, *change in session.execute(
        applied.where(PlanChange.scene_id.in_(scenes)).order_by(
            PlanChange.scene_id, PlanChange.field, PlanChange.id
        )
    ):
        words[scene_id].append(change_in_words(*change))
    titles = _titles(session, list(words))
    return [
        SceneChanges(
            scene_id=scene_id,
            title=titles.get(scene_id, ""),
            changes=tuple(of_scene),
        )
        for scene_id, of_scene in words.items()
    ]


def attention_needed(session: Session, limit: int = 100) -> list[ItemFailure]:
    """Return the open plans with failed changes, oldest first, and what to do."""
    rows = session.execute(
        select(AnalysisPlan.id, func.count())
        .join(PlanChange, PlanChange.plan_id == AnalysisPlan.id)
        .where(PlanChange.state == "failed", AnalysisPlan.state != "cancelled")
        .group_by(AnalysisPlan.id)
        .order_by(AnalysisPlan.id)
        .limit(limit)
    )
    return [
        ItemFailure(item=f"plan {row[0]}", reason=attention_in_words(row[0], row[1]))
        for row in rows
    ]


def _needs_attention() -> ColumnElement[bool]:
    failed = select(PlanChange.id).where(
        PlanChange.plan_id == AnalysisPlan.id, PlanChange.state == "failed"
    )
    return failed.exists() & (AnalysisPlan.state != "cancelled")


def unapplied_plan_ids(session: Session) -> list[int]:
    """Return plans with changes that a run was to apply and did not, oldest first.

    A run that dies between analyzing and applying leaves those that it has approved:
    its scenes are marked as analyzed, so no later analysis would propose these changes
    again. What people approved is listed only once a run has begun to bring it to
    Stash, or has tried in vain.
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


def _titles(session: Session, scene_ids: list[int]) -> dict[int, str]:
    """Return the title of each scene, or the name of its file."""
    rows = session.execute(
        select(Scene.id, Scene.title, SceneFile.path)
        .outerjoin(SceneFile, SceneFile.scene_id == Scene.id)
        .where(Scene.id.in_(scene_ids))
        .order_by(Scene.id, SceneFile.position.desc())
    )
    return {
        scene_id: title or (path or "").rpartition("/")[2]
        for scene_id, title, path in rows
    }


def _summaries(session: Session, plans: Sequence[AnalysisPlan]) -> list[PlanSummary]:
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    rows = session.execute(
        select(PlanChange.plan_id, PlanChange.state, func.count())
        .where(PlanChange.plan_id.in_([plan.id for plan in plans]))
        .group_by(PlanChange.plan_id, PlanChange.state)
    )
    for plan_id, state, count in rows:
        counts[plan_id][state] = count
    return [
        PlanSummary(
            id=plan.id,
            name=plan.name,
            state=plan.state,
            run_id=plan.run_id,
            created_at=plan.created_at,
            applied_at=plan.applied_at,
            detectors=plan.detectors,
            facts=plan.facts,
            counts=counts[plan.id],
        )
        for plan in plans
    ]


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
        to_apply |= decidable("approved", again=False)
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
