"""Looking at Stash and at the mirror, cheaply, to learn what differs."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import SceneFile
from stashhog_core.db.reading import any_of
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import MarkerStamp, SceneStamp
from stashhog_core.sync.deep import scenes_of_changed_relations
from stashhog_core.sync.difference import (
    EntityDifference,
    FileFacts,
    Hash,
    SceneDifference,
    compare_entities,
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
from stashhog_core.sync.everything import (
    LOCAL_MARKERS,
    LOCAL_SCENES,
    RowsAhead,
    compare_stamps,
    is_empty,
    one_ahead,
    reading_ahead,
    windows,
)
from stashhog_core.sync.history import last_look
from stashhog_core.sync.rows import file_facts
from stashhog_core.sync.source import Source
from stashhog_core.sync.times import text_surely_before

_ALWAYS = "0"
"""Before any time of Stash's, whether compared as text or as a number."""


@dataclass(frozen=True)
class Survey:
    """What Stash has, and what of it differs from the mirror."""

    listings: Mapping[str, Listing]
    entities: Mapping[str, EntityDifference]
    scenes: SceneDifference
    total: int
    """How many scenes Stash has."""
    newest_text: str
    """The latest time of change of any of them, as Stash wrote it."""
    digests: Sequence[Hash]
    """The hashes of all that was listed."""
    is_known: bool
    """Whether these are the hashes of listings that were found to be all mirrored."""

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

    No transaction is open while Stash is asked. A listing that is, to the byte, that
    of a run that found nothing to do, with nothing stored since, is not compared.

    Args:
        stash: The Stash server.
        database: The mirror.
        deep: Also compare the relations of every scene, one by one.
    """
    with database.transaction() as session:
        baseline, known = last_look(session)
        since = _files_since(session, baseline)
    looked = _Looked(known)
    with reading_ahead(database, LOCAL_SCENES, LOCAL_MARKERS) as mirrored:
        my_scenes, my_markers = mirrored
        if not known:
            # Every row will be compared: they are read while Stash lists its own.
            my_scenes.start()
            my_markers.start()
        library = stash.library(since)
        scenes, total, newest = _compare_scenes(library.pages, my_scenes, looked)
        gone = scenes.vanished | scenes.missing
        marked = _compare_markers(library.marker_pages, my_markers, looked)
    scenes.marker.update(marked - gone)
    listings = {
        "tag": listing_of("tag", library.tags),
        "performer": listing_of("performer", library.performers),
        "studio": listing_of("studio", library.studios),
    }
    entities = {kind: EntityDifference() for kind in MODELS}
    if looked.is_other(library.tags, library.performers, library.studios):
        with database.transaction() as session:
            for kind, listing in listings.items():
                found = compare_entities(listing.names(), local_entities(session, kind))
                touched = scenes_of_entities(session, kind, found.touches_scenes)
                scenes.entity.update(touched - gone)
                entities[kind] = found
    if library.files:
        files = {scene.id: file_facts(scene.files) for scene in library.files}
        with database.transaction() as session:
            changed = scenes_of_changed_files(files, _local_files(session, files))
            scenes.file.update(set(changed) - gone)
    if deep:
        relations = scenes_of_changed_relations(stash, database)
        scenes.relation.update(set(relations) - gone)
    return Survey(
        listings, entities, scenes, total, newest, looked.digests, looked.is_known
    )


def _files_since(session: Session, baseline: datetime | None) -> str:
    """Return since when changed files are listed, as text; empty: none are listed."""
    if baseline is not None:
        return text_surely_before(baseline)
    # Scenes that a broken off first sync stored, or a run for some, may have other
    # files by now, and nothing says since when.
    return "" if is_empty(session) else _ALWAYS


class _Looked:
    """What was listed so far, against what was listed when all was mirrored.

    Args:
        known: The hashes of the latter, in the order of the listing.
    """

    def __init__(self, known: tuple[Hash, ...]) -> None:
        self._known = known
        self.digests: list[Hash] = []

    def is_other(self, *rows: object) -> bool:
        """Note what comes next in the listing; tell whether it is to be compared."""
        digest = hashlib.blake2b(digest_size=8)
        for part in rows:
            digest.update(msgspec.json.encode(part))
        self.digests.append(int.from_bytes(digest.digest(), signed=True))
        number = len(self.digests)
        return self._known[number - 1 : number] != (self.digests[-1],)

    @property
    def is_known(self) -> bool:
        """Whether all of it is the same."""
        return self._known == tuple(self.digests)


def _compare_scenes(
    pages: Iterator[Sequence[SceneStamp]], mirrored: RowsAhead, looked: _Looked
) -> tuple[SceneDifference, int, str]:
    """Return what differs, how many scenes are listed, and their latest change."""
    scenes = SceneDifference()
    total, newest = 0, ""
    for after, until, page in windows(one_ahead(pages)):
        if looked.is_other(page):
            scenes.add(compare_stamps(page, mirrored.between(after, until)))
        total += len(page)
        newest = max([newest, *(stamp.updated_at for stamp in page)])
    return scenes, total, newest


def _compare_markers(
    pages: Iterator[Sequence[MarkerStamp]], mirrored: RowsAhead, looked: _Looked
) -> set[int]:
    """Return the scenes of the markers that differ."""
    scenes: set[int] = set()
    for after, until, page in windows(one_ahead(pages)):
        if looked.is_other(page):
            theirs = ((m.id, m.scene.id, m.updated_at) for m in page)
            rows = mirrored.between(after, until)
            mine = {id_: (scene_id, text) for id_, scene_id, text in rows}
            scenes.update(scenes_of_changed_markers(theirs, mine))
    return scenes


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
