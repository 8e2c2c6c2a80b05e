"""Storing scenes with all they have, and what follows for local knowledge."""

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
    Set,
)
from contextlib import nullcontext
from operator import itemgetter
from typing import Any, TypeVar

import psycopg
from sqlalchemy import delete, func, select, text, tuple_, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.manifest import forget_hashes, forget_listing
from stashhog_core.db.merge import (
    EncodedRows,
    encode_rows,
    insert_encoded,
    insert_rows,
    replace_children,
    unchecked_references,
    update_rows,
)
from stashhog_core.db.models import Marker, MarkerTag, Scene
from stashhog_core.db.reading import THESE, any_of, read_these
from stashhog_core.db.scenes import lock_scenes
from stashhog_core.db.session import Database
from stashhog_core.plans.rejections import forget_rejections_of_others
from stashhog_core.stash.payloads import StashScene
from stashhog_core.sync.compare import content_hash
from stashhog_core.sync.entities import lock_entities, store_stubs
from stashhog_core.sync.history import Stored
from stashhog_core.sync.local_edits import Conflicts, decide_edits
from stashhog_core.sync.mirror import (
    CHILDREN,
    MARKER_TAGS,
    Children,
    mirrored_children,
    mirrored_scenes,
)
from stashhog_core.sync.removals import forget_scenes
from stashhog_core.sync.rows import (
    MARKER_TIMES,
    SCENE_COLUMNS,
    Row,
    marker_tag_rows,
    primary_oshash,
    referenced_ids,
    scene_row,
)

T = TypeVar("T")
R = TypeVar("R")

_OWNERS = select(Marker.id, Marker.scene_id).where(Marker.id == THESE)
_MARKER_TAG = ("marker_id", "tag_id")
_PLAIN = [name for name in CHILDREN if name != "markers"]


class NewScenes:
    """The rows of scenes that the mirror does not have, as they are sent.

    Making them takes longer than anything else that StashHog itself does to store a
    scene, and needs no database: the threads that fetch scenes can do it.

    Args:
        scenes: The scenes; none twice.
    """

    def __init__(self, scenes: Sequence[StashScene]) -> None:
        self.ids = frozenset(scene.id for scene in scenes)
        self.named = referenced_ids(scenes)
        """Tags, performers and studios, by kind."""
        columns = (*SCENE_COLUMNS, "content")
        rows = [(*scene_row(scene), content_hash(scene)) for scene in scenes]
        children = {name: _children(name, scenes) for name in CHILDREN}
        self.marker_ids = frozenset(row[0] for row in children["markers"])
        self.plain = [encode_rows(Scene, columns, rows)]
        """The scenes, and all of theirs but markers."""
        self.plain += [_encoded(name, children[name]) for name in _PLAIN]
        self.markers = [
            _encoded("markers", children["markers"]),
            encode_rows(MarkerTag, _MARKER_TAG, _marker_tags(scenes)),
        ]


