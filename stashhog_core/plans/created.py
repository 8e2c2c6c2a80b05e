"""What plans create in Stash, recorded with each plan, so that undo can delete it.

A creation is recorded before Stash is asked, and again with what came of it: a run that
dies in between leaves a record without an id, and the next run looks for it in Stash.
"""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan


@dataclass(frozen=True)
class Creations:
    """One of the facts of a plan: what was created, by a key.

    Attributes:
        fact: The name of the fact.
    """

    fact: str

    def note(self, session: Session, plan_id: int, key: str, made: object) -> None:
        """Record what a plan created, or is about to create."""
        session.execute(
            text(
                "UPDATE analysis_plan SET facts = jsonb_set(facts, ARRAY[:fact], "
                "coalesce(facts->:fact, '{}'::jsonb) || CAST(:entry AS jsonb)) "
                "WHERE id = :plan"
            ),
            {"plan": plan_id, "fact": self.fact, "entry": json.dumps({key: made})},
        )

    def forget(self, session: Session, plan_id: int, key: str) -> None:
        """Remove a record: nothing was created, or somebody else created it."""
        session.execute(
            text(
                "UPDATE analysis_plan SET facts = facts #- ARRAY[:fact, :key] "
                "WHERE id = :plan"
            ),
            {"plan": plan_id, "fact": self.fact, "key": key},
        )

    def of_plan(self, session: Session, plan_id: int) -> dict[str, Any]:
        """Return what a plan created, by key."""
        made = session.scalar(
            select(AnalysisPlan.facts[self.fact]).where(AnalysisPlan.id == plan_id)
        )
        return dict(made or {})

    def of_all(self, session: Session) -> list[tuple[int, str, Any]]:
        """Return what all plans created: plan, key, and what is recorded."""
        made = AnalysisPlan.facts[self.fact]
        rows = session.execute(
            select(AnalysisPlan.id, made)
            .where(func.jsonb_typeof(made) == "object")
            .order_by(AnalysisPlan.id)
        )
        return [
            (plan_id, key, row[key]) for plan_id, row in rows for key in sorted(row)
        ]
