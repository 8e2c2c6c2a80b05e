"""Fetching scenes in pages and storing them; what fails is set aside."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import event
from sqlalchemy.orm import Session

from stashhog_core.background import map_in_threads
from stashhog_core.batches import batched
from stashhog_core.db.manifest import SCENE, forget_hashes
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import StashScene
from stashhog_core.stash.times import parse_stash_time
from stashhog_core.sync.compare import SceneDifference
from stashhog_core.sync.entities import (
    EntityListing,
    entity_ids,
    fetch_listing,
    store_entities,
)
from stashhog_core.sync.history import Issue, Stored, Tally, note_progress
from stashhog_core.sync.local_edits import Conflicts
from stashhog_core.sync.mirror import known_scenes, mirrored_ids
from stashhog_core.sync.rows import (
    collector_paused,
    referenced_ids,
    text_surely_before,
)
from stashhog_core.sync.store import NewScenes, halve_on_failure, store_scenes

PAGE_SIZE = 1000
FETCHERS = 2
"""So many pages are fetched at a time, while one is used: neither side waits."""
STABLE_SECONDS = 1.1
"""Stash's times of change have whole seconds: after so long, the second is over."""

LISTED_SCENES = 500
"""As many of the changed scenes are named in the result."""

_SYSTEMATIC = 20
# Stash's clock may differ from ours by hours, and a zone be read wrongly.
_RECENT = timedelta(hours=26)

log = logging.getLogger(__name__)