def store_scenes(
    session: Session,
    scenes: Sequence[StashScene],
    *,
    stubs: Mapping[str, Collection[int]] | None = None,
    encoded: NewScenes | None = None,
    conflicts: Conflicts = "ask",
    confirmed: bool = False,
) -> Stored:
    """Store scenes with their files, hashes, tags, performers and markers.

    A scene that has the id of an earlier one is stored as a new scene. Local flags of
    all others stay, but for two cases: other markers want other media, so
    `generated` is taken back, also from a scene that loses a marker to one of these;
    another primary file wants everything anew, so `video_analyzed` is taken back too.
    Fields edited here stay as well. The hashes stored are those of the scene as it was
    fetched: an edit made since is seen by the next run.

    Args:
        session: Open session; the caller commits.
        scenes: The scenes; none twice.
        stubs: Ids of tags, performers and studios, by kind, that the scenes name and
            that have no row.
        encoded: Rows of those that the mirror does not have, made before; they are
            used if they are the rows of exactly these.
        conflicts: Who wins a field that was edited on both sides.
        confirmed: Scenes that have the ids of earlier ones may be many.

    Raises:
        JobError: Many scenes have the ids of earlier ones.
    """
    # A page lost with a crashed server is found pending by the next run. The end of
    # the run is committed in full, and no later commit survives an earlier one's loss.
    session.execute(text("SET LOCAL synchronous_commit = off"))
    # Rows are looked up by the ids of a page. As long as PostgreSQL has not looked at
    # the tables, which is so after a first sync, it would read the whole of them.
    session.execute(text("SET LOCAL enable_seqscan = off"))
    for kind, lacking in (stubs or {}).items():
        store_stubs(session, kind, lacking)
    ids = {scene.id for scene in scenes}
    markers = [marker.id for scene in scenes for marker in scene.scene_markers]
    owners = dict(read_these(session, _OWNERS, markers))
    robbed = set(owners.values()) - ids
    known = lock_scenes(session, ids | robbed)
    another = {s.id for s in scenes if not s.was_created_at(known.get(s.id))}
    forget_scenes(session, another, len(scenes), confirmed=confirmed)
    fresh = [s for s in scenes if s.id not in known or s.id in another]
    _create(session, fresh, owners.keys(), encoded)
    if fresh:
        forget_rejections_of_others(session, [scene.id for scene in fresh])
    others = [s for s in scenes if s.id in known and s.id not in another]
    updated = _update(session, others, conflicts)
    # Once their markers are mirrored where they are now, nothing else tells of it.
    _reset(session, robbed, generated=False)
    forget_hashes(session, robbed)
    forget_listing(session)
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


def _encoded(name: str, rows: Sequence[Row]) -> EncodedRows:
    table = CHILDREN[name]
    return encode_rows(table.model, table.columns, rows)


def _create(
    session: Session,
    scenes: Sequence[StashScene],
    known_markers: Set[int],
    encoded: NewScenes | None,
) -> None:
    """Insert scenes of which the mirror has nothing, but for some markers maybe."""
    if not scenes:
        return
    ids = {scene.id for scene in scenes}
    new = encoded if encoded and encoded.ids == ids else NewScenes(scenes)
    entities_stay = lock_entities(session, new.named)
    markers_are_new = known_markers.isdisjoint(new.marker_ids)
    known = {**new.named, "scene": new.ids, "marker": new.marker_ids}
    plainly = nullcontext(insert_encoded)
    with unchecked_references(session, known) if entities_stay else plainly as insert:
        for rows in new.plain + new.markers if markers_are_new else new.plain:
            if rows.text:
                insert(session, rows)
    if not markers_are_new:
        _replace_markers(session, [scene for scene in scenes if scene.scene_markers])


def _update(
    session: Session, scenes: Sequence[StashScene], conflicts: Conflicts
) -> set[int]:
    """Bring mirrored scenes up to date; return those of which anything differed."""
    if not scenes:
        return set()
    contents = {scene.id: content_hash(scene) for scene in scenes}
    scenes = decide_edits(session, scenes, conflicts)
    ids = list(contents)
    mirrored = mirrored_scenes(session, ids)
    rows = [(*scene_row(scene), contents[scene.id]) for scene in scenes]
    differing = [row for row in rows if row != mirrored[row[0]]]
    if differing:
        _write(session, differing, mirrored)
    changed = {row[0] for row in differing if row[:-1] != mirrored[row[0]][:-1]}
    mine = {name: set(mirrored_children(session, name, ids)) for name in _PLAIN}
    refiled: set[int] = set()
    for name in _PLAIN:
        found = _replace(session, CHILDREN[name], _children(name, scenes), mine[name])
        changed |= found
        if name in {"files", "hashes"}:
            refiled |= found
    replaced = {
        scene.id
        for scene in scenes
        if scene.id in refiled and _has_another_primary_file(scene, mine)
    }
    touched, remarked = _with_other_markers(session, scenes)
    _replace_markers(session, [scene for scene in scenes if scene.id in touched])
    changed |= touched
    _reset(session, remarked | replaced, generated=False)
    _reset(session, replaced, video_analyzed=False)
    _reset(session, changed - {row[0] for row in differing}, synced_at=func.now())
    return changed


