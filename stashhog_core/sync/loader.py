"""Fetching scenes in pages and storing them; what fails is set aside."""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.progress import Progress
from stashhog_core.stash.payloads import Scene
from stashhog_core.sync.entities import (
    Listing,
    fetch_listing,
    store_entities,
    unknown_entities,
)
from stashhog_core.sync.history import Issue, Stored, Tally, note_progress
from stashhog_core.sync.rows import referenced_ids
from stashhog_core.sync.source import Source
from stashhog_core.sync.store import forget_hashes, halve_on_failure, store_scenes
from stashhog_core.sync.survey import SCENE
from stashhog_core.sync.times import parse_stash_time

PAGE_SIZE = 500
SETTLE_SECONDS = 1.1
"""Stash's times of change have whole seconds: after so long, the second is over."""

_SYSTEMATIC = 20
# Stash's clock may differ from ours by hours, and a zone be read wrongly.
_RECENT = timedelta(hours=26)

log = logging.getLogger(__name__)


class SceneLoader:
    """Brings scenes into the mirror for one run of sync.

    Args:
        stash: Where they come from.
        database: Where they go; each page in a transaction of its own.
        run_number: The run in the history.
        newest_text: The latest time of change known so far, as Stash wrote it.
    """

    def __init__(
        self, stash: Source, database: Database, run_number: int, newest_text: str = ""
    ) -> None:
        self.tally = Tally()
        self.changed_ids: list[int] = []
        """Scenes created or updated."""
        self.stored = 0
        self.absent: list[int] = []
        """Asked for, and not in Stash."""
        self.entities: dict[str, int] = {}
        """Entities changed, by kind."""
        self._stash = stash
        self._database = database
        self._run_number = run_number
        self._newest = parse_stash_time(newest_text)
        self._unsettled: dict[int, str] = {}
        self._failures_in_a_row = 0

    def load(self, ids: Sequence[int], progress: Progress) -> None:
        """Fetch and store these scenes; issues and counts go to `tally`.

        Raises:
            TransientError: Stash or the database is away; stored pages stay.
            JobError: Every scene fails, so the trouble is not theirs.
            JobCancelled: A stop was asked for; stored pages stay.
        """
        for start in range(0, len(ids), PAGE_SIZE):
            progress.update(start / len(ids), f"Synced {start}/{len(ids)} scenes")
            self._load_page(ids[start : start + PAGE_SIZE])
        if ids:
            progress.update(1.0, f"Synced {len(ids)}/{len(ids)} scenes")

    def settle(self, progress: Progress, seconds: float = SETTLE_SECONDS) -> None:
        """Look again at scenes that were fetched in the second of their last change.

        Another change in that second would leave their time of change as it is, and
        so could never be seen again.
        """
        unsettled, self._unsettled = self._unsettled, {}
        for issue in self.tally.issues:
            if issue.entity == SCENE:
                unsettled.pop(issue.id, None)
        if not unsettled:
            return
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            progress.checkpoint()
            time.sleep(min(left, 0.2))
        ids = list(unsettled)
        for start in range(0, len(ids), PAGE_SIZE):
            progress.checkpoint()
            self._load_page(ids[start : start + PAGE_SIZE], again=True)
        changed_anew = [
            id_ for id_, text in self._unsettled.items() if unsettled.get(id_) != text
        ]
        with self._database.transaction() as session:
            forget_hashes(session, changed_anew)

    def _load_page(self, ids: Sequence[int], *, again: bool = False) -> None:
        """Fetch and store; scenes that are loaded again were counted before."""
        scenes = list({scene.id: scene for scene in self._fetch(ids)}.values())
        if not scenes:
            return
        self._note_unsettled(scenes)
        self._fetch_unknown_entities(scenes)

        def store(session: Session, part: Sequence[Scene]) -> Stored:
            stored = store_scenes(session, part)
            if not again:
                note_progress(session, self._run_number, self.tally.with_stored(stored))
            return stored

        results, failed = halve_on_failure(self._database, scenes, store)
        for scene, reason in failed:
            self._set_aside(SCENE, scene.id, reason)
        if not again:
            self.stored += len(scenes) - len(failed)
            for stored in results:
                self.tally = self.tally.with_stored(stored)
                self.changed_ids += sorted(stored.created | stored.updated)

    def _fetch(self, ids: Sequence[int]) -> Iterator[Scene]:
        """Yield those of the scenes that Stash gives, one bad scene notwithstanding."""
        try:
            scenes, absent = self._stash.scenes(ids)
        except JobError as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                yield from self._fetch(ids[:middle])
                yield from self._fetch(ids[middle:])
                return
            self._set_aside(SCENE, ids[0], str(error))
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _SYSTEMATIC:
                raise
            return
        self._failures_in_a_row = 0
        self.absent += absent
        yield from scenes

    def store_entities(self, listing: Listing, ids: Collection[int]) -> None:
        """Store these rows of a listing; those that cannot be become issues."""
        stored, failed = halve_on_failure(
            self._database, sorted(ids), partial(store_entities, listing)
        )
        changed = sum(len(ids) for ids in stored)
        self.entities[listing.kind] = self.entities.get(listing.kind, 0) + changed
        for id_, reason in failed:
            self._set_aside(listing.kind, id_, reason)

    def _fetch_unknown_entities(self, scenes: Sequence[Scene]) -> None:
        """Fetch the kinds of which the scenes name rows that are not mirrored yet."""
        with self._database.transaction() as session:
            unknown = unknown_entities(session, referenced_ids(scenes))
        for issue in self.tally.issues:
            unknown.get(issue.entity, set()).discard(issue.id)
        for kind, ids in unknown.items():
            if ids:
                listing = fetch_listing(self._stash, kind)
                self.store_entities(listing, ids & listing.rows.keys())

    def _note_unsettled(self, scenes: Sequence[Scene]) -> None:
        """Note scenes as new as anything seen, unless that was long ago.

        No clock but Stash's own says what its current second is: it is at least that
        of the newest change seen.
        """
        moments: dict[int, datetime] = {}
        for scene in scenes:
            texts = [scene.updated_at, *(m.updated_at for m in scene.scene_markers)]
            known = [moment for text in texts if (moment := parse_stash_time(text))]
            if known:
                moments[scene.id] = max(known)
        if self._newest:
            newest = max([self._newest, *moments.values()])
        elif moments:
            newest = max(moments.values())
        else:
            return
        self._newest = newest
        if newest < datetime.now(UTC) - _RECENT:
            return
        self._unsettled.update(
            {s.id: s.updated_at for s in scenes if moments.get(s.id) == newest}
        )

    def _set_aside(self, entity: str, id_: int, reason: str) -> None:
        log.warning("%s %d was not synced: %s", entity.capitalize(), id_, reason)
        self.tally.issues.append(Issue(entity, id_, reason))
