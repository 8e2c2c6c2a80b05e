"""The scheduled sync."""

import logging

import pytest
from sqlalchemy import select

from flows.auto_stash_sync import auto_stash_sync
from stashhog_core.db.models import SyncRun
from stashhog_core.db.session import Database
from tests.services import Services

pytestmark = pytest.mark.slow


def history(database: Database) -> list[tuple[str, str, str]]:
    """Return kind, trigger and status of each sync."""
    with database.transaction() as session:
        rows = session.execute(
            select(SyncRun.kind, SyncRun.trigger, SyncRun.status).order_by(SyncRun.id)
        ).all()
    return [(kind, trigger, status) for kind, trigger, status in rows]


def test_it_syncs_what_is_pending_and_then_skips(
    services: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A change in Stash is synced once, under the name of the schedule."""
    caplog.set_level(logging.INFO, "stashhog_core")

    first = auto_stash_sync(return_state=True)
    second = auto_stash_sync(return_state=True)

    assert first.name == "Completed"
    assert (second.name, second.message) == ("Skipped", "Skipped - No pending scenes")
    assert [(trigger, status) for _, trigger, status in history(database)] == [
        ("AUTO_STASH_SYNC_DAEMON", "completed")
    ]
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "Executed incremental sync due to" in said


def test_an_outage_is_never_nothing_to_do(
    services: Services, database: Database
) -> None:
    """Stash is away: the run fails, and is not skipped."""
    services.stash.stop()
    try:
        state = auto_stash_sync(return_state=True)
    finally:
        services.stash.start()

    assert state.is_failed()
    assert history(database) == []
