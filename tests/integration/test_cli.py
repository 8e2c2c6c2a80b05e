"""The terminal: output for people and programs, faults as one sentence."""

import json
import sys
from pathlib import Path

import pytest

from flows.cli import main
from stashhog_core.analysis.proposals import add_member
from stashhog_core.db.models import (
    AnalysisPlan,
    Performer,
    PlanChange,
    Scene,
    ScenePerformer,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.settings import get_settings


@pytest.fixture(autouse=True)
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name an empty, migrated database."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()


def stashhog(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the terminal with these arguments; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["stashhog", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ["process_new_scenes", "-p", "batch_size=-1"],
            "batch_size of process_new_scenes cannot be -1",
            id="negative",
        ),
        pytest.param(
            ["process_new_scenes", "-p", "batchsize=1"],
            "did you mean batch_size?",
            id="unknown-parameter",
        ),
        pytest.param(
            ["proces_new_scenes"], "did you mean process_new_scenes?", id="job"
        ),
        pytest.param(["sync", "-p", "force"], "write it as name=value", id="no-value"),
        pytest.param(
            ["stash_generate", "-p", "sceneIDs=[]"],
            "sceneIDs of stash_generate",
            id="empty-is-everything",
        ),
        pytest.param(["apply_plan"], "plan_id", id="required"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    """What is wrong and what is allowed; exit status 2; nothing was started."""
    status = stashhog(monkeypatch, "run", *arguments)
    said = capsys.readouterr().err

    assert status == 2
    assert words in said
    assert len(said.splitlines()) == 1


def test_wrong_settings_are_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that does not exist ends every command with exit status 2."""
    monkeypatch.setenv("STASHHOG_STASH__ULR", "http://x")
    get_settings.cache_clear()

    assert stashhog(monkeypatch, "scenes") == 2
    assert capsys.readouterr().err.splitlines() == [
        "Error: The setting STASHHOG_STASH__ULR does not exist: "
        "did you mean STASHHOG_STASH__URL?"
    ]


def test_scenes_are_listed_for_people_and_programs(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
) -> None:
    """The same scenes as a table and as JSON, filtered by flags and names."""
    with database.transaction() as session:
        session.add_all(
            [
                Scene(id=1, title="One", generated=True),
                Scene(id=2, title="Two"),
                Performer(id=5, name="Ada Winter"),
            ]
        )
        session.flush()
        session.add(ScenePerformer(scene_id=2, performer_id=5))

    assert stashhog(monkeypatch, "scenes") == 0
    table = capsys.readouterr().out
    assert stashhog(monkeypatch, "scenes", "--not-generated", "--json") == 0
    listed = json.loads(capsys.readouterr().out)

    assert "One" in table
    assert "Ada Winter" in table
    assert [scene["id"] for scene in listed] == [2]
    assert listed[0]["performers"] == ["Ada Winter"]


def test_migrate_says_when_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A current database stays as it is."""
    assert stashhog(monkeypatch, "migrate") == 0
    assert "is up to date" in capsys.readouterr().out


def test_migrate_brings_an_empty_database_to_this_version(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    empty_database: Database,
) -> None:
    """Other commands refuse an empty database and name the one that mends it."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", empty_database.connection_string)
    get_settings.cache_clear()

    assert stashhog(monkeypatch, "scenes") == 2
    assert "stashhog migrate" in capsys.readouterr().err
    assert stashhog(monkeypatch, "migrate") == 0
    assert stashhog(monkeypatch, "scenes") == 0


def test_no_plans_is_an_empty_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to list is no fault."""
    assert stashhog(monkeypatch, "plans", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_plan_that_does_not_exist_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong id is one sentence and exit status 1."""
    assert stashhog(monkeypatch, "plans", "show", "99") == 1
    assert "99" in capsys.readouterr().err


def test_services_that_do_not_run_are_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """`status` looks, `down` has nothing to stop, and neither starts anything."""
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path_factory.mktemp("home")))
    get_settings.cache_clear()

    assert stashhog(monkeypatch, "status", "--json") == 1
    parts = json.loads(capsys.readouterr().out)
    broken = {name for name, part in parts.items() if not part["ok"]}
    assert broken == {"supervisor", "server", "worker", "deployments"}
    assert stashhog(monkeypatch, "down") == 0
    assert "Nothing was up" in capsys.readouterr().out


@pytest.mark.slow
def test_deploy_needs_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deployments are registered at a named server only, and it must answer."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    assert stashhog(monkeypatch, "deploy") == 2
    assert "set PREFECT_API_URL" in capsys.readouterr().err

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert stashhog(monkeypatch, "deploy") == 2
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9/api" in said
    assert len(said.splitlines()) == 1


@pytest.fixture
def plan_id(database: Database) -> int:
    """A plan that adds a tag to two scenes, which the mirror has."""
    with database.transaction() as session:
        plan = AnalysisPlan(name="[bold]Plan", state="draft")
        session.add_all([plan, Tag(id=1, name="Outdoor")])
        session.flush()
        tag = add_member("tags", None, "Outside", 0.8, "ai", {"rule": "seen"})
        session.add_all(
            PlanChange(plan_id=plan.id, scene_id=number, **vars(tag))
            for number in (1, 2)
        )
        return plan.id


def test_plan_shows_what_it_cost(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """Looks, seconds, tokens and money of each detector stand above its changes."""
    costs = {
        "looks": 12,
        "seconds": 3.14,
        "requests": 11,
        "tokens_in": 3400,
        "tokens_out": 220,
        "money": 0.0041,
        "currency": "EUR",
    }
    with database.transaction() as session:
        plan = session.get_one(AnalysisPlan, plan_id)
        plan.facts = {"seconds": 75.4, "scenes": 12, "costs": {"text_model": costs}}

    assert stashhog(monkeypatch, "plans", "show", str(plan_id)) == 0

    out = " ".join(capsys.readouterr().out.split())
    assert f"Plan {plan_id}: [bold]Plan, draft, 12 scenes in 75.4 s" in out
    assert "text_model 11 requests, 3.1 s, 3,400 + 220 tokens, 0.0041 EUR" in out


def test_plan_is_reviewed_in_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    plan_id: int,
) -> None:
    """List, show, replace, accept, export, import, trust, cancel: each says what."""
    plan = str(plan_id)
    file = tmp_path / "plan.csv"

    assert stashhog(monkeypatch, "plans", "list") == 0
    assert stashhog(monkeypatch, "plans", "show", plan, "--by-value") == 0
    assert stashhog(monkeypatch, "plans", "replace", plan, "Outside", "outdoor") == 0
    assert stashhog(monkeypatch, "plans", "accept", plan, "--scene", "1") == 0
    assert stashhog(monkeypatch, "plans", "export", plan, str(file)) == 0
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[2] + "reject"]))
    assert stashhog(monkeypatch, "plans", "import", plan, str(file)) == 0
    assert stashhog(monkeypatch, "plans", "trust") == 0
    assert stashhog(monkeypatch, "plans", "cancel", plan) == 0

    out = capsys.readouterr().out
    for words in (
        "[bold]Plan",
        "add tags Outside",
        "Replaced 2 changes",
        "Accepted 1 changes",
        "Wrote plan",
        "1 rejected",
        "AUTO_APPROVE_TRUSTED is off",
        "Cancelled plan",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["accept", "99"], "There is no plan 99", id="plan"),
        pytest.param(["export", "1", "plan.xlsx"], "neither .csv nor", id="format"),
        pytest.param(["import", "1", "none.csv"], "cannot be read", id="file"),
    ],
)
def test_fault_in_review_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    """It names what is wrong, without a traceback."""
    assert stashhog(monkeypatch, "plans", *arguments) in (1, 2)

    said = capsys.readouterr().err
    assert words in " ".join(said.split())
    assert "Traceback" not in said
