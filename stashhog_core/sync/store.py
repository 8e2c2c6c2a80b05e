"""Storing scenes with all they have, and what follows for local knowledge."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from sqlalchemy import delete, func, select, text, tuple_, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from stashhog_core.db.merge import (
    insert_rows,
    merge_rows_returning,
    replace_children_returning,
)
from stashhog_core.db.models import Marker, MarkerTag
from stashhog_core.db.models import Scene as SceneTable
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import Scene
from stashhog_core.sync.entities import store_stubs
from stashhog_core.sync.hashes import note_scenes
from stashhog_core.sync.history import Stored
from stashhog_core.sync.local_edits import Conflicts, settle_edits
from stashhog_core.sync.mirrored import (
    CHILDREN,
    MARKER_TAGS,
    Children,
    mirrored_children,
    mirrored_scenes,
)
from stashhog_core.sync.rows import (
    SCENE_COLUMNS,
    marker_rows,
    marker_tag_rows,
    primary_oshash,
    scene_row,
)

T = TypeVar("T")
R = TypeVar("R")

_PLAIN = [name for name in CHILDREN if name != "markers"]


def store_scenes(
    session: Session,
    scenes: Sequence[Scene],
    *,
    stubs: Mapping[str, Collection[int]] | None = None,
    conflicts: Conflicts = "ask",
) -> Stored:
    """Store scenes with their files, hashes, tags, performers and markers.

    Local flags stay, but for two cases: other markers want other media, so
    `generated` is taken back; another primary file wants everything anew, so
    `video_analyzed` is taken back too. Fields edited here stay as well. The hashes
    stored are those of the scene as it was fetched: an edit made since is seen by the
    next run.

    Args:
        session: Open session; the caller commits.
        scenes: The scenes; none twice.
        stubs: Ids of tags, performers and studios, by kind, that the scenes name and
            that have no row.
        conflicts: Who wins a field that was edited on both sides.
    """
    # A page lost with a crashed server is found pending by the next run. The end of
    # the run is committed in full, and no later commit survives an earlier one's loss.
    session.execute(text("SET LOCAL synchronous_commit = off"))
    for kind, lacking in (stubs or {}).items():
        store_stubs(session, kind, lacking)
    ids = [scene.id for scene in scenes]
    mirrored = session.scalars(
        select(SceneTable.id).where(SceneTable.id == func.any(ids))
    )
    known = set(mirrored)
    fresh = [scene for scene in scenes if scene.id not in known]
    others = [scene for scene in scenes if scene.id in known]
    _create(session, fresh)
    updated = _update(session, settle_edits(session, others, conflicts))
    note_scenes(session, scenes)
    return Stored(frozenset(scene.id for scene in fresh), frozenset(updated))


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


def _create(session: Session, scenes: Sequence[Scene]) -> None:
    """Insert scenes of which the mirror has nothing."""
    if not scenes:
        return
    insert_rows(session, SceneTable, SCENE_COLUMNS, map(scene_row, scenes))
    for name in _PLAIN:
        table = CHILDREN[name]
        children = [row for scene in scenes for row in table.rows_of(scene)]
        if children:
            insert_rows(session, table.model, table.columns, children)
    # A marker may have come from another scene.
    _replace_markers(session, [scene for scene in scenes if scene.scene_markers])


def _update(session: Session, scenes: Sequence[Scene]) -> set[int]:
    """Bring mirrored scenes up to date; return those of which anything differed."""
    if not scenes:
        return set()
    ids = [scene.id for scene in scenes]
    mirrored = mirrored_scenes(session, ids)
    differing = [row for s in scenes if (row := scene_row(s)) != mirrored[s.id]]
    if differing:
        merge_rows_returning(session, SceneTable, SCENE_COLUMNS, differing, "id")
    changed = {row[0] for row in differing}
    mine = {name: mirrored_children(session, name, ids) for name in _PLAIN}
    replaced = {s.id for s in scenes if _has_another_primary_file(s, mine)}
    for name in _PLAIN:
        changed |= _replace(session, CHILDREN[name], scenes, mine[name])
    remarked = _with_other_markers(session, scenes)
    _replace_markers(session, [scene for scene in scenes if scene.id in remarked])
    changed |= remarked
    _reset(session, remarked | replaced, generated=False)
    _reset(session, replaced, video_analyzed=False)
    _reset(session, changed, synced_at=func.now())
    return changed


def _replace(
    session: Session,
    table: Children,
    scenes: Sequence[Scene],
    mirrored: Mapping[int, set[Any]],
) -> set[int]:
    """Delete and insert the rows that differ; return their scenes."""
    gone: list[Any] = []
    added: list[Any] = []
    changed: set[int] = set()
    for scene in scenes:
        mine, theirs = mirrored.get(scene.id, set()), set(table.rows_of(scene))
        if mine != theirs:
            gone += mine - theirs
            added += theirs - mine
            changed.add(scene.id)
    keys = [getattr(table.model, column) for column in table.columns[: table.key]]
    for start in range(0, len(gone), 1000):
        part = [row[: table.key] for row in gone[start : start + 1000]]
        session.execute(delete(table.model).where(tuple_(*keys).in_(part)))
    if added:
        insert_rows(session, table.model, table.columns, added)
    return changed


def _with_other_markers(session: Session, scenes: Sequence[Scene]) -> set[int]:
    ids = [scene.id for scene in scenes]
    markers = mirrored_children(session, "markers", ids)
    tags = mirrored_children(session, MARKER_TAGS, ids) if markers else {}
    return {
        scene.id
        for scene in scenes
        if set(marker_rows(scene)) != markers.get(scene.id, set())
        or set(marker_tag_rows(scene)) != tags.get(scene.id, set())
    }


def _replace_markers(session: Session, scenes: Sequence[Scene]) -> None:
    if not scenes:
        return
    ids = [scene.id for scene in scenes]
    table = CHILDREN["markers"]
    replace_children_returning(
        session,
        Marker,
        "scene_id",
        ids,
        table.columns,
        [row for scene in scenes for row in marker_rows(scene)],
    )
    replace_children_returning(
        session,
        MarkerTag,
        "marker_id",
        [marker.id for scene in scenes for marker in scene.scene_markers],
        ("marker_id", "tag_id"),
        [row for scene in scenes for row in marker_tag_rows(scene)],
    )


def _has_another_primary_file(
    scene: Scene, mirrored: Mapping[str, Mapping[int, set[Any]]]
) -> bool:
    """Tell whether the oshash of the primary file is not the mirrored one."""
    oshash = primary_oshash(scene)
    primary = [row[1] for row in mirrored["files"].get(scene.id, ()) if row[2] == 0]
    known = [
        row[3]
        for row in mirrored["hashes"].get(scene.id, ())
        if row[1] in primary and row[2] == "oshash"
    ]
    return oshash is not None and bool(known) and oshash not in known


def _reset(session: Session, scene_ids: Collection[int], **values: Any) -> None:
    if scene_ids:
        session.execute(
            update(SceneTable)
            .where(SceneTable.id == func.any(list(scene_ids)))
            .values(**values)
        )
