"""Storing scenes with all they have, and what follows for local knowledge."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import psycopg
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session

from stashhog_core.db.merge import (
    merge_rows,
    merge_rows_returning,
    replace_children_returning,
)
from stashhog_core.db.models import (
    Manifest,
    Marker,
    MarkerTag,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
)
from stashhog_core.db.models import Scene as SceneTable
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import Scene
from stashhog_core.sync.difference import text_hash
from stashhog_core.sync.entities import store_stubs
from stashhog_core.sync.history import Stored
from stashhog_core.sync.rows import (
    FILE_COLUMNS,
    FINGERPRINT_COLUMNS,
    MARKER_COLUMNS,
    SCENE_COLUMNS,
    file_rows,
    fingerprint_rows,
    marker_rows,
    marker_tag_rows,
    performer_link_rows,
    primary_oshash,
    referenced_ids,
    scene_row,
    tag_link_rows,
)
from stashhog_core.sync.survey import SCENE

T = TypeVar("T")
R = TypeVar("R")


def store_scenes(session: Session, scenes: Sequence[Scene]) -> Stored:
    """Store scenes with their files, hashes, tags, performers and markers.

    Local flags stay, but for two cases: other markers want other media, so
    `generated` is taken back; another primary file wants everything anew, so
    `video_analyzed` is taken back too. The hash stored is that of the scene as it
    was fetched: an edit made since is seen by the next run.

    Args:
        session: Open session; the caller commits.
        scenes: The scenes; none twice.
    """
    ids = [scene.id for scene in scenes]
    for kind, named in referenced_ids(scenes).items():
        store_stubs(session, kind, named)
    replaced = _with_another_primary_file(session, scenes)
    keys = merge_rows_returning(
        session, SceneTable, SCENE_COLUMNS, map(scene_row, scenes), "id"
    )
    changed = set(keys.updated)

    def replace(
        model: type[DeclarativeBase],
        columns: Sequence[str],
        rows: Callable[[Scene], Iterable[Any]],
    ) -> set[int]:
        children = [row for scene in scenes for row in rows(scene)]
        parents = replace_children_returning(
            session, model, "scene_id", ids, columns, children
        )
        changed.update(parents)
        return set(parents)

    replace(SceneFile, FILE_COLUMNS, file_rows)
    replace(SceneFingerprint, FINGERPRINT_COLUMNS, fingerprint_rows)
    replace(SceneTag, ("scene_id", "tag_id"), tag_link_rows)
    replace(ScenePerformer, ("scene_id", "performer_id"), performer_link_rows)
    remarked = replace(Marker, MARKER_COLUMNS, marker_rows)
    remarked |= _replace_marker_tags(session, scenes)
    changed |= remarked

    created = set(keys.created)
    _reset(session, (remarked | replaced) - created, generated=False)
    _reset(session, replaced - created, video_analyzed=False)
    _reset(session, changed - created, synced_at=func.now())
    merge_rows(
        session,
        Manifest,
        ("entity", "id", "hash"),
        [(SCENE, s.id, text_hash(s.updated_at.encode())) for s in scenes],
    )
    return Stored(frozenset(created), frozenset(changed - created))


def forget_hashes(session: Session, scene_ids: Collection[int]) -> None:
    """Let the next look find these scenes pending, whatever Stash says."""
    if scene_ids:
        session.execute(
            delete(Manifest).where(
                Manifest.entity == SCENE, Manifest.id == func.any(list(scene_ids))
            )
        )


def halve_on_failure(
    database: Database,
    items: Sequence[T],
    store: Callable[[Session, Sequence[T]], R],
) -> tuple[list[R], list[tuple[T, str]]]:
    """Store all items in one transaction; if they fail, each half by itself.

    Returns:
        What `store` returned, for each transaction that was committed, and the items
        that cannot be stored, each with the reason.

    Raises:
        TransientError: The database is away. What was committed before stays.
    """
    if not items:
        return [], []
    try:
        with database.transaction() as session:
            result = store(session, items)
    except (DBAPIError, psycopg.Error, ValueError) as error:
        if len(items) == 1:
            reason = str(error.orig if isinstance(error, DBAPIError) else error)
            return [], [(items[0], reason.strip().splitlines()[0])]
        middle = len(items) // 2
        results, failed = halve_on_failure(database, items[:middle], store)
        more_results, more_failed = halve_on_failure(database, items[middle:], store)
        return results + more_results, failed + more_failed
    return [result], []


def _with_another_primary_file(session: Session, scenes: Sequence[Scene]) -> set[int]:
    query = (
        select(SceneFingerprint.scene_id, SceneFingerprint.value)
        .join(
            SceneFile,
            (SceneFile.scene_id == SceneFingerprint.scene_id)
            & (SceneFile.file_id == SceneFingerprint.file_id),
        )
        .where(
            SceneFingerprint.scene_id == func.any([scene.id for scene in scenes]),
            SceneFingerprint.kind == "oshash",
            SceneFile.position == 0,
        )
    )
    known = {row.scene_id: row.value for row in session.execute(query)}
    return {
        scene.id
        for scene in scenes
        if scene.id in known
        and (oshash := primary_oshash(scene)) is not None
        and oshash != known[scene.id]
    }


def _replace_marker_tags(session: Session, scenes: Sequence[Scene]) -> set[int]:
    """Store the further tags of the markers; return the scenes where they differed."""
    scene_of = {m.id: scene.id for scene in scenes for m in scene.scene_markers}
    if not scene_of:
        return set()
    markers = replace_children_returning(
        session,
        MarkerTag,
        "marker_id",
        scene_of,
        ("marker_id", "tag_id"),
        [row for scene in scenes for row in marker_tag_rows(scene)],
    )
    return {scene_of[marker_id] for marker_id in markers}


def _reset(session: Session, scene_ids: Collection[int], **values: Any) -> None:
    if scene_ids:
        session.execute(
            update(SceneTable)
            .where(SceneTable.id == func.any(list(scene_ids)))
            .values(**values)
        )
