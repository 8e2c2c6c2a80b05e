"""Deployments and runs of a Prefect server, as users have them."""

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
from dotenv import set_key
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, Log, TaskRun
from prefect.exceptions import ObjectAlreadyExists
from prefect.server.api.server import SubprocessASGIServer
from prefect.states import AwaitingRetry, Cancelling, Crashed, Scheduled
from sqlalchemy import select

from flows import flow_of
from stashhog.services.run_server import RUN_ID, process_name
from stashhog_core.db.models import JobReport, StashJob
from stashhog_core.db.session import Database
from stashhog_core.settings import PREFIX
from stashhog_core.stash.client import StashClient
from tasks.flow_runs import runs_going
from tests.support.processes import kill_all
from tests.support.services import free_port
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
JOBS = (
    "analysis",
    "directory_scan",
    "process_new_scenes",
    "stash_generate",
    "stash_scan",
)
SERVE = """
import sys
from prefect import serve
from flows import flow_of
name, *jobs = sys.argv[1:]
served = [flow_of(job).to_deployment(name=name) for job in jobs]
serve(*served, query_seconds=1, print_starting_message=False)
"""


@dataclass
class Runner:
    """What runs the deployments of one name: a program that tests may stop and kill.

    Args:
        name: Of its deployments, and of its work pool.
        kind: worker or serve.
        client: Asks the Prefect API.
        folder: Where it runs; its `.env` has the settings of the test.
    """

    name: str
    kind: str
    client: SyncPrefectClient
    folder: Path
    process: "subprocess.Popen[bytes]" = field(init=False)

    @contextmanager
    def running(self) -> Iterator["Runner"]:
        """Have it run meanwhile."""
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", SERVE, self.name, *JOBS]
        if self.kind == "worker":
            self._deploy()
            command = [sys.executable, "-m", "stashhog.services.worker", "worker"]
            command += ["start", "--pool", self.name, "--type", "process"]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._is_ready, f"the {self.kind}: {self.folder / 'log'}")
            yield self
        finally:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _deploy(self) -> None:
        """Register the flows for a process worker, as prefect.yaml does."""
        with suppress(ObjectAlreadyExists):
            pool = WorkPoolCreate(name=self.name, type="process")
            self.client.create_work_pool(pool)
        folder = "prefect.deployments.steps.set_working_directory"
        for job in JOBS:
            flow = flow_of(job)
            self.client.create_deployment(
                flow_id=self.client.create_flow(flow),
                name=self.name,
                entrypoint=f"{flow.fn.__module__}.{job}",
                work_pool_name=self.name,
                pull_steps=[{folder: {"directory": str(self.folder)}}],
                parameter_openapi_schema=flow.parameters.model_dump(),
                enforce_parameter_schema=True,
            )

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        return kept | {
            "PREFECT_API_URL": str(self.client.api_url),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "stashhog_core",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "PYTHONPATH": str(ROOT),
        }

    def _is_ready(self) -> bool:
        if self.kind == "worker":
            return bool(self.client.read_workers_for_work_pool(self.name))
        found = [f for f in self.client.read_deployments() if f.name == self.name]
        return len(found) == len(JOBS)

    # --- settings --------------------------------------------------------------------

    def configure(self) -> None:
        """Have its next runs use the settings of this test's environment."""
        path = self.folder / ".env"
        path.unlink(missing_ok=True)
        path.touch()
        for name, value in os.environ.items():
            if name.startswith(PREFIX):
                set_key(path, name, value)

    # --- runs ------------------------------------------------------------------------

    def start(
        self, job: str, due_in: timedelta = timedelta(), **parameters: Any
    ) -> FlowRun:
        """Ask for a run."""
        deployment = self.client.read_deployment_by_name(f"{job}/{self.name}")
        return self.client.create_flow_run_from_deployment(
            deployment.id,
            parameters=parameters,
            state=Scheduled(scheduled_time=datetime.now(UTC) + due_in),
        )

    def cancel(self, run: FlowRun) -> None:
        """Cancel as Prefect's UI does."""
        self.client.set_flow_run_state(run.id, Cancelling())

    def retry(self, run: FlowRun) -> None:
        """Retry as Prefect's UI does."""
        self.client.set_flow_run_state(run.id, AwaitingRetry())

    def state(self, run: FlowRun) -> str:
        """Return the name of the run's state."""
        state = self.client.read_flow_run(run.id).state
        return state.name if state and state.name else ""

    def name_of(self, run: FlowRun) -> str:
        """Return what the run is called now."""
        return self.client.read_flow_run(run.id).name

    def ends(self, run: FlowRun) -> list[tuple[str, str]]:
        """Return name and message of each final state that the run has had."""
        states = self.client.read_flow_run_states(run.id)
        states.sort(key=attrgetter("timestamp"))
        return [(s.name or "", s.message or "") for s in states if s.is_final()]

    def wait_for(self, run: FlowRun, *names: str) -> float:
        """Return after how many seconds the run is in one of these states."""
        started = time.monotonic()
        with self.explaining(run):
            wait_until(lambda: self.state(run) in names, f"{names} of {run.name}")
        return time.monotonic() - started

    def wait_for_process(self, run: FlowRun) -> None:
        """Return as soon as the run has a process; that starts up for seconds yet."""
        with self.explaining(run):
            wait_until(lambda: processes_of(run.id), f"a process of {run.name}")

    @contextmanager
    def explaining(self, run: FlowRun) -> Iterator[None]:
        """Have a wait that was in vain tell what became of the run."""
        try:
            yield
        except AssertionError as error:
            history = [
                *self.client.read_flow_run_states(run.id),
                *self._logs(run)[-40:],
            ]
            history.sort(key=attrgetter("timestamp"))
            lines = (
                f"{said.timestamp:%T} {said.name}: {said.message}" for said in history
            )
            error.add_note("\n".join((f"What became of {run.name}:", *lines)))
            raise

    def _logs(self, run: FlowRun) -> list[Log]:
        which = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        return self.client.read_logs(which, limit=200)

    def warnings(self, run: FlowRun) -> list[str]:
        """Return the warnings of the run that stand in Prefect."""
        return [g.message for g in self._logs(run) if g.level >= logging.WARNING]

    def kill(self, run: FlowRun) -> None:
        """Kill the run's process without a word."""
        kill_all(processes_of(run.id))


