"""Which scenes have generated media: the flag `scene.generated`, local knowledge."""

import logging
from collections.abc import Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from stashhog_core.db.holding import hold_scenes
from stashhog_core.db.models import (
    Marker,
    Scene,
    SceneFile,
    SceneFingerprint,
    StashJob,
)
from stashhog_core.db.primary_file import primary_oshash
from stashhog_core.db.reading import any_of

logger = logging.getLogger(__name__)


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
        query = query.where(Scene.id == any_of(among))
    return list(session.scalars(query))


def newest_first(session: Session, scene_ids: Sequence[int]) -> list[int]:
    """Return the ids in the order of their scenes' arrival, the newest first.

    Scenes that are not mirrored come last.
    """
    ranked = session.scalars(
        select(Scene.id)
        .where(Scene.id == any_of(scene_ids))
        .order_by(Scene.created_at.desc(), Scene.id.desc())
    )
    known = list(ranked)
    rest = set(scene_ids).difference(known)
    return known + [scene_id for scene_id in scene_ids if scene_id in rest]


def media_basis(session: Session, scene_ids: Sequence[int]) -> dict[int, int]:
    """Return a hash of what the media of each scene is made of.

    That is the content of its primary file and the times of its markers.
    """
    rows = session.execute(
        select(Scene.id, basis_of_media()).where(Scene.id == any_of(scene_ids))
    )
    return {row[0]: row[1] for row in rows}


def basis_of_media() -> ColumnElement[int]:
    """Return what `media_basis` does, for the `Scene` of the query around it."""
    marker = func.concat_ws("-", Marker.id, Marker.seconds, Marker.end_seconds)
    markers = (
        select(func.string_agg(marker, aggregate_order_by(literal(","), Marker.id)))
        .where(Marker.scene_id == Scene.id)
        .correlate(Scene)
        .scalar_subquery()
    )
    # Scenes whose content is not known have nothing in common.
    file = func.coalesce(primary_oshash(), func.concat("scene ", Scene.id))
    return func.hashtextextended(func.concat_ws(":", file, markers), 0)


def media_is_made_of(
    session: Session, scene_ids: Sequence[int]
) -> dict[int, tuple[str | None, frozenset[tuple[int, float]]]]:
    """Return the hash of each scene's primary file, and ids and times of its markers.

    The rows are held: who replaces a file or a marker waits for this transaction.
    """
    hold_scenes(session, scene_ids)
    hashes = session.execute(
        select(Scene.id, primary_oshash()).where(Scene.id == any_of(scene_ids))
    )
    markers: dict[int, set[tuple[int, float]]] = {}
    for marker_id, scene_id, seconds in session.execute(
        select(Marker.id, Marker.scene_id, Marker.seconds).where(
            Marker.scene_id == any_of(scene_ids)
        )
    ):
        markers.setdefault(scene_id, set()).add((marker_id, seconds))
    return {
        scene_id: (oshash, frozenset(markers.get(scene_id, ())))
        for scene_id, oshash in hashes
    }


def mirrored_phashes(
    session: Session, among: Sequence[int], *, only_lacking: bool
) -> dict[int, list[str]]:
    """Return the phashes that the mirror has of the files of these scenes, sorted.

    Args:
        session: Open session; nothing is written.
        among: The scenes. Those without any file are left out.
        only_lacking: Leave out the scenes of which each file has a phash here.
    """
    phash = SceneFingerprint.value
    query = (
        select(SceneFile.scene_id, func.array_agg(phash))
        .outerjoin(
            SceneFingerprint,
            (SceneFingerprint.scene_id == SceneFile.scene_id)
            & (SceneFingerprint.file_id == SceneFile.file_id)
            & (SceneFingerprint.kind == "phash"),
        )
        .where(SceneFile.scene_id == any_of(among))
        .group_by(SceneFile.scene_id)
    )
    if only_lacking:
        query = query.having(func.bool_or(phash.is_(None)))
    return {
        scene_id: sorted(value for value in values if value is not None)
        for scene_id, values in session.execute(query)
    }


def mark_generated(
    session: Session,
    scene_ids: Sequence[int],
    *,
    job_rows: Sequence[int] = (),
    basis: Mapping[int, int] | None = None,
) -> list[int]:
    """Mark these scenes as having generated media; return those that were not.

    Args:
        session: Open session.
        scene_ids: The scenes.
        job_rows: The server jobs that made the media: closed as finished by the same
            statement.
        basis: What the media of these scenes was made of. One with another file or
            other markers by now lacks theirs, and is not marked.
    """
    if basis:
        scene_ids = _unchanged(session, scene_ids, basis)
    marked = (
        update(Scene)
        .where(Scene.id == any_of(scene_ids), ~Scene.generated)
        .values(generated=True)
        .returning(Scene.id)
        .cte("marked")
    )
    closed = (
        update(StashJob)
        .where(StashJob.id == any_of(job_rows), StashJob.state == "open")
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
        .where(Scene.id == any_of(scene_ids), Scene.generated)
        .values(generated=False)
        .returning(Scene.id)
    )
    return sorted(unmarked)


def _unchanged(
    session: Session, scene_ids: Sequence[int], basis: Mapping[int, int]
) -> list[int]:
    """Return the scenes whose media would be made of the same; hold their rows."""
    # First of all: a sync that replaces a file or a marker holds the row as well.
    hold_scenes(session, scene_ids)
    now = media_basis(session, scene_ids)
    same = [i for i in scene_ids if i not in basis or now.get(i) == basis[i]]
    if changed := len(scene_ids) - len(same):
        logger.info("%d scenes changed meanwhile: left to the next run", changed)
    return same
