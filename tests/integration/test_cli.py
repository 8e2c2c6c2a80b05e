"""The terminal: output for people and programs, faults as one sentence."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import select, update

from stashhog.cli import plans as _plans_cli
from stashhog.cli.app import main
from stashhog.cli.parameters import parameter_rows, parse_parameters
from stashhog_core.db.models import (
    PENDING_STATES,
    AnalysisPlan,
    JobReport,
    Performer,
    PlanChange,
    Scene,
    ScenePerformer,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.params import JOB_PARAMS, ReviewPlanParams, StashGenerateParams
from stashhog_core.plans.proposals import add_member, set_text
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
        pytest.param(
            ["sync", "-p", "force"], "write the parameter as name=value", id="no-value"
        ),
        pytest.param(
            ["stash_generate", "-p", "sceneIDs=[]"],
            "sceneIDs of stash_generate",
            id="empty-is-everything",
        ),
        pytest.param(["apply_plan"], "plan_id", id="required"),
        pytest.param(
            ["apply_plan", "-p", f"plan_id={'9' * 5000}"], "plan_id", id="5,000 digits"
        ),
        pytest.param(
            ["apply_plan", "-p", f"plan_id={'9' * 50}"], "plan_id", id="50 digits"
        ),
        pytest.param(
            ["sync", "-p", f"scene_ids={'[' * 99_999}"],
            "scene_ids of sync cannot be '[[[",
            id="nested deeply",
        ),
        pytest.param(
            ["sync", "-p", f"scene_ids={'[' * 500}1{']' * 500}"],
            "scene_ids of sync",
            id="nested",
        ),
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
    assert len(said) < 300


def test_field_that_a_scene_has_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip says which fields there are."""
    assert stashhog(monkeypatch, "edits", "set", "7", "titel=x") == 2
    said = capsys.readouterr().err
    assert "Scenes have no field titel that can be edited: choose one of" in said
    assert "title, code, details" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["set", "1", "=x"], "The edit '=x' has no field", id="no name"),
        pytest.param(["set", "1", "title"], "The edit 'title' has no value", id="no ="),
        pytest.param(["set", "1", "date=bad"], "such as 2021-05-31", id="date"),
        pytest.param(["set", "1", "date=2021-02-30"], "such as 2021-05-31", id="day"),
        pytest.param(["set", "1", "date=20210531"], "such as 2021-05-31", id="week"),
        pytest.param(["discard", "1", "bogus"], "have no field bogus", id="discard"),
        pytest.param(["keep", "1", "bogus"], "have no field bogus", id="keep"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    """What is wrong and what to write instead, without a regular expression."""
    assert stashhog(monkeypatch, "edits", *arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "pattern" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["backup", ""], id="backup"),
        pytest.param(["restore", ""], id="restore"),
        pytest.param(["report", "--html", ""], id="report"),
        pytest.param(["plans", "export", "1", ""], id="export"),
        pytest.param(["plans", "import", "1", ""], id="import"),
        pytest.param(["init", "--yes", "--file", ""], id="file of init"),
        pytest.param(["init", "--yes", "--library", ""], id="library of init"),
    ],
)
def test_an_empty_path_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
) -> None:
    """It is a variable of a script that is not set, and not the current folder."""
    monkeypatch.chdir(tmp_path)

    assert stashhog(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "is empty" in said
    assert "current folder" in said
    assert list(tmp_path.iterdir()) == []


def test_id_that_no_database_holds_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused at the door, in words."""
    assert stashhog(monkeypatch, "plans", "accept", "1", "-s", str(2**63)) == 2
    assert "less than or equal to 9223372036854775807" in capsys.readouterr().err


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


def test_names_are_text_for_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
) -> None:
    """Brackets are no markup, and nothing in a title steers the terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    titles = ["[x] of [/] and [bold]", "a\x9b31mb\u202ec\x1b[0m"]
    with database.transaction() as session:
        session.add_all(
            Scene(id=number, title=title, urls=[])
            for number, title in enumerate(titles, 1)
        )

    assert stashhog(monkeypatch, "scenes") == 0

    said = capsys.readouterr().out
    assert "[x] of [/] and [bold]" in said
    assert "a\ufffd31mb\ufffdc\ufffd[0m" in said
    assert not {"\x9b", "\x1b", "\u202e"} & set(said)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--tag", "Outdor"], "no tag 'Outdor': did you", id="near"),
        pytest.param(["--tag", "x"], "no tag 'x': give the whole name", id="tag"),
        pytest.param(["--performer", "x"], "no performer 'x'", id="performer"),
        pytest.param(["--studio", "x"], "no studio 'x'", id="studio"),
        pytest.param(["--impacted-by", "x"], "no report of the run 'x'", id="run"),
    ],
)
def test_a_name_that_the_mirror_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    arguments: list[str],
    words: str,
) -> None:
    """A slip in a name does not look like a library without such scenes."""
    with database.transaction() as session:
        session.add(Tag(id=1, name="Outdoor"))

    assert stashhog(monkeypatch, "scenes", *arguments) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_known_name_without_scenes_is_an_empty_list(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
) -> None:
    """So is a run that had no media generated; an alias is a name, too."""
    with database.transaction() as session:
        session.add(Tag(id=1, name="Outdoor", aliases=["Open Air"]))
        session.add(
            JobReport(
                run_id="r1",
                job="stash_generate",
                status="completed",
                started_at=datetime.now(UTC),
                report={},
            )
        )

    assert stashhog(monkeypatch, "scenes", "--tag", "open air") == 0
    assert stashhog(monkeypatch, "scenes", "--impacted-by", "r1") == 0
    assert capsys.readouterr().out.count("0 scenes") == 2


