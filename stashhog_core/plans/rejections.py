"""Values that a user took away in Stash after they were applied: each one is a no."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

# The mirror is compared with what was applied. A tag that is gone altogether was not
# taken from this scene; a marker has no other place to be.
_REMEMBER = text(
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


def remember_taken_away(session: Session, scene_ids: Sequence[int]) -> None:
    """Remember as rejected what is no longer in these scenes of the mirror."""
    session.execute(_REMEMBER, {"ids": list(scene_ids)})
