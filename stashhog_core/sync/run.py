"""One run of sync, from the look at Stash to the note in the history."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, StashHogError
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.results import ItemFailure, SyncResult
from stashhog_core.sync.difference import Hash
from stashhog_core.sync.hashes import (
    SCENE,
    forget_hashes,
    note_library,
    stored_contents,
)
from stashhog_core.sync.history import Issue, Kind, Status, Tally, finish_run
from stashhog_core.sync.loader import LISTED_SCENES, SceneLoader
from stashhog_core.sync.local_edits import Conflicts, count_conflicts
from stashhog_core.sync.removals import mark_missing, remove_missing
from stashhog_core.sync.source import Source
from stashhog_core.sync.survey import Survey, take_survey

log = logging.getLogger(__name__)

_LISTED_ERRORS = 100
_SURVEY_SHARE = 0.1
_LOAD_SHARE = 0.95


class Run:
    """One run of sync; its caller holds the lock and has noted its start."""

    def __init__(
        self,
        stash: Source,
        database: Database,
        params: SyncParams,
        progress: Progress,
        kind: Kind,
        number: int,
        settle_seconds: float,
        conflicts: Conflicts,
    ) -> None:
        self._stash = stash
        self._database = database
        self._params = params
        self._progress = progress
        self._kind = kind
        self._number = number
        self._settle_seconds = settle_seconds
        self._conflicts: Conflicts = conflicts
        self._loader = SceneLoader(stash, database, number, conflicts=conflicts)

    def sync_library(self) -> SyncResult:
        """Bring all that differs, or all there is, into the mirror."""
        self._progress.update(0, "Comparing with Stash")
        survey = take_survey(self._stash, self._database, deep=self._params.deep)
        scenes = survey.scenes
        self._loader = SceneLoader(
            self._stash,
            self._database,
            self._number,
            survey.newest_text if scenes.to_fetch or self._kind == "full" else "",
            trusted=self._contents(survey),
            conflicts=self._conflicts,
        )
        self._progress.update(_SURVEY_SHARE, "Storing tags, performers and studios")
        self._mark(survey)
        if not survey.is_clean or self._kind == "full":
            self._store_entities(survey)
        to_fetch = survey.scene_ids if self._kind == "full" else scenes.to_fetch
        self._load(sorted(to_fetch))

        self._progress.update(_LOAD_SHARE, "Looking for what is gone from Stash")
        removed, held = self._remove_gone(survey)
        tally = self._loader.tally
        unchanged = survey.total - tally.created - tally.updated
        tally = replace(
            tally,
            unchanged=max(0, unchanged - tally.failed_scenes),
            removed=removed,
        )
        # What is stored may be newer than the listing.
        if survey.is_clean and not self._loader.has_written and not tally.issues:
            with self._database.transaction() as session:
                note_library(session, survey.digest)
        return self._finish(tally, held)

    def sync_scenes(self, scene_ids: Sequence[int]) -> SyncResult:
        """Bring these scenes into the mirror, changed or not."""
        self._load(list(dict.fromkeys(scene_ids)))
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
        cancelled = isinstance(error, JobCancelled) or not isinstance(error, Exception)
        status: Status = "cancelled" if cancelled else "failed"
        try:
            with self._database.transaction() as session:
                finish_run(
                    session,
                    self._number,
                    status,
                    self._loader.tally,
                    str(error) or type(error).__name__,
                )
        except StashHogError as problem:
            # The database may be what failed; the next run notes this one's end.
            log.warning(
                "The end of sync run %d was not noted: %s", self._number, problem
            )

    def _load(self, ids: Sequence[int]) -> None:
        self._loader.load(ids, self._progress.within(_SURVEY_SHARE, _LOAD_SHARE))
        self._loader.settle(self._progress, self._settle_seconds)

    def _contents(self, survey: Survey) -> dict[int, Hash]:
        """Return, for a full sync, what the scenes that look unchanged were like.

        A scene that the survey found to differ is stored whatever its content: the
        difference may be on our side.
        """
        if self._kind != "full":
            return {}
        with self._database.transaction() as session:
            contents = stored_contents(session)
        differing = survey.scenes.to_fetch
        return {id_: h for id_, h in contents.items() if id_ not in differing}

    def _mark(self, survey: Survey) -> None:
        """Note what has vanished, and which scenes must be fetched because of it.

        In one transaction: were the run killed in between, nothing would tell the
        next one about these scenes.
        """
        if survey.is_clean:
            return
        with self._database.transaction() as session:
            forget_hashes(session, survey.scenes.entity | survey.scenes.relation)
            for kind, found in survey.entities.items():
                mark_missing(session, kind, found.vanished)

    def _store_entities(self, survey: Survey) -> None:
        for kind, listing in survey.listings.items():
            wanted = survey.entities[kind].changed
            if self._kind == "full":
                wanted = frozenset(listing.rows)
            self._loader.store_entities(listing, wanted)

    def _remove_gone(self, survey: Survey) -> tuple[int, str | None]:
        """Mark and remove what is gone; return removed scenes and what is held."""
        gone = {SCENE: (survey.scenes.vanished, survey.scenes.missing)}
        gone |= {
            kind: (set(found.vanished), set(found.missing))
            for kind, found in survey.entities.items()
        }
        if any(gone[SCENE]) and self._stash.count_scenes() > len(survey.scene_ids):
            # The listing was not complete, or has grown since: no proof of absence.
            log.info("Scenes gone from Stash are left for the next sync")
            del gone[SCENE]
        removed: dict[str, int] = {}
        held: list[str] = []
        for kind, (vanished, missing) in gone.items():
            if not vanished and not missing:
                continue
            with self._database.transaction() as session:
                mark_missing(session, kind, vanished)
                removed[kind], reason = remove_missing(
                    session,
                    kind,
                    vanished,
                    missing,
                    confirmed=self._params.confirm_removals,
                )
            if kind != SCENE and removed[kind]:
                entities = self._loader.entities
                entities[kind] = entities.get(kind, 0) + removed[kind]
            if reason:
                log.warning("Removals are held: %s", reason)
                held.append(reason)
        return removed.get(SCENE, 0), "\n".join(held) or None

    def _finish(self, tally: Tally, held: str | None) -> SyncResult:
        status: Status = (
            "completed_with_errors" if tally.issues or held else "completed"
        )
        with self._database.transaction() as session:
            finish_run(session, self._number, status, tally, held or "")
            conflicts = count_conflicts(session)
        self._progress.update(1.0, f"{tally.created + tally.updated} scenes changed")
        log.info(
            "Sync (%s): %d scenes created, %d updated, %d unchanged, %d removed, "
            "%d failed",
            self._kind,
            tally.created,
            tally.updated,
            tally.unchanged,
            tally.removed,
            tally.failed_scenes,
        )
        return SyncResult(
            status=status,
            kind=self._kind,
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
            held=held,
        )
