"""Looking at Stash and at the mirror, cheaply, to learn what differs."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Manifest, Marker, Scene, SceneFile
from stashhog_core.db.session import Database
from stashhog_core.sync.difference import (
    EntityDifference,
    FileFacts,
    Hash,
    LocalScene,
    SceneDifference,
    compare_entities,
    compare_scenes,
    scenes_of_changed_files,
    scenes_of_changed_markers,
    text_hash,
)
from stashhog_core.sync.entities import (
    MODELS,
    Listing,
    fetch_listing,
    local_entities,
    scenes_of_entities,
)
from stashhog_core.sync.history import last_baseline
from stashhog_core.sync.rows import file_facts
from stashhog_core.sync.source import Source
from stashhog_core.sync.times import text_surely_before

SCENE = "scene"
"""The scenes' name in the table of hashes."""


@dataclass(frozen=True)
class Survey:
    """What Stash has, and what of it differs from the mirror."""

    listings: Mapping[str, Listing]
    entities: Mapping[str, EntityDifference]
    scene_ids: frozenset[int]
    scenes: SceneDifference
    newest_text: str
    """The latest time of change of any scene, as Stash wrote it."""


def take_survey(stash: Source, database: Database) -> Survey:
    """Compare light listings of all of Stash's library with the mirror.

    Four kinds of change do not move a scene's own time of change, and are found by
    themselves: markers by their stamps; tags, performers and studios by complete
    lists; moved and replaced files by the files' time of change. The latter goes by
    a filter, since asking for the files of every scene makes the listing four times
    as expensive; what the filter finds is compared with the mirror, so its generous
    margin costs nothing but a few rows.

    No transaction is open while Stash is asked.
    """
    stamps: dict[int, Hash] = {}
    newest_text = ""
    for page in stash.scene_stamps():
        for stamp in page:
            stamps[stamp.id] = text_hash(stamp.updated_at.encode())
            newest_text = max(newest_text, stamp.updated_at)
    markers = [(m.id, m.scene.id, m.updated_at) for m in stash.marker_stamps()]
    listings = {kind: fetch_listing(stash, kind) for kind in MODELS}
    with database.transaction() as session:
        baseline = last_baseline(session)
    files: dict[int, FileFacts] = {}
    if baseline is not None:
        since = text_surely_before(baseline)
        files = {s.id: file_facts(s.files) for s in stash.scene_file_stamps(since)}

    with database.transaction() as session:
        difference = compare_scenes(stamps, _local_scenes(session))
        entities = {
            kind: compare_entities(listing.names(), local_entities(session, kind))
            for kind, listing in listings.items()
        }
        touched = {
            scene_id
            for kind, found in entities.items()
            for scene_id in scenes_of_entities(session, kind, found.touches_scenes)
        }
        changed_markers = scenes_of_changed_markers(markers, _local_markers(session))
        local_files = _local_files(session, files)
        difference.entity.update(touched & stamps.keys())
        difference.marker.update(stamps.keys() & set(changed_markers))
        difference.file.update(
            stamps.keys() & set(scenes_of_changed_files(files, local_files))
        )
    return Survey(listings, entities, frozenset(stamps), difference, newest_text)


def _local_scenes(session: Session) -> dict[int, LocalScene]:
    query = select(Scene.id, Manifest.hash, Scene.missing_since.is_not(None)).outerjoin(
        Manifest, (Manifest.entity == SCENE) & (Manifest.id == Scene.id)
    )
    return {
        id_: LocalScene(hash_, missing)
        for id_, hash_, missing in session.execute(query)
    }


def _local_markers(session: Session) -> dict[int, tuple[int, str]]:
    # A missing scene's markers are gone from Stash as well; they say nothing.
    query = (
        select(Marker.id, Marker.scene_id, Marker.stash_updated_text)
        .join(Scene, Scene.id == Marker.scene_id)
        .where(Scene.missing_since.is_(None))
    )
    return {id_: (scene_id, text) for id_, scene_id, text in session.execute(query)}


def _local_files(
    session: Session, scene_ids: Mapping[int, FileFacts]
) -> dict[int, FileFacts]:
    query = select(
        SceneFile.scene_id,
        SceneFile.file_id,
        SceneFile.path,
        SceneFile.size_bytes,
        SceneFile.mod_time,
    ).where(SceneFile.scene_id == func.any(list(scene_ids)))
    found: dict[int, FileFacts] = {}
    for scene_id, id_, path, size, time in session.execute(query):
        found[scene_id] = found.get(scene_id, frozenset()) | {(id_, path, size, time)}
    return found
