"""A plan as tables for a reviewer: by value, and change by change with evidence."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Text, case, cast, func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange
from stashhog_core.markdown import scene_link
from stashhog_core.plans.queries import plan_changes

SHOWN_CHANGES = 500
"""More rows than this nobody reads in a browser; the terminal exports them all."""


def value_rows(session: Session, plan_id: int) -> list[dict[str, Any]]:
    """Return each value, in how many scenes it is proposed, and its states.

    Texts of one field are one row: they differ from scene to scene.
    """
    name = case(
        (PlanChange.field == "markers", PlanChange.proposed["title"].astext),
        (
            PlanChange.field.in_(["tags", "performers", "studio"]),
            PlanChange.proposed["name"].astext,
        ),
        else_=cast("", Text),
    ).label("name")
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
        .where(PlanChange.plan_id == plan_id)
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
            "change": f"{action} {field} {value}".strip(),
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
    """Return changes with their evidence and a link to the second in Stash."""
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
            "now": change.base if change.base is not None else "",
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
