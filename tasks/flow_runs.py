"""What Prefect has of our runs: which live, and which wait."""

import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventResourceFilter,
)
from prefect.events.schemas.events import ReceivedEvent

from stashhog_core.params import JOB_PARAMS
from stashhog_core.progress import Progress

FLOWS = ("auto_stash_sync", *JOB_PARAMS)
"""All our flows, by name: in modules of the same name, or in the table `flows.jobs`."""

SKIPPED = "Skipped"
"""Name of the state that a run ends in if there was nothing to do."""

SIGN_OF_LIFE_SECONDS = 300.0
"""A run whose last heartbeat is so old is dead; they come every 30 seconds."""

LISTEN_SECONDS = 90.0
"""A run that sends no heartbeat for so long is dead, whatever the clocks say."""

WITHOUT_HEARTBEATS_SECONDS = 86_400.0
"""A run that never sent a heartbeat is believed to live for so long."""

WAIT_SECONDS = 600.0
"""A run that is due for longer waits for a worker that does not come."""

_LISTEN_INTERVAL_SECONDS = 5.0
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_EVER_AFTER = datetime(9999, 1, 1, tzinfo=UTC)
_GOING = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_HEARTBEAT = "prefect.flow-run.heartbeat"


def our_deployments(client: SyncPrefectClient) -> list[UUID]:
    """Return the deployments of our flows; a server may have others of such names."""
    found = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    )
    ours = {f"flows.{module}.{name}" for name in FLOWS for module in (name, "jobs")}
    return [deployment.id for deployment in found if deployment.entrypoint in ours]


def runs_going(
    client: SyncPrefectClient,
    *,
    flows: Collection[str] | None = None,
    ids: Sequence[UUID] | None = None,
    deployments: Sequence[UUID] | None = None,
) -> tuple[list[FlowRun], list[FlowRun]]:
    """Return the runs that have begun and not ended: those that live, and the dead.

    A worker that was stopped, or whose machine was lost, leaves its runs `Running` for
    ever; so a run counts as dead when its heartbeats have stopped. Only runs of these
    flows and deployments, and with these ids, are looked at, as far as they are given.
    """
    going = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows or FLOWS))),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_GOING)),
            **({} if ids is None else {"id": FlowRunFilterId(any_=list(ids))}),
        ),
        deployment_filter=None
        if deployments is None
        else DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
    )
    since = datetime.now(UTC) - timedelta(seconds=SIGN_OF_LIFE_SECONDS)
    dead = [
        run
        for run in going
        if run.state and run.state.timestamp < since and _is_dead(client, run, since)
    ]
    return [run for run in going if run not in dead], dead


def runs_waiting(client: SyncPrefectClient, flows: Collection[str]) -> list[FlowRun]:
    """Return the runs of these flows that somebody asked for and that are due."""
    now = datetime.now(UTC)
    due = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(
                type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])
            ),
            next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(
                before_=now, after_=now - timedelta(seconds=WAIT_SECONDS)
            ),
        ),
    )
    return [run for run in due if not run.auto_scheduled]


def silent_runs(
    client: SyncPrefectClient,
    runs: Sequence[FlowRun],
    progress: Progress,
    seconds: float = LISTEN_SECONDS,
) -> list[FlowRun]:
    """Wait for a heartbeat of each of these runs; return those that sent none.

    Once a clock has jumped ahead, or a machine has slept, the last heartbeat of a run
    that lives is old. The next one tells.
    """
    before = {run.id: _last_heartbeat(client, run) for run in runs}
    silent = list(runs)
    deadline = time.monotonic() + seconds
    while silent and (left := deadline - time.monotonic()) > 0:
        progress.update(None, f"Waiting for a heartbeat of {silent[0].name}")
        progress.sleep(min(left, _LISTEN_INTERVAL_SECONDS))
        silent = [
            run for run in silent if _last_heartbeat(client, run) == before[run.id]
        ]
    return silent


def _last_heartbeat(client: SyncPrefectClient, run: FlowRun) -> ReceivedEvent | None:
    """Return the newest heartbeat that a run has sent since it began."""
    begun = run.state.timestamp if run.state else _EVER
    found = client.read_events(
        EventFilter(
            # Also what comes from a machine whose clock is ahead.
            occurred=EventOccurredFilter(since=begun, until=_EVER_AFTER),
            event=EventNameFilter(name=[_HEARTBEAT]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        ),
        limit=1,
    )
    return found.events[0] if found.events else None


def _is_dead(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    """Tell whether a run's heartbeats have stopped.

    One that never sent any may have them switched off: it is given a day.
    """
    heartbeat = _last_heartbeat(client, run)
    if heartbeat is not None:
        return heartbeat.occurred < since
    day_ago = datetime.now(UTC) - timedelta(seconds=WITHOUT_HEARTBEATS_SECONDS)
    return run.state is not None and run.state.timestamp < day_ago
