"""Building a plan: created with its first change, closed as a draft."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import cast, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.session import Database
from stashhog_core.plans.plans import AUTOMATIC, TRUSTED, is_worked_on, plan_lock
from stashhog_core.plans.proposals import Proposal
from stashhog_core.plans.trust import Trust

_INSERT_CHANGES = text(
    "INSERT INTO plan_change (plan_id, scene_id, scene_created_at, field, action, "
    "value_key, base, proposed, confidence, detector, evidence, state, approved_by) "
    "SELECT :plan_id, r.scene_id, s.stash_created_at, r.field, r.action, r.value_key, "
    "r.base, r.proposed, r.confidence, r.detector, r.evidence, r.state, r.approved_by "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(scene_id bigint, field text, "
    "action text, value_key text, base jsonb, proposed jsonb, confidence float8, "
    "detector text, evidence jsonb, state text, approved_by text, place int) "
    "LEFT JOIN scene s ON s.id = r.scene_id "
    # An analysis takes minutes: somebody may have rejected a value meanwhile.
    "WHERE NOT EXISTS (SELECT FROM review_memory m WHERE m.scene_id = r.scene_id "
    "AND m.field = r.field AND m.value_key = r.value_key AND m.detector = r.detector) "
    "ORDER BY r.place "
    "ON CONFLICT (plan_id, scene_id, field, action, value_key) DO NOTHING "
    "RETURNING state"
)


@dataclass(frozen=True)
class PlanOptions:
    """Facts about a plan that are known before its first change."""

    name: str
    run_id: str
    detectors: Mapping[str, str]
    auto_approve: bool
    trust: Trust | None = None


class PlanWriter:
    """Collects changes into one plan. Use the writer in a `with` statement.

    The plan is `pending` inside the block and a draft afterwards, also when the block
    ends in an error. Without a change no plan is created. A retry of the same run
    continues the plan that the run began.

    Args:
        database: Database of the plans.
        options: The plan's name, run and detectors, and how changes are approved.
        closing_facts: Returns the facts about the run that the plan keeps. Called at
            the end of the block with the facts of an earlier try of the run.
    """

    def __init__(
        self,
        database: Database,
        options: PlanOptions,
        closing_facts: Callable[[Mapping[str, Any]], dict[str, Any]],
    ) -> None:
        self._database = database
        self._options = options
        self._closing_facts = closing_facts
        self._lock = ExitStack()
        self._closed_state = "draft"
        self._earlier: dict[str, Any] = {}
        self.plan_id: int | None = None
        self.changes = 0
        self.approved = 0

    def __enter__(self) -> Self:
        close_orphans(self._database)
        with self._database.transaction() as session:
            self._continue(session)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.plan_id is not None:
                with self._database.transaction() as session:
                    session.execute(
                        update(AnalysisPlan)
                        .where(AnalysisPlan.id == self.plan_id)
                        .values(
                            state=self._closed_state,
                            # Kept: the tags that applying it has created.
                            facts=AnalysisPlan.facts.op("||")(
                                cast(self._closing_facts(self._earlier), JSONB)
                            ),
                        )
                    )
        finally:
            self._lock.close()

    def save(
        self,
        proposals: Mapping[int, Iterable[Proposal]],
        alongside: Callable[[Session], None],
    ) -> None:
        """Add the proposals of some scenes, in one transaction with `alongside`.

        Args:
            proposals: Scene id → proposals. A change that the plan already has stays as
                it is.
            alongside: Writes, in the same transaction, the rows that are true only
                together with these proposals.
        """
        rows = [
            {"scene_id": scene_id, **proposal.row, **self._approval(proposal)}
            for scene_id, of_scene in proposals.items()
            for proposal in of_scene
        ]
        known = self.plan_id
        added: list[str] = []
        try:
            with self._database.transaction() as session:
                if rows:
                    if self.plan_id is None:
                        self.plan_id = self._begin(session)
                    added = self._insert(session, rows)
                alongside(session)
        except BaseException:
            # The transaction is rolled back, and a plan that began in it is gone.
            if self.plan_id != known:
                self.plan_id = known
                self._lock.close()
            raise
        self.changes += len(added)
        self.approved += added.count("approved")

    def _insert(self, session: Session, rows: list[dict[str, Any]]) -> list[str]:
        """Store changes; return the states of the new ones."""
        inserted = session.execute(
            _INSERT_CHANGES,
            {
                "plan_id": self.plan_id,
                "rows": json.dumps(
                    [{**row, "place": place} for place, row in enumerate(rows)]
                ),
            },
        )
        return list(inserted.scalars())

    def _approval(self, proposal: Proposal) -> dict[str, Any]:
        if proposal.has_rivals:
            return {"state": "pending", "approved_by": None}
        if self._options.auto_approve:
            return {"state": "approved", "approved_by": AUTOMATIC}
        if self._options.trust is not None and self._options.trust.approves(proposal):
            return {"state": "approved", "approved_by": TRUSTED}
        return {"state": "pending", "approved_by": None}

    def _begin(self, session: Session) -> int:
        plan = AnalysisPlan(
            name=self._options.name,
            run_id=self._options.run_id,
            detectors=dict(self._options.detectors),
        )
        session.add(plan)
        session.flush()
        # Locked before anyone can see the plan: nobody takes the plan for an orphan.
        self._lock.enter_context(plan_lock(self._database, plan.id))
        return plan.id

    def _continue(self, session: Session) -> None:
        plan = session.scalars(
            select(AnalysisPlan)
            .where(
                AnalysisPlan.run_id == self._options.run_id,
                AnalysisPlan.name == self._options.name,
                AnalysisPlan.state.in_(["draft", "reviewing"]),
            )
            .order_by(AnalysisPlan.id.desc())
            .limit(1)
        ).first()
        if plan is None:
            return
        self._lock.enter_context(plan_lock(self._database, plan.id))
        self._closed_state = plan.state
        self._earlier = dict(plan.facts)
        self.plan_id = plan.id
        of_plan = select(func.count()).where(PlanChange.plan_id == plan.id)
        self.changes = session.scalar(of_plan) or 0
        self.approved = (
            session.scalar(of_plan.where(PlanChange.state == "approved")) or 0
        )
        plan.state = "pending"
        plan.detectors = dict(self._options.detectors)


def close_orphans(database: Database) -> int:
    """Turn plans whose run died while building them into drafts; return how many.

    Such a plan is complete for the scenes that its run finished: a scene is marked as
    analyzed in the same transaction that stores the scene's changes.
    """
    with database.transaction() as session:
        pending = list(
            session.scalars(
                select(AnalysisPlan.id).where(AnalysisPlan.state == "pending")
            )
        )
    orphans = [plan_id for plan_id in pending if not is_worked_on(database, plan_id)]
    if orphans:
        with database.transaction() as session:
            session.execute(
                update(AnalysisPlan)
                .where(AnalysisPlan.id.in_(orphans), AnalysisPlan.state == "pending")
                .values(state="draft")
            )
    return len(orphans)
