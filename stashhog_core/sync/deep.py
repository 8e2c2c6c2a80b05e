"""The deep look: what belongs to each scene, id by id, whatever any time says."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    Marker,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
)
from stashhog_core.db.reading import read_rows
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import Ref, SceneRelations
from stashhog_core.sync.local_edits import edits_of
from stashhog_core.sync.source import Source

Relations = dict[str, tuple[int, ...]]
"""Kind → ids. Of the files, the primary one comes first."""

_FIELDS = {"tag_ids": "tags", "performer_ids": "performers", "studio_id": "studio"}


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
    files = [file.id for file in scene.files]
    return {
        "files": tuple(dict.fromkeys(files)),
        "tags": _sorted(scene.tags),
        "performers": _sorted(scene.performers),
        "studio": (scene.studio.id,) if scene.studio else (),
        "markers": _sorted(scene.scene_markers),
    }


def _mirrored(session: Session, low: int, high: int) -> dict[int, Relations]:
    """Return the relations of the mirrored scenes in a range of ids."""
    found: dict[int, Relations] = {
        id_: {
            "files": (),
            "tags": (),
            "performers": (),
            "studio": () if studio_id is None else (studio_id,),
            "markers": (),
        }
        for id_, studio_id in read_rows(
            session,
            select(Scene.id, Scene.studio_id).where(Scene.id.between(low, high)),
        )
    }
    for kind, query in _link_queries().items():
        scene_id = query.selected_columns[0]
        grouped = query.where(scene_id.between(low, high)).group_by(scene_id)
        for id_, ids in read_rows(session, grouped):
            found[id_][kind] = tuple(ids)
    return found


def _link_queries() -> dict[str, Select[Any]]:
    """Return queries of scene and ordered ids, to be grouped by scene."""
    return {
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
                aggregate_order_by(
                    ScenePerformer.performer_id, ScenePerformer.performer_id
                )
            ),
        ),
        "markers": select(
            Marker.scene_id, func.array_agg(aggregate_order_by(Marker.id, Marker.id))
        ),
    }


def _sorted(refs: Sequence[Ref]) -> tuple[int, ...]:
    return tuple(sorted({ref.id for ref in refs}))
