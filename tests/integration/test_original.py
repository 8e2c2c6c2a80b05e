"""What is taken over from a database of the original StashHog, and what is not."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Engine,
    Enum,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
    text,
)

from stashhog.cli.app import main
from stashhog_core.db.models import (
    AnalysisPlan,
    DownloadItem,
    Performer,
    PlanChange,
    Scene,
    SceneFile,
    SceneTag,
    Studio,
    SyncRun,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, JobError
from stashhog_core.original.source import opened_source
from stashhog_core.original.take_over import TakeOver, take_over
from stashhog_core.params import UndoParams
from stashhog_core.plans.records import plan_ids_of, unapplied_plan_ids
from stashhog_core.settings import get_settings
from stashhog_core.sync.history import last_survey

SCHEMA = MetaData()
TIMES = ("created_at", "updated_at")


def times() -> list[Column[Any]]:
    return [Column(name, DateTime(timezone=True)) for name in TIMES]


# The columns that the original has, as far as anything of them could be taken over.
Table(
    "scene",
    SCHEMA,
    Column("id", String, primary_key=True),
    Column("title", String, nullable=False),
    *(
        Column(name, Boolean, nullable=False)
        for name in ("organized", "analyzed", "video_analyzed", "generated")
    ),
    Column("content_checksum", String),
    *times(),
)
Table(
    "analysis_plan",
    SCHEMA,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("description", String),
    Column("plan_metadata", JSON),
    Column(
        "status",
        # Both spellings occur, since its migrations changed the type more than once.
        Enum(
            "DRAFT",
            "draft",
            "REVIEWING",
            "APPLIED",
            "CANCELLED",
            "PENDING",
            "ODD",
            name="planstatus",
        ),
    ),
    Column("job_id", String),
    Column("applied_at", DateTime(timezone=True)),
    *times(),
)
Table(
    "plan_change",
    SCHEMA,
    Column("id", Integer, primary_key=True),
    Column("plan_id", Integer, nullable=False),
    Column("scene_id", String, nullable=False),
    Column("field", String, nullable=False),
    Column("action", Enum("ADD", "REMOVE", "UPDATE", "SET", "WARP", name="action")),
    Column("current_value", JSON),
    Column("proposed_value", JSON),
    Column("confidence", Float),
    Column(
        "status",
        Enum(
            "PENDING",
            "APPROVED",
            "approved",
            "REJECTED",
            "APPLIED",
            "ODD",
            name="changestatus",
        ),
    ),
    Column("applied_at", DateTime(timezone=True)),
    *times(),
)
Table(
    "handled_downloads",
    SCHEMA,
    Column("id", BigInteger, primary_key=True),
    Column("timestamp", DateTime(timezone=True)),
    Column("download_name", String),
    Column("destination_path", String),
    Column("job_id", String),
)
Table(
    "sync_history",
    SCHEMA,
    Column("id", Integer, primary_key=True),
    Column("entity_type", String),
    Column("job_id", String),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("status", String),
    *(
        Column(f"items_{name}", Integer)
        for name in ("synced", "created", "updated", "failed")
    ),
    Column("error_details", JSON),
)
DAY = datetime(2025, 8, 1, 12, tzinfo=UTC)


@dataclass
class Original:
    """A database of the original."""

    address: str
    engine: Engine

    def add(self, table: str, *rows: dict[str, Any]) -> None:
        """Add rows; what they do not say is NULL, or false for a flag of a scene."""
        known = SCHEMA.tables[table]
        with self.engine.begin() as connection:
            for row in rows:
                flags = {
                    column.name: False
                    for column in known.columns
                    if isinstance(column.type, Boolean)
                }
                connection.execute(insert(known), {**flags, **row})

    def change(self, id_: int, field: str, value: Any, **columns: Any) -> None:
        row = {"plan_id": 1, "scene_id": "1", "action": "ADD", "status": "PENDING"}
        more = {"field": field, "proposed_value": value, "confidence": 0.8}
        self.add("plan_change", {"id": id_, **row, **more, **columns})

    def take_over(self, database: Database, *, apply: bool = True) -> TakeOver:
        with opened_source(self.address) as source:
            return take_over(database, source, apply=apply)


@pytest.fixture(params=["sqlite", "postgresql"])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Original]:
    """An empty database with the original's schema, of each kind."""
    if request.param == "sqlite":
        address = f"sqlite+aiosqlite:///{tmp_path / 'stashhog.db'}"
        engine = create_engine(f"sqlite:///{tmp_path / 'stashhog.db'}")
    else:
        empty: Database = request.getfixturevalue("empty_database")
        engine = empty.engine
        address = empty.connection_string.replace("postgresql:", "postgresql+asyncpg:")
    SCHEMA.create_all(engine)
    yield Original(address, engine)
    engine.dispose()


