"""The scheduled sync."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from sqlalchemy import select

from flows.auto_stash_sync import auto_stash_sync
from stashhog_core.db.models import JobReport, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from tests.support.services import Services
from tests.support.stand_in import new_scene

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUN = "from flows.auto_stash_sync import auto_stash_sync; auto_stash_sync()"


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


def name_of(run_id: UUID | None) -> str:
    assert run_id is not None
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).name


@contextmanager
def flow_runs_of(flow: str) -> Iterator[list[str]]:
    """Yield the names of the runs of a flow that are made meanwhile."""

    def named() -> dict[UUID, str]:
        of_flow = FlowFilter(name=FlowFilterName(any_=[flow]))
        with get_client(sync_client=True) as client:
            return {
                run.id: run.name for run in client.read_flow_runs(flow_filter=of_flow)
            }

    before, names = named(), list[str]()
    yield names
    names += [name for id_, name in named().items() if id_ not in before]


def test_run_tells_how_many_scenes_were_pending(
    services: Services, database: Database
) -> None:
    """In its name, its result and its report: also what was pending, not only done."""
    for title in ("One", "Two", "Three"):
        new_scene(services.stash, title)

    state = auto_stash_sync(return_state=True)

    run_id = state.state_details.flow_run_id
    with database.transaction() as session:
        report = session.get_one(JobReport, str(run_id)).report
    assert name_of(run_id) == "sync · 3 scenes of 3 pending"
    assert state.result().pending == 3
    assert report["pending"] == 3


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
    """With how it ended; the run's name says how much there still is to do."""
    caplog.set_level(logging.DEBUG, "stashhog_core.sync")
    new_scene(services.stash, "One")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("flows.auto_stash_sync.run_one", fail)
    with flow_runs_of("auto_stash_sync") as names, suppress(KeyboardInterrupt):
        auto_stash_sync(return_state=True)

    warning = f"The sync because of pending scenes ended with status: {status}"
    assert ("WARNING", warning) in spoken(caplog)
    assert names == ["sync · 1 pending scene"]


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


@pytest.mark.parametrize(("level", "is_said"), [("DEBUG", True), ("INFO", False)])
def test_prefects_log_level_applies_to_the_core(
    services: Services, prefect_api: str, tmp_path: Path, level: str, *, is_said: bool
) -> None:
    """PREFECT_LOGGING_LEVEL=DEBUG brings the DEBUG lines of the core; INFO does not."""
    run = subprocess.run(
        [sys.executable, "-c", RUN],
        env=os.environ
        | {
            "PREFECT_API_URL": prefect_api,
            "PREFECT_LOGGING_LEVEL": level,
            # A run of the terminal keeps Prefect's own lines off the console.
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": level,
            "PREFECT_LOGGING_EXTRA_LOGGERS": "stashhog_core",
            "PYTHONPATH": str(ROOT),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    lines = [line for line in run.stderr.splitlines() if "| stashhog_core" in line]
    debug = [line for line in lines if "| DEBUG" in line]
    assert any("No scenes pending sync from Stash" in line for line in debug) == is_said
    assert bool(debug) == is_said
