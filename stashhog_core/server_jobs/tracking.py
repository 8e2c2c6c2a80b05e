"""Starting a job on the Stash server once, and never losing sight of it.

What all kinds have in common: the job's id is stored before the first check, a run
that is resumed finds its job again, a cancelled run stops its job or leaves it by the
rule of its kind, and the next run takes up what a dead run left open.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

from sqlalchemy.orm import Session

from stashhog_core.db.jobs import (
    Kind,
    Outcome,
    close_job,
    jobs_of,
    note_add_time,
    open_jobs,
    record_job,
    resume_job,
)
from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import StashJob
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    JobCancelled,
    JobError,
    StashHogError,
    TransientError,
    UnreadableError,
)
from stashhog_core.progress import Progress
from stashhog_core.results import (
    CancelledResult,
    Result,
    StashGenerateResult,
    StashJobResult,
    StashScanResult,
)
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.follow import DeadlineError, JobKey, follow
from stashhog_core.stash.payloads import Job
from stashhog_core.stash.watch import JobWatch

logger = logging.getLogger(__name__)

Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"
"""Of this module, or of a run that is gone."""

SCAN_NOT_STOPPED = (
    "Cancellation requested for metadata scan job %s, but NOT cancelling Stash server "
    "job to prevent data corruption"
)

CANCELLED_MESSAGE = (
    "StashHog job cancelled (Stash server job continues to prevent data corruption)"
)
"""What a run says about itself that was cancelled while Stash scanned for it."""

_KINDS: dict[str, Kind] = {
    "stash_scan": "scan",
    "stash_generate": "generate",
    "auto_stash_generate": "generate",
    "stash_auto_tag": "auto_tag",
    "stash_identify": "identify",
    "stash_clean": "clean",
    "stash_optimise": "optimise",
}


@dataclass(frozen=True)
class _Rule:
    """How the jobs of a kind are treated.

    Attributes:
        description: What Stash calls such a job in its queue.
        is_stopped: Whether a cancelled run stops its job in Stash.
        resumed: When a run takes over the job of a run that is gone: always, if the
            job still runs and was asked for the same, or never.
    """

    description: str
    is_stopped: bool = True
    resumed: Literal["always", "same", "never"] = "same"


_RULES: dict[str, _Rule] = {
    # A scan may have begun before the files of the next run came.
    "scan": _Rule("Scanning...", is_stopped=False, resumed="never"),
    # Whoever resumes a generate job marks the scenes that it completed.
    "generate": _Rule("Generating...", resumed="always"),
    "auto_tag": _Rule("Auto-tagging..."),
    "identify": _Rule("Identifying..."),
    "clean": _Rule("Cleaning..."),
    "optimise": _Rule("Optimising database..."),
}

WasCancelled = Callable[[str], bool]
"""Tells whether the run of this id was asked to stop."""

STOP_WAIT_SECONDS = 5.0
"""How long a cancelled run waits for the server to have stopped."""

_STOP_POLL_SECONDS = 0.25
# A cancelled run has seconds before it is killed.
_HURRY_SECONDS = 4.0
# A process that was just killed holds its lock a moment longer.
LOCK_WAIT_SECONDS = 5.0


class JobForgottenError(JobError):
    """The server no longer knows the job, so how it ended is unknown."""

    def __init__(self, stash_job_id: int, where: str = "") -> None:
        super().__init__(
            f"Stash no longer knows job {stash_job_id}, so the outcome "
            "of the job is unknown",
            where,
            "Stash was restarted or has run many other jobs since; run the job again",
        )
        # What an error is made again from when it is unpickled.
        self.args = (stash_job_id, where)
        self.stash_job_id = stash_job_id


@dataclass(frozen=True)
class ServerJob:
    """A job on the Stash server that this run answers for."""

    row_id: int
    kind: Kind
    key: JobKey
    scene_ids: tuple[int, ...] = ()
    asked: Mapping[str, Any] | None = None
    is_own: bool = True


def never_cancelled(_run_id: str) -> bool:
    """Know of no run that was asked to stop."""
    return False


@contextmanager
def only_one(database: Database, kind: Kind, server: str = "") -> Iterator[None]:
    """Let one run at a time have jobs of this kind on the server.

    Whoever gets here may take every open job of other runs for left behind: the
    database frees the lock of a process that died.

    Raises:
        TransientError: Another run is at it.
    """
    name = f"stash_{kind}" + (f" on {server}" if server else "")
    with job_lock(database, name, wait_seconds=LOCK_WAIT_SECONDS):
        yield


def is_cancellation(error: BaseException) -> bool:
    """Tell whether the run is being stopped, rather than failing."""
    return isinstance(error, JobCancelled) or not isinstance(error, Exception)


def reconcile(
    stash: StashClient,
    database: Database,
    *,
    run_id: str,
    kind: Kind,
    server: str = "",
    was_cancelled: WasCancelled = never_cancelled,
    asked: Mapping[str, Any] | None = None,
    resume: bool = True,
) -> list[ServerJob]:
    """Reconcile what runs that are gone left open; return the jobs to follow.

    Returned, oldest first, are the jobs that an earlier try of this run started, and
    those of other runs that this one resumes: all generate jobs, no scan, and of the
    other kinds what still runs and was asked for the same. A job whose run was
    cancelled is stopped or left as a cancelled run does it; one that Stash has
    forgotten is noted as lost, for nobody knows how it ended and doing it again does no
    harm. Without `resume`, generate jobs are left for the next run that generates.

    Must be called under `only_one`.
    """
    with database.transaction() as session:
        rows = open_jobs(session, kind=kind, server=server)
    rule = _RULES[kind]
    taken: list[ServerJob] = []
    for row in reversed(rows):
        job = _job_of(stash, row)
        is_own = row.run_id == run_id
        if job is None:
            logger.warning(
                "Stash no longer knows job %s of %s",
                row.stash_job_id,
                "this run" if is_own else f"run {row.run_id}",
            )
            close(database, row.id, "lost")
        elif is_own:
            logger.info(
                "Resuming Stash job %s, which this run has started", row.stash_job_id
            )
            taken.append(_taken(row, is_own=True))
        elif was_cancelled(row.run_id):
            reconcile_job(stash, database, row)
        elif job.is_over and job.status != "FINISHED":
            close(database, row.id, _outcome(job))
        elif rule.resumed == "always" and not resume:
            logger.info(
                "The next generate run will resume Stash job %s", row.stash_job_id
            )
        elif rule.resumed == "always" or (
            rule.resumed == "same"
            and resume
            and not job.is_over
            and row.asked == dict(asked or {})
        ):
            logger.info(
                "Resuming Stash job %s of run %s, which is gone",
                row.stash_job_id,
                row.run_id,
            )
            with database.transaction() as session:
                resume_job(session, row.id, run_id)
            taken.append(_taken(row, is_own=False))
        elif job.is_over:
            close(database, row.id, "finished")
    return taken


def close_ended(
    stash: StashClient, database: Database, *, kind: Kind, server: str = ""
) -> None:
    """Close the open jobs of this kind that have ended, whoever started them.

    Stash runs its jobs one after another: when one of them ends, those that were
    started before it have ended too.

    Must be called under `only_one`.
    """
    with database.transaction() as session:
        rows = open_jobs(session, kind=kind, server=server)
    for row in rows:
        job = _job_of(stash, row)
        if job is None:
            close(database, row.id, "lost")
        elif job.is_over:
            close(database, row.id, _outcome(job))


def _job_of(stash: StashClient, row: StashJob) -> Job | None:
    """Return the job of a row; None: Stash no longer knows the job.

    After a restart of Stash the id may be that of somebody else's job.
    """
    job = stash.find_job(row.stash_job_id)
    if job is None or not JobKey(row.stash_job_id, row.add_time).matches(job):
        return None
    return job if job.description == _RULES[row.kind].description else None


def _taken(row: StashJob, *, is_own: bool) -> ServerJob:
    return ServerJob(
        row.id,
        cast("Kind", row.kind),
        JobKey(row.stash_job_id, row.add_time),
        tuple(row.scene_ids),
        row.asked,
        is_own,
    )


def start(
    stash: StashClient,
    database: Database,
    send: Callable[[], int],
    *,
    run_id: str,
    kind: Kind,
    scene_ids: Sequence[int] = (),
    server: str = "",
    asked: Mapping[str, Any] | None = None,
) -> ServerJob:
    """Start a job with `send` and store its id.

    When the answer is lost on the way or cannot be read, the job that nevertheless
    appeared in Stash's queue is taken for it, so that trying again does not start a
    second one.
    """
    known = {job.id for job in stash.job_queue()}
    cause: BaseException | None = None
    try:
        stash_job_id = send()
    except BaseException as error:
        is_unknown = isinstance(error, TransientError | UnreadableError)
        if not (is_unknown or is_cancellation(error)):
            raise
        appeared = _appeared(stash, known, kind)
        if appeared is None:
            raise
        stash_job_id, cause = appeared, error

    def record() -> StashJob:
        with database.transaction() as session:
            return record_job(
                session,
                run_id=run_id,
                kind=kind,
                stash_job_id=stash_job_id,
                scene_ids=scene_ids,
                server=server,
                asked=asked,
            )

    try:
        row = record()
    except BaseException as error:
        if is_cancellation(error):
            # Stash works on it: who ends the jobs of this run has to know of it.
            record()
        raise
    logger.info("Started Stash job %s", stash_job_id)
    if cause is not None and is_cancellation(cause):
        raise cause
    return ServerJob(row.id, kind, JobKey(stash_job_id), tuple(scene_ids), asked)


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
        JobForgottenError: Stash does not know it any more.
        JobError: It failed, was cancelled in Stash, or took too long.
        TransientError: Stash was away for too long; the row stays open.
    """

    def remember(job: Job) -> None:
        with database.transaction() as session:
            note_add_time(session, server_job.row_id, job.add_time)

    key = server_job.key
    number = key.stash_job_id
    try:
        with JobWatch(settings, number) as watch:
            job = follow(
                stash,
                key,
                progress,
                label=label,
                poll_interval_seconds=settings.poll_interval_seconds,
                outage_limit_seconds=settings.outage_limit_seconds,
                on_first_check=None if key.add_time else remember,
                deadline_seconds=settings.job_deadline_seconds,
                watch=watch,
            )
    except DeadlineError:
        if _RULES[server_job.kind].is_stopped:
            stash.stop_job(number)
        close(database, server_job.row_id, "failed")
        raise
    if job is None:
        close(database, server_job.row_id, "lost")
        raise JobForgottenError(number, stash.address)
    if job.status == "FINISHED":
        return job
    close(database, server_job.row_id, _outcome(job))
    if job.status == "CANCELLED":
        raise JobError(
            f"Stash job {number} was cancelled in Stash",
            where=stash.address,
            remedy="run the job again to do the rest",
        )
    raise JobError(
        f"Stash job {number} failed: {job.error or 'Stash gave no reason'}",
        where=stash.address,
        remedy="read Stash's log",
    )