def _write(session: Session, rows: Sequence[Row], mirrored: Mapping[int, Row]) -> None:
    """Write those columns of scenes in which any of them differs."""
    columns = (*SCENE_COLUMNS, "content")
    differing = {
        position
        for row in rows
        for position, (new, old) in enumerate(zip(row, mirrored[row[0]], strict=True))
        if new != old
    }
    positions = [0, *sorted(differing)]
    pick = itemgetter(*positions)
    update_rows(
        session,
        Scene,
        pick(columns),
        [pick(row) for row in rows],
        stamped="synced_at",
    )


def _children(name: str, scenes: Iterable[StashScene]) -> list[Row]:
    rows_of = CHILDREN[name].rows_of
    return [row for scene in scenes for row in rows_of(scene)]


def _marker_tags(scenes: Iterable[StashScene]) -> list[Row]:
    return [row[:2] for scene in scenes for row in marker_tag_rows(scene)]


def _replace(
    session: Session, table: Children, rows: Sequence[Row], mirrored: set[Row]
) -> set[int]:
    """Delete and insert the rows that differ; return their scenes."""
    wanted = set(rows)
    gone, added = mirrored - wanted, wanted - mirrored
    keys = [getattr(table.model, column) for column in table.columns[: table.key]]
    lost = [row[: table.key] for row in gone]
    for part in batched(lost, 1000):
        session.execute(delete(table.model).where(tuple_(*keys).in_(part)))
    if added:
        insert_rows(session, table.model, table.columns, added)
    return {row[table.scene] for row in gone | added}


def _with_other_markers(
    session: Session, scenes: Sequence[StashScene]
) -> tuple[set[int], set[int]]:
    """Return scenes whose markers are stored otherwise, and of these: want other media.

    Other times alone, as of a marker that we made ourselves, want none.
    """
    ids = [scene.id for scene in scenes]
    mine = set(mirrored_children(session, "markers", ids))
    theirs = set(_children("markers", scenes))
    column = CHILDREN["markers"].scene
    other = {row[:-MARKER_TIMES] for row in mine}
    other ^= {row[:-MARKER_TIMES] for row in theirs}
    tags = set(mirrored_children(session, MARKER_TAGS, ids)) if mine else set()
    wanted = {row for scene in scenes for row in marker_tag_rows(scene)}
    remarked = {row[column] for row in other} | {row[-1] for row in tags ^ wanted}
    return remarked | {row[column] for row in mine ^ theirs}, remarked


def _replace_markers(session: Session, scenes: Sequence[StashScene]) -> None:
    if not scenes:
        return
    ids = [scene.id for scene in scenes]
    table = CHILDREN["markers"]
    replace_children(
        session,
        Marker,
        "scene_id",
        ids,
        table.columns,
        _children("markers", scenes),
    )
    replace_children(
        session,
        MarkerTag,
        "marker_id",
        [marker.id for scene in scenes for marker in scene.scene_markers],
        _MARKER_TAG,
        _marker_tags(scenes),
    )


def _has_another_primary_file(
    scene: StashScene, mirrored: Mapping[str, set[Row]]
) -> bool:
    """Tell whether the oshash of the primary file is not the mirrored one."""
    oshash = primary_oshash(scene)
    primary = [r[1] for r in mirrored["files"] if r[0] == scene.id and r[2] == 0]
    known = [
        row[3]
        for row in mirrored["hashes"]
        if row[0] == scene.id and row[1] in primary and row[2] == "oshash"
    ]
    return oshash is not None and bool(known) and oshash not in known


def _reset(session: Session, scene_ids: Collection[int], **values: Any) -> None:
    if scene_ids:
        session.execute(
            update(Scene).where(Scene.id == any_of(scene_ids)).values(**values)
        )
