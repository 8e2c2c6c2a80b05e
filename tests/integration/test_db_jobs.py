"""Stored results of runs."""

from datetime import UTC, datetime

from sqlalchemy import select

from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import JobReport
from stashhog_core.db.session import Database

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def test_repeated_run_replaces_its_report(database: Database) -> None:
    """Each run has one report: the one that was stored last."""
    for run_id, status in [("a", "failed"), ("b", "completed"), ("a", "completed")]:
        with database.transaction() as session:
            save_report(session, run_id, "sync", status, START, {"of": run_id})

    with database.transaction() as session:
        reports = session.scalars(select(JobReport).order_by(JobReport.run_id)).all()

    assert [(r.run_id, r.status, r.report) for r in reports] == [
        ("a", "completed", {"of": "a"}),
        ("b", "completed", {"of": "b"}),
    ]
