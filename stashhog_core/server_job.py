"""Starting a job on the Stash server once, and never losing sight of it.

What `generate` and `metadata_scan` have in common: the job's id is stored before the
first look, a run that is resumed finds its job again, and a cancelled run settles it by
the rule of its kind.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stashhog_core.db.models import StashJob
from stashhog_core.db.session import Database
from stashhog_core.db.stash_jobs import (
    Kind,
    Outcome,
    close_job,
    note_add_time,
    open_jobs,
    record_job,
)
from stashhog_core.errors import JobCancelled, JobError, StashHogError, TransientError
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.stash.payloads import Job

logger = logging.getLogger(__name__)

SCAN_NOT_STOPPED = (
    "Cancellation requested for metadata scan job %s, but NOT cancelling Stash server "
    "job to prevent data corruption"
)

# A cancelled run has seconds before it is killed.
_HURRY_SECONDS = 4.0
_DESCRIPTIONS: dict[str, str] = {"scan": "Scanning...", "generate": "Generating..."}


@dataclass(frozen=True)
class ServerJob:
    """A job on the Stash server that this run answers for."""

    row_id: int
    kind: Kind
    key: JobKey
    scene_ids: tuple[int, ...] = ()


def is_cancellation(error: BaseException) -> bool:
    """Tell whether the run is being stopped, rather than failing."""
    return isinstance(error, JobCancelled) or not isinstance(error, Exception)


def find_started(
    stash: StashClient, database: Database, *, run_id: str, kind: Kind
) -> ServerJob | None:
    """Return the job that an earlier try of this run started, running or over.

    One that Stash has forgotten meanwhile is noted as lost, and is not returned:
    nobody knows how it ended, and doing it again does no harm.
    """
    with database.transaction() as session:
        rows = open_jobs(session, run_id=run_id, kind=kind)
    for row in rows:
        key = JobKey(row.stash_job_id, row.add_time)
        job = stash.find_job(row.stash_job_id)
        if job and key.matches(job) and job.description == _DESCRIPTIONS[kind]:
            logger.info("Found Stash job %s of this run again", row.stash_job_id)
            return ServerJob(row.id, kind, key, tuple(row.scene_ids))
        logger.warning("Stash no longer knows job %s of this run", row.stash_job_id)
        with database.transaction() as session:
            close_job(session, row.id, "lost")
    return None


def start(
    stash: StashClient,
    database: Database,
    send: Callable[[], int],
    *,
    run_id: str,
    kind: Kind,
    scene_ids: Sequence[int] = (),
) -> ServerJob:
    """Start a job with `send` and store its id.

    When the answer is lost on the way, the job that nevertheless appeared in Stash's
    queue is taken for it, so that trying again does not start a second one.
    """
    known = {job.id for job in stash.job_queue()}
    cause: BaseException | None = None
    try:
        stash_job_id = send()
    except BaseException as error:
        if not (isinstance(error, TransientError) or is_cancellation(error)):
            raise
        appeared = _appeared(stash, known, kind)
        if appeared is None:
            raise
        stash_job_id, cause = appeared, error
    with database.transaction() as session:
        row = record_job(
            session,
            run_id=run_id,
            kind=kind,
            stash_job_id=stash_job_id,
            scene_ids=scene_ids,
        )
    logger.info("Started Stash job %s", stash_job_id)
    if cause is not None and is_cancellation(cause):
        raise cause
    return ServerJob(row.id, kind, JobKey(stash_job_id), tuple(scene_ids))


def follow_to_end(
    stash: StashClient,
    database: Database,
    server_job: ServerJob,
    progress: Progress,
    *,
    label: str,
    settings: StashSettings,
) -> Job:
    """Return the finished job; its row stays open until its outcome is used.

    Raises:
        JobError: It failed, was cancelled in Stash, or was forgotten by it.
        TransientError: Stash was away for too long; the row stays open.
    """

    def remember(job: Job) -> None:
        with database.transaction() as session:
            note_add_time(session, server_job.row_id, job.add_time)

    key = server_job.key
    number = key.stash_job_id
    job = follow(
        stash,
        key,
        progress,
        label=label,
        poll_interval_seconds=settings.poll_interval_seconds,
        outage_limit_seconds=settings.outage_limit_seconds,
        on_first_look=None if key.add_time else remember,
    )
    if job is not None and job.status == "FINISHED":
        return job
    outcome: Outcome = "lost"
    if job is not None:
        outcome = "failed" if job.status == "FAILED" else "cancelled"
    with database.transaction() as session:
        close_job(session, server_job.row_id, outcome)
    if job is None:
        raise JobError(
            f"Stash forgot job {number}, so how it ended is unknown",
            where=stash.address,
            remedy="it was restarted, or had many other jobs; run this again",
        )
    if job.status == "CANCELLED":
        raise JobError(f"Stash job {number} was cancelled in Stash", stash.address)
    raise JobError(
        f"Stash job {number} failed: {job.error or 'Stash gave no reason'}",
        where=stash.address,
        remedy="look at Stash's log",
    )


def settle_cancelled(
    stash: StashClient, database: Database, *, run_id: str, kind: Kind | None = None
) -> None:
    """Settle the open jobs of a cancelled run; doing it again does nothing more.

    A generate job is told to stop. A scan goes on, since stopping one in the middle
    may corrupt Stash's data; that is only said. A job that could not be stopped stays
    open, for the next one who settles this run.
    """
    try:
        with database.transaction() as session:
            rows = open_jobs(session, run_id=run_id, kind=kind)
        for row in rows:
            if row.kind == "scan":
                logger.warning(SCAN_NOT_STOPPED, row.stash_job_id)
            else:
                _stop(stash, row)
            with database.transaction() as session:
                close_job(session, row.id, "cancelled")
    except StashHogError:
        # The run is ending by the cancellation; this must not take its place.
        logger.exception("Stash jobs of run %s are left running", run_id)


def _stop(stash: StashClient, row: StashJob) -> None:
    job = stash.find_job(row.stash_job_id, timeout_seconds=_HURRY_SECONDS)
    # After a restart of Stash the id may be that of somebody else's job.
    if job and not job.is_over and JobKey(job.id, row.add_time).matches(job):
        stash.stop_job(job.id, timeout_seconds=_HURRY_SECONDS)
        logger.info(
            "Told Stash to stop job %s; it first ends what it is at, which may take "
            "half a minute",
            job.id,
        )


def _appeared(stash: StashClient, known: set[int], kind: Kind) -> int | None:
    """Return the only new job of this kind in the queue, if there is just one."""
    try:
        queue = stash.job_queue(timeout_seconds=_HURRY_SECONDS)
    except StashHogError:
        return None
    new = [
        job.id
        for job in queue
        if job.id not in known and job.description == _DESCRIPTIONS[kind]
    ]
    return new[0] if len(new) == 1 else None
