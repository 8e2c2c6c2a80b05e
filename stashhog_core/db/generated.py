"""Which scenes have generated media: the flag `scene.generated`, local knowledge."""

from collections.abc import Sequence

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    any_,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene, StashJob


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


def newest_first(session: Session, scene_ids: Sequence[int]) -> list[int]:
    """Return the ids in the order of their scenes' arrival, the newest first.

    Scenes that are not mirrored come last.
    """
    ranked = session.scalars(
        select(Scene.id)
        .where(Scene.id == any_(_id_array(scene_ids)))
        .order_by(Scene.created_at.desc(), Scene.id.desc())
    )
    known = list(ranked)
    rest = set(scene_ids).difference(known)
    return known + [scene_id for scene_id in scene_ids if scene_id in rest]


def mark_generated(
    session: Session, scene_ids: Sequence[int], *, job_rows: Sequence[int] = ()
) -> list[int]:
    """Mark these scenes as having generated media; return those that were not.

    Args:
        session: Open session.
        scene_ids: The scenes.
        job_rows: The server jobs that made the media: closed as finished by the same
            statement.
    """
    marked = (
        update(Scene)
        .where(Scene.id == any_(_id_array(scene_ids)), ~Scene.generated)
        .values(generated=True)
        .returning(Scene.id)
        .cte("marked")
    )
    closed = (
        update(StashJob)
        .where(StashJob.id == any_(_id_array(job_rows)), StashJob.state == "open")
        .values(state="finished", finished_at=func.now())
        .returning(StashJob.id)
        .cte("closed")
    )
    # PostgreSQL carries out a changing CTE whether it is read or not.
    return sorted(session.scalars(select(marked.c.id).add_cte(closed)))


def unmark_generated(session: Session, scene_ids: Sequence[int]) -> list[int]:
    """Mark these scenes as lacking generated media; return those that were marked."""
    unmarked = session.scalars(
        update(Scene)
        .where(Scene.id == any_(_id_array(scene_ids)), Scene.generated)
        .values(generated=False)
        .returning(Scene.id)
    )
    return sorted(unmarked)


def _id_array(ids: Sequence[int]) -> BindParameter[Sequence[int]]:
    # One parameter however many there are.
    return literal(list(ids), ARRAY(BigInteger))
