"""The pipeline of sync: survey, load, stabilize, remove, note in the history."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from stashhog_core.background import Background
from stashhog_core.batches import batched
from stashhog_core.db.manifest import SCENE, forget_hashes, note_listing, note_survey
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, SyncResult
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.compare import EntityDifference
from stashhog_core.sync.comparison import Comparison, ListingRule
from stashhog_core.sync.differences import Differences
from stashhog_core.sync.full import WholeLibrary
from stashhog_core.sync.history import (
    Issue,
    Kind,
    Status,
    Tally,
    finish_run,
    note_failure,
)
from stashhog_core.sync.loader import LISTED_SCENES, PAGE_SIZE, SceneLoader, in_batches
from stashhog_core.sync.local_edits import Conflicts, count_conflicts
from stashhog_core.sync.mirror import is_empty
from stashhog_core.sync.removals import mark_missing, remove_missing
from stashhog_core.sync.statistics import refresh_statistics
from stashhog_core.sync.survey import Survey

log = logging.getLogger(__name__)

_LISTED_ERRORS = 100
_SURVEY_SHARE = 0.1
_LOAD_SHARE = 0.95


@dataclass
class SyncPipeline:
    """One run of sync; its caller holds the lock and has noted its start."""

    stash: StashClient
    database: Database
    params: SyncParams
    progress: Progress
    kind: Kind
    number: int
    stabilize_seconds: float
    conflicts: Conflicts
    listing: ListingRule

    def __post_init__(self) -> None:
        self._loader = self._new_loader()

    def sync_library(self) -> SyncResult:
        """Bring all that differs, or all there is, into the mirror."""
        self.progress.update(0, "Comparing with Stash")
        with self.database.transaction() as session:
            is_first = is_empty(session)
            note_survey(session)
        is_full, deep = is_first or self.kind == "full", self.params.deep
        comparison = Comparison(self.stash, self.database, self.listing)
        if is_full:
            trusting = not is_first and not deep
            found: Differences = self._load_all(comparison.full(), trusting)
        else:
            with comparison.differences(lists=deep, removes=True) as found:
                to_fetch = sorted(found.compare_scenes())
                self._begin_to_load(found)
                for kind, listing in found.listings.items():
                    changed = found.entities[kind].changed
                    self._loader.store_entities(listing, changed)
                self._load_differences(found, to_fetch)
        self._stabilize()
        if is_full:
            self._forget_failed()
        removed, blocked = self._remove_gone(found)
        if self._loader.has_written:
            with self.database.transaction() as session:
                refresh_statistics(session, found.total)
        if not self._loader.tally.issues:
            self._note_comparison(comparison, found)
        return self._finish_library(found.total, removed, blocked)

    def _begin_to_load(self, found: Differences, *, trusting: bool = False) -> None:
        self.progress.update(_SURVEY_SHARE, "Storing tags, performers and studios")
        # What no time of change of the scene shows: the baseline moves even if
        # some of them fail.
        self._mark(found.touched, found.entities)
        self._loader = self._new_loader(found.newest_text, trusting=trusting)

    def _load_all(self, library: WholeLibrary, trusting: bool) -> WholeLibrary:
        """Load the whole library; return it with which scenes are gone from Stash."""
        self._begin_to_load(library, trusting=trusting)
        for listing in library.listings.values():
            self._loader.store_entities(listing, listing.rows.keys())
        self._load(library.ranges(PAGE_SIZE), library.expected)
        library.total = self._loader.found
        library.scenes.add_gone(self._loader.gone)
        return library

    def _note_comparison(self, comparison: Comparison, found: Differences) -> None:
        """Note that all that was found to differ is stored."""
        # What has been stored is touched since the survey began, so a listing is noted
        # only if there was nothing to store.
        if isinstance(found, Survey) and not (
            found.scenes.pending or found.has_missing
        ):
            hashes = found.hashes
            if hashes.hashes and not hashes.are_known:
                with self.database.transaction() as session:
                    note_listing(session, hashes.hashes)
        comparison.keep(found)

    def _load_differences(self, found: Differences, to_fetch: Sequence[int]) -> None:
        """Load what differs while markers are compared, then the scenes of those."""
        with Background(1, "sync-markers") as background:
            # Stash lists them while scenes are stored.
            coming = background.submit(found.compare_markers)
            self._load(in_batches(to_fetch), len(to_fetch))
            remarked = sorted(coming.result())
        self._forget(remarked)
        self._load(batched(remarked, PAGE_SIZE), len(remarked))

    def _finish_library(
        self, total: int, removed: int, blocked: str | None
    ) -> SyncResult:
        tally = self._loader.tally
        unchanged = total - tally.created - tally.updated - tally.failed_scenes
        tally = replace(tally, unchanged=max(0, unchanged), removed=removed)
        return self._finish(tally, blocked)

    def sync_scenes(self, scene_ids: Sequence[int]) -> SyncResult:
        """Bring these scenes into the mirror, changed or not."""
        ids = list(dict.fromkeys(scene_ids))
        self._load(batched(ids, PAGE_SIZE), len(ids))
        self._stabilize()
        tally = self._loader.tally
        absent = [
            Issue(SCENE, id_, "Stash has no scene of this id")
            for id_ in self._loader.absent
        ]
        tally = replace(
            tally,
            unchanged=self._loader.stored - tally.created - tally.updated,
            issues=tally.issues + absent,
        )
        return self._finish(tally, None)

    def note_failure(self, error: BaseException) -> None:
        """Note in the history why the run ended early."""
        note_failure(self.database, self.number, self._loader.tally, error)

    def _new_loader(
        self, newest_text: str = "", *, trusting: bool = False
    ) -> SceneLoader:
        return SceneLoader(
            self.stash,
            self.database,
            self.number,
            newest_text,
            trusting,
            self.conflicts,
            confirmed=self.params.confirm_removals,
        )

    def _load(
        self,
        pages: Iterable[Sequence[int]],
        total: int,
    ) -> None:
        progress = self.progress.within(_SURVEY_SHARE, _LOAD_SHARE)
        self._loader.load(pages, total, progress)

    def _stabilize(self) -> None:
        self._loader.stabilize(self.progress, self.stabilize_seconds)

    def _mark(
        self,
        touched: Collection[int],
        entities: Mapping[str, EntityDifference],
    ) -> None:
        """Note what has vanished, and which scenes must be fetched because of it.

        In one transaction: were the run killed in between, nothing would tell the
        next one about these scenes.
        """
        with self.database.transaction() as session:
            forget_hashes(session, touched)
            for kind, found in entities.items():
                mark_missing(session, kind, found.vanished)

    def _forget_failed(self) -> None:
        """Have the next run fetch what failed, though no time of change may show it."""
        issues = self._loader.tally.issues
        self._forget([issue.id for issue in issues if issue.entity == SCENE])

    def _forget(self, scene_ids: Collection[int]) -> None:
        if not scene_ids:
            return
        with self.database.transaction() as session:
            forget_hashes(session, scene_ids)

    def _remove_gone(self, found: Differences) -> tuple[int, str | None]:
        """Mark and remove what is gone; return removed scenes, and what is blocked."""
        self.progress.update(_LOAD_SHARE, "Checking what is gone from Stash")
        scenes, entities = found.scenes, found.entities
        gone: dict[str, tuple[Set[int], Set[int]]] = {
            SCENE: (scenes.vanished, scenes.missing)
        }
        gone |= {k: (rows.vanished, rows.missing) for k, rows in entities.items()}
        if any(gone[SCENE]) and self.stash.count_scenes() > found.total:
            # The listing was not complete, or has grown since: it does not show that
            # they are gone.
            log.info("The next sync handles scenes that are gone from Stash")
            del gone[SCENE]
        removed: dict[str, int] = {}
        blocked: list[str] = []
        for kind, (newly, again) in gone.items():
            if not newly and not again:
                continue
            with self.database.transaction() as session:
                mark_missing(session, kind, newly)
                removed[kind], reason = remove_missing(
                    session,
                    kind,
                    newly,
                    again,
                    confirmed=self.params.confirm_removals,
                )
            if kind != SCENE and removed[kind]:
                stored = self._loader.entities
                stored[kind] = stored.get(kind, 0) + removed[kind]
            if reason:
                log.warning("The removal limit blocks removals: %s", reason)
                blocked.append(reason)
        return removed.get(SCENE, 0), "\n".join(blocked) or None

    def _finish(self, tally: Tally, blocked: str | None) -> SyncResult:
        status: Status = (
            "completed_with_errors" if tally.issues or blocked else "completed"
        )
        with self.database.transaction() as session:
            finish_run(session, self.number, status, tally, blocked or "")
            conflicts = count_conflicts(session)
        self.progress.update(1.0, f"{tally.created + tally.updated} scenes changed")
        log.info(
            "Sync (%s): %d scenes created, %d updated, %d unchanged, %d removed, "
            "%d failed",
            self.kind,
            tally.created,
            tally.updated,
            tally.unchanged,
            tally.removed,
            tally.failed_scenes,
        )
        return SyncResult(
            status=status,
            kind=self.kind,
            created=tally.created,
            updated=tally.updated,
            unchanged=tally.unchanged,
            removed=tally.removed,
            failed=tally.failed_scenes,
            entities={k: n for k, n in self._loader.entities.items() if n},
            scene_ids=tuple(self._loader.changed_ids[:LISTED_SCENES]),
            errors=tuple(
                ItemFailure(item=f"{issue.entity} {issue.id}", reason=issue.reason)
                for issue in tally.issues[:_LISTED_ERRORS]
            ),
            conflicts=conflicts,
            held=blocked,
        )
