"""The deep look: what can change of each scene while no time of change moves."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    Marker,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
)
from stashhog_core.db.reading import read_rows
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import Ref, SceneRelations
from stashhog_core.sync.local_edits import edits_of
from stashhog_core.sync.rows import Row, plain_text
from stashhog_core.sync.source import Source

Relations = dict[str, Any]
"""Kind → ids, or whatever else tells. Of the files, the primary one comes first."""

_FIELDS = {"tag_ids": "tags", "performer_ids": "performers", "studio_id": "studio"}

_SCENE = select(
    Scene.id,
    Scene.studio_id,
    Scene.groups,
    Scene.galleries,
    Scene.play_count,
    Scene.o_counter,
)
_HASHES = select(
    SceneFingerprint.scene_id,
    SceneFingerprint.file_id,
    SceneFingerprint.kind,
    SceneFingerprint.value,
)
_LINKS: dict[str, Select[Any]] = {
    "files": select(
        SceneFile.scene_id,
        func.array_agg(aggregate_order_by(SceneFile.file_id, SceneFile.position)),
    ),
    "tags": select(
        SceneTag.scene_id,
        func.array_agg(aggregate_order_by(SceneTag.tag_id, SceneTag.tag_id)),
    ),
    "performers": select(
        ScenePerformer.scene_id,
        func.array_agg(
            aggregate_order_by(ScenePerformer.performer_id, ScenePerformer.performer_id)
        ),
    ),
    "markers": select(
        Marker.scene_id, func.array_agg(aggregate_order_by(Marker.id, Marker.id))
    ),
}
"""Queries of scene and ordered ids, to be grouped by scene."""


def scenes_of_changed_relations(stash: Source, database: Database) -> Iterator[int]:
    """Yield the mirrored scenes whose relations are not those that Stash has.

    Fields edited here are left out: they differ on purpose.
    """
    for page in stash.scene_relations():
        if not page:
            continue
        with database.transaction() as session:
            mirrored = _mirrored(session, page[0].id, page[-1].id)
            edits = edits_of(session, [scene.id for scene in page])
        for scene in page:
            mine = mirrored.get(scene.id)
            if mine is None:
                continue
            edited = {_FIELDS.get(edit.field) for edit in edits[scene.id]}
            theirs = _relations(scene)
            if any(theirs[k] != mine[k] for k in theirs if k not in edited):
                yield scene.id


def _relations(scene: SceneRelations) -> Relations:
    hashes = {
        (file.id, fingerprint.type): plain_text(fingerprint.value)
        for file in scene.files
        for fingerprint in file.fingerprints
    }
    return {
        "files": tuple(dict.fromkeys([file.id for file in scene.files])),
        "hashes": {(*key, value) for key, value in hashes.items()},
        "tags": _sorted(scene.tags),
        "performers": _sorted(scene.performers),
        "studio": scene.studio.id if scene.studio else None,
        "markers": _sorted(scene.scene_markers),
        "groups": {(group.group.id, group.scene_index) for group in scene.groups},
        "galleries": {gallery.id for gallery in scene.galleries},
        "counts": (scene.play_count or 0, scene.o_counter or 0),
    }


def _mirrored(session: Session, low: int, high: int) -> dict[int, Relations]:
    """Return the relations of the mirrored scenes in a range of ids."""
    found = {row[0]: _of_row(row) for row in _rows(session, _SCENE, low, high)}
    for kind, query in _LINKS.items():
        grouped = query.group_by(query.selected_columns[0])
        for id_, ids in _rows(session, grouped, low, high):
            found[id_][kind] = tuple(ids)
    for id_, *fingerprint in _rows(session, _HASHES, low, high):
        found[id_]["hashes"].add(tuple(fingerprint))
    return found


def _of_row(row: Row) -> Relations:
    """Return what the row of a scene alone tells."""
    _, studio_id, groups, galleries, *counts = row
    return {
        **dict.fromkeys(_LINKS, ()),
        "hashes": set(),
        "studio": studio_id,
        "groups": {(group["id"], group["scene_index"]) for group in groups},
        "galleries": {gallery["id"] for gallery in galleries},
        "counts": tuple(counts),
    }


def _rows(session: Session, query: Select[Any], low: int, high: int) -> list[Row]:
    return read_rows(session, query.where(query.selected_columns[0].between(low, high)))


def _sorted(refs: Sequence[Ref]) -> tuple[int, ...]:
    return tuple(sorted({ref.id for ref in refs}))
