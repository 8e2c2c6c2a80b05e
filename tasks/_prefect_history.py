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
)

from stashhog_core.cleanup.findings import SAMPLES, Findings
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings
from tasks._prefect_api import prefect_client
from tasks._queue import our_deployments
from tasks.cancellation import ended_before

_PAGE = 100


def forget_old_runs(
    settings: Settings,
    findings: Findings,
    progress: Progress,
    *,
    now: datetime,
    dry_run: bool,
) -> None:
    """Delete runs of our deployments that ended long ago, with logs and artifacts."""
    which = ended_before(now - timedelta(days=settings.cleanup.runs_days))
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
