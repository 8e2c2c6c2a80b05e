"""The scheduled sync."""

import logging
from contextlib import suppress

import pytest
from sqlalchemy import select

from flows.auto_stash_sync import auto_stash_sync
from stashhog_core.db.models import SyncRun
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from tests.services import Services
from tests.stand_in_scenes import new_scene

pytestmark = pytest.mark.slow


def history(database: Database) -> list[tuple[str, str, str]]:
    """Return kind, trigger and status of each sync."""
    with database.transaction() as session:
        rows = session.execute(
            select(SyncRun.kind, SyncRun.trigger, SyncRun.status).order_by(SyncRun.id)
        ).all()
    return [(kind, trigger, status) for kind, trigger, status in rows]


def spoken(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return level and words of what sync said."""
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name.startswith("stashhog_core.sync")
    ]


def test_it_syncs_what_is_pending_and_then_skips(
    services: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A change in Stash is synced once, with the daemon's words in the log."""
    caplog.set_level(logging.DEBUG, "stashhog_core.sync")
    new_scene(services.stash, "One")
    new_scene(services.stash, "Two")

    first = auto_stash_sync(return_state=True)
    said = spoken(caplog)
    caplog.clear()
    second = auto_stash_sync(return_state=True)

    assert first.name == "Completed"
    assert (second.name, second.message) == ("Skipped", "Skipped - No pending scenes")
    assert [(trigger, status) for _, trigger, status in history(database)] == [
        ("AUTO_STASH_SYNC_DAEMON", "completed")
    ]
    run_id = first.state_details.flow_run_id
    assert ("INFO", "Found 2 scenes pending sync from Stash") in said
    assert (
        "INFO",
        f"Created incremental sync job {run_id} for 2 pending scenes",
    ) in said
    assert (
        "INFO",
        "Executed incremental sync due to 2 scenes that needed to be resynced",
    ) in said
    assert spoken(caplog) == [("DEBUG", "No scenes pending sync from Stash")]


@pytest.mark.parametrize(
    ("error", "status"),
    [(JobError("refused"), "failed"), (KeyboardInterrupt(), "cancelled")],
)
def test_a_sync_that_did_not_end_well_is_a_warning(
    services: Services,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
) -> None:
    """With how it ended."""
    caplog.set_level(logging.DEBUG, "stashhog_core.sync")
    new_scene(services.stash, "One")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("flows.auto_stash_sync.run_one", fail)
    with suppress(KeyboardInterrupt):
        auto_stash_sync(return_state=True)

    warning = f"The sync because of pending scenes ended with status: {status}"
    assert ("WARNING", warning) in spoken(caplog)


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
