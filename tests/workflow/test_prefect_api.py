"""What Prefect's API answers, and what becomes of the jobs that ask."""

import json
from io import StringIO
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from rich.console import Console

from flows.directory_scan import directory_scan
from flows.process_new_scenes import process_new_scenes
from stashhog.cli.display import RunDisplay
from stashhog.local import prefect_defaults, run_flow
from stashhog_core.db.models import JobReport
from stashhog_core.db.session import Database
from stashhog_core.errors import TransientError
from stashhog_core.settings import get_settings
from tasks.prefect_api import display, prefect_client
from tests.support.services import Services

pytestmark = pytest.mark.slow


class FaultyApi:
    """Answers chosen requests to Prefect's API itself, with a status."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: tuple[str, ...] = ()
        self.refused: list[str] = []
        self.status = 500
        send = httpx.Client.send

        def answer(
            client: httpx.Client, request: httpx.Request, **options: Any
        ) -> httpx.Response:
            call = f"{request.method} {request.url.path}"
            if any(part in call for part in self.parts):
                self.refused.append(call)
                return httpx.Response(self.status, request=request)
            return send(client, request, **options)

        monkeypatch.setattr(httpx.Client, "send", answer)


@pytest.fixture
def api(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> FaultyApi:
    del prefect_api
    return FaultyApi(monkeypatch)


def test_a_server_that_shows_nothing_fails_no_job(
    few_services: Services,
    api: FaultyApi,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bars, reports, tables and names answered with 500: every result is the same."""
    roots = json.dumps([str(few_services.library)])
    monkeypatch.setenv("STASHHOG_LIBRARY__ALLOWED_SCAN_ROOTS", roots)
    get_settings.cache_clear()
    # Artifacts of all kinds; names of runs.
    api.parts = ("/artifacts", "PATCH /api/flow_runs")

    done: Any = process_new_scenes(return_state=True)
    scanned: Any = directory_scan(path=str(few_services.library), return_state=True)

    # One of the sample videos is broken, for both.
    assert (done.name, scanned.name) == ("CompletedWithErrors", "CompletedWithErrors")
    assert {call.split("/")[2] for call in api.refused} == {"artifacts", "flow_runs"}
    database = Database(database_url)
    with database.transaction() as session:
        kept = {row.job for row in session.query(JobReport)}
    database.close()
    assert kept == {"process_new_scenes", "directory_scan"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no server"),
        httpx.ReadTimeout("slow"),
        ValueError("odd\nmore"),
        KeyError("x"),
    ],
    ids=repr,
)
def test_no_fault_of_a_display_is_the_jobs(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its type, the fault is one line in the log."""
    with display("the picture"):
        raise error

    (record,) = caplog.records
    assert record.getMessage().startswith("Prefect does not show the picture: ")
    assert "\n" not in record.getMessage()


def test_an_interruption_is_no_fault_of_a_display() -> None:
    """Ctrl-C while something is shown ends the run as anywhere else."""
    with pytest.raises(KeyboardInterrupt), display("the picture"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("status", [408, 500, 503])
def test_an_api_that_fails_may_be_asked_again(api: FaultyApi, status: int) -> None:
    """A question that a job depends on is retried: the fault is transient."""
    api.parts, api.status = ("/flow_runs/count",), status

    with (
        # Prefect's client would try again itself, for minutes.
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(TransientError, match=rf"failed with status {status}"),
        prefect_client() as client,
    ):
        client.count_flow_runs()


def test_an_api_that_refuses_is_no_outage(api: FaultyApi) -> None:
    """A request that is wrong stays wrong: no retry hides it."""
    api.parts, api.status = ("/flow_runs/count",), 422

    with pytest.raises(httpx.HTTPStatusError), prefect_client() as client:
        client.count_flow_runs()


def test_a_server_that_fails_in_a_run_of_the_terminal_costs_a_sentence(
    few_services: Services,
    prefect_api: str,
    api: FaultyApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the disk of its database is full: no traceback; what is done stays."""
    variables = {**prefect_defaults(get_settings()), "PREFECT_API_URL": prefect_api}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    api.parts = ("/set_state",)

    with (
        RunDisplay(Console(file=StringIO())) as display,
        pytest.raises(TransientError, match="finished work stays") as caught,
    ):
        run_flow("process_downloads", {}, display)

    assert api.refused
    assert prefect_api in str(caught.value)
