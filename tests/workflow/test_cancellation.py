"""Cancelling through the Prefect API, on a worker and on `serve`."""

import importlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Cancelling
from sqlalchemy import select

from stashhog_core.db.models import JobReport, Scene, StashJob
from stashhog_core.db.session import Database
from stashhog_core.metadata_scan import CANCELLED_MESSAGE
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.sample_video import write_video
from tests.services import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
POOL = "cancellation"
JOBS = ("stash_generate", "stash_scan", "process_new_scenes")
SERVE = """
import sys
from prefect import serve
from flows.process_new_scenes import process_new_scenes
from flows.stash_generate import stash_generate
from flows.stash_scan import stash_scan
served = [
    flow.to_deployment(name="served")
    for flow in (stash_generate, stash_scan, process_new_scenes)
]
serve(*served, query_seconds=1, print_starting_message=False)
"""


@dataclass(frozen=True)
class Runner:
    """What runs the deployments of this name."""

    name: str
    client: SyncPrefectClient

    def start(self, job: str, **parameters: Any) -> FlowRun:
        """Ask for a run."""
        deployment = self.client.read_deployment_by_name(f"{job}/{self.name}")
        return self.client.create_flow_run_from_deployment(
            deployment.id, parameters=parameters
        )

    def cancel(self, run: FlowRun) -> None:
        """Cancel as Prefect's UI does."""
        self.client.set_flow_run_state(run.id, Cancelling())

    def state(self, run: FlowRun) -> str:
        """Return the name of the run's state."""
        state = self.client.read_flow_run(run.id).state
        return state.name if state and state.name else ""

    def wait_for(self, run: FlowRun, name: str) -> None:
        """Return when the run is in this state."""
        wait_until(lambda: self.state(run) == name, f"{name} of {run.name}")

    def logged(self, run: FlowRun) -> list[str]:
        """Return the warnings of the run that stand in Prefect."""
        which = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        logs = self.client.read_logs(which, limit=200)
        return [log.message for log in logs if log.level >= logging.WARNING]


@pytest.fixture(params=["worked", "served"])
def runner(
    request: pytest.FixtureRequest, services: Services, tmp_path: Path
) -> Iterator[Runner]:
    """A process worker, or `serve`."""
    with get_client(sync_client=True) as client:
        if request.param == "served":
            command = [sys.executable, "-c", SERVE]
        else:
            deploy(client)
            command = [sys.executable, "-m", "prefect", "worker", "start"]
            command += ["--pool", POOL, "--type", "process"]
        with running(command, environment(client), tmp_path / "runner.log"):
            runner = Runner(request.param, client)
            wait_until(lambda: is_ready(client, request.param), "the runner")
            yield runner


def deploy(client: SyncPrefectClient) -> None:
    """Register the flows for a process worker, as prefect.yaml does."""
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    folder = "prefect.deployments.steps.set_working_directory"
    for job in JOBS:
        flow = getattr(importlib.import_module(f"flows.{job}"), job)
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name="worked",
            entrypoint=f"flows.{job}.{job}",
            work_pool_name=POOL,
            pull_steps=[{folder: {"directory": str(ROOT)}}],
            parameter_openapi_schema=flow.parameters.model_dump(),
        )