def test_files_of_an_unknown_state_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The states that there are stand beside it; each of them can be asked for."""
    assert stashhog(monkeypatch, "library", "list", "--state", "bogus") == 2
    said = capsys.readouterr().err
    for state in ("ok", "unreadable", "pending", *PENDING_STATES):
        assert f"'{state}'" in said
        assert stashhog(monkeypatch, "library", "list", "--state", state) == 0


def test_the_parameters_of_a_job_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its type, default and description; nothing is run."""
    arguments = ("run", "process_new_scenes", "--parameters")

    assert stashhog(monkeypatch, *arguments) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert stashhog(monkeypatch, *arguments, "--json") == 0
    rows = json.loads(capsys.readouterr().out)

    assert "batch_size │ integer from 1 to" in table
    assert "│ Number of scenes" in table
    assert rows[0] == {
        "name": "exclude_small_vids",
        "type": "true or false",
        "default": "false",
        "description": "Leave out videos shorter than 30 seconds. Default: off.",
    }


@pytest.mark.parametrize("job", JOB_PARAMS)
def test_the_parameters_of_every_job_have_words(job: str) -> None:
    """By the names that `--param` takes; those that must be given have no default."""
    model = JOB_PARAMS[job]
    rows = parameter_rows(model)

    assert [row.name for row in rows] == [
        field.alias or name for name, field in model.model_fields.items()
    ]
    assert all(row.type and row.description for row in rows)
    assert [row.default is None for row in rows] == [
        field.is_required() for field in model.model_fields.values()
    ]


def test_ids_of_scenes_are_typed_as_numbers_or_as_texts() -> None:
    """The texts are those that results give; the table of parameters names both."""
    typed = parse_parameters("stash_generate", ['sceneIDs=["1",2]'])

    assert StashGenerateParams.model_validate(typed).scene_ids == (1, 2)
    (row,) = [r for r in parameter_rows(StashGenerateParams) if r.name == "sceneIDs"]
    assert row.type == "list of ids (numbers or texts)"


