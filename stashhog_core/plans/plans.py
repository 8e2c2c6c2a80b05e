"""Plans in the database: what was proposed and why, and what became of the changes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from pydantic import computed_field
from sqlalchemy import func, select, union_all
from sqlalchemy.orm import Session

from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.scenes import scene_titles
from stashhog_core.db.session import Database, driver_connection
from stashhog_core.errors import JobError
from stashhog_core.markdown import scene_link
from stashhog_core.plans.proposals import (
    StoredValue,
    Value,
    change_in_words,
    evidence_in_words,
    field_in_words,
    pictures_in_words,
    read_value,
)
from stashhog_core.plans.selection import (
    ALL_CHANGES,
    Selection,
    has_rivals,
    stored_name,
)
from stashhog_core.plans.summaries import PlanSummary, find_plan
from stashhog_core.results import ItemFailure, Result, SceneChanges

BY_USER = "user"
"""`approved_by` of a change that a person approved."""

AUTOMATIC = "auto"
"""`approved_by` of a change that nobody reviewed."""

TRUSTED = "trust"
"""`approved_by` of a change whose value people have accepted often enough."""

OPEN_STATES = ("pending", "approved", "failed")
"""States of changes that keep a plan open."""

SHOWN_CHANGES = 500
"""Nobody reads more rows than this in a browser; the terminal exports all rows."""

Costs = dict[str, dict[str, Any]]
"""Detector → kind of cost → amount, or the name of a currency."""

_CHANGES_PER_FETCH = 1000


def lacks_plan(plan_id: int) -> JobError:
    """Return the error for an id that no plan has."""
    return JobError(f"There is no plan {plan_id}", remedy="see `stashhog plans list`")


def plan_lock(database: Database, plan_id: int) -> AbstractContextManager[None]:
    """Hold a plan while it is built, applied or undone.

    The database frees the lock when its holder ends, however it ends.

    Raises:
        TransientError: Another run holds the plan.
    """
    return job_lock(database, _lock_name(plan_id))


def is_worked_on(database: Database, plan_id: int) -> bool:
    """Tell whether a living run holds a plan."""
    return is_held(database, _lock_name(plan_id))


def _lock_name(plan_id: int) -> str:
    return f"plan {plan_id}"


class ChangeDetails(Result):
    """A change, as a reviewer sees it."""

    id: int
    scene_id: int
    field: str
    action: str
    base: StoredValue | None
    proposed: StoredValue
    confidence: float
    detector: str
    evidence: dict[str, Any]
    state: str
    approved_by: str | None
    attempts: int
    effect: dict[str, Any] | None
    error: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def in_words(self) -> str:
        """What is proposed."""
        return change_in_words(self.field, self.action, self.value)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def why(self) -> str:
        """The evidence; for a change that was not applied, the error."""
        return self.error or evidence_in_words(self.evidence)

    @property
    def value(self) -> Value:
        """The proposed value."""
        return read_value(self.proposed)

    @property
    def now(self) -> str:
        """The scene's value when the change was proposed."""
        return read_value(self.base).as_text if self.base is not None else ""


_COLUMNS = {name: getattr(PlanChange, name) for name in ChangeDetails.model_fields}


def read_plan(session: Session, plan_id: int) -> PlanSummary:
    """Return one plan.

    Raises:
        JobError: There is no such plan.
    """
    plan = find_plan(driver_connection(session), plan_id)
    if plan is None:
        raise lacks_plan(plan_id)
    return plan


def plan_changes(
    session: Session,
    plan_id: int,
    selection: Selection = ALL_CHANGES,
    *,
    limit: int | None = None,
) -> list[ChangeDetails]:
    """Return the changes that `each_change` yields as a list."""
    return list(each_change(session, plan_id, selection, limit=limit))


def each_change(
    session: Session,
    plan_id: int,
    selection: Selection = ALL_CHANGES,
    *,
    limit: int | None = None,
) -> Iterator[ChangeDetails]:
    """Yield changes of a plan by scene, then by id, read as they are consumed.

    The session must stay open until the last change is read.

    Args:
        session: Open session; nothing is written.
        plan_id: The plan.
        selection: Which of its changes.
        limit: Maximum number of changes; None: all.

    Raises:
        JobError: There is no such plan.
    """
    if session.get(AnalysisPlan, plan_id) is None:
        raise lacks_plan(plan_id)
    query = (
        select(*_COLUMNS.values())
        .where(PlanChange.plan_id == plan_id, selection.condition)
        .order_by(PlanChange.scene_id, PlanChange.id)
        .limit(limit)
    )
    for row in session.execute(query.execution_options(yield_per=_CHANGES_PER_FETCH)):
        yield ChangeDetails(**dict(zip(_COLUMNS, row, strict=True)))


