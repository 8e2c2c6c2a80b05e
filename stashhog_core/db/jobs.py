"""The records of jobs: those that we started on a Stash server, and results of runs.

A row of a server job is written before the job is first asked for, and stays *open*
until its outcome is known and used. An open row is how a run that was interrupted finds
its job again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from stashhog_core.db.merge import upsert
from stashhog_core.db.models import JobReport, StashJob

Kind = Literal["scan", "generate", "auto_tag", "identify", "clean", "optimise"]
Outcome = Literal["finished", "failed", "cancelled", "lost"]


def record_job(
    session: Session,
    *,
    run_id: str,
    kind: Kind,
    stash_job_id: int,
    scene_ids: Sequence[int] = (),
    server: str = "",
    asked: Mapping[str, Any] | None = None,
) -> StashJob:
    """Store a job that was just started, with the scenes it is to complete.

    Args:
        session: Open session.
        run_id: The run that answers for it.
        kind: What it does.
        stash_job_id: Its number on the server.
        scene_ids: The scenes that are to be marked when it has done its work.
        server: Name of an additional server; "" is the one that is mirrored.
        asked: What it was asked for, to judge the outcome by.
    """
    job = StashJob(
        run_id=run_id,
        kind=kind,
        stash_job_id=stash_job_id,
        scene_ids=list(scene_ids),
        add_time="",
        state="open",
        server=server,
        asked=dict(asked or {}),
    )
    session.add(job)
    session.flush()
    return job


def open_jobs(
    session: Session,
    *,
    run_id: str | None = None,
    kind: Kind | None = None,
    server: str | None = None,
) -> list[StashJob]:
    """Return the open jobs of a run, kind and server, or of all, newest first."""
    query = (
        select(StashJob).where(StashJob.state == "open").order_by(StashJob.id.desc())
    )
    if run_id is not None:
        query = query.where(StashJob.run_id == run_id)
    if kind is not None:
        query = query.where(StashJob.kind == kind)
    if server is not None:
        query = query.where(StashJob.server == server)
    return list(session.scalars(query))


def jobs_of(session: Session, run_id: str, kind: Kind) -> list[StashJob]:
    """Return all jobs of this kind that a run answers for, oldest first."""
    query = select(StashJob).where(StashJob.run_id == run_id, StashJob.kind == kind)
    return list(session.scalars(query.order_by(StashJob.id)))


def note_add_time(session: Session, row_id: int, add_time: str) -> None:
    """Store when Stash took the job, as Stash wrote it."""
    session.execute(
        update(StashJob).where(StashJob.id == row_id).values(add_time=add_time)
    )


def resume_job(session: Session, row_id: int, run_id: str) -> None:
    """Make `run_id` the run that answers for the job."""
    session.execute(update(StashJob).where(StashJob.id == row_id).values(run_id=run_id))


def close_job(session: Session, row_id: int, outcome: Outcome) -> None:
    """Store how the job ended. Only an open row changes."""
    session.execute(
        update(StashJob)
        .where(StashJob.id == row_id, StashJob.state == "open")
        .values(state=outcome, finished_at=func.now())
    )


def stored_report(session: Session, run_id: str) -> dict[str, Any] | None:
    """Return the result of a run as `save_report` has stored it; None: it has not."""
    query = select(JobReport.report).where(JobReport.run_id == run_id)
    return session.scalar(query)


def save_report(
    session: Session,
    run_id: str,
    job: str,
    status: str,
    started_at: datetime,
    report: dict[str, Any],
) -> None:
    """Store the result of a run; a run that is repeated replaces its own."""
    row = {
        "run_id": run_id,
        "job": job,
        "status": status,
        "started_at": started_at,
        "report": report,
    }
    upsert(session, JobReport, [row], stamped="finished_at")