def in_batches(ids: Collection[int]) -> Iterator[list[int]]:
    """Yield ids; few of them in smaller pages, so that storing can begin early."""
    return batched(ids, min(PAGE_SIZE, max(100, len(ids) // 4)))


class _Page(NamedTuple):
    """Scenes as fetched; those that the mirror has not so; when others last changed.

    The latter are fetched again later: they may change once more in that second. Those
    that the mirror has were fetched again before they got the hash of their content.
    The rows of those that the mirror has not at all are made as soon as they are there.

    Attributes:
        ids: What was asked for; a range: all scenes that lie in it.
        fetched: What Stash gave.
        refused: Those that Stash does not give, though it has them.
        differing: Those of the fetched ones that are to be stored.
        unstable: When some of the fetched ones were last changed.
        new: The rows of those that the mirror does not have.
        gone: Of a range: those that the mirror has and Stash has not.
    """

    ids: Sequence[int]
    fetched: list[StashScene]
    refused: Collection[int]
    differing: list[StashScene]
    unstable: dict[int, datetime]
    new: NewScenes
    gone: SceneDifference

    @property
    def number(self) -> int:
        """How many scenes this is about."""
        if isinstance(self.ids, range):
            return len(self.fetched) + len(self.refused)
        return len(self.ids)


class SceneLoader:
    """Brings scenes into the mirror for one run of sync.

    Args:
        stash: Where they come from.
        database: Where they go; each page in a transaction of its own.
        run_number: The run in the history.
        newest_text: The latest time of change known so far, as Stash wrote it.
        trusting: A scene that is fetched as it was last stored is not stored again.
        conflicts: Who wins a field that was edited on both sides.
        confirmed: Scenes that have the ids of earlier ones may be many.
    """

    def __init__(
        self,
        stash: StashClient,
        database: Database,
        run_number: int,
        newest_text: str = "",
        trusting: bool = False,
        conflicts: Conflicts = "ask",
        *,
        confirmed: bool = False,
    ) -> None:
        self.tally = Tally()
        self.changed_ids: list[int] = []
        """Scenes created or updated, the first of them."""
        self.stored = 0
        self.absent: list[int] = []
        """Asked for, and not in Stash."""
        self.found = 0
        """Scenes that were asked for; of ranges, those that Stash has."""
        self.gone = SceneDifference()
        """Mirrored scenes of ranges that Stash no longer has."""
        self.has_written = False
        """Whether any scene was stored, changed or not."""
        self.entities: dict[str, int] = {}
        """Entities changed, by kind."""
        self._stash = stash
        self._database = database
        self._run_number = run_number
        self._newest = parse_stash_time(newest_text)
        self._unstable: dict[int, datetime] = {}
        self._is_stabilizing = False
        self._failures_in_a_row = 0
        self._trusting = trusting
        self._conflicts: Conflicts = conflicts
        self._confirmed = confirmed
        self._known: dict[str, set[int]] | None = None

    def load(
        self,
        pages: Iterable[Sequence[int]],
        total: int,
        progress: Progress,
    ) -> None:
        """Fetch and store these scenes; issues and counts go to `tally`.

        Args:
            pages: The ids of the scenes, so many at a time as are fetched at once. A
                range stands for all scenes that Stash has in it.
            total: How many scenes there are, for the progress alone.
            progress: Receives the scenes synced so far.

        Raises:
            TransientError: Stash or the database is away; stored pages stay.
            JobError: Every scene fails, so the trouble is not theirs.
            JobCancelled: A stop was asked for; stored pages stay.
        """
        done = 0
        fetched = map_in_threads(self._fetch_page, pages, FETCHERS, "sync-fetch")
        for page in fetched:
            self.gone.add_gone(page.gone)
            if not page.number:
                continue
            total = max(total, done + page.number)
            progress.update(done / total, f"Synced {done}/{total} scenes")
            self._store_page(page)
            done += page.number
        self.found += done
        if done:
            progress.update(1.0, f"Synced {done}/{done} scenes")

    def stabilize(self, progress: Progress, seconds: float = STABLE_SECONDS) -> None:
        """Fetch scenes again that were fetched in the second of their last change.

        Another change in that second would leave their time of change as it is, and
        so could never be seen again. Until then they are stored as to be fetched anew,
        in case this run ends before; so are those that change once more.
        """
        unstable, self._unstable = self._unstable, {}
        if not unstable:
            return
        self._is_stabilizing = True
        progress.sleep(seconds)
        for ids in batched(unstable, PAGE_SIZE):
            progress.checkpoint()
            page = self._fetch_page(ids)
            changed_anew = {
                id_: moment
                for id_, moment in page.unstable.items()
                if unstable.get(id_) != moment
            }
            self._store_page(page._replace(unstable=changed_anew))

    def _fetch_page(self, ids: Sequence[int]) -> _Page:
        """Fetch; no scene twice."""
        before = self._newest
        refused: set[int] = set()
        fetched = {scene.id: scene for scene in self._fetch(ids, refused)}
        scenes = list(fetched.values())
        unstable = self._unstable_of(scenes, before)
        differing = scenes
        with self._database.transaction() as session:
            if self._trusting:
                known = known_scenes(session, fetched)
                differing = [scene for scene in scenes if not known.has(scene)]
            mirrored = mirrored_ids(session, ids)
        gone = SceneDifference()
        if isinstance(ids, range):
            for id_ in mirrored.keys() - fetched.keys() - refused:
                (gone.missing if mirrored[id_] else gone.vanished).add(id_)
        with collector_paused():
            new = NewScenes([s for s in differing if s.id not in mirrored])
        return _Page(ids, scenes, refused, differing, unstable, new, gone)

    def _store_page(self, page: _Page) -> None:
        if not self._is_stabilizing:
            self.stored += len(page.fetched) - len(page.differing)
        scenes = page.differing
        if not scenes:
            return
        self.has_written = True
        stubs = self._fetch_unknown_entities(scenes)

        def store(session: Session, part: Sequence[StashScene]) -> Stored:
            stored = store_scenes(
                session,
                part,
                stubs=stubs,
                encoded=page.new,
                conflicts=self._conflicts,
                confirmed=self._confirmed,
            )
            ids = page.unstable.keys() & {scene.id for scene in part}
            forget_hashes(session, ids)
            self._count(session, stored, len(part))
            unstable = {id_: page.unstable[id_] for id_ in ids}
            _once_committed(session, partial(self._unstable.update, unstable))
            return stored

        with collector_paused():
            _, failed = halve_on_failure(self._database, scenes, store)
        for scene, reason in failed:
            self._set_aside(SCENE, scene.id, reason)

    def _count(self, session: Session, stored: Stored, number: int) -> None:
        """Count scenes in the transaction that stores them, and here if it commits.

        A page may take several transactions. Scenes that are fetched again were
        counted before.
        """
        if self._is_stabilizing:
            return
        tally = self.tally.with_stored(stored)
        note_progress(session, self._run_number, tally)

        def count() -> None:
            self.tally = tally
            self.stored += number
            if len(self.changed_ids) < LISTED_SCENES:
                self.changed_ids += sorted(stored.created | stored.updated)

        _once_committed(session, count)

    def _fetch(self, ids: Sequence[int], refused: set[int]) -> Iterator[StashScene]:
        """Yield those of the scenes that Stash gives, one bad scene notwithstanding.

        Args:
            ids: The scenes; a range: all that Stash has in it.
            refused: Gets those that Stash does not give.
        """
        absent: Sequence[int] = ()
        try:
            if isinstance(ids, range):
                # Stash takes less time for a range than for the same scenes by id.
                scenes = self._stash.scenes_between(ids[0], ids[-1])
            else:
                scenes, absent = self._stash.scenes(ids)
        except JobError as error:
            if len(ids) > 1:
                middle = len(ids) // 2
                yield from self._fetch(ids[:middle], refused)
                yield from self._fetch(ids[middle:], refused)
                return
            refused.add(ids[0])
            self._set_aside(SCENE, ids[0], str(error))
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _SYSTEMATIC:
                raise
            return
        if scenes:
            self._failures_in_a_row = 0
        if not self._is_stabilizing:
            self.absent += absent
        yield from scenes

    def store_entities(self, listing: EntityListing, ids: Collection[int]) -> None:
        """Store these rows of a listing; those that cannot be become issues."""
        stored, failed = halve_on_failure(
            self._database, sorted(ids), partial(store_entities, listing)
        )
        changed = sum(len(ids) for ids in stored)
        self.entities[listing.kind] = self.entities.get(listing.kind, 0) + changed
        for id_, reason in failed:
            self._set_aside(listing.kind, id_, reason)

    def _fetch_unknown_entities(
        self, scenes: Sequence[StashScene]
    ) -> Mapping[str, set[int]]:
        """Fetch the kinds of which the scenes name rows that are not mirrored yet.

        Returns:
            Ids by kind that have no row even so.
        """
        named = referenced_ids(scenes)
        lacking = self._lacking(named)
        failed: dict[str, set[int]] = {}
        for issue in self.tally.issues:
            failed.setdefault(issue.entity, set()).add(issue.id)
        for kind, ids in lacking.items():
            if ids - failed.get(kind, set()):
                listing = fetch_listing(self._stash, kind)
                self.store_entities(listing, ids & listing.rows.keys())
        if lacking:
            # Once stubs are stored, they are no longer lacking.
            self._known = None
        return lacking

    def _lacking(self, named: Mapping[str, set[int]]) -> dict[str, set[int]]:
        """Return those of the named ids that have no row."""
        if self._known is None:
            with self._database.transaction() as session:
                self._known = entity_ids(session)
        known = self._known
        return {
            kind: lacking
            for kind, ids in named.items()
            if (lacking := ids - known[kind])
        }

    def _unstable_of(
        self, scenes: Sequence[StashScene], before: datetime | None
    ) -> dict[int, datetime]:
        """Return scenes that may have changed again in the second of their last change.

        No clock but Stash's own says what its current second is: it is at least that
        of the newest change seen.

        Args:
            scenes: The scenes, just fetched.
            before: The newest change seen before they were asked for.
        """
        moments: dict[int, datetime] = {}
        now = datetime.now(UTC)
        recent = text_surely_before(now - _RECENT)
        for scene in scenes:
            texts = [scene.updated_at, *(m.updated_at for m in scene.scene_markers)]
            if max(texts) < recent:
                continue
            known = [moment for text in texts if (moment := parse_stash_time(text))]
            if known:
                moments[scene.id] = max(known)
        if not moments:
            return {}
        newest = max(moments.values())
        # Two pages may be under way: what the other saw meanwhile proves nothing.
        self._newest = max(self._newest or newest, newest)
        if self._newest < now - _RECENT:
            return {}
        since = before or newest
        return {id_: moment for id_, moment in moments.items() if moment >= since}

    def _set_aside(self, entity: str, id_: int, reason: str) -> None:
        log.warning("%s %d was not synced: %s", entity.capitalize(), id_, reason)
        self.tally.issues.append(Issue(entity, id_, reason, self._is_stabilizing))


def _once_committed(session: Session, action: Callable[[], None]) -> None:
    event.listen(session, "after_commit", lambda _: action(), once=True)
