"""Forget old history, ours and Prefect's; put right what dead runs left open."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterStateName,
)

from stashhog_core.cleanup.findings import SAMPLES, Findings
from stashhog_core.cleanup.job import clean_up
from stashhog_core.db.locks import job_lock
from stashhog_core.params import CleanupParams
from stashhog_core.progress import Progress
from stashhog_core.results import CleanupResult
from stashhog_core.settings import Settings
from tasks.cancellation import (
    crash_dead_runs,
    crash_left_tasks,
    ended_before,
    was_cancelled,
)
from tasks.flow_runs import SKIPPED, our_deployments
from tasks.prefect_api import prefect_client
from tasks.result_storage import forget_old_results
from tasks.runtime import READ_TASK, job_task, open_job

_PAGE = 100


@job_task(name="cleanup", cache_policy=NO_CACHE, **READ_TASK)
def cleanup(params: CleanupParams) -> CleanupResult:
    """Clean up here and in Prefect; a dry run lists the same and changes nothing."""
    findings, now = Findings(), datetime.now(UTC)
    with open_job("cleanup") as job, job_lock(job.database, "cleanup"):
        if not params.dry_run:
            crash_dead_runs(findings, job.progress)
            crash_left_tasks(findings, now=now)
        clean_up(
            job.settings,
            job.database,
            params,
            job.progress.within(0.0, 0.5),
            findings,
            now=now,
            run_id=job.run_id,
            was_cancelled=was_cancelled,
        )
        forget_old_runs(
            job.settings,
            findings,
            job.progress.within(0.5, 1.0),
            now=now,
            dry_run=params.dry_run,
        )
        forget_old_results(job.settings, findings, now=now, dry_run=params.dry_run)
    return findings.result(dry_run=params.dry_run)


def forget_old_runs(
    settings: Settings,
    findings: Findings,
    progress: Progress,
    *,
    now: datetime,
    dry_run: bool,
) -> None:
    """Delete runs of our deployments that ended long ago, with logs and artifacts.

    Runs that had nothing to do are many and tell little: they go sooner.
    """
    keep = settings.cleanup
    idle = FlowRunFilterStateName(any_=[SKIPPED])
    other = FlowRunFilterStateName(not_any_=[SKIPPED])
    for what, days, names, share in (
        ("skipped run in Prefect", keep.skipped_runs_days, idle, (0.0, 0.5)),
        ("run in Prefect", keep.runs_days, other, (0.5, 1.0)),
    ):
        _forget_runs(
            ended_before(now - timedelta(days=days), names),
            what,
            findings,
            progress.within(*share),
            dry_run=dry_run,
        )


def _forget_runs(
    which: FlowRunFilter,
    what: str,
    findings: Findings,
    progress: Progress,
    *,
    dry_run: bool,
) -> None:
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
    findings.remove(what, total if dry_run else done, samples[:SAMPLES])


def _delete_artifacts(client: SyncPrefectClient, run_ids: Sequence[UUID]) -> int:
    deleted = 0
    of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(run_ids)))
    while found := client.read_artifacts(artifact_filter=of_runs, limit=_PAGE):
        for artifact in found:
            client.delete_artifact(artifact.id)
        deleted += len(found)
    return deleted
