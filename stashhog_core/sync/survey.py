"""The survey: light listings of all that Stash has, compared with the mirror."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from stashhog_core.background import read_ahead
from stashhog_core.db.session import Database
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import LibraryListing, SceneFiles
from stashhog_core.sync.compare import (
    Hash,
    SceneDifference,
    compare_marker_stamps,
    compare_stamps,
    scenes_of_changed_files,
)
from stashhog_core.sync.differences import Differences
from stashhog_core.sync.history import last_survey
from stashhog_core.sync.mirror import (
    is_empty,
    mirrored_children,
)
from stashhog_core.sync.read_ahead import (
    LOCAL_MARKERS,
    LOCAL_SCENES,
    RowsAhead,
    reading_ahead,
    windows,
)
from stashhog_core.sync.rows import (
    Row,
    file_facts,
    text_surely_before,
    without_position,
)

_ALWAYS = "0"
"""Before any time of Stash's, whether compared as text or as a number."""


class Survey(Differences):
    """The light listings of everything, compared with the mirror.

    Args:
        library: The listings, of which pages are still to come.
        scenes: The rows of `LOCAL_SCENES`.
        markers: The rows of `LOCAL_MARKERS`.
        hashes: What the listings are compared with as a whole.
    """

    def __init__(
        self,
        library: LibraryListing,
        scenes: RowsAhead,
        markers: RowsAhead,
        hashes: "ListingHashes",
    ) -> None:
        super().__init__(library)
        self.hashes = hashes
        self._library = library
        self._my_scenes = scenes
        self._my_markers = markers

    @property
    def lists_everything(self) -> bool:
        """Everything was listed."""
        return True

    def compare_files(self, database: Database) -> None:
        """Find the scenes of files that were moved or replaced.

        A folder that is renamed moves no time of change, neither of its files nor of
        itself, but its old path is no longer among those of all folders.
        """
        folders = self._library.folders
        if folders is not None and self.hashes.differ(folders):
            with database.transaction() as session:
                self.scenes.file.update(scenes_in_other_folders(session, folders))
        if self._library.files:
            with database.transaction() as session:
                found = scenes_with_other_files(session, self._library.files)
            self.scenes.file.update(found)

    def compare_scenes(self) -> set[int]:
        """Compare all scenes, each page while the next is listed; return what differs.

        Scenes that differ in their markers alone are still lacking.
        """
        for after, until, page in windows(read_ahead(self._library.pages, "sync-list")):
            # A page that is known not to differ is counted, and compared no further.
            found = SceneDifference()
            if self.hashes.differ(page):
                found = compare_stamps(page, self._my_scenes.between(after, until))
            self.total += len(page)
            latest = max([stamp.updated_at for stamp in page], default="")
            self.newest_text = max(self.newest_text, latest)
            self.scenes.add(found)
            self.hashes.found(found.pending)
        for reason in (self.scenes.entity, self.scenes.file):
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
            if self.hashes.differ(page):
                rows = self._my_markers.between(after, until)
                marked.update(compare_marker_stamps(page, rows))
        marked.difference_update(self._gone)
        return marked - known

    @property
    def _gone(self) -> set[int]:
        return self.scenes.vanished | self.scenes.missing


@contextmanager
def begin_survey(stash: StashClient, database: Database) -> Iterator[Survey]:
    """Compare light listings of all of Stash's library with the mirror.

    Four kinds of change do not move a scene's own time of change, and are found by
    themselves: markers by their stamps; tags, performers and studios by complete
    lists; moved and replaced files by the files' time of change. The latter goes by
    a filter, since asking for the files of every scene makes the listing four times
    as expensive; what the filter finds is compared with the mirror, so its generous
    margin costs nothing but a few rows.

    No transaction is open while Stash is asked. If a listing is byte-identical to that
    of the last run that found no differences, and nothing has been stored since, the
    comparison is skipped.

    Args:
        stash: The Stash server.
        database: The mirror.
    """
    with database.transaction() as session:
        baseline, known = last_survey(session)
        since = _files_since(session, baseline)
    with reading_ahead(database, LOCAL_SCENES, LOCAL_MARKERS) as (scenes, markers):
        if not known:
            # Every row will be compared: they are read while Stash lists its own.
            scenes.start()
            markers.start()
        library = stash.library(since)
        survey = Survey(library, scenes, markers, ListingHashes(known))
        if survey.hashes.differ(library.tags, library.performers, library.studios):
            with database.transaction() as session:
                survey.compare_entities(session)
        survey.compare_files(database)
        yield survey


def _files_since(session: Session, baseline: datetime | None) -> str:
    """Return since when changed files are listed, as text; empty: none are listed."""
    if baseline is not None:
        return text_surely_before(baseline)
    # Scenes that a broken off first sync stored, or a run for some, may have other
    # files by now, and nothing says since when.
    return "" if is_empty(session) else _ALWAYS


class ListingHashes:
    """The hashes of what was listed so far.

    Args:
        known: The hashes of listings that were found to be all mirrored, in the order
            of the listing; none of them: they are still to be noted. None: neither.
    """

    def __init__(self, known: tuple[Hash, ...] | None) -> None:
        self._known = known or ()
        self._is_hashing = known is not None
        self.hashes: list[Hash] = []
        """Of no use once anything differs."""

    def differ(self, *rows: object) -> bool:
        """Note what comes next in the listing; tell whether it is to be compared."""
        if not self._is_hashing:
            return True
        digest = hashlib.blake2b(digest_size=8)
        for part in rows:
            digest.update(msgspec.json.encode(part))
        self.hashes.append(int.from_bytes(digest.digest(), signed=True))
        number = len(self.hashes)
        return self._known[number - 1 : number] != (self.hashes[-1],)

    def found(self, differing: int) -> None:
        """Note how many rows differ in what came last."""
        if differing and not self._known:
            # All that follows is compared, and none of it will be noted.
            self._is_hashing = False

    @property
    def are_known(self) -> bool:
        """Whether the listings are the known ones to their end."""
        return self._known == tuple(self.hashes)


def scenes_in_other_folders(session: Session, folders: Iterable[str]) -> set[int]:
    """Return the scenes with a mirrored file that lies in none of the folders."""
    # A root keeps its separator, which the path of a file in the root loses.
    known = [folder.rstrip("/\\") for folder in folders]
    return set(session.scalars(_IN_OTHER_FOLDERS, {"folders": known}))


# On a server that is not Windows, a backslash is a letter like any other.
_IN_OTHER_FOLDERS = text("""
SELECT DISTINCT scene_id FROM scene_file
WHERE CASE WHEN path LIKE '/%'
    THEN regexp_replace(path, '/[^/]*$', '')
    ELSE regexp_replace(path, '[/\\\\][^/\\\\]*$', '')
END NOT IN (SELECT unnest(CAST(:folders AS text[])))
""")


def scenes_with_other_files(session: Session, listed: Iterable[SceneFiles]) -> set[int]:
    """Return those of the listed scenes whose files are not the mirrored ones."""
    files = {scene.id: file_facts(scene) for scene in listed}
    found: dict[int, set[Row]] = {}
    for row in mirrored_children(session, "files", list(files)):
        found.setdefault(row[0], set()).add(without_position(row))
    mine = {scene_id: frozenset(rows) for scene_id, rows in found.items()}
    return set(scenes_of_changed_files(files, mine))
