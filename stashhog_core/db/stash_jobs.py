"""The record of jobs we started on a Stash server.

A row is written before the first look at the job and stays *open* until its outcome is
known and used. An open row is how a run that was interrupted finds its job again.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import StashJob

Kind = Literal["scan", "generate"]
Outcome = Literal["finished", "failed", "cancelled", "lost"]


def record_job(
    session: Session,
    *,
    run_id: str,
    kind: Kind,
    stash_job_id: int,
    scene_ids: Sequence[int] = (),
) -> StashJob:
    """Store a job that was just started, with the scenes it is to complete."""
    job = StashJob(
        run_id=run_id,
        kind=kind,
        stash_job_id=stash_job_id,
        scene_ids=list(scene_ids),
        add_time="",
        state="open",
    )
    session.add(job)
    session.flush()
    return job


def open_jobs(
    session: Session, *, run_id: str | None = None, kind: Kind | None = None
) -> list[StashJob]:
    """Return the open jobs of a run and kind, or of all, newest first."""
    query = (
        select(StashJob).where(StashJob.state == "open").order_by(StashJob.id.desc())
    )
    if run_id is not None:
        query = query.where(StashJob.run_id == run_id)
    if kind is not None:
        query = query.where(StashJob.kind == kind)
    return list(session.scalars(query))


def note_add_time(session: Session, row_id: int, add_time: str) -> None:
    """Store when Stash took the job, as Stash wrote it."""
    session.execute(
        update(StashJob).where(StashJob.id == row_id).values(add_time=add_time)
    )


def close_job(session: Session, row_id: int, outcome: Outcome) -> None:
    """Store how the job ended. Only an open row changes."""
    session.execute(
        update(StashJob)
        .where(StashJob.id == row_id, StashJob.state == "open")
        .values(state=outcome, finished_at=func.now())
    )