def carry_out(
    stash: StashClient,
    database: Database,
    send: Callable[[], int],
    progress: Progress,
    *,
    label: str,
    run_id: str,
    kind: Kind,
    settings: StashSettings,
    server: str = "",
    asked: Mapping[str, Any] | None = None,
    was_cancelled: WasCancelled = never_cancelled,
) -> Job:
    """Return the finished job that does what is `asked`.

    The run follows the job that an earlier try of the run started, or one of a run that
    is gone, or else starts a job with `send`. A run that is cancelled meanwhile stops
    or leaves the job by the rule of its kind.

    Must be called under `only_one`.

    Raises:
        JobForgottenError: Stash does not know it any more.
        JobError: It failed, was cancelled in Stash, or took too long.
        TransientError: Stash was away for too long; the row stays open.
    """
    try:
        left = reconcile(
            stash,
            database,
            run_id=run_id,
            kind=kind,
            server=server,
            was_cancelled=was_cancelled,
            asked=asked,
        )
        # A run may ask for several things, one after the other.
        same = [found for found in left if found.asked == dict(asked or {})]
        server_job = (
            same[-1]
            if same
            else start(
                stash,
                database,
                send,
                run_id=run_id,
                kind=kind,
                server=server,
                asked=asked,
            )
        )
        job = follow_to_end(
            stash, database, server_job, progress, label=label, settings=settings
        )
        close(database, server_job.row_id, "finished")
        close_ended(stash, database, kind=kind, server=server)
        return job
    except BaseException as error:
        if is_cancellation(error):
            going_on = reconcile_cancelled(
                stash, database, run_id=run_id, kind=kind, server=server
            )
            if going_on and not _RULES[kind].is_stopped:
                logger.warning(CANCELLED_MESSAGE)
        raise