def test_the_parameters_of_an_unknown_job_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As running it is."""
    assert stashhog(monkeypatch, "run", "clenup", "--parameters") == 2
    assert "did you mean cleanup?" in capsys.readouterr().err


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


def test_the_version_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installed one, without any settings."""
    monkeypatch.delenv("STASHHOG_DATABASE__URL")

    assert stashhog(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"stashhog {metadata.version('stashhog')}\n"


def test_a_shell_completes_commands() -> None:
    """What a shell with the installed completion asks for is answered."""
    asked = subprocess.run(
        [Path(sys.executable).parent / "stashhog"],
        env=os.environ
        | {
            "_STASHHOG_COMPLETE": "complete_bash",
            "COMP_WORDS": "stashhog pl",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert asked.stdout == "plans\n"


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
    services = {"supervisor", "server", "worker", "deployments", "pages"}
    # No Stash server is configured either.
    assert broken == services | {"Stash"}
    assert stashhog(monkeypatch, "down") == 0
    assert "Nothing was running" in capsys.readouterr().out


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
            PlanChange(plan_id=plan.id, scene_id=number, **tag.row) for number in (1, 2)
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


@pytest.mark.parametrize(
    ("options", "scenes"),
    [
        ((), [1, 2]),
        (("--field", "studio"), []),
        (("--field", "tags", "--value", "outside"), [1, 2]),
        (("--scene", "2"), [2]),
        (("--detector", "reader"), []),
        (("--confidence-from", "0.85"), []),
        (("--confidence-below", "0.85"), [1, 2]),
        (("--state", "applied"), []),
    ],
)
def test_show_takes_the_options_that_select_what_is_decided(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    plan_id: int,
    options: tuple[str, ...],
    scenes: list[int],
) -> None:
    """By change and by value alike: one looks at what one is about to decide."""

    def shown(*more: str) -> list[dict[str, Any]]:
        arguments = ("plans", "show", str(plan_id), *options, *more, "--json")
        assert stashhog(monkeypatch, *arguments) == 0
        rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return rows

    assert [change["scene_id"] for change in shown()] == scenes
    counts = [len(scenes)] if scenes else []
    assert [row["scenes"] for row in shown("--by-value")] == counts


def test_show_names_the_scenes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """By their titles, else by their files; a scene that is gone has its number."""
    with database.transaction() as session:
        session.add(Scene(id=2, title="Dawn [x]"))

    assert stashhog(monkeypatch, "plans", "show", str(plan_id)) == 0

    assert "2 Dawn [x]" in capsys.readouterr().out


def test_a_conflict_is_shown_and_overwritten_by_its_value(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """The terminal says what Stash has; only this value can be overwritten."""
    proposal = set_text("title", "Old", "New", 0.9, "reader", {"rule": "seen"})
    with database.transaction() as session:
        session.add(Scene(id=2, title="Mine"))
        row = {**proposal.row, "state": "conflict"}
        change = PlanChange(plan_id=plan_id, scene_id=2, **row)
        session.add(change)
        session.flush()
        named = ("accept", str(plan_id), "--change", str(change.id))

    def run(*arguments: str) -> tuple[int, str]:
        status = stashhog(monkeypatch, "plans", *arguments)
        said = capsys.readouterr()
        return status, " ".join((said.out + said.err).split())

    status, shown = run("show", str(plan_id), "--state", "conflict")
    assert (status, "'Mine'," in shown, "'Old'" in shown) == (0, True, True)
    status, blind = run(*named)
    assert (status, "accept the change with --over" in blind) == (0, True)
    status, wrong = run(*named, "--over", "Guessed")
    assert (status, "Stash now has 'Mine'" in wrong) == (1, True)
    status, done = run(*named, "--over", "Mine")
    assert (status, f"Accepted 1 change of plan {plan_id}" in done) == (0, True)
    status, back = run("take-back", str(plan_id))
    assert (status, "1 change is as before" in back) == (0, True)


def test_list_tells_an_undone_plan_from_an_applied_one(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """A plan keeps its state when its changes are undone; the list says that too."""

    def listed(*states: str) -> str:
        with database.transaction() as session:
            session.get_one(AnalysisPlan, plan_id).state = "applied"
            for number, state in enumerate(states, 1):
                session.execute(
                    update(PlanChange)
                    .where(PlanChange.scene_id == number)
                    .values(state=state)
                )
        assert stashhog(monkeypatch, "plans", "list", "--json") == 0
        (plan,) = json.loads(capsys.readouterr().out)
        outcome: str = plan["outcome"]
        return outcome

    assert listed("applied", "applied") == "applied"
    assert listed("applied", "undone") == "applied, 1 undone"
    assert listed("undone", "undone") == "undone"


def test_failed_changes_are_listed_for_a_person(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """Lists of plans and changes can be narrowed to them, and say what to do."""
    plan = str(plan_id)
    assert stashhog(monkeypatch, "plans", "list", "--attention", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    with database.transaction() as session:
        session.execute(
            update(PlanChange)
            .where(PlanChange.scene_id == 2)
            .values(state="failed", attempts=5, error="Stash refused it")
        )

    assert stashhog(monkeypatch, "plans", "list", "--attention", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert stashhog(monkeypatch, "plans", "list") == 0
    assert stashhog(monkeypatch, "plans", "show", plan, "--state", "failed") == 0
    shown = " ".join(capsys.readouterr().out.split())
    arguments = ("plans", "show", plan, "--state", "failed", "--json")
    assert stashhog(monkeypatch, *arguments) == 0
    (change,) = json.loads(capsys.readouterr().out)

    assert (listed["id"], listed["needs_attention"]) == (plan_id, 1)
    assert f"To list them, run `stashhog plans show {plan} --state failed`;" in shown
    assert f"`stashhog plans apply {plan} --retry`" in shown
    assert (change["scene_id"], change["attempts"]) == (2, 5)
    assert change["why"] == "Stash refused it"


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
        "add tag Outside",
        "Replaced 2 changes",
        "Accepted 1 change of",
        "Wrote plan",
        "1 rejected",
        "AUTO_APPROVE_TRUSTED is off",
        "Cancelled plan",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--value", "Nope"], "matches value 'Nope'", id="value"),
        pytest.param(["--value", "Outsid"], "did you mean 'Outside'?", id="near"),
        pytest.param(["--scene", "999"], "matches scene 999", id="scene"),
        pytest.param(["-c", "998", "-c", "999"], "matches changes 998, 999", id="ids"),
        pytest.param(["--field", "title"], "matches field title", id="field"),
        pytest.param(
            ["--detector", "x", "--confidence-from", "0.9"],
            "matches detector 'x', confidence from 0.9",
            id="detector",
        ),
        pytest.param(["--confidence-below", ".8"], "confidence below 0.8", id="below"),
    ],
)
@pytest.mark.parametrize("command", ["accept", "reject"])
def test_a_selection_that_matches_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    plan_id: int,
    command: str,
    arguments: list[str],
    words: str,
) -> None:
    """It says what was selected, in one sentence; exit status 1."""
    assert stashhog(monkeypatch, "plans", command, str(plan_id), *arguments) == 1

    said = capsys.readouterr().err
    assert f"No change of plan {plan_id}" in said
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--confidence-below", "7"], "equal to 1", id="above-one"),
        pytest.param(["--confidence-from", "-0.1"], "equal to 0", id="negative"),
        # To PostgreSQL every number is less than NaN.
        pytest.param(["--confidence-below", "nan"], "--confidence-below", id="nan"),
        pytest.param(["--field", "bogus"], "'performers'", id="field"),
        pytest.param(["-c", "1", "-c", "0"], "--change", id="no-id"),
    ],
)
def test_a_slip_in_an_option_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
    arguments: list[str],
    words: str,
) -> None:
    """7 for 0.7 would take every change; what is allowed is said."""
    assert stashhog(monkeypatch, "plans", "accept", str(plan_id), *arguments) == 2
    assert words in capsys.readouterr().err
    with database.transaction() as session:
        assert set(session.scalars(select(PlanChange.state))) == {"pending"}


def test_the_terminal_knows_the_fields_of_the_form() -> None:
    """`--field` takes what the job `review_plan` takes."""
    in_form, _ = get_args(ReviewPlanParams.model_fields["field"].annotation)

    assert get_args(_plans_cli.Field) == get_args(in_form)


def test_what_is_decided_so_already_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """Nothing is left to do, and that is said; so is a plan without changes."""
    plan = str(plan_id)
    with database.transaction() as session:
        empty = AnalysisPlan(name="Empty", state="draft")
        session.add(empty)
        session.flush()
        empty_id = str(empty.id)

    assert stashhog(monkeypatch, "plans", "accept", plan) == 0
    assert stashhog(monkeypatch, "plans", "accept", plan, "--value", "outside") == 0
    assert stashhog(monkeypatch, "plans", "accept", empty_id) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"Accepted 2 changes of plan {plan}",
        f"Plan {plan} has no open change to accept: 2 changes are already approved",
        f"Plan {empty_id} has no changes",
    ]


def test_what_was_decided_before_is_left_alone_and_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    plan_id: int,
) -> None:
    """Reject the exception, accept the rest: in words, as JSON, by id and again."""
    plan = str(plan_id)
    with database.transaction() as session:
        first = str(session.scalars(select(PlanChange.id)).first())

    remedy = "to decide on these changes again, use --change or --again"

    def said(*arguments: str) -> list[str]:
        assert stashhog(monkeypatch, "plans", *arguments) == 0
        return capsys.readouterr().out.splitlines()

    assert said("reject", plan, "-c", first) == [f"Rejected 1 change of plan {plan}"]
    assert said("accept", plan, "--value", "outside") == [
        f"Accepted 1 change of plan {plan}",
        f"Not changed, because of an earlier decision: 1 rejected ({remedy})",
    ]
    again = json.loads("\n".join(said("accept", plan, "--json")))
    assert (again["decided"], again["already"]) == (0, 1)
    assert again["left_alone"] == {"rejected": 1}
    assert said("accept", plan, "-c", first) == [
        f"Accepted 1 change of plan {plan}",
        "The new decision replaced an earlier decision on 1 change",
    ]
    assert said("replace", plan, "Outside", "Outdoor") == [
        f"None of the selected changes of plan {plan} is open to replace",
        f"Not changed, because of an earlier decision: 2 approved ({remedy})",
    ]
    assert said("replace", plan, "Outside", "Outdoor", "--again")[0] == (
        f"Replaced 2 changes of plan {plan}"
    )


