"""Looking at Stash and at the mirror, cheaply, to learn what differs."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from stashhog_core.background import read_ahead
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import LibraryListing
from stashhog_core.sync.deep import scenes_that_differ
from stashhog_core.sync.difference import (
    EntityDifference,
    FileFacts,
    Hash,
    SceneDifference,
    compare_entities,
    scenes_of_changed_files,
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
    compare_marker_stamps,
    compare_stamps,
    is_empty,
    reading_ahead,
    windows,
)
from stashhog_core.sync.history import last_look
from stashhog_core.sync.mirrored import mirrored_children
from stashhog_core.sync.rows import Row, file_facts, without_position
from stashhog_core.sync.source import Source
from stashhog_core.sync.times import text_surely_before

_ALWAYS = "0"
"""Before any time of Stash's, whether compared as text or as a number."""


class Survey:
    """What Stash has, and what of it differs from the mirror.

    What it says of scenes is whole once `compare_scenes` and then `compare_markers`
    have been called.

    Args:
        library: The listings, of which pages are still to come.
        scenes: The rows of `LOCAL_SCENES`.
        markers: The rows of `LOCAL_MARKERS`.
        known: The hashes of listings that were found to be all mirrored.
    """

    def __init__(
        self,
        library: LibraryListing,
        scenes: RowsAhead,
        markers: RowsAhead,
        known: tuple[Hash, ...],
    ) -> None:
        self.listings: Mapping[str, Listing] = {
            "tag": listing_of("tag", library.tags),
            "performer": listing_of("performer", library.performers),
            "studio": listing_of("studio", library.studios),
        }
        self.entities = {kind: EntityDifference() for kind in MODELS}
        self.scenes = SceneDifference()
        self.total = 0
        """How many scenes Stash has."""
        self.newest_text = ""
        """The latest time of change of any of them, as Stash wrote it."""
        self._library = library
        self._my_scenes = scenes
        self._my_markers = markers
        self._looked = _Looked(known)

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

    @property
    def digests(self) -> Sequence[Hash]:
        """The hashes of all that was listed."""
        return self._looked.digests

    @property
    def is_known(self) -> bool:
        """Whether these are the hashes of listings that were found to be mirrored."""
        return self._looked.is_known

    @property
    def touched(self) -> set[int]:
        """Scenes that are to be fetched, though their own time did not move."""
        return self.scenes.entity | self.scenes.file | self.scenes.deep

    def compare_entities(self, database: Database) -> None:
        """Compare tags, performers and studios, and find the scenes that follow."""
        library = self._library
        if not self._looked.is_other(library.tags, library.performers, library.studios):
            return
        with database.transaction() as session:
            for kind, listing in self.listings.items():
                found = compare_entities(listing.names(), local_entities(session, kind))
                self.entities[kind] = found
                self.scenes.entity.update(
                    scenes_of_entities(session, kind, found.touches_scenes)
                )

    def compare_files(self, database: Database) -> None:
        """Find the scenes of files that were moved or replaced."""
        if self._library.files:
            files = {scene.id: file_facts(scene) for scene in self._library.files}
            with database.transaction() as session:
                mine = _local_files(session, files)
            self.scenes.file.update(scenes_of_changed_files(files, mine))

    def compare_scenes(self) -> set[int]:
        """Compare all scenes, each page while the next is listed; return what differs.

        Those with other markers alone are still lacking.
        """
        for after, until, page in windows(read_ahead(self._library.pages, "sync-list")):
            if self._looked.is_other(page):
                rows = self._my_scenes.between(after, until)
                found = compare_stamps(page, rows)
                self.scenes.add(found)
                self._looked.found(found.pending)
            self.total += len(page)
            latest = max([stamp.updated_at for stamp in page], default="")
            self.newest_text = max(self.newest_text, latest)
        for reason in (self.scenes.entity, self.scenes.file, self.scenes.deep):
            reason.difference_update(self._gone)
        return self.scenes.to_fetch

    def compare_markers(self) -> set[int]:
        """Compare all markers; return the scenes that differ in them alone.

        Markers do not move their scene's time of change.
        """
        known = self.scenes.to_fetch
        marked = self.scenes.marker
        for after, until, page in windows(
            read_ahead(self._library.marker_pages, "sync-list")
        ):
            if self._looked.is_other(page):
                rows = self._my_markers.between(after, until)
                marked.update(compare_marker_stamps(page, rows))
        marked.difference_update(self._gone)
        return marked - known

    @property
    def _gone(self) -> set[int]:
        return self.scenes.vanished | self.scenes.missing


@contextmanager
def begin_survey(
    stash: Source, database: Database, *, deep: bool = False
) -> Iterator[Survey]:
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
        deep: Also compare every field of every scene.
    """
    with database.transaction() as session:
        baseline, known = last_look(session)
        since = _files_since(session, baseline)
    with reading_ahead(database, LOCAL_SCENES, LOCAL_MARKERS) as (scenes, markers):
        if not known:
            # Every row will be compared: they are read while Stash lists its own.
            scenes.start()
            markers.start()
        survey = Survey(stash.library(since), scenes, markers, known)
        survey.compare_entities(database)
        survey.compare_files(database)
        if deep:
            survey.scenes.deep.update(scenes_that_differ(stash, database))
        yield survey


def take_survey(stash: Source, database: Database) -> Survey:
    """Compare the light listings to their end."""
    with begin_survey(stash, database) as survey:
        survey.compare_scenes()
        survey.compare_markers()
    return survey


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
        self._is_hashing = True
        self.digests: list[Hash] = []
        """Of no use once anything differs."""

    def is_other(self, *rows: object) -> bool:
        """Note what comes next in the listing; tell whether it is to be compared."""
        if not self._is_hashing:
            return True
        digest = hashlib.blake2b(digest_size=8)
        for part in rows:
            digest.update(msgspec.json.encode(part))
        self.digests.append(int.from_bytes(digest.digest(), signed=True))
        number = len(self.digests)
        return self._known[number - 1 : number] != (self.digests[-1],)

    def found(self, differing: int) -> None:
        """Note how many rows differ in what came last."""
        if differing and not self._known:
            # All that follows is compared, and none of it will be noted.
            self._is_hashing = False

    @property
    def is_known(self) -> bool:
        """Whether all of it is the same."""
        return self._known == tuple(self.digests)


def _local_files(session: Session, scene_ids: Iterable[int]) -> dict[int, FileFacts]:
    found: dict[int, set[Row]] = {}
    for row in mirrored_children(session, "files", list(scene_ids)):
        found.setdefault(row[0], set()).add(without_position(row))
    return {scene_id: frozenset(rows) for scene_id, rows in found.items()}
