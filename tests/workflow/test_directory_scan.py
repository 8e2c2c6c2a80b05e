"""The flow `directory_scan`: states, events, artifact, status, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from typer.testing import CliRunner

from flows.directory_scan import directory_scan
from stashhog.cli.app import app
from stashhog_core.errors import ConfigurationError
from stashhog_core.results import DirectoryScanResult
from stashhog_core.settings import get_settings
from tests.support.media import write_video
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(
    tmp_path: Path,
    database_url: str,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An allowed folder with one good and one broken video."""
    folder = tmp_path / "library"
    write_video(folder / "good.mp4", seconds=1)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    for name, value in {
        "HOME": str(tmp_path / "home"),
        "DATABASE__URL": database_url,
        "LIBRARY__ALLOWED_SCAN_ROOTS": json.dumps([str(folder)]),
    }.items():
        monkeypatch.setenv(f"STASHHOG_{name}", value)
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    get_settings.cache_clear()
    return folder


def status(run_id: str) -> dict[str, Any]:
    """Return what `stashhog library status` tells."""
    reported = CliRunner().invoke(app, ["library", "status", run_id, "--json"])
    assert reported.exit_code == 0, reported.output
    answer: dict[str, Any] = json.loads(reported.output)
    return answer


def events_of(run_id: str) -> list[dict[str, Any]]:
    """Return the scan's own events of a run, oldest first, when both are there."""
    EventsWorker.drain_all()
    wanted = {"resource": {"id": [f"stashhog.directory-scan.{run_id}"]}}
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        answer = client.request("POST", "/events/filter", json={"filter": wanted})
        found[:] = answer.json()["events"]
        return len(found) >= 2

    with get_client(sync_client=True) as client:
        wait_until(are_there, lambda: f"two events in {found}")
    return sorted(found, key=lambda event: event["occurred"])


def test_scan_tells_result_status_and_events(folder: Path) -> None:
    """A scan with a bad file completes; its status and its events are told."""
    state = directory_scan(path=str(folder), workers=1, return_state=True)

    result: DirectoryScanResult = state.result()
    run_id = str(state.state_details.flow_run_id)
    reported = status(run_id)
    events = events_of(run_id)
    assert state.name == "CompletedWithErrors"
    assert (result.scanned, result.new, result.unreadable) == (2, 1, 1)
    assert (reported["status"], reported["progress"], reported["error"]) == (
        "complete",
        1.0,
        None,
    )
    assert reported["result"]["errors"][0]["item"] == str(folder / "broken.mp4")
    assert [event["event"].rpartition(".")[2] for event in events] == [
        "started",
        "completed",
    ]
    assert events[1]["payload"]["new"] == 1


def test_table_artifact_is_made(folder: Path) -> None:
    """Each scan leaves a table of what it found."""
    directory_scan(path=str(folder), workers=1)

    key = {"key": "directory-scan-table"}
    with get_client(sync_client=True) as client:
        answer = client.request("GET", "/artifacts/{key}/latest", path_params=key)

    (row,) = json.loads(answer.json()["data"])
    assert (row["path"], row["new"]) == (str(folder), 1)


@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
def test_shards_are_tasks_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Shards run where the settings say; their sum is the result of one scan."""
    monkeypatch.setenv("STASHHOG_RUNNER__KIND", kind)
    get_settings.cache_clear()
    write_video(folder / "more" / "other.mp4", seconds=1, seed=2)

    state = directory_scan(path=str(folder), workers=1, shards=2, return_state=True)

    result: DirectoryScanResult = state.result()
    assert state.name == "CompletedWithErrors"
    assert (result.scanned, result.new, result.unreadable) == (3, 2, 1)
    assert (result.pending, result.error_count) == (0, 1)
    assert status(str(state.state_details.flow_run_id))["progress"] == 1.0


def test_time_limit_is_a_state_of_its_own(folder: Path) -> None:
    """A scan that ran out of time is `timeout`, not `failed`."""
    state = directory_scan(
        path=str(folder), timeout_seconds=0.001, workers=1, return_state=True
    )

    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    reported = status(str(state.state_details.flow_run_id))
    assert reported["status"] == "timeout"
    assert reported["progress"] < 1


def test_forbidden_path_fails_in_one_sentence(folder: Path) -> None:
    """A path outside of the allowed roots fails the run and says what is allowed."""
    state = directory_scan(path=str(folder.parent), return_state=True)

    error = state.result(raise_on_failure=False)
    reported = status(str(state.state_details.flow_run_id))
    assert isinstance(error, ConfigurationError)
    assert "STASHHOG_LIBRARY__ALLOWED_SCAN_ROOTS allows" in str(error)
    assert reported["status"] == "failed"
    assert "not inside an allowed scan root" in reported["error"]


def test_status_of_no_run_says_so(folder: Path) -> None:
    """An id that Prefect does not know is refused with the way to find one."""
    reported = CliRunner().invoke(app, ["library", "status", "nonsense"])

    assert isinstance(reported.exception, ConfigurationError)
    assert "prefect flow-run ls" in str(reported.exception)


def test_scan_command_is_refused_at_the_door(folder: Path) -> None:
    """`library scan` checks the path before anything is handed to a worker."""
    reported = CliRunner().invoke(app, ["library", "scan", str(folder / "nothing")])

    assert isinstance(reported.exception, ConfigurationError)
    assert "is not a directory" in str(reported.exception)
