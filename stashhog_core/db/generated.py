"""Which scenes have generated media: the flag `scene.generated`, local knowledge."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, BigInteger, BindParameter, any_, literal, select, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene


def scenes_not_generated(
    session: Session, among: Sequence[int] | None = None
) -> list[int]:
    """Return the ids of scenes without generated media, rising.

    Args:
        session: Open session; nothing is written.
        among: Look only at these. None means the whole mirror; an empty sequence
            means none of it.
    """
    query = (
        select(Scene.id)
        .where(~Scene.generated, Scene.missing_since.is_(None))
        .order_by(Scene.id)
    )
    if among is not None:
        query = query.where(Scene.id == any_(_id_array(among)))
    return list(session.scalars(query))


def mark_generated(session: Session, scene_ids: Sequence[int]) -> list[int]:
    """Mark these scenes as having generated media; return those that were not."""
    marked = session.scalars(
        update(Scene)
        .where(Scene.id == any_(_id_array(scene_ids)), ~Scene.generated)
        .values(generated=True)
        .returning(Scene.id)
    )
    return sorted(marked)


def _id_array(ids: Sequence[int]) -> BindParameter[Sequence[int]]:
    # One parameter however many there are.
    return literal(list(ids), ARRAY(BigInteger))