def reconcile_cancelled(
    stash: StashClient,
    database: Database,
    *,
    run_id: str,
    kind: Kind | None = None,
    server: str = "",
    log: Log = logger,
) -> int:
    """Stop or leave the open jobs of a cancelled run; return how many there were.

    Doing it again does nothing more.

    Jobs are stopped. Only a scan goes on, since stopping a scan in the middle may
    corrupt Stash's data; that is only logged. A job that could not be stopped stays
    open, for whoever reconciles this run next.
    """
    try:
        with database.transaction() as session:
            rows = open_jobs(session, run_id=run_id, kind=kind, server=server)
        for row in rows:
            reconcile_job(stash, database, row, log)
        return len(rows)
    except StashHogError as error:
        # The run is ending by the cancellation; this must not take its place.
        log.error("Could not stop the Stash jobs of run %s: %s", run_id, error)
        return 0


def cancelled_result(
    session: Session, job: str, *, run_id: str, started_at: datetime
) -> Result:
    """Return what is kept of a cancelled run of this job, or of a step of this name.

    Only if a scan of the run may still go on in Stash does the message say so.
    """
    kind = _KINDS.get(job)
    rows = jobs_of(session, run_id, kind) if kind else []
    if kind == "generate":
        numbers = tuple(str(row.stash_job_id) for row in rows)
        return StashGenerateResult(
            job_id=run_id,
            stash_job_id=numbers[-1] if numbers else None,
            stash_job_ids=numbers,
            status="cancelled",
            start_time=started_at,
            end_time=datetime.now(UTC),
        )
    if kind == "scan" and rows and rows[-1].state in {"open", "cancelled"}:
        return StashScanResult(
            stash_job_id=str(rows[-1].stash_job_id),
            status="cancelled",
            message=CANCELLED_MESSAGE,
            start_time=started_at,
            end_time=datetime.now(UTC),
        )
    if rows and kind != "scan":
        number = str(rows[-1].stash_job_id)
        return StashJobResult(
            stash_job_id=number,
            status="cancelled",
            message=f"Cancelled; StashHog asked Stash to stop job {number}",
            start_time=started_at,
            end_time=datetime.now(UTC),
        )
    return CancelledResult(message="Cancelled")


