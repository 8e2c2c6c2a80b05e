"""Starting directory scans through Prefect, and asking how they are."""

from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
)
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from stashhog_core.db.models import JobReport
from stashhog_core.db.open import open_database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings

DEPLOYMENT = "directory_scan/directory-scan"

StatusWord = Literal["pending", "running", "complete", "failed", "timeout", "cancelled"]

_WORDS: dict[str, StatusWord] = {
    "SCHEDULED": "pending",
    "PENDING": "pending",
    "PAUSED": "pending",
    "RUNNING": "running",
    "CANCELLING": "running",
    "COMPLETED": "complete",
    "FAILED": "failed",
    "CRASHED": "failed",
    "CANCELLED": "cancelled",
}


def submit(parameters: dict[str, Any]) -> str:
    """Have a worker run a directory scan; return the run's id at once.

    Raises:
        ConfigurationError: The deployment is not registered.
    """
    try:
        run: Any = run_deployment(DEPLOYMENT, parameters=parameters, timeout=0)
    except ObjectNotFound as error:
        raise ConfigurationError(
            f"The deployment {DEPLOYMENT} is not registered", remedy="run `stashhog up`"
        ) from error
    return str(run.id)


def scan_status(settings: Settings, run_id: str) -> dict[str, Any]:
    """Return status word, progress 0.0-1.0, result and error of a run.

    Raises:
        ConfigurationError: Prefect knows no such run.
    """
    unknown = ConfigurationError(
        f"Prefect has no run {run_id!r}",
        remedy="`prefect flow-run ls` lists the runs",
    )
    try:
        identity = UUID(run_id)
    except ValueError as error:
        raise unknown from error
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(identity)
        except ObjectNotFound as error:
            raise unknown from error
        state = run.state
        word = status_word(state.type.value if state else None, run.state_name)
        progress = 1.0 if word == "complete" else _progress(client, identity)
    failed = word in {"failed", "timeout", "cancelled"}
    return {
        "run_id": run_id,
        "status": word,
        "progress": progress,
        "result": _result(settings, run_id),
        "error": (state.message if state else None) if failed else None,
    }


def status_word(state_type: str | None, state_name: str | None) -> StatusWord:
    """Return the word for a Prefect state, by its type and name.

    A run without a state was only just created.
    """
    if state_name == "TimedOut":
        return "timeout"
    return _WORDS.get((state_type or "SCHEDULED").upper(), "failed")


def _progress(client: SyncPrefectClient, run_id: UUID) -> float | None:
    artifacts = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
            type=ArtifactFilterType(any_=["progress"]),
        )
    )
    shares = [float(str(artifact.data)) / 100 for artifact in artifacts]
    return max(shares, default=None)


def _result(settings: Settings, run_id: str) -> dict[str, Any] | None:
    with open_database(settings) as database, database.transaction() as session:
        report = session.get(JobReport, run_id)
        return report.report if report else None
