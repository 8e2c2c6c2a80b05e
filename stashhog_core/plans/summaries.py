"""Plans as lists show them: what each plan is, and how many changes it has.

This module goes by the driver alone, without SQLAlchemy, so that `stashhog plans list`
starts fast.
"""

from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from pydantic import BaseModel, ConfigDict, computed_field


class PlanSummary(BaseModel):
    """A plan. `counts` has the number of its changes per state, zero ones left out."""

    model_config = ConfigDict(frozen=True)

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
        """Changes that Stash refused in several runs: a person has to decide."""
        return self.counts.get("failed", 0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def outcome(self) -> str:
        """The state, in words that tell an applied plan from one that was undone."""
        undone = self.counts.get("undone", 0)
        if not undone:
            return self.state
        if self.state == "applied" and not self.applied:
            return "undone"
        return f"{self.state}, {undone} undone"


_PLANS = """
SELECT id, name, state, run_id, created_at, applied_at, detectors, facts, counts
FROM (
    -- By their time: those of the original StashHog came later than they were made.
    SELECT * FROM analysis_plan
    WHERE (%(plan_id)s::bigint IS NULL OR id = %(plan_id)s)
      AND (
        NOT %(attention)s OR state <> 'cancelled' AND EXISTS (
            SELECT FROM plan_change
            WHERE plan_id = analysis_plan.id AND state = 'failed'
        )
      )
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s
) AS analysis_plan, LATERAL (
    SELECT coalesce(jsonb_object_agg(of_state.state, of_state.number), '{}') AS counts
    FROM (
        SELECT state, sum(changes) AS number
        FROM value_count WHERE plan_id = analysis_plan.id
        GROUP BY state HAVING sum(changes) <> 0
    ) AS of_state
) AS counted
ORDER BY created_at DESC, id DESC
"""


def list_plans(
    connection: "psycopg.Connection[Any]", limit: int = 50, *, attention: bool = False
) -> list[PlanSummary]:
    """Return plans, newest first.

    Args:
        connection: Open connection; nothing is written.
        limit: Maximum number of plans.
        attention: Only open plans with failed changes: a person has to decide.
    """
    return _read(connection, limit=limit, attention=attention)


def find_plan(
    connection: "psycopg.Connection[Any]", plan_id: int
) -> PlanSummary | None:
    """Return one plan; None: there is no such plan."""
    found = _read(connection, plan_id=plan_id)
    return found[0] if found else None


def _read(
    connection: "psycopg.Connection[Any]",
    *,
    plan_id: int | None = None,
    limit: int = 1,
    attention: bool = False,
) -> list[PlanSummary]:
    values = {"plan_id": plan_id, "limit": limit, "attention": attention}
    with connection.cursor(row_factory=class_row(PlanSummary)) as cursor:
        return cursor.execute(_PLANS, values).fetchall()
