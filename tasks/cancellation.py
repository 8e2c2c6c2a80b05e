"""How a run's end reaches its tasks, and what is put right after a run.

A run that is cancelled stops its mapped tasks: threads by an event, other processes by
a lock of the database that they look at. What a run did not end itself, because it was
killed or its worker was stopped, is ended afterwards: its Stash jobs by Prefect's hooks
or by the next run, its runs and tasks in Prefect by the clean-up.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from stashhog_core.cleanup.findings import Findings
from stashhog_core.db.jobs import open_jobs
from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.open import open_database
from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from stashhog_core.progress import Progress
from stashhog_core.results import Result
from stashhog_core.server_jobs.tracking import (
    Log,
    cancelled_result,
    reconcile_cancelled,
)
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.servers import server_settings
from tasks.flow_runs import (
    LISTEN_SECONDS,
    our_deployments,
    runs_going,
    silent_runs,
)
from tasks.prefect_api import prefect_client

_CHECK_SECONDS = 1.0
# A run that died and is tried again may meet tasks that have not noticed yet.
_LOCK_SECONDS = 15.0
_EVENTS_TAKE_SECONDS = 5.0
"""How long Prefect's server is given to write down that a task has started."""

_EVENT_CHECK_SECONDS = 0.5
_EVENTS_COME_WITHIN = timedelta(minutes=5)
"""Prefect's server writes down late how a task ended."""

_DIED = "The process of this task died"


def was_cancelled(run_id: str) -> bool:
    """Tell whether Prefect was asked to cancel the flow run of this id."""
    try:
        flow_run_id = UUID(run_id)
    except ValueError:
        return False
    with prefect_client() as client:
        try:
            state = client.read_flow_run(flow_run_id).state
        except ObjectNotFound:
            return False
    return state is not None and (state.is_cancelled() or state.is_cancelling())


def result_when_cancelled(run_id: str, job: str, started_at: datetime) -> Result:
    """Return what is kept of a run, or of a step, that was cancelled while it worked.

    `job` is the name of the job or the step, which started at an aware time.
    """
    with (
        open_database(get_settings()) as database,
        database.transaction() as session,
    ):
        return cancelled_result(session, job, run_id=run_id, started_at=started_at)


class MapperAlive:
    """Tells a task in another process whether the run that mapped it still wants it.

    The run holds a lock of the database meanwhile, which is freed when it is cancelled,
    fails, is killed, or its machine is gone.
    """

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id
        self._next = 0.0
        self._stopped = False

    def is_set(self) -> bool:
        """Tell whether the task should stop; looks at most once a second."""
        if not self._stopped and time.monotonic() >= self._next:
            self._stopped = not is_held(self._database, _lock_name(self._run_id))
            self._next = time.monotonic() + _CHECK_SECONDS
        return self._stopped


def stop_of_mapper(database: Database) -> MapperAlive | None:
    """Return what stops this task if its run goes on in another process."""
    run = FlowRunContext.get()
    if run is None or not run.detached:
        return None
    return MapperAlive(database, str(flow_run.get_id()))


@contextmanager
def mapper_is_alive() -> Iterator[None]:
    """Tell tasks in other processes, as long as the block lasts, to go on."""
    with (
        open_database(get_settings()) as database,
        job_lock(
            database,
            _lock_name(str(flow_run.get_id())),
            wait_seconds=_LOCK_SECONDS,
        ),
    ):
        yield


def _lock_name(run_id: str) -> str:
    return f"run {run_id}"


def reconcile_stash_jobs(run_id: str, log: Log) -> None:
    """Stop or leave in Stash what a cancelled run left open; usually there is nothing.

    What cannot be reached now stays open for the next run.
    """
    try:
        settings = get_settings()
        with open_database(settings) as database:
            with database.transaction() as session:
                servers = {row.server for row in open_jobs(session, run_id=run_id)}
            for server in sorted(servers):
                with StashClient(server_settings(settings.stash, server)) as stash:
                    reconcile_cancelled(
                        stash, database, run_id=run_id, server=server, log=log
                    )
    except StashHogError as error:
        log.error("Could not stop the Stash jobs of this run: %s", error)


def crash_task_runs(task_run_ids: Iterable[UUID]) -> None:
    """Set task runs to Crashed whose process died: nobody else ends them.

    Prefect's server learns of task runs by events: some seconds late, or never, where
    the process died with the event that the task had started. Such a task is not shown
    at all, and there is nothing to set.
    """
    unheard = list(task_run_ids)
    deadline = time.monotonic() + _EVENTS_TAKE_SECONDS
    with prefect_client() as client:
        while unheard:
            for id_ in list(unheard):
                try:
                    state = client.read_task_run(id_).state
                except ObjectNotFound:
                    continue
                unheard.remove(id_)
                if state is None or not state.is_final():
                    client.set_task_run_state(id_, Crashed(message=_DIED), force=True)
            if time.monotonic() > deadline:
                return
            if unheard:
                time.sleep(_EVENT_CHECK_SECONDS)


def crash_dead_runs(
    findings: Findings, progress: Progress, listen_seconds: float = LISTEN_SECONDS
) -> None:
    """Mark the runs whose heartbeats have stopped as crashed: they block nothing more.

    The automation of `stashhog up` does so within 90 seconds; this is for where it is
    switched off. Runs that are being cancelled, Prefect ends by itself. No run is
    marked for the age of its last heartbeat alone: each is listened to for a while.
    """
    with prefect_client() as client:
        _, silent = runs_going(client, deployments=our_deployments(client))
        silent = [run for run in silent if run.state_type != StateType.CANCELLING]
        dead = silent_runs(client, silent, progress, listen_seconds)
        for run in dead:
            client.set_flow_run_state(
                run.id, Crashed(message="No heartbeat"), force=True
            )
    findings.reconcile("run in Prefect", len(dead))


def crash_left_tasks(findings: Findings, *, now: datetime) -> None:
    """Mark tasks as crashed that Prefect shows as running though their run has ended.

    A killed process says nothing of the tasks that it ran.
    """
    running = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING]))
    with prefect_client() as client:
        ours = DeploymentFilter(id=DeploymentFilterId(any_=our_deployments(client)))
        left = client.read_task_runs(
            task_run_filter=TaskRunFilter(state=running),
            flow_run_filter=ended_before(now - _EVENTS_COME_WITHIN),
            deployment_filter=ours,
        )
    crash_task_runs(task.id for task in left)
    findings.reconcile("task in Prefect", len(left))


def ended_before(
    moment: datetime, state: FlowRunFilterStateName | None = None
) -> FlowRunFilter:
    """Choose the runs that ended before this moment, in states of these names."""
    return FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=list(TERMINAL_STATES)),
            name=state,
        ),
        end_time=FlowRunFilterEndTime(before_=moment),
    )
