"""Values that people rejected for a scene: they are not proposed again."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange, ReviewMemory

Rejection = tuple[int, str, str, str]
"""Scene, field, value key, detector."""

MEMORY_COLUMNS = ("scene_id", "field", "value_key", "detector")
SAME_VALUE = and_(
    *(
        getattr(ReviewMemory, name) == getattr(PlanChange, name)
        for name in MEMORY_COLUMNS
    )
)
"""Joins a change and the rejection of its value."""

# The mirror is compared with what was applied. A tag that Stash no longer has was not
# removed from this scene; a marker belongs to no other scene.
_REMEMBER_REMOVED = text(
    """
    INSERT INTO review_memory (scene_id, field, value_key, detector)
    SELECT c.scene_id, c.field, c.value_key, c.detector
    FROM plan_change c JOIN scene s ON s.id = c.scene_id
    WHERE c.scene_id = ANY(:ids) AND c.state = 'applied' AND s.missing_since IS NULL
        AND CASE
            WHEN c.field = 'tags' AND c.action = 'add' THEN
                EXISTS (SELECT FROM tag WHERE id = (c.effect->>'id')::bigint
                    AND missing_since IS NULL)
                AND NOT EXISTS (SELECT FROM scene_tag WHERE scene_id = c.scene_id
                    AND tag_id = (c.effect->>'id')::bigint)
            WHEN c.field = 'performers' AND c.action = 'add' THEN
                EXISTS (SELECT FROM performer WHERE id = (c.effect->>'id')::bigint
                    AND missing_since IS NULL)
                AND NOT EXISTS (SELECT FROM scene_performer
                    WHERE scene_id = c.scene_id
                    AND performer_id = (c.effect->>'id')::bigint)
            WHEN c.field = 'studio' THEN
                s.studio_id IS DISTINCT FROM (c.effect->>'after')::bigint
                AND EXISTS (SELECT FROM studio WHERE missing_since IS NULL
                    AND id = (c.effect->>'after')::bigint)
            WHEN c.field = 'markers' THEN
                NOT EXISTS (SELECT FROM marker
                    WHERE id = (c.effect->>'marker_id')::bigint)
            WHEN c.field = 'title' THEN s.title = c.effect->>'before'
            WHEN c.field = 'details' THEN s.details = c.effect->>'before'
            ELSE false END
    ON CONFLICT DO NOTHING
    """
)


def remember_rejected(session: Session, rejections: Iterable[Sequence[Any]]) -> None:
    """Store rejections, each a `Rejection`."""
    rows = [
        dict(zip(MEMORY_COLUMNS, key, strict=True))
        for key in {tuple(key) for key in rejections}
    ]
    if rows:
        session.execute(insert(ReviewMemory).on_conflict_do_nothing(), rows)


def remember_removed(session: Session, scene_ids: Sequence[int]) -> None:
    """Remember as rejected the applied values that users have removed in Stash."""
    session.execute(_REMEMBER_REMOVED, {"ids": list(scene_ids)})


def rejected_before(session: Session, scene_ids: Sequence[int]) -> set[Rejection]:
    """Return what people have rejected for these scenes."""
    rows = session.execute(
        select(
            ReviewMemory.scene_id,
            ReviewMemory.field,
            ReviewMemory.value_key,
            ReviewMemory.detector,
        ).where(ReviewMemory.scene_id.in_(scene_ids))
    )
    return {(row[0], row[1], row[2], row[3]) for row in rows}


def was_rejected() -> ColumnElement[bool]:
    """Return the condition of changes whose value people have rejected for the scene.

    A pending change can meet this condition: its value was rejected in another plan,
    undone for good, or removed in Stash.
    """
    return (
        select(ReviewMemory.scene_id).where(SAME_VALUE).correlate(PlanChange).exists()
    )