def changes_of_run(
    session: Session, run_id: str, limit: int | None = None
) -> list[SceneChanges]:
    """Return what the plans of a run changed in Stash, by scene, in words.

    Args:
        session: Open session; nothing is written.
        run_id: The run that made the plans.
        limit: Maximum number of scenes; None: all.
    """
    # Gathered first: to find the first scenes in order, PostgreSQL would go through
    # the changes of all runs.
    applied = (
        select(
            PlanChange.scene_id,
            PlanChange.field,
            PlanChange.action,
            PlanChange.proposed,
            PlanChange.id,
        )
        .join(AnalysisPlan, AnalysisPlan.id == PlanChange.plan_id)
        .where(AnalysisPlan.run_id == run_id, PlanChange.state == "applied")
        .cte("applied")
    )
    found = applied.c
    scenes = select(found.scene_id).distinct().order_by(found.scene_id).limit(limit)
    changes = (
        select(found.scene_id, found.field, found.action, found.proposed)
        .where(found.scene_id.in_(scenes))
        .order_by(found.scene_id, found.field, found.id)
    )
    words: dict[int, list[str]] = defaultdict(list)
    for scene_id, field, action, proposed in session.execute(changes):
        words[scene_id].append(change_in_words(field, action, read_value(proposed)))
    titles = scene_titles(session, list(words))
    return [
        SceneChanges(
            scene_id=scene_id,
            title=titles.get(scene_id, ""),
            changes=tuple(of_scene),
        )
        for scene_id, of_scene in words.items()
    ]


def attention_needed(
    session: Session, run_id: str, limit: int = 100
) -> list[ItemFailure]:
    """Return the plans that need a decision, oldest first, and what to do.

    These are open plans with failed changes, and the plans of the run with changes that
    nobody has decided on: names of which a person has to choose one, and others.
    """
    failed = PlanChange.state == "failed"
    undecided = (
        select(PlanChange.id)
        .join(AnalysisPlan, AnalysisPlan.id == PlanChange.plan_id)
        .where(AnalysisPlan.run_id == run_id, PlanChange.state == "pending")
    )
    # Each by its own index; as one condition, all changes of all plans are read.
    wanted = union_all(select(PlanChange.id).where(failed), undecided).subquery()
    rows = session.execute(
        select(
            AnalysisPlan.id,
            func.count().filter(failed),
            func.count().filter(~failed, has_rivals()),
            func.count().filter(~failed, ~has_rivals()),
        )
        .join(PlanChange, PlanChange.plan_id == AnalysisPlan.id)
        .join(wanted, wanted.c.id == PlanChange.id)
        .where(AnalysisPlan.state != "cancelled")
        .group_by(AnalysisPlan.id)
        .order_by(AnalysisPlan.id)
        .limit(limit)
    )
    return [
        ItemFailure(item=f"plan {plan_id}", reason=reason)
        for plan_id, failures, choices, others in rows
        for reason in (
            *([attention_in_words(plan_id, failures)] if failures else []),
            *([choice_in_words(plan_id, choices)] if choices else []),
            *([review_in_words(plan_id, others)] if others else []),
        )
    ]


def value_rows(
    session: Session, plan_id: int, selection: Selection = ALL_CHANGES
) -> list[dict[str, Any]]:
    """Return one row per value: its state and the number of scenes it is proposed for.

    All texts of a field share a row, because they differ from scene to scene. Only the
    selected changes of the plan count.
    """
    name = func.coalesce(stored_name(), "").label("name")
    rows = session.execute(
        select(
            PlanChange.field,
            PlanChange.action,
            name,
            PlanChange.detector,
            PlanChange.state,
            func.count(PlanChange.scene_id.distinct()).label("scenes"),
            func.min(PlanChange.confidence),
        )
        .where(PlanChange.plan_id == plan_id, selection.condition)
        .group_by(
            PlanChange.field,
            PlanChange.action,
            name,
            PlanChange.detector,
            PlanChange.state,
        )
        .order_by(func.count(PlanChange.scene_id.distinct()).desc(), name)
    )
    return [
        {
            "change": f"{action} {field_in_words(field)} {value}".strip(),
            "scenes": scenes,
            "state": state,
            "detector": detector,
            "least confidence": round(least, 2),
        }
        for field, action, value, detector, state, scenes, least in rows
    ]


