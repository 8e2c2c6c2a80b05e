"""Hooks: what a run left open when it ended is reconciled by somebody else."""

import logging
from collections.abc import Iterator
from uuid import uuid4

import anyio
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.runner._workspace_runtime_bootstrap import _run_hooks
from prefect.states import Cancelled, Crashed

from flows.cancellation import HOOKS, reconcile_aborted_run, reconcile_cancelled_run
from flows.jobs import stash_generate, stash_scan
from flows.process_new_scenes import process_new_scenes
from sandbox.stash.jobs import Job
from stashhog_core.db.jobs import Kind, record_job
from stashhog_core.db.models import StashJob
from stashhog_core.db.session import Database
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.support.services import Services

pytestmark = pytest.mark.slow

RUN = FlowRun(id=uuid4(), flow_id=uuid4(), name="left-behind")
SIGNAL = Crashed(message="Execution was aborted by a termination signal.")
DIED = Crashed(message="Flow run process exited with non-zero status code -9.")


@pytest.fixture
def stash(services: Services) -> Iterator[StashClient]:
    """The product's client of the stand-in."""
    with StashClient(get_settings().stash) as client:
        yield client


def left_behind(services: Services, database: Database, kind: Kind) -> int:
    """Have a running job whose run is no more; return its row."""

    def work(job: Job) -> None:
        while not job.stopped.is_set():
            job.pause(0.02)

    what = {"scan": "Scanning...", "generate": "Generating..."}[kind]
    job_id = services.stash.jobs.add(what, work)
    with database.transaction() as session:
        row = record_job(session, run_id=str(RUN.id), kind=kind, stash_job_id=job_id)
        return row.id


def state_of(database: Database, row_id: int) -> str:
    with database.transaction() as session:
        return session.get_one(StashJob, row_id).state


@pytest.mark.parametrize("ended", HOOKS)
def test_hooks_run_where_a_worker_runs_them(
    ended: str, services: Services, database: Database, stash: StashClient
) -> None:
    """A worker calls them by Prefect's own code, in another process than the flow's."""
    row_id = left_behind(services, database, "generate")
    hooks = getattr(stash_generate, f"{ended}_hooks")

    anyio.run(_run_hooks, hooks, RUN, stash_generate, SIGNAL)

    assert state_of(database, row_id) == "cancelled"
    services.stash.jobs.wait()


def test_generate_is_stopped(
    services: Services, database: Database, stash: StashClient
) -> None:
    """A hung or killed process cannot stop its generate job: the hook does, once."""
    row_id = left_behind(services, database, "generate")

    for _ in range(2):
        reconcile_cancelled_run(flow=stash_generate, flow_run=RUN, state=Cancelled())

    services.stash.jobs.wait()
    job = stash.find_job(1)
    assert job is not None
    assert job.status == "CANCELLED"
    assert state_of(database, row_id) == "cancelled"


def test_scan_is_left_alone(
    services: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The hook says, once, that the scan goes on."""
    row_id = left_behind(services, database, "scan")

    for _ in range(2):
        reconcile_cancelled_run(flow=stash_scan, flow_run=RUN, state=Cancelled())

    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        "Cancellation requested for metadata scan job 1, but NOT cancelling Stash "
        "server job to prevent data corruption"
    ]
    assert state_of(database, row_id) == "cancelled"
    assert services.stash.jobs.queue() is not None
    services.stash.jobs.stop(1)


@pytest.mark.parametrize(
    ("state", "expected"), [(SIGNAL, "cancelled"), (DIED, "open")], ids=["told", "died"]
)
def test_crash(
    services: Services, database: Database, state: Crashed, expected: str
) -> None:
    """A cancelled run is reconciled; one that died may find its job again."""
    row_id = left_behind(services, database, "generate")

    reconcile_aborted_run(flow=process_new_scenes, flow_run=RUN, state=state)

    assert state_of(database, row_id) == expected
    services.stash.jobs.stop(1)


def test_stash_away(
    services: Services, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be stopped now stays open for the next run, and is said."""
    row_id = left_behind(services, database, "generate")
    services.stash.stop()

    reconcile_cancelled_run(flow=stash_generate, flow_run=RUN, state=Cancelled())

    assert state_of(database, row_id) == "open"
    assert "Could not stop the Stash jobs of run" in caplog.text
    services.stash.start()


def test_every_flow_with_stash_jobs_has_the_hooks() -> None:
    """Alone or within the main job."""
    for flow in (stash_generate, stash_scan, process_new_scenes):
        assert flow.on_cancellation_hooks == HOOKS["on_cancellation"]
        assert flow.on_crashed_hooks == HOOKS["on_crashed"]