@pytest.fixture
def mirror(database: Database) -> Database:
    """A mirror of three scenes, tags, a performer and a studio."""
    with database.transaction() as session:
        session.add_all(
            [
                Studio(id=1, name="Studio One", aliases=["S1"]),
                Performer(id=1, name="Dakota Lane", aliases=["D. Lane"]),
                Tag(id=1, name="Outdoor_AI"),
                Tag(id=2, name="AI_Errored"),
                Tag(id=3, name="AI_Tagged"),
            ]
        )
        session.add_all(Scene(id=id_) for id_ in (1, 2, 3, 4))
        session.flush()
        session.add(
            SceneFile(
                scene_id=1, file_id=1, position=0, path="/d/a/One/x.mp4", size_bytes=77
            )
        )
        session.add_all(
            [
                SceneTag(scene_id=3, tag_id=2),
                SceneTag(scene_id=4, tag_id=2),
                SceneTag(scene_id=4, tag_id=3),
            ]
        )
    return database


def everything(database: Database) -> dict[str, list[Any]]:
    """Return all rows of the tables that a take-over writes."""
    with database.connect() as connection:
        return {
            table: connection.execute(
                f"SELECT t::text FROM {table} t ORDER BY 1"  # noqa: S608
            ).fetchall()
            for table in (
                "scene",
                "analysis_plan",
                "plan_change",
                "download_item",
                "sync_run",
                "review_memory",
            )
        }


def fill(original: Original) -> None:
    original.add(
        "scene",
        {"id": "1", "title": "a", "generated": True},
        {"id": "2", "title": "b", "video_analyzed": True, "analyzed": True},
        {"id": "3", "title": "failed", "video_analyzed": True, "generated": True},
        {"id": "4", "title": "failed, then well", "video_analyzed": True},
        {"id": "99", "title": "gone", "generated": True},
    )
    original.add(
        "analysis_plan",
        {
            "id": 1,
            "name": "Video [x]",
            "status": "REVIEWING",
            "created_at": DAY,
            "description": "d",
            "plan_metadata": {"a": [1, None]},
            "job_id": "j",
        },
        {"id": 2, "name": "done", "status": "APPLIED", "applied_at": DAY},
    )
    original.change(1, "tags", "Outdoor_AI")
    original.change(2, "tags", {"name": "New_AI"}, status="approved")
    original.change(3, "performers", "d. lane", status="REJECTED")
    original.change(4, "studio", {"id": "1", "name": "S1"}, action="SET")
    original.change(5, "details", "new", action="UPDATE", current_value="old")
    original.change(
        6,
        "markers",
        {"title": "Jump", "seconds": 3.5, "end_seconds": 4, "tags": ["Jump_AI"]},
    )
    original.change(7, "tags", ["Outdoor_AI", "Indoor_AI"], scene_id="2")
    original.change(8, "tags", None, action="REMOVE", current_value="Outdoor_AI")
    original.change(9, "tags", "Outdoor_AI", scene_id="99")
    original.change(
        10, "tags", "Outdoor_AI", plan_id=2, status="APPLIED", applied_at=DAY
    )
    original.add(
        "handled_downloads",
        {
            "id": 1,
            "timestamp": DAY,
            "download_name": "One",
            "destination_path": "/d/a/One/x.mp4",
            "job_id": "j",
        },
        {
            "id": 2,
            "timestamp": DAY,
            "download_name": "two.mp4",
            "destination_path": "/d/a/two.mp4",
            "job_id": "j",
        },
    )
    original.add(
        "sync_history",
        {
            "id": 1,
            "entity_type": "scene",
            "started_at": DAY,
            "completed_at": DAY,
            "status": "completed",
            "items_synced": 9,
            "items_created": 4,
            "items_updated": 2,
            "items_failed": 1,
        },
        {"id": 2, "entity_type": "all", "started_at": DAY, "status": "in_progress"},
    )