def test_decisions_are_taken_back_in_turn(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    plan_id: int,
) -> None:
    """The newest first, or the one that is named; what is left alone is said."""
    plan = str(plan_id)

    def said(*arguments: str, status: int = 0) -> list[str]:
        assert stashhog(monkeypatch, "plans", *arguments) == status
        captured = capsys.readouterr()
        return (captured.out or captured.err).splitlines()

    first = json.loads("\n".join(said("accept", plan, "--json")))["decision_id"]
    said("reject", plan, "--scene", "2", "--again")
    assert said("take-back", plan, "--decision", str(first)) == [
        f"Took back decision {first} on plan {plan} (accept all changes): "
        "1 change is as before",
        "Not changed, because of a later decision: 1 rejected",
    ]
    back = json.loads("\n".join(said("take-back", plan, "--json")))
    assert (back["what"], back["restored"]) == ("reject scene 2", 1)
    assert said("take-back", plan, status=1) == [
        f"Error: Plan {plan} has no decision that can be taken back"
    ]


def test_import_says_what_it_left_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    plan_id: int,
) -> None:
    """A decision made after the export stays, unless all rows are to be carried out."""
    plan, file = str(plan_id), tmp_path / "plan.json"
    assert stashhog(monkeypatch, "plans", "export", plan, str(file)) == 0
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([row | {"decision": "accept"} for row in rows]))
    one = str(rows[0]["id"])
    assert stashhog(monkeypatch, "plans", "reject", plan, "-c", one) == 0
    capsys.readouterr()

    assert stashhog(monkeypatch, "plans", "import", plan, str(file)) == 0
    in_words = capsys.readouterr().out.splitlines()
    again = ("import", plan, str(file), "--again", "--json")
    assert stashhog(monkeypatch, "plans", *again) == 0

    assert in_words == [
        f"Plan {plan}: 1 accepted, 0 rejected, 0 replaced",
        "Not changed, because of an earlier decision: 1 rejected "
        "(to carry out their rows as well, use --again)",
    ]
    counts = json.loads(capsys.readouterr().out)
    assert (counts["accepted"], counts["already"], counts["overruled"]) == (1, 1, 1)