def reconcile_job(
    stash: StashClient,
    database: Database,
    row: StashJob,
    log: Log = logger,
) -> None:
    """Stop one open job of a cancelled run, or leave it if its kind goes on.

    Raises:
        StashHogError: It could not be stopped, and stays open.
    """
    if not _RULES[row.kind].is_stopped:
        log.warning(SCAN_NOT_STOPPED, row.stash_job_id)
        close(database, row.id, "cancelled")
        return
    is_asked = _stop(stash, row, log)
    close(database, row.id, "cancelled")
    if is_asked:
        _await_stop(stash, row.stash_job_id, log)


def _stop(
    stash: StashClient,
    row: StashJob,
    log: Log,
) -> bool:
    """Ask Stash to stop the job; return whether there was one to stop."""
    job = stash.find_job(row.stash_job_id, timeout_seconds=_HURRY_SECONDS)
    # After a restart of Stash the id may be that of somebody else's job.
    if not job or job.is_over or not JobKey(job.id, row.add_time).matches(job):
        return False
    stash.stop_job(job.id, timeout_seconds=_HURRY_SECONDS)
    log.info(
        "Asked Stash to stop job %s; Stash finishes the current item first, which may "
        "take half a minute",
        job.id,
    )
    return True


def _await_stop(
    stash: StashClient,
    job_id: int,
    log: Log,
) -> None:
    """Say when the job ended, if it does so within the seconds there are."""
    deadline = time.monotonic() + STOP_WAIT_SECONDS
    while True:
        job = stash.find_job(job_id, timeout_seconds=_HURRY_SECONDS)
        if job is None or job.is_over:
            log.info("Stash job %s is %s", job_id, job.status if job else "gone")
            return
        if time.monotonic() >= deadline:
            log.info("Stash job %s still finishes its current item", job_id)
            return
        time.sleep(_STOP_POLL_SECONDS)


def _appeared(stash: StashClient, known: set[int], kind: Kind) -> int | None:
    """Return the only new job of this kind in the queue, if there is just one."""
    try:
        queue = stash.job_queue(timeout_seconds=_HURRY_SECONDS)
    except StashHogError:
        return None
    new = [
        job.id
        for job in queue
        if job.id not in known and job.description == _RULES[kind].description
    ]
    return new[0] if len(new) == 1 else None


def close(database: Database, row_id: int, outcome: Outcome) -> None:
    """Note how a job ended."""
    with database.transaction() as session:
        close_job(session, row_id, outcome)


def _outcome(job: Job) -> Outcome:
    if job.status == "FINISHED":
        return "finished"
    return "failed" if job.status == "FAILED" else "cancelled"