def test_what_the_original_knows_is_taken_over(
    original: Original, mirror: Database
) -> None:
    """Flags, plans with their states, downloads and syncs."""
    fill(original)

    report = original.take_over(mirror)

    with mirror.transaction() as session:
        flags = {
            scene.id: (scene.generated, scene.video_analyzed, scene.analyzed)
            for scene in session.scalars(select(Scene))
        }
        assert flags == {
            1: (True, False, False),
            2: (False, True, True),
            # The original marks scenes as analyzed whose analysis has failed.
            3: (True, False, False),
            4: (False, True, False),
        }
        one, two = session.scalars(select(AnalysisPlan).order_by(AnalysisPlan.id))
        assert (one.name, one.state, one.created_at) == ("Video [x]", "reviewing", DAY)
        assert one.facts["stashhog"]["metadata"] == {"a": [1, None]}
        assert (two.state, two.applied_at) == ("applied", DAY)
        changes = [
            (c.field, c.action, c.base, c.proposed, c.state, c.approved_by)
            for c in session.scalars(
                select(PlanChange)
                .where(PlanChange.plan_id == one.id)
                .order_by(PlanChange.id)
            )
        ]
        outdoor = {"id": 1, "name": "Outdoor_AI"}
        assert changes == [
            ("tags", "add", None, outdoor, "pending", None),
            ("tags", "add", None, {"id": None, "name": "New_AI"}, "approved", "user"),
            (
                "performers",
                "add",
                None,
                {"id": 1, "name": "Dakota Lane"},
                "rejected",
                None,
            ),
            ("studio", "set", None, {"id": 1, "name": "Studio One"}, "pending", None),
            ("details", "set", "old", "new", "pending", None),
            (
                "markers",
                "add",
                None,
                {
                    "title": "Jump",
                    "tag": {"id": None, "name": "Jump_AI"},
                    "seconds": 3.5,
                    "end_seconds": 4.0,
                },
                "pending",
                None,
            ),
            ("tags", "add", None, outdoor, "pending", None),
            ("tags", "add", None, {"id": None, "name": "Indoor_AI"}, "pending", None),
            ("tags", "remove", outdoor, outdoor, "pending", None),
        ]
        files = session.scalars(select(DownloadItem).order_by(DownloadItem.id)).all()
        assert [
            (f.entry_name, f.relative_path, f.state, f.size_bytes, f.placed_at)
            for f in files
        ] == [
            ("One", "x.mp4", "seen", 77, DAY),
            ("two.mp4", "two.mp4", "placed", 0, DAY),
        ]
        runs = session.scalars(select(SyncRun).order_by(SyncRun.id)).all()
        assert [
            (r.status, r.created, r.updated, r.unchanged, r.failed) for r in runs
        ] == [("completed", 4, 2, 2, 1), ("interrupted", 0, 0, 0, 0)]
    assert report.left_out["The mirror does not have the scene"].examples == [
        "scene 99",
        "change 9 of plan 1",
    ]
    assert any("1 scenes will be analyzed again" in note for note in report.notes)
    assert any("1 approved changes wait" in note for note in report.notes)


def test_it_changes_nothing_that_other_jobs_decide_by(
    original: Original, mirror: Database
) -> None:
    """No sync of the original is a baseline, none of its approvals is applied unasked.

    What the original has applied cannot be undone here: nothing says what it changed.
    """
    fill(original)
    original.take_over(mirror)
    with mirror.transaction() as session:
        assert last_survey(session)[0] is None
        assert unapplied_plan_ids(session) == []
        applied = select(PlanChange.plan_id).where(PlanChange.state == "applied")
        (plan_id,) = session.scalars(applied)
        assert plan_ids_of(session, UndoParams(plan_id=plan_id)) == []


def test_a_dry_run_changes_nothing_and_says_the_same(
    original: Original, mirror: Database
) -> None:
    """The report of a dry run is that of the run that follows."""
    fill(original)
    before = everything(mirror)

    dry = asdict(original.take_over(mirror, apply=False))

    assert everything(mirror) == before
    assert asdict(original.take_over(mirror)) == {**dry, "applied": True}