def change_rows(
    session: Session, plan_id: int, link_base: str | None, limit: int = SHOWN_CHANGES
) -> list[dict[str, Any]]:
    """Return changes with evidence, each with a link to its second in Stash."""
    return [
        {
            "id": change.id,
            "scene": scene_link(
                f"scene {change.scene_id}",
                link_base,
                change.scene_id,
                _second(change.evidence),
            ),
            "change": change.in_words,
            "now": change.now,
            "confidence": round(change.confidence, 2),
            "why": change.why,
            "detector": change.detector,
            "state": change.state,
        }
        for change in plan_changes(session, plan_id, limit=limit)
    ]


def _second(evidence: Mapping[str, Any]) -> float | None:
    second = evidence.get("second")
    return second if isinstance(second, int | float) else None


def attention_in_words(plan_id: int, failed: int) -> str:
    """Say that changes of a plan failed in several runs, and what a person can do."""
    changes = "1 change" if failed == 1 else f"{failed} changes"
    return (
        f"{changes} failed in several runs. To list them, run "
        f"`stashhog plans show {plan_id} --state failed`; to try again, run "
        f"`stashhog plans apply {plan_id} --retry`; to reject a change, run "
        f"`stashhog plans reject {plan_id} --change ID`"
    )


def choice_in_words(plan_id: int, count: int) -> str:
    """Say that several values are possible, and how a person chooses one."""
    changes = "1 change proposes" if count == 1 else f"{count} changes propose"
    return (
        f"{changes} names that are spelled almost alike, or one of several possible "
        f"scenes of a stash-box. To list them, run `stashhog plans show {plan_id} "
        f"--state pending`; to accept the right one, run `stashhog plans accept "
        f"{plan_id}` with `--value NAME` or `--change ID`"
    )


def review_in_words(plan_id: int, count: int) -> str:
    """Say that changes wait for a review, and how a person reviews them."""
    changes = "1 change waits" if count == 1 else f"{count} changes wait"
    return (
        f"{changes} for your review. To review them, run `stashhog web` or "
        f"`stashhog plans show {plan_id}`; to accept all of them, run `stashhog plans "
        f"accept {plan_id}`, and then `stashhog plans apply {plan_id}`"
    )


def add_costs(
    earlier: Mapping[str, Mapping[str, Any]], now: Mapping[str, Any]
) -> Costs:
    """Return the sum of the costs of two tries of one run."""
    total = {name: dict(of_detector) for name, of_detector in earlier.items()}
    for name, of_detector in now.items():
        before = total.setdefault(name, {})
        for kind, amount in of_detector.items():
            if isinstance(amount, int | float):
                before[kind] = round(before.get(kind, 0) + amount, 6)
            else:
                before[kind] = amount
    return total


def costs_in_words(costs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the costs, such as `text_model 12 requests, 3.1 s, 3,400 + 220 tokens`.

    The two numbers of tokens are sent and received.
    """
    return "; ".join(
        f"{name} {', '.join(_cost_in_words(of_detector))}"
        for name, of_detector in sorted(costs.items())
    )


def _cost_in_words(costs: Mapping[str, Any]) -> list[str]:
    # A scene without a likely name costs no request, so scenes are not requests.
    kind, unit = ("requests",) * 2 if "requests" in costs else ("looks", "scenes")
    words = [f"{costs.get(kind, 0):,} {unit}", f"{costs.get('seconds', 0):,.1f} s"]
    words += pictures_in_words(costs)
    if "tokens_in" in costs:
        words.append(f"{costs['tokens_in']:,} + {costs['tokens_out']:,} tokens")
    if costs.get("money"):
        words.append(f"{costs['money']:,.4f} {costs['currency']}")
    return words