def processes_of(run_id: UUID | str) -> list[psutil.Process]:
    """Return the processes that run a flow run now, the outermost first."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            forked = process.name() == process_name(str(run_id))
            if forked or process.environ().get(RUN_ID) == str(run_id):
                found.append(process)
    return found


# --- what there is to see ------------------------------------------------------------


def stash_jobs(stash: StashClient) -> list[tuple[str, str]]:
    """Return what each of Stash's jobs was for and what became of it, in order."""
    jobs = (stash.find_job(number) for number in range(1, 10))
    return [(job.description.rstrip("."), job.status) for job in jobs if job]


def job_rows(database: Database, run: FlowRun) -> list[tuple[str, str]]:
    """Return kind and state of the Stash jobs that a run answers for."""
    with database.transaction() as session:
        query = select(StashJob.kind, StashJob.state)
        query = query.where(StashJob.run_id == str(run.id)).order_by(StashJob.id)
        return [(kind, state) for kind, state in session.execute(query)]


def stash_job_of(database: Database, run: FlowRun) -> int | None:
    """Return the number of the last Stash job that a run answers for."""
    with database.transaction() as session:
        query = select(StashJob.stash_job_id)
        query = query.where(StashJob.run_id == str(run.id)).order_by(StashJob.id.desc())
        return session.scalars(query).first()


def report_of(database: Database, run_id: UUID) -> JobReport | None:
    """Return what is kept of a run."""
    with database.transaction() as session:
        return session.get(JobReport, str(run_id))


def artifact(key: str) -> Any:
    """Return the newest artifact of this key."""
    with get_client(sync_client=True) as client:
        answer = client.request(
            "POST",
            "/artifacts/filter",
            json={"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"},
        )
    return answer.json()[0]


def register(flow: Flow[..., Any], name: str, **options: Any) -> UUID:
    """Register a deployment of a flow; return its id."""
    return flow.to_deployment(name, **options).apply()


def runs_of(deployment_id: UUID) -> list[FlowRun]:
    """Return the runs of a deployment."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            deployment_filter=DeploymentFilter(
                id=DeploymentFilterId(any_=[deployment_id])
            )
        )


def start_server(server: SubprocessASGIServer) -> None:
    """Start Prefect's server, and return once it answers.

    Prefect itself gives up when one answer takes five seconds. It draws one of a
    thousand ports, and would take the server of another process for its own.
    """
    server.port = server.port or free_port()
    try:
        server.start(timeout=int(PATIENCE_SECONDS))
    except httpx.TimeoutException:
        httpx.get(f"{server.api_url}/health", timeout=PATIENCE_SECONDS)
        server.running = True


def end_left_runs() -> None:
    """End the runs that earlier tests have killed: Prefect takes them for running."""
    with get_client(sync_client=True) as client:
        for run in chain(*runs_going(client)):
            left = Crashed(message="Left by an earlier test.")
            client.set_flow_run_state(run.id, left, force=True)


def ended_tasks(run_id: str, *names: str) -> list[TaskRun]:
    """Return the task runs of a flow run when those of these names have ended.

    Prefect learns of them by events, which may come after the run is over.

    Args:
        run_id: The flow run.
        names: Of task runs that must be there; one that ends with a dash is the
            beginning of a name that Prefect itself has given.
    """
    which = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    found: list[TaskRun] = []

    def is_there(name: str) -> bool:
        return any(
            run.name == name or (name.endswith("-") and run.name.startswith(name))
            for run in found
        )

    def are_there() -> bool:
        with get_client(sync_client=True) as client:
            found[:] = client.read_task_runs(flow_run_filter=which)
        return all(map(is_there, names)) and all(
            run.state and run.state.is_final() for run in found
        )

    wait_until(are_there, f"the end of {names} of {run_id}")
    return found
