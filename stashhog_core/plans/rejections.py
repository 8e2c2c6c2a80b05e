"""Values that people rejected for a scene: they are not proposed again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    PlanChange,
    RejectedMatch,
    ReviewMemory,
    Scene,
    SceneFingerprint,
)
from stashhog_core.db.reading import any_of

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
# removed from this scene, also if another one has its id; a marker belongs to no other
# scene. Removing a value changes the scene: one that has not changed since comes from a
# backup of Stash that did not have the value yet. Clocks may differ by minutes. Markers
# do not change their scene.
_REMEMBER_REMOVED = text(
    """
    INSERT INTO review_memory (scene_id, field, value_key, detector)
    SELECT c.scene_id, c.field, c.value_key, c.detector
    FROM plan_change c JOIN scene s ON s.id = c.scene_id
    WHERE c.scene_id = ANY(:ids) AND c.state = 'applied' AND s.missing_since IS NULL
        AND coalesce(c.scene_created_at = s.stash_created_at, true)
        AND (c.field = 'markers' OR coalesce(
            s.stash_updated_at > c.applied_at - interval '5 minutes', true))
        AND CASE
            WHEN c.field = 'tags' AND c.action = 'add' THEN
                EXISTS (SELECT FROM tag WHERE id = (c.effect->>'id')::bigint
                    AND missing_since IS NULL
                    AND coalesce(stash_created_at = c.object_created_at, true))
                AND NOT EXISTS (SELECT FROM scene_tag WHERE scene_id = c.scene_id
                    AND tag_id = (c.effect->>'id')::bigint)
            WHEN c.field = 'performers' AND c.action = 'add' THEN
                EXISTS (SELECT FROM performer WHERE id = (c.effect->>'id')::bigint
                    AND missing_since IS NULL
                    AND coalesce(stash_created_at = c.object_created_at, true))
                AND NOT EXISTS (SELECT FROM scene_performer
                    WHERE scene_id = c.scene_id
                    AND performer_id = (c.effect->>'id')::bigint)
            WHEN c.field = 'studio' THEN
                s.studio_id IS DISTINCT FROM (c.effect->>'after')::bigint
                AND EXISTS (SELECT FROM studio WHERE missing_since IS NULL
                    AND id = (c.effect->>'after')::bigint
                    AND coalesce(stash_created_at = c.object_created_at, true))
            WHEN c.field = 'markers' THEN
                NOT EXISTS (SELECT FROM marker
                    WHERE id = (c.effect->>'marker_id')::bigint)
            WHEN c.field = 'urls' THEN NOT c.effect->>'item' = ANY(s.urls)
            WHEN c.field = 'stash_ids' THEN
                NOT s.stash_ids @> jsonb_build_array(c.proposed)
            WHEN c.field = 'title' THEN s.title = c.effect->>'before'
            WHEN c.field = 'details' THEN s.details = c.effect->>'before'
            WHEN c.field = 'code' THEN s.code = c.effect->>'before'
            WHEN c.field = 'director' THEN s.director = c.effect->>'before'
            WHEN c.field = 'date' THEN coalesce(s.date, '') = c.effect->>'before'
            ELSE false END
    ON CONFLICT DO NOTHING
    """
)


_KEEP_MATCHES = text(
    """
    INSERT INTO rejected_match (content_hash, value_key, rejected_at)
    SELECT f.value, m.value_key, min(m.rejected_at)
    FROM review_memory m JOIN scene_fingerprint f USING (scene_id)
    WHERE m.scene_id = ANY(:ids) AND m.field = 'stash_ids' AND f.kind = 'oshash'
    GROUP BY f.value, m.value_key
    ON CONFLICT DO NOTHING
    """
)


_KEEP_SCENES = text(
    """
    UPDATE review_memory m SET scene_created_at = s.stash_created_at FROM scene s
    WHERE s.id = m.scene_id AND s.id = ANY(:ids)
    """
)
_FORGET_OTHERS = text(
    """
    DELETE FROM review_memory m USING scene s
    WHERE s.id = m.scene_id AND s.id = ANY(:ids)
        AND m.scene_created_at <> s.stash_created_at
    """
)


def keep_rejections(session: Session, scene_ids: Sequence[int]) -> None:
    """Note what rejections belong to before the mirror loses these scenes.

    A scene may come back, as with a backup of Stash. A scene of a stash-box is also
    remembered by the content of the file, which may come back with another id.
    """
    session.execute(_KEEP_SCENES, {"ids": list(scene_ids)})
    session.execute(_KEEP_MATCHES, {"ids": list(scene_ids)})


def forget_rejections_of_others(session: Session, scene_ids: Sequence[int]) -> None:
    """Forget what was rejected for earlier scenes that had the ids of these new ones.

    The scenes are those that the mirror has just got.
    """
    session.execute(_FORGET_OTHERS, {"ids": list(scene_ids)})


def rejected_matches(
    session: Session, contents: Mapping[int, Sequence[str]]
) -> dict[int, set[str]]:
    """Return the keys of the ids at stash-boxes that people rejected, by scene.

    Args:
        session: Open session; nothing is written.
        contents: Each scene with the oshashes of its files. What was rejected for
            another scene with one of these files counts as well, also if Stash no
            longer has that scene.
    """
    oshashes = sorted({value for values in contents.values() for value in values})
    of_ids = select(ReviewMemory.scene_id, ReviewMemory.value_key).where(
        ReviewMemory.field == "stash_ids"
    )
    by_scene: dict[int, set[str]] = defaultdict(set)
    for scene_id, key in session.execute(
        of_ids.where(ReviewMemory.scene_id == any_of(contents))
    ):
        by_scene[scene_id].add(key)
    same_content = (
        select(SceneFingerprint.value, ReviewMemory.value_key)
        .join(ReviewMemory, ReviewMemory.scene_id == SceneFingerprint.scene_id)
        .where(
            ReviewMemory.field == "stash_ids",
            SceneFingerprint.kind == "oshash",
            SceneFingerprint.value.in_(oshashes),
        )
    )
    of_lost_scenes = select(RejectedMatch.content_hash, RejectedMatch.value_key).where(
        RejectedMatch.content_hash.in_(oshashes)
    )
    by_content: dict[str, set[str]] = defaultdict(set)
    for value, key in session.execute(same_content.union(of_lost_scenes)):
        by_content[value].add(key)
    return {
        scene_id: by_scene[scene_id].union(*(by_content[value] for value in values))
        for scene_id, values in contents.items()
    }


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


@cache
def of_another_scene() -> ColumnElement[bool]:
    """Return the condition of changes whose scene's id another scene has by now."""
    return (
        select(Scene.id)
        .where(
            Scene.id == PlanChange.scene_id,
            Scene.stash_created_at != PlanChange.scene_created_at,
        )
        .correlate(PlanChange)
        .exists()
    )


@cache
def was_rejected() -> ColumnElement[bool]:
    """Return the condition of changes whose value people have rejected for the scene.

    A pending change can meet this condition: its value was rejected in another plan,
    undone for good, or removed in Stash.
    """
    return (
        select(ReviewMemory.scene_id).where(SAME_VALUE).correlate(PlanChange).exists()
    )
