"""Long lists for programs: printed row by row, in memory that does not grow."""

import json
import re
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, literal, select

from stashhog.cli import console, plans
from stashhog.cli.app import main
from stashhog_core.db.models import (
    AnalysisPlan,
    LibraryFile,
    PlanChange,
    Scene,
    SceneFile,
    SceneTag,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.json_text import json_list
from stashhog_core.settings import get_settings

pytestmark = pytest.mark.slow

FEW, MANY = 2000, 6000
PLAN = 1


@pytest.fixture
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name an empty, migrated database."""
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    get_settings.cache_clear()


@pytest.fixture
def filled(database: Database, configured: None) -> None:
    """Many scenes, each with a file and a tag, many changes of a plan, many files."""
    numbers = func.generate_series(1, MANY).table_valued("n").render_derived()
    n = numbers.c.n
    name = func.concat("name ", n)
    with database.transaction() as session:
        session.add_all([AnalysisPlan(id=PLAN, name="Plan"), Tag(id=1, name="Outdoor")])
        session.flush()
        for model, columns in (
            (Scene, {"id": n, "title": name}),
            (SceneFile, {"scene_id": n, "file_id": n, "position": 0, "path": name}),
            (SceneTag, {"scene_id": n, "tag_id": 1}),
            (
                PlanChange,
                {
                    "plan_id": PLAN,
                    "scene_id": n,
                    "field": "title",
                    "action": "set",
                    "value_key": name,
                    "proposed": func.to_jsonb(name),
                    "confidence": 0.5,
                    "detector": "path",
                },
            ),
            (
                LibraryFile,
                {
                    "path": name,
                    "file_system": "one",
                    "inode": n,
                    "size_bytes": n,
                    "mtime_ns": n,
                    "ctime_ns": n,
                },
            ),
        ):
            values = [
                value if hasattr(value, "label") else literal(value)
                for value in columns.values()
            ]
            chosen = select(*values).select_from(numbers)
            session.execute(insert(model).from_select(list(columns), chosen))


def run(monkeypatch: pytest.MonkeyPatch, output: Path, *arguments: str) -> int:
    """Run the terminal, its output going to a file; return the most memory in use."""
    monkeypatch.setattr(sys, "argv", ["stashhog", *arguments])
    with output.open("w", encoding="utf-8") as written:
        monkeypatch.setattr(sys, "stdout", written)
        tracemalloc.start()
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            monkeypatch.undo()
    assert not end.value.code
    return peak


def peaks(database: Database, write: Callable[[int], int]) -> tuple[int, int]:
    """Return the most memory that writing many rows, and few of them, takes."""
    # The first run also imports what the command needs.
    write(MANY)
    many = write(MANY)
    with database.transaction() as session:
        for model, column in (
            (PlanChange, PlanChange.scene_id),
            (LibraryFile, LibraryFile.inode),
            (Scene, Scene.id),
        ):
            session.execute(delete(model).where(column > FEW))
    return many, write(FEW)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("scenes", "--limit", "100000", "--json"), id="scenes"),
        pytest.param(("plans", "show", str(PLAN), "--json"), id="plan"),
        pytest.param(("library", "list", "--limit", "100000", "--json"), id="files"),
    ],
)
def test_memory_does_not_grow_with_the_list(
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    database_url: str,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    """Three times the rows are printed in the same memory, all of them."""
    output = tmp_path / "out.json"

    def print_all(rows: int) -> int:
        monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
        peak = run(monkeypatch, output, *arguments)
        assert len(json.loads(output.read_text())) == rows
        return peak

    many, few = peaks(database, print_all)

    assert many < 1.5 * few


@pytest.mark.usefixtures("filled")
def test_changes_of_a_plan_are_printed_as_several_tables(
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    """Each change is in one of them, with the title of its scene."""
    with database.transaction() as session:
        session.execute(delete(PlanChange).where(PlanChange.scene_id > 120))
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(plans, "ROWS_PER_TABLE", 50)
    monkeypatch.setattr(console, "ROWS_PER_TABLE", 50)
    output = tmp_path / "out.txt"
    run(monkeypatch, output, "plans", "show", str(PLAN))
    printed = output.read_text()

    # Once as the title, once as the proposed value.
    shown = sorted(int(n) for n in re.findall(r"name (\d+)", printed))
    assert shown == sorted([*range(1, 121), *range(1, 121)])
    assert printed.count("Confidence") == 3


@pytest.mark.usefixtures("filled")
def test_memory_does_not_grow_with_an_export(
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    """A plan is written as it is read, and nothing else is left beside it."""
    folder = tmp_path / "exported"
    folder.mkdir()
    file = folder / "plan.csv"

    def export(rows: int) -> int:
        monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
        exported = ("plans", "export", str(PLAN), str(file))
        peak = run(monkeypatch, tmp_path / "out", *exported)
        assert len(file.read_text().splitlines()) == 1 + rows
        assert list(folder.iterdir()) == [file]
        return peak

    many, few = peaks(database, export)

    assert many < 1.5 * few


@pytest.mark.usefixtures("configured")
def test_export_that_fails_leaves_the_file_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no half of a file, and no trace of it."""
    file = tmp_path / "plan.csv"
    file.write_text("kept")
    monkeypatch.setattr(sys, "argv", ["stashhog", "plans", "export", "99", str(file)])
    with pytest.raises(SystemExit):
        main()

    assert file.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.csv"]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_rows_read_as_one_list(number: int) -> None:
    """What is written row by row is, to the character, what a whole list would be."""
    odd = ["\u2028", "\x7f", 10**30, float("nan")]
    rows = [
        {
            "id": i,
            "names": ["ü", 'a "quote"', "two\nlines"],
            "none": None,
            "empty": [],
            "deep": {"list": [1, 2.5, {"x": []}, {}], 7: 1e300},
            "odd": odd[: i + 2],
        }
        for i in range(number)
    ]
    whole = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"

    assert "".join(json_list(rows)) == whole
