"""Results of runs, kept after Prefect has forgotten them."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import JobReport


def save_report(
    session: Session,
    run_id: str,
    job: str,
    status: str,
    started_at: datetime,
    report: dict[str, Any],
) -> None:
    """Store the result of a run; a run that is repeated replaces its own."""
    values = {
        "job": job,
        "status": status,
        "started_at": started_at,
        "finished_at": func.now(),
        "report": report,
    }
    session.execute(
        insert(JobReport)
        .values(run_id=run_id, **values)
        .on_conflict_do_update(index_elements=["run_id"], set_=values)
    )


def latest_reports(session: Session, limit: int = 20) -> list[JobReport]:
    """Return the newest reports, the latest first."""
    query = (
        select(JobReport)
        .order_by(JobReport.finished_at.desc(), JobReport.run_id)
        .limit(limit)
    )
    return list(session.scalars(query))
