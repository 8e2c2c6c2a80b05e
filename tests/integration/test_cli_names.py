"""The terminal shows names as they are, whole, on any width; ranges are in words."""

import json
import re
import sys

import pytest

from stashhog.cli.app import main
from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    LibraryFile,
    LocalEdit,
    Performer,
    PlanChange,
    Scene,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.settings import get_settings

# What Rich and Markdown give a meaning, and a word that no line is wide enough for.
HOSTILE = (
    f"[x] [/red] [bold] \\[y] :heart: *a* `b` [link=http://e]z[/link] {'W' * 130} end\\"
)


@pytest.fixture(autouse=True)
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name an empty, migrated database; the terminal is 80 wide."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "80")
    get_settings.cache_clear()


@pytest.fixture
def hostile(database: Database) -> Database:
    """Rows of all kinds whose names are hostile."""
    name = HOSTILE
    with database.transaction() as session:
        session.add_all(
            [
                Studio(id=1, name=name),
                Performer(id=1, name=name),
                Tag(id=1, name=name),
            ]
        )
        session.flush()
        session.add(Scene(id=1, title=name, studio_id=1))
        session.flush()
        session.add_all(
            [
                SceneTag(scene_id=1, tag_id=1),
                ScenePerformer(scene_id=1, performer_id=1),
                LocalEdit(scene_id=1, field="title", base=name, value=name),
                DownloadItem(
                    source="folder",
                    entry_key="k",
                    entry_name=name,
                    relative_path="",
                    size_bytes=1,
                    state="blocked",
                    reason=name,
                ),
                LibraryFile(
                    path=f"/{name}",
                    file_system="f",
                    inode=1,
                    size_bytes=1,
                    mtime_ns=1,
                    ctime_ns=1,
                    state="unreadable",
                ),
            ]
        )
        plan = AnalysisPlan(id=1, name=name, state="draft", detectors={}, facts={})
        session.add(plan)
        session.flush()
        session.add(
            PlanChange(
                plan_id=1,
                scene_id=1,
                field="tags",
                action="add",
                value_key="x",
                proposed={"id": 1, "name": name},
                confidence=0.5,
                detector="d",
                evidence={"rule": "r", "text": name},
            )
        )
    return database


def stashhog(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stashhog", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def columns(output: str) -> str:
    """Return the text of a table column by column, without blanks."""
    rows = [line.split("│")[1:-1] for line in output.splitlines() if "│" in line]
    wide = max((len(row) for row in rows), default=0)
    return "\n".join(
        re.sub(r"\s", "", "".join(row[i] for row in rows if len(row) == wide))
        for i in range(wide)
    )


@pytest.mark.parametrize(
    "words",
    [
        ["scenes"],
        ["plans", "list"],
        ["plans", "show", "1"],
        ["plans", "show", "1", "--by-value"],
        ["downloads", "list"],
        ["downloads", "show", "1"],
        ["edits", "list"],
        ["library", "list"],
    ],
    ids=" ".join,
)
def test_hostile_names_are_shown_whole(
    hostile: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    """No bracket is lost, no code becomes a picture, nothing is cut."""
    with hostile.connect() as connection:
        row = connection.execute("SELECT min(id) FROM download_item").fetchone()
    assert row is not None
    if words[:2] == ["downloads", "show"]:
        words = [*words[:2], str(row[0])]

    assert stashhog(monkeypatch, *words) == 0

    said = capsys.readouterr().out
    assert re.sub(r"\s", "", HOSTILE) in columns(said), said
    assert max(map(len, said.splitlines())) <= 80


def test_ranges_in_help_are_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody reads `1<=x<=9223372036854775807`."""
    assert stashhog(monkeypatch, "plans", "show", "--help") == 0
    said = capsys.readouterr().out
    assert "[at least 1]" in said
    assert "[0 to 1]" in said
    assert "<=x" not in said


def test_downloads_are_selected_by_state_and_text(
    hostile: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Either by ids or by a filter; the outcome is for programs as well."""
    with hostile.transaction() as session:
        session.add(
            DownloadItem(
                source="folder",
                entry_key="other",
                entry_name="other",
                relative_path="",
                size_bytes=1,
                state="failed",
                reason="disk full",
            )
        )
    assert stashhog(monkeypatch, "downloads", "retry") == 2
    assert "give either ids, or --state and --text" in capsys.readouterr().err
    assert stashhog(monkeypatch, "downloads", "retry", "1", "--text", "x") == 2
    assert stashhog(monkeypatch, "downloads", "show", "999999") == 1
    assert "The ledger has no file 999999" in capsys.readouterr().err

    selected = ("--state", "failed", "--state", "blocked", "--text", "FULL", "--json")
    assert stashhog(monkeypatch, "downloads", "list", *selected) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["entry_name"] == "other"
    assert stashhog(monkeypatch, "downloads", "retry", *selected) == 0
    assert json.loads(capsys.readouterr().out) == {"retried": 1}
    assert stashhog(monkeypatch, "downloads", "forget", *selected) == 0
    assert json.loads(capsys.readouterr().out) == {"forgotten": 1}
    assert stashhog(monkeypatch, "downloads", "list", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
