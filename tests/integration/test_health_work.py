"""Checks of what tags videos, of the last runs, and of what waits for a person."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.text_model import TextStandIn
from stashhog_core.db.jobs import save_report
from stashhog_core.db.models import DownloadItem, MirrorCheck, StashJob
from stashhog_core.db.session import Database
from stashhog_core.health.checks import Checkup, run_checks
from stashhog_core.health.registry import CHECKS, TAGGERS, WORK
from stashhog_core.results import CheckLine
from stashhog_core.settings import Settings
from tests.support.services import free_port

NOW = datetime.now(UTC)


def lines(checks: Any = TAGGERS, **values: Any) -> dict[str, CheckLine]:
    """Make checks with these settings."""
    with Checkup(Settings(**values)) as checkup:
        return {line.name: line for line in run_checks(checkup, checks)}


@pytest.fixture
def work(database: Database) -> Any:
    """Return a function that makes the checks of the work."""
    url = database.connection_string
    return lambda: lines(WORK, database={"url": url})


def test_only_what_is_used_is_checked() -> None:
    """Without an AI server and models, title cards are read."""
    assert lines().keys() == {"title cards"}
    assert lines()["title cards"].state == "ok"


def test_an_ai_server_that_is_away() -> None:
    """The line names the setting; OCR is no matter then."""
    found = lines(ai_server={"url": f"http://127.0.0.1:{free_port()}"})

    assert found.keys() == {"AI server"}
    assert found["AI server"].state == "failure"
    assert "STASHHOG_AI_SERVER__URL" in found["AI server"].remedy


def test_a_model_that_is_missing(tmp_path: Path) -> None:
    """The file is named."""
    model = {"model": tmp_path / "no.onnx", "labels": tmp_path / "no.txt"}
    line = lines(onnx=model)["ONNX model"]

    assert line.state == "failure"
    assert "no.onnx" in line.found


def test_a_text_model_is_known_by_its_name() -> None:
    """A key that is refused, a name that the endpoint lacks, and the right one."""
    with TextStandIn() as server:
        settings = {"base_url": server.url, "model": "small"}
        server.key = "right"
        refused = lines(text_model=settings)["text model"]
        settings["api_key"] = "right"
        unknown = lines(text_model=settings)["text model"]
        settings["model"] = "stand-in"
        known = lines(text_model=settings)["text model"]

    assert (refused.state, unknown.state, known.state) == ("failure", "failure", "ok")
    assert "STASHHOG_TEXT_MODEL__API_KEY" in refused.remedy
    assert "STASHHOG_TEXT_MODEL__MODEL" in unknown.remedy
    assert "stand-in" in unknown.remedy


def report(database: Database, job: str, status: str, run: str) -> None:
    """Keep that a run has ended just now."""
    with database.transaction() as session:
        save_report(session, run, job, status, NOW, {})


def test_the_last_run_of_each_job_counts(database: Database, work: Any) -> None:
    """A failure after a success is named, with when the job last succeeded."""
    assert work()["last runs"].state == "ok"

    report(database, "sync", "completed", "1")
    report(database, "analysis", "failed", "2")
    report(database, "analysis", "completed", "3")
    assert work()["last runs"].state == "ok"

    report(database, "sync", "failed", "4")
    line = work()["last runs"]
    assert line.state == "warning"
    assert "sync (last success 0 minutes ago)" in line.found
    assert "analysis" not in line.found


@pytest.mark.parametrize(
    ("different", "age", "state"),
    [
        (0, timedelta(hours=1), "ok"),
        (2, timedelta(), "warning"),
        (0, timedelta(9), "warning"),
    ],
)
def test_the_last_verification(
    database: Database, work: Any, different: int, age: timedelta, state: str
) -> None:
    """Differences, or none for days, are for a person to know."""
    with database.transaction() as session:
        session.add(
            MirrorCheck(
                checked_at=NOW - age,
                proved=not different,
                scenes_checked=50,
                scenes_different=different,
            )
        )
    line = work()["mirror"]

    assert line.state == state
    assert f"{different} of 50 scenes differed" in line.found


def test_what_waits_for_a_person(database: Database, work: Any) -> None:
    """Each kind with the command that lists it."""
    assert work()["waiting work"].state == "ok"

    with database.transaction() as session:
        session.add(
            DownloadItem(
                source="folder",
                entry_key="a",
                entry_name="a",
                relative_path="b.mp4",
                size_bytes=1,
                state="blocked",
            )
        )
    line = work()["waiting work"]
    assert line.state == "warning"
    assert line.found == "1 download file blocked"
    assert "stashhog downloads list" in line.remedy


def test_a_stash_job_that_never_ends(database: Database, work: Any) -> None:
    """A generate job may take hours; one of yesterday is no more at work."""
    with database.transaction() as session:
        for run, age in (("new", timedelta(hours=1)), ("old", timedelta(hours=30))):
            session.add(
                StashJob(
                    run_id=run, kind="generate", stash_job_id=1, started_at=NOW - age
                )
            )
    line = work()["Stash jobs"]

    assert line.state == "warning"
    assert line.found.startswith("1 Stash job started")


def test_names_are_unique_and_needs_come_first() -> None:
    """A check waits only for checks that were begun before it."""
    names = [check.name for check in CHECKS]

    assert len(names) == len(set(names))
    for number, check in enumerate(CHECKS):
        assert set(check.needs) <= set(names[:number])
