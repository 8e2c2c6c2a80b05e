"""A secret in every setting that can hold one: nothing that is kept shows any."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.events.filters import EventFilter, EventOccurredFilter
from prefect.logging.handlers import APILogWorker
from sqlalchemy import select
from typer.testing import CliRunner

from flows.jobs import analysis, process_downloads, stash_generate, stash_scan, sync
from flows.process_new_scenes import process_new_scenes
from stashhog.cli.app import app
from stashhog_core import redaction
from stashhog_core.db.models import JobReport, SyncIssue
from stashhog_core.db.session import Database
from stashhog_core.settings import get_settings
from tests.support.services import Services, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PLANTED = "planted-in"


@pytest.fixture
def planted(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Stash works; the other services are away, each with credentials of its own."""
    away = f"127.0.0.1:{free_port()}"
    of_stash = services.stash.url.removeprefix("http://")
    for name, value in {
        "STASH__URL": f"http://me:{PLANTED}-stash@{of_stash}",
        "STASH__SERVERS": json.dumps(
            {"attic": {"url": f"http://me:{PLANTED}-attic@{away}",
                       "api_key": f"{PLANTED}-attic-key"}}
        ),
        "QBITTORRENT__URL": f"http://me:{PLANTED}-qbittorrent@{away}",
        "QBITTORRENT__PASSWORD": f"{PLANTED}-qbittorrent-password",
        "AI_SERVER__URL": f"http://me:{PLANTED}-ai@{away}",
        "TEXT_MODEL__BASE_URL": f"http://me:{PLANTED}-text@{away}/v1",
        "TEXT_MODEL__MODEL": "small",
        "TEXT_MODEL__API_KEY": f"{PLANTED}-text-key\n",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"STASHHOG_{name}", value)
    get_settings.cache_clear()
    yield services
    redaction.forget()


def away(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"STASHHOG_{name}", value)
    get_settings.cache_clear()


def test_no_secret_is_shown_logged_or_stored(
    planted: Services,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """In Prefect's logs, states, artifacts and events, the reports, the terminal."""
    runs: list[Any] = [
        process_new_scenes(return_state=True),
        analysis(detect_video_tags=True, return_state=True),
    ]
    away(monkeypatch, DOWNLOADS__SOURCE="qbittorrent")
    runs.append(process_downloads(return_state=True))
    runs.append(process_new_scenes(return_state=True))
    runs.append(stash_generate(server="attic", return_state=True))
    nobody = f"http://me:{PLANTED}-stash@127.0.0.1:{free_port()}"
    away(monkeypatch, STASH__URL=nobody)
    runs += [stash_scan(return_state=True), sync(return_state=True)]
    away(monkeypatch, STASH__URL=nobody, STASH__API_KEY=f"{PLANTED}-key")
    said = CliRunner().invoke(app, ["status"])

    kept = [repr(state) for state in runs]
    kept += [repr(state.result(raise_on_failure=False)) for state in runs]
    kept += [said.output, "".join(capfd.readouterr())]
    kept += of_prefect([state.state_details.flow_run_id for state in runs])
    kept += of_the_database(database_url)
    kept += [
        path.read_text(errors="replace")
        for path in (tmp_path / "home").rglob("*")
        if path.is_file()
    ]

    assert len([state for state in runs if state.is_failed()]) >= 4
    assert any("cannot be reached" in text for text in kept)
    showing = [text for text in kept if PLANTED in text]
    assert showing == []


def of_the_database(url: str) -> list[str]:
    database = Database(url)
    with database.transaction() as session:
        reports = [json.dumps(row) for row in session.scalars(select(JobReport.report))]
        issues = [row.reason for row in session.scalars(select(SyncIssue))]
    database.close()
    assert reports
    return reports + issues


def of_prefect(run_ids: list[Any]) -> list[str]:
    APILogWorker.instance().drain()
    with get_client(sync_client=True) as client:
        runs = FlowRunFilter(id=FlowRunFilterId(any_=run_ids))
        kept: list[Any] = client.read_flow_runs(flow_run_filter=runs)
        kept += client.read_task_runs(flow_run_filter=runs)
        kept += client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=run_ids)
            )
        )
        kept += logs(client, run_ids)
        since = EventOccurredFilter(since=kept[0].created)
        kept += client.read_events(EventFilter(occurred=since), limit=50).events
    return [item.model_dump_json() for item in kept]


def logs(client: SyncPrefectClient, run_ids: list[Any]) -> list[Any]:
    """Return the log lines of the runs, when the last of them has come."""
    which = LogFilter(flow_run_id=LogFilterFlowRunId(any_=run_ids))

    def all_lines() -> list[Any]:
        found: list[Any] = []
        while page := client.read_logs(which, limit=200, offset=len(found)):
            found += page
        return found if {line.flow_run_id for line in found} == set(run_ids) else []

    return wait_until(all_lines, "the last line")
