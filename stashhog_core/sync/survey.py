"""Looking at Stash and at the mirror, cheaply, to learn what differs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
from sqlalchemy import case, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Marker, Scene, SceneFile
from stashhog_core.db.reading import any_of, read_rows
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import Library, SceneStamp
from stashhog_core.sync.deep import scenes_of_changed_relations
from stashhog_core.sync.difference import (
    EntityDifference,
    FileFacts,
    Hash,
    LocalScenes,
    SceneDifference,
    compare_entities,
    compare_scenes,
    scenes_of_changed_files,
    scenes_of_changed_markers,
)
from stashhog_core.sync.entities import (
    MODELS,
    Listing,
    listing_of,
    local_entities,
    scenes_of_entities,
)
from stashhog_core.sync.history import last_look
from stashhog_core.sync.rows import file_facts
from stashhog_core.sync.source import Source
from stashhog_core.sync.times import text_surely_before


@dataclass(frozen=True)
class Survey:
    """What Stash has, and what of it differs from the mirror."""

    listings: Mapping[str, Listing]
    entities: Mapping[str, EntityDifference]
    scenes: SceneDifference
    digest: Hash
    """The hash of all that was listed."""
    is_known: bool
    """Whether that is the hash of listings that were found to be all mirrored."""
    pages: Sequence[Sequence[SceneStamp]]

    @property
    def total(self) -> int:
        """How many scenes Stash has."""
        return sum(map(len, self.pages))

    @cached_property
    def scene_ids(self) -> frozenset[int]:
        """All of Stash's scenes."""
        return frozenset(stamp.id for page in self.pages for stamp in page)

    @cached_property
    def newest_text(self) -> str:
        """The latest time of change of any scene, as Stash wrote it."""
        return max((s.updated_at for page in self.pages for s in page), default="")

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs, and nothing waits to be removed."""
        return not (
            self.scenes.to_fetch
            or self.scenes.vanished
            or self.scenes.missing
            or any(
                found.changed or found.vanished or found.missing
                for found in self.entities.values()
            )
        )


def take_survey(stash: Source, database: Database, *, deep: bool = False) -> Survey:
    """Compare light listings of all of Stash's library with the mirror.

    Four kinds of change do not move a scene's own time of change, and are found by
    themselves: markers by their stamps; tags, performers and studios by complete
    lists; moved and replaced files by the files' time of change. The latter goes by
    a filter, since asking for the files of every scene makes the listing four times
    as expensive; what the filter finds is compared with the mirror, so its generous
    margin costs nothing but a few rows.

    No transaction is open while Stash is asked. When the listings are, to the byte,
    those of a run that found nothing to do, and nothing was stored since, then there
    is nothing to compare.

    Args:
        stash: The Stash server.
        database: The mirror.
        deep: Also compare the relations of every scene, one by one.
    """
    with database.transaction() as session:
        baseline, known_digest = last_look(session)
    since = "" if baseline is None else text_surely_before(baseline)
    library = stash.library(since)
    listings = {
        "tag": listing_of("tag", library.tags),
        "performer": listing_of("performer", library.performers),
        "studio": listing_of("studio", library.studios),
    }
    digest = _digest(library)

    if digest == known_digest:
        scenes = SceneDifference()
        entities = {kind: EntityDifference() for kind in MODELS}
    else:
        scenes, entities = _compare(database, library, listings)
    survey = Survey(
        listings, entities, scenes, digest, digest == known_digest, library.pages
    )
    if library.files:
        files = {scene.id: file_facts(scene.files) for scene in library.files}
        with database.transaction() as session:
            changed = scenes_of_changed_files(files, _local_files(session, files))
            scenes.file.update(survey.scene_ids.intersection(changed))
    if deep:
        changed = scenes_of_changed_relations(stash, database)
        scenes.relation.update(survey.scene_ids.intersection(changed))
    return survey


def _digest(library: Library) -> Hash:
    """Return the hash of all listings but that of the files, which starts anywhere."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (
        *library.pages,
        library.markers,
        library.tags,
        library.performers,
        library.studios,
    ):
        digest.update(msgspec.json.encode(part))
    return int.from_bytes(digest.digest(), signed=True)


def _compare(
    database: Database,
    library: Library,
    listings: Mapping[str, Listing],
) -> tuple[SceneDifference, dict[str, EntityDifference]]:
    stamps = {stamp.id: stamp.updated_at for page in library.pages for stamp in page}
    markers = ((m.id, m.scene.id, m.updated_at) for m in library.markers)
    with database.transaction() as session:
        scenes = compare_scenes(stamps, *_local_scenes(session))
        changed_markers = scenes_of_changed_markers(markers, _local_markers(session))
        scenes.marker.update(stamps.keys() & set(changed_markers))
        entities: dict[str, EntityDifference] = {}
        for kind, listing in listings.items():
            found = compare_entities(listing.names(), local_entities(session, kind))
            touched = scenes_of_entities(session, kind, found.touches_scenes)
            scenes.entity.update(touched & stamps.keys())
            entities[kind] = found
    return scenes, entities


def _local_scenes(session: Session) -> tuple[LocalScenes, set[int]]:
    """Return all mirrored scenes, and those of them that are missing."""
    text = case((Scene.content.is_not(None), Scene.stash_updated_text))
    scenes = dict(read_rows(session, select(Scene.id, text)))
    missing = select(Scene.id).where(Scene.missing_since.is_not(None))
    return scenes, {id_ for (id_,) in read_rows(session, missing)}


def _local_markers(session: Session) -> dict[int, tuple[int, str]]:
    # A missing scene's markers are gone from Stash as well; they say nothing.
    query = (
        select(Marker.id, Marker.scene_id, Marker.stash_updated_text)
        .join(Scene, Scene.id == Marker.scene_id)
        .where(Scene.missing_since.is_(None))
    )
    return {id_: (scene_id, text) for id_, scene_id, text in read_rows(session, query)}


def _local_files(
    session: Session, scene_ids: Mapping[int, FileFacts]
) -> dict[int, FileFacts]:
    query = select(
        SceneFile.scene_id,
        SceneFile.file_id,
        SceneFile.path,
        SceneFile.size_bytes,
        SceneFile.mod_time,
    ).where(SceneFile.scene_id == any_of(scene_ids))
    found: dict[int, FileFacts] = {}
    for scene_id, id_, path, size, time in session.execute(query):
        found[scene_id] = found.get(scene_id, frozenset()) | {(id_, path, size, time)}
    return found
