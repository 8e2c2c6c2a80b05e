"""Holding rows of scenes: one at a time edits them, stores them or sets their flags."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene
from stashhog_core.db.reading import THESE, read_these

_HELD = (
    select(Scene.id)
    .where(Scene.id == THESE)
    .order_by(Scene.id)
    .with_for_update(key_share=True)
)


def hold_scenes(session: Session, scene_ids: Collection[int]) -> set[int]:
    """Keep others from touching these scenes; return those mirrored.

    Whoever touches more than the scenes holds them before all else that is theirs,
    such as edits and markers: else two would wait for each other.
    """
    return {id_ for (id_,) in read_these(session, _HELD, scene_ids)}
