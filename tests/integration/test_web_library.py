"""The pages of the library's state, over HTTP, and the same as a file."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from typer.testing import CliRunner

from stashhog.cli.report import app
from stashhog.web.charts import bar_chart, line_chart
from stashhog.web.library import report_html
from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import (
    AnalysisPlan,
    MirrorCheck,
    PlanChange,
    Scene,
    SceneFile,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.plans.decisions import decide_seen
from stashhog_core.plans.proposals import add_member
from stashhog_core.settings import Settings, StashSettings, get_settings
from stashhog_core.stash.client import StashClient
from tests.support.pages import browser_let_in
from tests.support.services import free_port

EVIL = "<img src=x onerror=alert(1)> \u202egpj.exe"
NOW = datetime.now(UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def client(database: Database, settings: Settings) -> Iterator[TestClient]:
    """A browser that was let in, and a library with names that nobody should have."""
    with database.transaction() as session:
        session.add(Scene(id=1, title=EVIL))
        plan = AnalysisPlan(name=EVIL, state="applied", run_id="run")
        session.add(plan)
        session.flush()
        row = add_member("tags", None, EVIL, 0.9, EVIL, {}).row
        change = PlanChange(plan_id=plan.id, scene_id=1, **{**row, "state": "applied"})
        change.applied_at, change.approved_by = NOW, "user"
        open_row = add_member("tags", None, "other", 0.9, EVIL, {}).row
        other = PlanChange(plan_id=plan.id, scene_id=1, **open_row)
        plan.state = "reviewing"
        session.add_all([change, other])
        session.flush()
        decide_seen(session, plan.id, "accept", {other.id: "pending"})
        check = MirrorCheck(scenes_checked=10, scenes_different=1)
        check.proved, check.facts = False, {}
        session.add(check)
        save_report(session, "run", EVIL, "completed", NOW, {"held": EVIL})
    with browser_let_in(database, settings) as client:
        yield client


def test_the_state_of_the_library_is_shown(client: TestClient) -> None:
    """Numbers, charts without scripts or styles of their own, and names as text."""
    shown = client.get("/library").text
    run = client.get("/runs/run").text

    assert "<b>1</b> scene<" in shown
    assert shown.count('<svg class="chart"') == 4
    assert "Nothing is recorded." in shown
    assert "by week: <b>100% accepted</b>" in shown
    for text in (shown, run):
        assert "&lt;img src=x" in text
        assert "<img src=x" not in text
        assert "\u202e" not in text
        assert not re.search(r"<[^>]*\s(style|on[a-z]+)=", re.sub('"[^"]*"', "", text))
    assert '/scenes/1/cover"' in run


def test_shares_of_nothing_and_short_videos_are_said(
    client: TestClient, database: Database
) -> None:
    """No media was checked, which is not that no scene has a cover."""
    with database.transaction() as session:
        file = {"scene_id": 1, "file_id": 1, "position": 0, "path": "/a.mp4"}
        session.add(SceneFile(**file, duration_seconds=150.0, size_bytes=1))
    short = client.get("/library").text
    with database.transaction() as session:
        session.execute(update(SceneFile).values(duration_seconds=9000.0))
    long = client.get("/library").text

    assert re.search(r"cover</th><td[^>]*>.</td><td[^>]*>none checked<", short)
    assert "<b>2 minutes</b>" in short
    assert "<b>2 hours</b>" in long


def test_an_unknown_run_is_said(client: TestClient) -> None:
    """In a sentence, on a page."""
    answer = client.get("/runs/nothing")

    assert (answer.status_code, "is not recorded" in answer.text) == (409, True)


def test_what_waits_for_a_sync_is_unknown_without_stash(
    client: TestClient, database: Database, settings: Settings
) -> None:
    """The page says why, and the rest of the page does not need Stash."""
    unset = client.get("/library/pending").json()
    address = StashSettings(url=f"http://127.0.0.1:{free_port()}")
    with (
        StashClient(address, retry_delays_seconds=()) as stash,
        browser_let_in(database, settings, stash) as browser,
    ):
        away = browser.get("/library/pending").json()
        shown = browser.get("/library")

    assert unset["why"].startswith("No Stash server is set")
    assert (unset["count"], away["count"]) == ("?", "?")
    assert away["why"]
    assert shown.status_code == 200


class Links(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.found.append(tag)
        self.found += [name for name, _ in attrs if name in {"src", "srcset", "action"}]
        self.found += [str(v) for n, v in attrs if n == "href" and str(v)[0] == "/"]


def test_the_report_needs_no_other_file(
    client: TestClient, database: Database, settings: Settings
) -> None:
    """No script, no style sheet, no picture, no link to pages that may not run."""
    del client
    html = report_html(settings, database, None)
    links = Links()
    links.feed(html)

    assert links.found == []
    assert html.count('<svg class="chart"') == 4
    assert "&lt;img src=x" in html
    assert "<img" not in html


@pytest.mark.parametrize("draw", [line_chart, bar_chart])
@pytest.mark.parametrize("values", [[0.0], [5.0], [0.0, 0.0], [3.0, 1.0, 2.0]], ids=str)
def test_charts_stay_in_their_picture(draw: object, values: list[float]) -> None:
    """One value, equal values and zeros too; each value can be read."""
    first = date(2024, 2, 28)
    days = [first + timedelta(days=3 * n) for n in range(len(values))]
    assert callable(draw)
    svg = str(draw('A "b" <c>', list(zip(days, values, strict=True)), "{:g} x".format))

    numbers = re.findall(r'(?:x|y|cx|cy|x1|x2|y1|y2)="(-?[\d.]+)"', svg)
    assert all(0 <= float(number) <= 420 for number in numbers)
    assert "nan" not in svg
    assert 'aria-label="A &#34;b&#34; &lt;c&gt;: ' in svg
    for day, value in zip(days, values, strict=True):
        assert f"<title>{day}: {value:g} x</title>" in svg


def test_the_terminal_reports(
    client: TestClient,
    database_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In numbers, as JSON, or as a file that is written whole or not at all."""
    del client
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("STASHHOG_HOME", str(settings.home))
    get_settings.cache_clear()
    file = tmp_path / "report.html"
    terminal = CliRunner()

    numbers = terminal.invoke(app, [])
    as_json = terminal.invoke(app, ["--json"])
    written = terminal.invoke(app, ["--html", str(file)])
    refused = terminal.invoke(app, ["--html", str(tmp_path / "nothing" / "r.html")])

    assert "unanalyzed" in numbers.stdout
    assert json.loads(as_json.stdout)["scenes"] == 1
    assert written.exit_code == 0
    assert file.read_text().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [file.name]
    assert isinstance(refused.exception, ConfigurationError)
    assert "The report cannot be written" in str(refused.exception)
