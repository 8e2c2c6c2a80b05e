"""Runs that come to no good end: what they hand back, keep and say."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
)

from flows.jobs import apply_plan, sync, undo_plan
from flows.process_new_scenes import process_new_scenes
from stashhog_core.db.models import JobReport
from stashhog_core.db.session import Database
from stashhog_core.errors import Deferred, JobError, StashHogError
from stashhog_core.results import AnalysisResult, WorkflowReport
from stashhog_core.settings import get_settings
from stashhog_core.workflow import JobDeferred, JobFailed
from tests.support.prefect import Runner, processes_of
from tests.support.services import Services
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def set_to(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"STASHHOG_{name}", value)
    get_settings.cache_clear()


def test_a_failed_state_raises_our_error_and_gives_the_result(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what failed, holds the report, and travels between processes."""
    set_to(monkeypatch, DOWNLOADS__FOLDER=str(services.downloads / "none"))

    state: Any = process_new_scenes(return_state=True)

    with pytest.raises(JobError, match="STASHHOG_DOWNLOADS__FOLDER") as raised:
        state.result()
    error = state.result(raise_on_failure=False)
    assert isinstance(error, JobFailed)
    assert isinstance(error.result, WorkflowReport)
    assert error.result.status == "failed"
    assert raised.value is error
    with pytest.raises(JobFailed):
        process_new_scenes()


def test_errors_with_a_result_survive_pickling() -> None:
    """Other processes get the error with all that it holds."""
    result = AnalysisResult(status="completed_with_errors", deferred="away")

    for kind in (JobFailed, JobDeferred):
        error = pickle.loads(pickle.dumps(kind("Deferred - away", result)))  # noqa: S301
        assert (type(error), str(error)) == (kind, "Deferred - away")
        assert error.result == result
    assert issubclass(JobDeferred, Deferred)


def test_no_failed_run_leaves_a_traceback(
    services: Services,
    process_worker: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a worker: one sentence says why, in its own log and in Prefect's."""
    folder = tmp_path / "films"
    folder.mkdir()
    set_to(
        monkeypatch,
        DOWNLOADS__FOLDER=str(services.downloads / "none"),
        LIBRARY__ALLOWED_SCAN_ROOTS=json.dumps([str(folder)]),
    )
    process_worker.configure()
    log = process_worker.folder / "log"
    before = log.stat().st_size

    failed = process_worker.start("process_new_scenes")
    timed_out = process_worker.start(
        "directory_scan", path=str(folder), timeout_seconds=0.001, workers=1
    )
    refused = process_worker.start("directory_scan", path=str(tmp_path))
    for run, state, why in (
        (failed, "Failed", "correct STASHHOG_DOWNLOADS__FOLDER"),
        (timed_out, "TimedOut", "TimedOut - after 0 s: the folder is only partly"),
        (refused, "Failed", "is not inside an allowed scan root"),
    ):
        process_worker.wait_for(run, state)
        wait_until(lambda run=run: not processes_of(run.id), f"the end of {run.name}")
        reported = process_worker.warnings(run)
        assert any(why in line for line in reported)
        assert max(len(line.splitlines()) for line in reported) == 1
    assert "Traceback" not in log.read_bytes()[before:].decode()


def test_the_state_of_a_failed_run_says_our_sentence_alone(services: Services) -> None:
    """Pages, lists and notifications show it: no class name, no words of Prefect's."""
    services.stash.stop()
    try:
        states: list[Any] = [
            apply_plan(plan_id=999, return_state=True),
            undo_plan(plan_id=999, return_state=True),
            process_new_scenes(return_state=True),
        ]
    finally:
        services.stash.start()

    for state in states:
        error = state.result(raise_on_failure=False)
        assert isinstance(error, StashHogError)
        assert (state.name, state.message) == ("Failed", str(error))


def test_a_failed_job_alone_keeps_its_report(
    services: Services, database: Database
) -> None:
    """A row, an artifact and a telling name, with the error, as every other run."""
    services.stash.stop()
    state: Any = sync(return_state=True)
    services.stash.start()

    run_id = state.state_details.flow_run_id
    error = state.result(raise_on_failure=False)
    assert isinstance(error, StashHogError)
    with database.transaction() as session:
        kept = session.get_one(JobReport, str(run_id))
    assert (kept.job, kept.status) == ("sync", "failed")
    assert kept.report == {"status": "failed", "error": str(error)}
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run_id).name == "sync · failed"
        (report,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
                type=ArtifactFilterType(any_=["markdown"]),
            )
        )
    assert report.key == "sync-report"
    assert "Stash cannot be reached" in str(report.data)
