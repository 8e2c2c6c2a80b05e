"""Prefect's own history of our runs: old ones deleted, dead ones marked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.states import Crashed

from stashhog_core.cleanup.findings import SAMPLES, Findings
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings
from tasks._prefect_api import crash_task_runs, prefect_client
from tasks._queue import our_deployments, runs_going

_PAGE = 100
_EVENTS_COME_WITHIN = timedelta(minutes=5)
"""Prefect's server writes down late how a task ended."""


def crash_dead_runs(findings: Findings) -> None:
    """Mark the runs whose heartbeats have stopped as crashed: they block nothing more.

    The automation of `stashhog up` does so within 90 seconds; this is for where it is
    switched off. Runs that are being cancelled, Prefect ends by itself.
    """
    with prefect_client() as client:
        _, silent = runs_going(client, deployments=our_deployments(client))
        dead = [run for run in silent if run.state_type != StateType.CANCELLING]
        for run in dead:
            client.set_flow_run_state(
                run.id, Crashed(message="No sign of life"), force=True
            )
    findings.settle("run in Prefect", len(dead))


def crash_left_tasks(findings: Findings, *, now: datetime) -> None:
    """Mark tasks as crashed that Prefect shows as running though their run has ended.

    A killed process says nothing of the tasks that it ran.
    """
    running = TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING]))
    with prefect_client() as client:
        ours = DeploymentFilter(id=DeploymentFilterId(any_=our_deployments(client)))
        left = client.read_task_runs(
            task_run_filter=TaskRunFilter(state=running),
            flow_run_filter=_ended_before(now - _EVENTS_COME_WITHIN),
            deployment_filter=ours,
        )
    crash_task_runs(task.id for task in left)
    findings.settle("task in Prefect", len(left))


def _ended_before(moment: datetime) -> FlowRunFilter:
    return FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))
        ),
        end_time=FlowRunFilterEndTime(before_=moment),
    )


def forget_old_runs(
    settings: Settings,
    findings: Findings,
    progress: Progress,
    *,
    now: datetime,
    dry_run: bool,
) -> None:
    """Delete runs of our deployments that ended long ago, with logs and artifacts."""
    which = _ended_before(now - timedelta(days=settings.cleanup.runs_days))
    with prefect_client() as client:
        ours = DeploymentFilter(id=DeploymentFilterId(any_=our_deployments(client)))
        total = client.count_flow_runs(flow_run_filter=which, deployment_filter=ours)
        done, samples = 0, list[str]()
        while page := client.read_flow_runs(
            flow_run_filter=which, deployment_filter=ours, limit=_PAGE
        ):
            samples += [f"{run.end_time} {run.name}" for run in page]
            if dry_run:
                break
            ids = [run.id for run in page]
            artifacts = _delete_artifacts(client, ids)
            findings.remove("artifact in Prefect", artifacts, [])
            for id_ in ids:
                client.delete_flow_run(id_)
            done += len(ids)
            progress.items(min(done, total), total, "Deleted runs of Prefect")
    findings.remove("run in Prefect", total if dry_run else done, samples[:SAMPLES])


def _delete_artifacts(client: SyncPrefectClient, run_ids: Sequence[UUID]) -> int:
    deleted = 0
    of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(run_ids)))
    while found := client.read_artifacts(artifact_filter=of_runs, limit=_PAGE):
        for artifact in found:
            client.delete_artifact(artifact.id)
        deleted += len(found)
    return deleted
