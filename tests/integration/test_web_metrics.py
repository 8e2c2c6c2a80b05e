"""`/metrics` for Prometheus, and the dashboard that shows it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stashhog.web.access import access_of
from stashhog.web.address import token_of
from stashhog.web.app import make_app
from stashhog.web.site import make_site
from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import DownloadItem, MirrorCheck, Scene
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_member
from stashhog_core.settings import Settings
from tests.support.pages import HERE
from tests.support.plans import plan_of

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
EVIL = 'a "b" \\ \n{c} <d>'

Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def monitor(database: Database, tmp_path: Path) -> Iterator[TestClient]:
    """A program that sends the token, and no cookie."""
    settings = Settings(home=tmp_path / "home")
    token = token_of(settings)
    site = make_site(settings, database, None)
    headers = {"Authorization": f"Bearer {token}"}
    app = make_app(site, access_of(settings, token))
    with TestClient(app, base_url=HERE, headers=headers) as client:
        yield client


def read(client: TestClient) -> Samples:
    """Return (name, values of the labels) → number, as Prometheus reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_an_empty_installation_has_metrics(monitor: TestClient) -> None:
    """Nothing is there, and nothing waits; what is unknown is left out."""
    found = read(monitor)

    assert found["stashhog_scenes", ()] == 0
    assert found["stashhog_waiting", ("plans",)] == 0
    assert found["stashhog_oldest_waiting_seconds", ("plans",)] == 0
    assert ("stashhog_mirror_drift_ratio", ()) not in found


def test_the_state_can_be_monitored(monitor: TestClient, database: Database) -> None:
    """What is there, what waits and for how long, drift, and the last runs."""
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    with database.transaction() as session:
        session.add(Scene(id=1, title="x", created_at=long_ago))
        for state, method in (("failed", None), ("placed", "link"), ("seen", "link")):
            session.add(
                DownloadItem(
                    source="folder",
                    entry_key=state,
                    entry_name="e",
                    relative_path="f",
                    size_bytes=500,
                    state=state,
                    method=method,
                    found_at=long_ago,
                )
            )
        check = MirrorCheck(scenes_checked=200, scenes_different=1)
        check.proved, check.facts = False, {}
        session.add(check)
        report = {"created": 3, "errors": [{}, {}], "held": None, "partial": True}
        save_report(session, "1", EVIL, "completed", long_ago, report)
        save_report(session, "2", "scan", "failed", long_ago, {})
    plan_of(
        database,
        {1: [add_member("tags", None, "x", 0.9, "reader", {})]},
        state="pending",
    )

    found = read(monitor)

    assert found["stashhog_scenes", ()] == 1
    assert found["stashhog_waiting", ("open_changes",)] == 1
    assert (
        7200 <= found["stashhog_oldest_waiting_seconds", ("failed_downloads",)] < 8000
    )
    assert 7200 <= found["stashhog_oldest_waiting_seconds", ("unanalyzed",)] < 8000
    assert found["stashhog_downloads_bytes", ("link", "placed")] == 500
    assert found["stashhog_downloads_files", ("", "failed")] == 1
    assert found["stashhog_mirror_drift_ratio", ()] == 0.005
    assert found["stashhog_job_last_run_errors", (EVIL,)] == 2
    assert found["stashhog_job_last_run_items", (EVIL, "created")] == 3
    assert ("stashhog_job_last_run_items", (EVIL, "partial")) not in found
    assert found["stashhog_job_last_run_success", ("scan",)] == 0
    assert ("stashhog_job_last_success_timestamp_seconds", ("scan",)) not in found
    assert 7200 <= found["stashhog_job_last_run_seconds", ("scan",)] < 8000
    assert found["stashhog_metadata_ratio", ("title",)] == 1


def test_the_token_of_a_monitor_reads_only(monitor: TestClient) -> None:
    """Others are refused; to change something it takes the cookie of a browser."""
    for header in (
        "",
        "Bearer wrong",
        "Basic dXNlcg==",
        "Bearer \xff".encode("latin-1"),
    ):
        refused = monitor.get("/metrics", headers={"Authorization": header})
        assert refused.status_code == 401
    changed = monitor.post("/plans/1/apply", headers={"Origin": HERE}, json={})

    assert changed.status_code == 401


def test_the_dashboard_and_the_guide_name_what_there_is(monitor: TestClient) -> None:
    """Each metric is explained, and each expression is about metrics that exist."""
    text = monitor.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\S+) gauge$", text, re.MULTILINE))
    guide = (DEPLOYMENTS / "operating.md").read_text()
    dashboard = json.loads((DEPLOYMENTS / "grafana.json").read_text())
    panels = dashboard["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]

    assert len(names) > 10
    assert [name for name in sorted(names) if f"`{name}" not in guide] == []
    used = {name for one in expressions for name in re.findall(r"stashhog_\w+", one)}
    assert used <= names
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    for one in expressions:
        for what in re.findall(r'what="(\w+)"', one):
            assert f'stashhog_waiting{{what="{what}"}}' in text
