"""Generated media: which scenes have it, what a check found, what Stash cannot make."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from stashhog_core.db.merge import upsert
from stashhog_core.db.models import (
    Marker,
    MediaCheck,
    Scene,
    SceneFile,
    SceneFingerprint,
    StashJob,
    UnmakeableMedia,
)
from stashhog_core.db.reading import any_of
from stashhog_core.db.scenes import lock_scenes, primary_oshash

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
    lock_scenes(session, scene_ids)
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
    lock_scenes(session, scene_ids)
    now = media_basis(session, scene_ids)
    same = [i for i in scene_ids if i not in basis or now.get(i) == basis[i]]
    if changed := len(scene_ids) - len(same):
        logger.info(
            "%d scenes changed during the run; the next run covers these scenes",
            changed,
        )
    return same


@dataclass(frozen=True)
class Checked:
    """A scene that was checked: nothing missing means complete."""

    scene_id: int
    key: int
    missing: tuple[str, ...] = ()


def complete_keys(session: Session) -> dict[int, int]:
    """Return the key of each scene that was complete when it was last checked."""
    query = select(MediaCheck.scene_id, MediaCheck.key).where(
        func.cardinality(MediaCheck.missing) == 0
    )
    return {row.scene_id: row.key for row in session.execute(query)}


def incomplete_scenes(session: Session) -> Mapping[int, Sequence[str]]:
    """Return what is missing of each scene that was found incomplete."""
    return {i: list(check.missing) for i, check in incomplete_checks(session).items()}


def incomplete_checks(session: Session) -> dict[int, Checked]:
    """Return the last finding of each scene that was found incomplete."""
    query = select(MediaCheck.scene_id, MediaCheck.key, MediaCheck.missing).where(
        MediaCheck.missing != literal([], MediaCheck.missing.type)
    )
    return {
        row.scene_id: Checked(row.scene_id, row.key, tuple(row.missing))
        for row in session.execute(query)
    }


def store_checks(session: Session, checks: Iterable[Checked]) -> None:
    """Store what was found; an older finding of the same scene is replaced."""
    rows = [
        {"scene_id": c.scene_id, "key": c.key, "missing": list(c.missing)}
        for c in checks
    ]
    upsert(session, MediaCheck, rows, stamped="checked_at")


TRIES_IN_DOUBT = 3
"""Failures after which media is given up that Stash may have failed at for a while."""


@dataclass(frozen=True)
class Unmakeable:
    """What a scene lacks that Stash was asked for and could not make.

    `asked` and `missing` are kinds of media.
    """

    asked: frozenset[str]
    missing: tuple[str, ...]
    reason: str

    def explains(self, missing: Collection[str]) -> bool:
        """Tell whether nothing more is missing than what could not be made."""
        return set(missing) <= set(self.missing)

    def covers(self, asked: Collection[str]) -> bool:
        """Tell whether Stash has been asked for all of these kinds."""
        return self.asked >= set(asked)


@dataclass(frozen=True)
class Failed:
    """A scene for which Stash did not make all that it was asked for.

    `content` is what its media would be made of. `is_doubtful`: Stash may be able to
    make it another time, so it is given up only after some tries.
    """

    content: int
    found: Unmakeable
    is_doubtful: bool


def has_unmakeable(session: Session) -> bool:
    """Tell whether Stash ever failed at anything: mostly it did not."""
    return bool(session.scalar(select(exists(UnmakeableMedia.content))))


def unmakeable_of(
    session: Session, scene_ids: Iterable[int], version: str
) -> dict[int, Unmakeable]:
    """Return what this version of Stash cannot make of the present content of scenes.

    Only what was given up; scenes of which nothing was are left out.
    """
    rows = session.execute(
        select(
            Scene.id,
            UnmakeableMedia.asked,
            UnmakeableMedia.missing,
            UnmakeableMedia.reason,
        )
        .join(UnmakeableMedia, UnmakeableMedia.content == basis_of_media())
        .where(
            Scene.id == any_of(scene_ids),
            UnmakeableMedia.given_up,
            UnmakeableMedia.stash_version == version,
        )
        .order_by(Scene.id)
    )
    return {
        row.id: Unmakeable(frozenset(row.asked), tuple(row.missing), row.reason)
        for row in rows
    }


def note_unmakeable(
    session: Session, version: str, failures: Sequence[Failed]
) -> set[int]:
    """Store what Stash failed at; return the contents that are given up by now.

    What another version failed at is replaced.
    """
    if not failures:
        return set()
    contents = [failure.content for failure in failures]
    query = select(UnmakeableMedia).where(
        UnmakeableMedia.content == any_of(contents),
        UnmakeableMedia.stash_version == version,
    )
    known = {row.content: row for row in session.scalars(query)}
    rows = {
        failure.content: {
            **_merged(known.get(failure.content), failure),
            "content": failure.content,
            "stash_version": version,
        }
        for failure in failures
    }
    upsert(session, UnmakeableMedia, rows.values(), stamped="noted_at")
    return {content for content, row in rows.items() if row["given_up"]}


def _merged(known: UnmakeableMedia | None, failure: Failed) -> dict[str, object]:
    found = failure.found
    asked, missing, tries, was_given_up = found.asked, set(found.missing), 1, False
    if known is not None:
        # Of kinds that were not asked for this time, what was known still holds.
        missing |= set(known.missing) - asked
        asked |= set(known.asked)
        tries, was_given_up = known.tries + 1, known.given_up
    return {
        "asked": sorted(asked),
        "missing": sorted(missing),
        "reason": found.reason,
        "tries": tries,
        "given_up": was_given_up or not failure.is_doubtful or tries >= TRIES_IN_DOUBT,
    }


def forget_unmakeable(session: Session, scene_ids: Sequence[int]) -> None:
    """Forget what was noted of the present content of these scenes."""
    if not scene_ids:
        return
    contents = select(basis_of_media()).where(Scene.id == any_of(scene_ids))
    session.execute(
        delete(UnmakeableMedia).where(UnmakeableMedia.content.in_(contents))
    )


def primary_files(
    session: Session, scene_ids: Iterable[int]
) -> Mapping[int, tuple[str, float | None]]:
    """Return path and seconds of the primary file of each scene that has one."""
    rows = session.execute(
        select(SceneFile.scene_id, SceneFile.path, SceneFile.duration_seconds).where(
            SceneFile.scene_id == any_of(scene_ids), SceneFile.position == 0
        )
    )
    return {row.scene_id: (row.path, row.duration_seconds) for row in rows}