def test_replacing_says_which_name_was_not_found(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    plan_id: int,
) -> None:
    """The old one in the plan, or the new one in the mirror; twice is no error."""
    replace = ("plans", "replace", str(plan_id))

    assert stashhog(monkeypatch, *replace, "Nope", "Outdoor") == 1
    assert f"No change of plan {plan_id} matches value" in capsys.readouterr().err
    assert stashhog(monkeypatch, *replace, "Outside", "NoSuch") == 1
    assert "Stash has no tag 'NoSuch'" in capsys.readouterr().err
    assert stashhog(monkeypatch, *replace, "Outside", "Outdoor") == 0
    assert "Replaced 2 changes" in capsys.readouterr().out
    assert stashhog(monkeypatch, *replace, "Outside", "Outdoor") == 0
    said = capsys.readouterr().out
    assert f"The selected changes of plan {plan_id} already propose Outdoor" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["accept", "99"], "There is no plan 99", id="plan"),
        pytest.param(["export", "1", "plan.xlsx"], "neither .csv nor", id="format"),
        pytest.param(["import", "1", "none.csv"], "cannot be read", id="file"),
        pytest.param(["import", "1", __file__], "neither .csv nor", id="ending"),
        pytest.param(["accept", "1", "--value", ""], "value cannot be ''", id="empty"),
        pytest.param(
            ["accept", "1", "--value", "\udcff"], "value cannot be", id="no utf-8"
        ),
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


def test_a_command_that_is_cancelled_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is one sentence and an exit status of its own, whatever the command."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stashhog.services.backup.back_up", interrupted)

    assert stashhog(monkeypatch, "backup", "/nowhere") == 130
    assert capsys.readouterr() == ("", "Error: Cancelled\n")
