"""Stored results of runs."""

from datetime import UTC, datetime

from stashhog_core.db.reports import latest_reports, save_report
from stashhog_core.db.session import Database

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def test_newest_report_comes_first_and_a_repeat_replaces(database: Database) -> None:
    """Each run has one report, its last; the list starts with the newest."""
    for run_id, status in [("a", "failed"), ("b", "completed"), ("a", "completed")]:
        with database.transaction() as session:
            save_report(session, run_id, "sync", status, START, {"of": run_id})

    with database.transaction() as session:
        reports = latest_reports(session)
        newest = latest_reports(session, limit=1)

    assert [(r.run_id, r.status, r.report) for r in reports] == [
        ("a", "completed", {"of": "a"}),
        ("b", "completed", {"of": "b"}),
    ]
    assert [r.run_id for r in newest] == ["a"]
