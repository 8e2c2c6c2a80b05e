"""The history of sync: what each run did, and what it could not store."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from stashhog_core.db.manifest import LIBRARY
from stashhog_core.db.models import Manifest, SyncIssue, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, StashHogError
from stashhog_core.sync.compare import Hash

log = logging.getLogger(__name__)

Kind = Literal["full", "incremental", "scenes"]
Status = Literal["completed", "completed_with_errors", "failed", "cancelled"]

JOB = "sync"
"""The name of the job's lock."""

_RUNNING = "running"
_INTERRUPTED = "interrupted"
_SUCCESSFUL = ("completed", "completed_with_errors")
_LIBRARY_KINDS = ("full", "incremental")


@dataclass(frozen=True)
class Stored:
    """Which of the stored scenes are new, and which differed in any way."""

    created: frozenset[int]
    updated: frozenset[int]


@dataclass(frozen=True)
class Issue:
    """A row that could not be fetched or stored, and why."""

    entity: str
    id: int
    reason: str
    is_counted: bool = False
    """Whether it was stored before in the same run, and so counts as such."""


@dataclass(frozen=True)
class Tally:
    """What a run has done so far, in scenes. `issues` are added to in place."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    issues: list[Issue] = field(default_factory=list)

    def with_stored(self, stored: Stored) -> "Tally":
        """Return the tally with the scenes of one more transaction."""
        return replace(
            self,
            created=self.created + len(stored.created),
            updated=self.updated + len(stored.updated),
        )

    @property
    def failed_scenes(self) -> int:
        """How many scenes could not be fetched or stored; no scene counts twice."""
        return sum(
            issue.entity == "scene" and not issue.is_counted for issue in self.issues
        )


def new_run(kind: Kind, trigger: str, run_id: str | None) -> SyncRun:
    """Return a run that is not in the history yet."""
    return SyncRun(kind=kind, trigger=trigger, run_id=run_id, status=_RUNNING)


def start_run(session: Session, kind: Kind, trigger: str, run_id: str | None) -> int:
    """Note that a run starts; return its number.

    The caller holds the lock of sync.
    """
    note_interrupted(session)
    run = new_run(kind, trigger, run_id)
    session.add(run)
    session.flush()
    return run.id


def note_interrupted(session: Session) -> int:
    """Note runs that were killed as interrupted; return how many.

    The caller holds the lock of sync, so no run that counts as running lives.
    """
    interrupted = session.scalars(
        update(SyncRun)
        .where(SyncRun.status == _RUNNING)
        .values(
            status=_INTERRUPTED,
            finished_at=func.now(),
            message="the process ended before it recorded the end of the run",
        )
        .returning(SyncRun.id)
    )
    return len(interrupted.all())


def note_progress(session: Session, number: int, tally: Tally) -> None:
    """Note what a run has done so far, in the transaction that did it."""
    session.execute(
        update(SyncRun)
        .where(SyncRun.id == number)
        .values(
            created=tally.created,
            updated=tally.updated,
            removed=tally.removed,
            failed=tally.failed_scenes,
        )
    )


def finish_run(
    session: Session,
    number: int,
    status: Status,
    tally: Tally,
    message: str = "",
) -> None:
    """Note how a run ended; a successful one of the whole library is a baseline.

    The baseline is when the run started, not ended: what Stash changed meanwhile
    counts as changed after it.
    """
    run = session.get_one(SyncRun, number)
    run.status = status
    run.message = message
    run.finished_at = func.now()
    run.unchanged = tally.unchanged
    note_progress(session, number, tally)
    if status in _SUCCESSFUL and run.kind in _LIBRARY_KINDS:
        run.baseline = run.started_at
    _store_issues(session, number, tally.issues)


def note_failure(
    database: Database, run: int | SyncRun, tally: Tally, error: BaseException
) -> None:
    """Note why a run ended early, as far as the database is there.

    Args:
        database: The mirror.
        run: The number of the run; or a run that had not started yet.
        tally: What it has done.
        error: Why it ended.
    """
    cancelled = isinstance(error, JobCancelled) or not isinstance(error, Exception)
    status: Status = "cancelled" if cancelled else "failed"
    message = str(error) or type(error).__name__
    try:
        with database.transaction() as session:
            if isinstance(run, SyncRun):
                session.add(run)
                session.flush()
                run = run.id
            finish_run(session, run, status, tally, message)
    except StashHogError as problem:
        # The database may be what failed; the next run notes this one's end.
        log.warning("Could not record the end of a sync run: %s", problem)


def last_survey(session: Session) -> tuple[datetime | None, tuple[Hash, ...]]:
    """Return the last baseline, and the hashes of listings found to be all mirrored."""
    baseline = (
        select(SyncRun.baseline)
        .where(SyncRun.baseline.is_not(None))
        .order_by(SyncRun.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    digests = (
        select(func.array_agg(aggregate_order_by(Manifest.hash, Manifest.id)))
        .where(Manifest.entity == LIBRARY)
        .scalar_subquery()
    )
    found = session.execute(select(baseline, digests)).one()
    return found[0], tuple(found[1] or ())


def _store_issues(session: Session, number: int, issues: Iterable[Issue]) -> None:
    rows = [
        {
            "sync_run_id": number,
            "entity": issue.entity,
            "entity_id": issue.id,
            "reason": issue.reason,
        }
        for issue in issues
    ]
    if rows:
        session.execute(insert(SyncIssue), rows)