def test_a_second_run_changes_nothing(original: Original, mirror: Database) -> None:
    """Decisions that were made here since stay; what has become possible is added."""
    fill(original)
    first = original.take_over(mirror)
    with mirror.transaction() as session:
        session.execute(text("UPDATE plan_change SET state = 'rejected'"))
        # As an edit of a text does.
        session.execute(
            text("UPDATE plan_change SET value_key = 'edited' WHERE field = 'details'")
        )
        session.execute(text("UPDATE scene SET generated = false WHERE id = 1"))
        session.execute(text("UPDATE scene SET generated = true WHERE id = 2"))
    before = everything(mirror)

    second = original.take_over(mirror)

    # A flag that was cleared since is the only thing to be taken over again.
    assert second.tallies["scenes"].new == 1
    after = everything(mirror)
    assert {name: rows for name, rows in after.items() if name != "scene"} == {
        name: rows for name, rows in before.items() if name != "scene"
    }
    for kind in ("plans", "changes", "downloads", "syncs"):
        assert second.tallies[kind].new == 0
        assert second.tallies[kind].known == first.tallies[kind].new

    with mirror.transaction() as session:
        session.add(Scene(id=99))
    third = original.take_over(mirror)
    assert third.tallies["changes"].new == 1
    assert third.left_out == {}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        pytest.param({"status": "ODD"}, "The change has the unknown state 'odd'"),
        pytest.param({"status": None}, "The change has the unknown state ''"),
        pytest.param({"action": "WARP"}, "StashHog cannot 'warp' tags"),
        pytest.param({"action": None}, "StashHog cannot '' tags"),
        pytest.param({"scene_id": "abc"}, "The id is none of Stash's"),
        pytest.param({"scene_id": "9" * 30}, "The id is none of Stash's"),
        pytest.param(
            {"field": "rating"}, "StashHog does not change the field 'rating'"
        ),
        pytest.param({"proposed_value": None}, "The value has no name"),
        pytest.param({"proposed_value": {"name": 7}}, "The value has no name"),
        pytest.param({"proposed_value": []}, "The change has no value"),
        pytest.param({"proposed_value": ["a", None]}, "The value has no name"),
        pytest.param(
            {"field": "performers", "proposed_value": "Nobody"},
            "The mirror has no performer of that name",
        ),
        pytest.param(
            {"field": "studio", "action": "SET", "proposed_value": "None Such"},
            "The mirror has no studio of that name",
        ),
        pytest.param(
            {"field": "markers", "proposed_value": "x"}, "The value is no marker"
        ),
        pytest.param(
            {"field": "markers", "proposed_value": {"tags": ["x"], "seconds": -1}},
            "The marker has no valid time",
        ),
        pytest.param(
            {"field": "markers", "proposed_value": {"tags": ["x"], "seconds": True}},
            "The marker has no valid time",
        ),
        pytest.param(
            {"field": "markers", "action": "REMOVE"}, "StashHog cannot 'remove' markers"
        ),
        pytest.param(
            {"field": "title", "action": "SET", "proposed_value": {"x": 1}},
            "The value is no text",
        ),
    ],
)
def test_what_has_no_counterpart_is_reported(
    original: Original, mirror: Database, columns: dict[str, Any], reason: str
) -> None:
    """The row is left out with its reason, and its neighbours are taken over."""
    original.add("analysis_plan", {"id": 1, "name": "p", "status": "DRAFT"})
    original.change(1, **{"field": "tags", "value": "A", **_renamed(columns)})
    original.change(2, "tags", "B")

    report = original.take_over(mirror)

    assert report.left_out[reason].count == 1
    assert "change 1 of plan 1" in report.left_out[reason].examples[0]
    assert report.tallies["changes"].new == 1


def _renamed(columns: dict[str, Any]) -> dict[str, Any]:
    return {
        "value" if name == "proposed_value" else name: value
        for name, value in columns.items()
    }


def test_unknown_plans_and_broken_history_are_reported(
    original: Original, mirror: Database
) -> None:
    """Plans of an unknown state, downloads without a path, syncs without a time."""
    original.add(
        "analysis_plan",
        {"id": 1, "name": "p", "status": "ODD"},
        {"id": 2, "name": "p", "status": None},
    )
    original.change(1, "tags", "A")
    original.add("handled_downloads", {"id": 1}, {"id": 2, "download_name": "x"})
    original.add(
        "sync_history",
        {"id": 1, "status": "completed"},
        {"id": 2, "status": "odd", "started_at": DAY},
        {"id": 3, "started_at": DAY},
    )

    report = original.take_over(mirror)

    with mirror.transaction() as session:
        assert session.scalars(select(AnalysisPlan)).all() == []
    assert {reason: left.count for reason, left in report.left_out.items()} == {
        "The plan has the unknown state 'ODD'; its changes as well": 1,
        "The plan has the unknown state ''; its changes as well": 1,
        "The download has no name or no path": 2,
        "The sync has no valid time": 1,
        "The sync has the unknown state 'odd'": 1,
        "The sync has the unknown state ''": 1,
    }


