"""Commands that the documents show to be copied, run as they stand.

Those that start services or runs are run in tests/workflow: test_readme, test_wheel
and test_first_hour. Whether any command can be typed, tests/project tells.
"""

import shlex
import sys

import pytest

from stashhog.cli.app import main
from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_member, set_text
from stashhog_core.settings import get_settings
from tests.support.documented import ROOT, Command, commands_of_blocks
from tests.support.plans import add_scenes

REVIEWING = [
    command
    for command in commands_of_blocks(ROOT / "docs" / "analysis.md")
    if command.words[:1] == ("plans",)
    # A run of Prefect each; tests/workflow/test_review_plan.py.
    and command.words[1] not in {"apply", "undo"}
]
READING = [
    command
    for name in ("README.md", "docs/troubleshooting.md", "docs/library.md")
    for command in commands_of_blocks(ROOT / name)
    if command.program == "stashhog"
    and command.words[0] in {"scenes", "plans", "library", "report"}
    and command.words[1:2] not in {("scan",), ("status",)}
]
BEFORE = {
    # What the page has told the reader to do before.
    "take-back": ("plans accept 7",),
    "import": ("plans export 7 plan.csv",),
}


@pytest.fixture
def plan(database: Database) -> None:
    """The plan 7 of docs/analysis.md, with change 123; README.md has a plan 1."""
    add_scenes(database)
    with database.transaction() as session:
        session.get_one(Scene, 2).title = "Mine"
        session.add_all(
            [
                AnalysisPlan(id=1, name="Plan", state="draft"),
                AnalysisPlan(id=7, name="Plan", state="draft"),
            ]
        )
        session.flush()
        changes = [
            (3, add_member("tags", 1, "Outdoor", 0.9, "ai", {})),
            (4, add_member("tags", None, "Outside", 0.7, "ai", {})),
        ]
        session.add_all(
            PlanChange(plan_id=7, scene_id=scene_id, **proposal.row)
            for scene_id, proposal in changes
        )
        title = set_text("title", "Old", "New", 0.9, "reader", {})
        session.add(PlanChange(id=123, plan_id=7, scene_id=2, **title.row))


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command of the terminal, which must end well."""
    monkeypatch.setattr(sys, "argv", ["stashhog", *shlex.split(command)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, command


@pytest.mark.parametrize(
    "command",
    {str(command): command for command in [*REVIEWING, *READING]}.values(),
    ids=str,
)
def test_it_ends_well(
    command: Command,
    plan: None,
    database: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a plan with such values, and after what the page says comes before."""
    del plan
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    get_settings.cache_clear()
    if "--over" in command.words:
        with database.transaction() as session:
            session.get_one(PlanChange, 123).state = "conflict"
    for before in BEFORE.get(command.words[1] if len(command.words) > 1 else "", ()):
        run(before, monkeypatch)
    run(shlex.join(command.words), monkeypatch)

    assert "Error" not in capsys.readouterr().err


def test_there_are_such_commands() -> None:
    """The pages are read: nothing is left out because a page has another form."""
    assert len(REVIEWING) >= 12
    assert len(READING) >= 5