def environment(client: SyncPrefectClient) -> dict[str, str]:
    return os.environ | {
        "PREFECT_API_URL": str(client.api_url),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    """Run a program meanwhile; its words are shown if the test fails."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdout=output, stderr=output
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
    logging.getLogger(__name__).info(log.read_text())


def is_ready(client: SyncPrefectClient, name: str) -> bool:
    if name == "served":
        found = client.read_deployments()
        return {f.name for f in found} >= {name} and len(
            [f for f in found if f.name == name]
        ) == len(JOBS)
    return bool(client.read_workers_for_work_pool(POOL))


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.1)


@pytest.fixture
def stash(services: Services) -> Iterator[StashClient]:
    """The product's client of the stand-in."""
    with StashClient(get_settings().stash) as client:
        yield client


def statuses(stash: StashClient) -> dict[str, str]:
    """Return what became of Stash's jobs, by what they do."""
    jobs = (stash.find_job(number) for number in range(1, 10))
    return {job.description: job.status for job in jobs if job}


def has(stash: StashClient, description: str, status: str) -> Callable[[], bool]:
    return lambda: statuses(stash).get(description) == status


def scan_library(services: Services, database: Database, stash: StashClient) -> None:
    """Put two videos into Stash and the mirror."""
    for number in range(2):
        write_video(services.library / f"{number}.mp4", seconds=8, seed=number)
    stash.start_scan({"paths": [str(services.library)]})
    services.stash.jobs.wait()
    with database.transaction() as session:
        session.add_all(
            Scene(id=stamp.id) for page in stash.scene_stamps() for stamp in page
        )


def marked(database: Database) -> int:
    with database.transaction() as session:
        return len(session.scalars(select(Scene.id).where(Scene.generated)).all())


def job_states(database: Database, run: FlowRun) -> list[tuple[str, str]]:
    with database.transaction() as session:
        query = select(StashJob.kind, StashJob.state)
        query = query.where(StashJob.run_id == str(run.id)).order_by(StashJob.id)
        return [(kind, state) for kind, state in session.execute(query)]


def report_of(database: Database, run_id: UUID) -> JobReport | None:
    with database.transaction() as session:
        return session.get(JobReport, str(run_id))


def test_jobs_alone(
    runner: Runner, services: Services, database: Database, stash: StashClient
) -> None:
    """A running generate is stopped, of a running scan it is only said.

    A pending run and one that is over change nothing in Stash.
    """
    scan_library(services, database, stash)
    services.stash.faults.item_seconds = 0.5

    # Pending: it was not taken up yet.
    pending = runner.start("stash_generate")
    runner.cancel(pending)

    generate = runner.start("stash_generate", previewSegments=1)
    wait_until(has(stash, "Generating...", "RUNNING"), "the generate job")
    runner.cancel(generate)
    wait_until(has(stash, "Generating...", "CANCELLED"), "the stop")
    runner.wait_for(generate, "Cancelled")

    assert marked(database) == 0
    assert job_states(database, generate) == [("generate", "cancelled")]
    assert not stash.job_queue()

    services.stash.faults.item_seconds = 2
    for number in range(4):
        write_video(services.library / f"new-{number}.mp4", seed=10 + number)
    before = stash.count_scenes()
    scan = runner.start(
        "stash_scan",
        scanGenerateCovers=False,
        scanGeneratePreviews=False,
        scanGenerateSprites=False,
        scanGeneratePhashes=False,
    )
    wait_until(has(stash, "Scanning...", "RUNNING"), "the scan")
    number = stash.job_queue()[0].id
    # Its number is stored right after Stash has given it.
    wait_until(lambda: job_states(database, scan), "the row")
    runner.cancel(scan)
    runner.wait_for(scan, "Cancelled")
    warning = (
        f"Cancellation requested for metadata scan job {number}, but NOT cancelling "
        "Stash server job to prevent data corruption"
    )

    wait_until(lambda: warning in runner.logged(scan), "the warning")
    assert runner.logged(scan).count(warning) == 1
    assert job_states(database, scan) == [("scan", "cancelled")]
    report = report_of(database, scan.id)
    assert report is not None
    assert (report.status, report.report["message"]) == ("cancelled", CANCELLED_MESSAGE)
    services.stash.jobs.wait()
    job = stash.find_job(number)
    assert job is not None
    assert job.status == "FINISHED"
    assert stash.count_scenes() == before + 4

    # Over: there is nothing left to cancel.
    services.stash.faults.item_seconds = 0
    finished = runner.start("stash_generate", previewSegments=1, sprites=False)
    wait_until(lambda: runner.state(finished) == "Completed", "the end")
    runner.cancel(finished)

    assert marked(database) == 2
    assert runner.state(pending) in {"Cancelled", "Cancelling"}
    assert job_states(database, pending) == []
    assert job_states(database, finished) == [("generate", "finished")]


def test_within_the_main_job(
    runner: Runner, services: Services, database: Database, stash: StashClient
) -> None:
    """Cancelling the parent stops the generate job it is in, or leaves its scan."""
    services.stash.faults.item_seconds = 0.5
    in_scan = runner.name == "served"
    if not in_scan:
        scan_library(services, database, stash)
        for sample in services.samples:
            sample.path.unlink()
    what = "Scanning..." if in_scan else "Generating..."
    parent = runner.start("process_new_scenes")
    wait_until(has(stash, what, "RUNNING"), what, 90)
    wait_until(lambda: job_states(database, parent), "the row")
    runner.cancel(parent)
    runner.wait_for(parent, "Cancelled")
    services.stash.faults.item_seconds = 0
    services.stash.jobs.wait()

    assert statuses(stash)[what] == ("FINISHED" if in_scan else "CANCELLED")
    assert marked(database) == 0
    assert job_states(database, parent)[-1] == (
        "scan" if in_scan else "generate",
        "cancelled",
    )
    report = report_of(database, parent.id)
    assert report is not None
    assert report.status == "cancelled"
    warnings = [line for line in runner.logged(parent) if "NOT cancelling" in line]
    assert len(warnings) == (1 if in_scan else 0)