def test_broken_bytes_and_json_of_sqlite_are_reported(
    tmp_path: Path, mirror: Database
) -> None:
    """SQLite takes anything in any column; each row is its own matter."""
    path = tmp_path / "it's 100% odd.db"
    engine = create_engine(f"sqlite:///{path}")
    SCHEMA.create_all(engine)
    engine.dispose()
    deep = "[" * 100_000
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO scene (id, title, organized, analyzed, video_analyzed, "
            "generated) VALUES (1, 'x', 0, 'true', 'nonsense', 7)"
        )
        connection.execute(
            "INSERT INTO analysis_plan (id, name, status, plan_metadata, created_at) "
            "VALUES (1, CAST(x'ff0041' AS TEXT), 'draft', '{broken', 'yesterday')"
        )
        for number, value in enumerate(
            ['{"a"', deep, '"\\u0000A\\ud800"', "NaN", '{"name": "C"}'], 1
        ):
            connection.execute(
                "INSERT INTO plan_change (id, plan_id, scene_id, field, action, "
                "proposed_value, confidence, status) "
                "VALUES (?, 1, 1, 'tags', 'add', ?, 'sure', 'pending')",
                (number, value),
            )
    connection.close()

    with opened_source(str(path)) as source:
        report = take_over(mirror, source, apply=True)

    assert report.left_out["The value is not valid JSON"].count == 2
    assert report.left_out["The value has no name"].count == 1
    with mirror.transaction() as session:
        scene = session.get_one(Scene, 1)
        assert (scene.analyzed, scene.video_analyzed) == (True, False)
        changes = session.scalars(select(PlanChange).order_by(PlanChange.id)).all()
        assert [c.proposed["name"] for c in changes] == ["\ufffdA?", "C"]
        assert {c.confidence for c in changes} == {0.0}
        assert session.scalars(select(AnalysisPlan.name)).one() == "\ufffd\ufffdA"


def test_an_older_schema_is_read(tmp_path: Path, mirror: Database) -> None:
    """Without the column of states and without the later tables."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE scene (id TEXT, title TEXT, analyzed INT);"
            "CREATE TABLE analysis_plan (id INTEGER, name TEXT, status TEXT);"
            "CREATE TABLE plan_change (id INTEGER, plan_id INT, scene_id TEXT, "
            "field TEXT, action TEXT, proposed_value TEXT, accepted INT, rejected INT, "
            "applied INT);"
            "INSERT INTO analysis_plan VALUES (1, 'p', 'COMPLETE');"
        )
        for number, flags in enumerate([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 1)]):
            connection.execute(
                "INSERT INTO plan_change VALUES (?, 1, 1, 'tags', 'add', ?, ?, ?, ?)",
                (number + 1, json.dumps(f"tag {number}"), *flags),
            )
    connection.close()
    with opened_source(f"sqlite:///{path}") as source:
        report = take_over(mirror, source, apply=True)
    assert report.states == {"pending": 1, "approved": 1, "rejected": 1, "applied": 1}
    assert "The database has no table handled_downloads" in report.notes


def test_other_databases_are_refused(
    tmp_path: Path, mirror: Database, empty_database: Database
) -> None:
    """Each with a sentence that says what is wrong."""
    (tmp_path / "text.db").write_text("no database, but long enough to have a header")
    sqlite3.connect(tmp_path / "empty.db").execute(
        "CREATE TABLE x (y)"
    ).connection.close()
    for address, words in [
        (str(tmp_path / "none.db"), "cannot be read.*No such file"),
        (str(tmp_path / "text.db"), "no SQLite database"),
        (f"sqlite:///{tmp_path / 'empty.db'}", "lacks the table scene"),
        (empty_database.connection_string, "lacks the table scene"),
        (mirror.connection_string, "database of StashHog on Prefect"),
        ("postgresql://u:hidden@127.0.0.1:1/x", "cannot be read"),
    ]:
        with (
            pytest.raises(ConfigurationError, match=words) as error,
            opened_source(address),
        ):
            pass
        assert "hidden" not in str(error.value)


def test_an_empty_mirror_is_refused(original: Original, database: Database) -> None:
    """Nothing could be matched, so a sync comes first."""
    with pytest.raises(JobError, match="run `stashhog run sync` first"):
        original.take_over(database)


def test_the_command_shows_what_would_be_done(
    original: Original,
    mirror: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without --apply nothing changes, and the output says so."""
    fill(original)
    monkeypatch.setenv("STASHHOG_DATABASE__URL", mirror.connection_string)
    monkeypatch.setenv("COLUMNS", "120")
    get_settings.cache_clear()
    monkeypatch.setattr(sys, "argv", ["stashhog", "import-stashhog", original.address])
    before = everything(mirror)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    said = capsys.readouterr().out
    assert "Would be new" in said
    assert "The mirror does not have the scene" in said
    assert "Nothing was changed" in said
    assert everything(mirror) == before
