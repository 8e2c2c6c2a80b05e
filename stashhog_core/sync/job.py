"""The job `sync`, and how many scenes it would have to bring up to date."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from stashhog_core.db.locks import job_lock
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.results import SyncResult
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.comparison import HOURLY, Comparison, ListingRule
from stashhog_core.sync.deep import WAIT_SECONDS, mark_differing
from stashhog_core.sync.history import (
    JOB,
    Kind,
    Tally,
    new_run,
    note_failure,
    start_run,
)
from stashhog_core.sync.loader import STABLE_SECONDS
from stashhog_core.sync.local_edits import Conflicts
from stashhog_core.sync.pipeline import SyncPipeline

log = logging.getLogger(__name__)

SCHEDULE_TRIGGER = "AUTO_STASH_SYNC_DAEMON"
"""What the history says started a scheduled sync."""

FOUND_PENDING = "Found %d scenes pending sync from Stash"
NONE_PENDING = "No scenes pending sync from Stash"
EXECUTED = "Executed incremental sync due to %d scenes that needed to be resynced"
"""Logged by whoever started a sync because of pending scenes, once it completed."""
NOT_EXECUTED = "The sync because of pending scenes ended with status: %s"

_DEEP_SHARE = 0.8


@dataclass(frozen=True)
class Pending:
    """What a sync would have to do.

    Attributes:
        count: Scenes to bring up to date, exactly.
        reasons: How many of them for each reason: new, returned, changed, marker,
            file, entity (a tag, performer or studio was renamed or is gone), vanished.
        entities: Rows to store, by kind: tag, performer, studio.
    """

    count: int
    reasons: Mapping[str, int]
    entities: Mapping[str, int]

    def __bool__(self) -> bool:
        """Whether a sync has anything to do."""
        return bool(self.count or self.entities)


def pending_scenes(
    stash: StashClient, database: Database, listing: ListingRule = HOURLY
) -> Pending:
    """Return what differs between Stash and the mirror. The mirror is not changed.

    If nothing differs, the next check asks only what has changed since this one.

    Args:
        stash: The Stash server.
        database: The mirror.
        listing: When everything is listed.

    Raises:
        TransientError: Stash or the database is away; that is never "nothing".
        JobError: Stash refuses to answer.
    """
    comparison = Comparison(stash, database, listing)
    with comparison.differences() as found:
        found.compare_scenes()
        found.compare_markers()
    pending = Pending(
        count=found.scenes.pending,
        reasons=found.scenes.reasons(),
        entities={
            kind: number
            for kind, differing in found.entities.items()
            if (number := len(differing.changed | differing.vanished))
        },
    )
    if not pending:
        comparison.keep(found)
    if pending.count:
        log.info(FOUND_PENDING, pending.count)
    else:
        log.debug(NONE_PENDING)
    return pending


def sync(
    stash: StashClient,
    database: Database,
    params: SyncParams,
    progress: Progress,
    *,
    trigger: str,
    run_id: str | None = None,
    stabilize_seconds: float = STABLE_SECONDS,
    conflicts: Conflicts = "ask",
    listing: ListingRule = HOURLY,
) -> SyncResult:
    """Bring the mirror up to date with Stash.

    A deep sync compares all scenes before it takes the lock, so others may sync
    meanwhile; what differs is then fetched like any other change.

    May be killed at any point and run again. Scenes that fail are reported, stay
    pending and hold nobody back.

    Args:
        stash: The Stash server.
        database: The mirror.
        params: What to sync, and how.
        progress: Receives the scenes synced so far.
        trigger: Who wants it, for the history: manual, schedule, workflow, …
        run_id: The run of the flow, for the history.
        stabilize_seconds: How long a scene must have been left alone to be stable.
        conflicts: Who wins a field that was edited both here and in Stash.
        listing: When everything is listed.

    Raises:
        TransientError: Stash or the database is away, or another sync is under way.
        JobError: Stash refuses to answer.
        JobCancelled: A stop was asked for.
    """
    kind: Kind = "incremental"
    if params.scene_ids is not None:
        kind = "scenes"
    elif params.force:
        kind = "full"
    wait_seconds = 0.0
    if params.deep and kind == "incremental":
        try:
            mark_differing(stash, database, progress.within(0, _DEEP_SHARE))
        except BaseException as error:
            # Stops arrive as KeyboardInterrupt and the like, too.
            note_failure(database, new_run(kind, trigger, run_id), Tally(), error)
            raise
        # A scheduled sync of a moment is no reason to have compared for nothing.
        wait_seconds = WAIT_SECONDS
    with job_lock(
        database, JOB, wait_seconds=wait_seconds, checkpoint=progress.checkpoint
    ):
        with database.transaction() as session:
            number = start_run(session, kind, trigger, run_id)
        pipeline = SyncPipeline(
            stash,
            database,
            params,
            progress,
            kind,
            number,
            stabilize_seconds,
            conflicts,
            listing,
        )
        try:
            if params.scene_ids is None:
                return pipeline.sync_library()
            return pipeline.sync_scenes(params.scene_ids)
        except BaseException as error:
            pipeline.note_failure(error)
            raise
