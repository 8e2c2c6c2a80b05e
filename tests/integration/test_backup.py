"""Backup and restore: what comes back, what is refused, what a kill leaves."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from stashhog.cli.app import main
from stashhog.services.backup import MANIFEST, OURS, back_up, read_backup, restore
from stashhog_core.db.address import read_address
from stashhog_core.db.dump import REPLACED, RESTORING, Replacement, exists
from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import AnalysisPlan, DownloadItem, PlanChange, Scene
from stashhog_core.db.open import open_database
from stashhog_core.db.schema import latest_revision, upgrade
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.settings import DatabaseSettings, Settings, get_settings
from tests.conftest import copy_cluster
from tests.support.processes import crash, postmaster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

Homes = Callable[[], Path]


@pytest.fixture
def filled(home: Path, migrated_cluster: Path) -> Settings:
    """A home with both databases, and rows whose values are easily damaged."""
    copy_cluster(migrated_cluster, home)
    settings = Settings(home=home)
    fill(settings)
    with psycopg.connect(start_embedded(home, "prefect")) as connection:
        connection.execute("INSERT INTO variable (name, value) VALUES ('a', '\"1\"')")
    return settings


def fill(settings: Settings) -> None:
    with open_database(settings) as database, database.transaction() as session:
        session.add(
            Scene(
                id=7,
                title="Tab\tline\nback\\slash 'quote' \"x\" \\N {},é 東京 🎬",
                urls=["a,b", '"', "\\", ""],
                stash_ids=[{"x": None, "y": [1.5, True]}],
                last_played_at=datetime(1, 1, 2, tzinfo=UTC),
                content=-(2**63),
                generated=True,
            )
        )
        plan = AnalysisPlan(name="[bold]plan", detectors={}, facts={"ü": "\\u0041"})
        session.add(plan)
        session.flush()
        session.add(
            PlanChange(
                plan_id=plan.id,
                scene_id=7,
                field="tags",
                action="add",
                value_key="x",
                proposed={"name": "x"},
                confidence=0.1 + 0.2,
                detector="test",
                evidence={},
            )
        )
        session.add(
            DownloadItem(
                source="folder",
                entry_key="k",
                entry_name="\\xff",
                relative_path="",
                size_bytes=2**62,
            )
        )


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, as text, and where its sequences are."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        sequences = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        ).fetchall()
        return {"": sequences} | {
            name: connection.execute(
                sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.SQL(name))
            ).fetchall()
            for (name,) in tables
        }


def both(home: Path) -> list[dict[str, list[tuple[Any, ...]]]]:
    return [contents(start_embedded(home, name)) for name in ("stashhog", "prefect")]


def without_sequences(home: Path) -> list[dict[str, list[tuple[Any, ...]]]]:
    """Return what both databases hold; a crash lets sequences skip numbers."""
    return [{name: rows for name, rows in each.items() if name} for each in both(home)]


@contextmanager
def another_home() -> Iterator[Path]:
    from tests.conftest import postgres_home

    with postgres_home() as other:
        yield other


def names(url: str) -> set[str]:
    """Return the databases of a server."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {name for (name,) in rows}


def stashhog(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stashhog", *words])
    get_settings.cache_clear()
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_what_was_backed_up_comes_back_in_an_empty_home(
    filled: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every row of both databases, the settings and the key of the pages.

    All that is written is for its owner alone. A second restore is refused.
    """
    before = both(filled.home)
    (tmp_path / ".env").write_text("STASHHOG_STASH__API_KEY=secret-key\n")
    monkeypatch.setenv("STASHHOG_HOME", str(filled.home))
    assert stashhog(monkeypatch, "backup", str(tmp_path)) == 0
    (file,) = tmp_path.glob("stashhog-*.zip")
    assert str(file) in capsys.readouterr().out.replace("\n", "")

    with another_home() as other:
        (tmp_path / ".env").unlink()
        monkeypatch.setenv("STASHHOG_HOME", str(other))
        assert stashhog(monkeypatch, "restore", str(file)) == 0, capsys.readouterr()
        token, old_token = other / "web" / "token", filled.home / "web" / "token"
        assert both(other) == before
        assert token.read_text() == old_token.read_text()
        assert (tmp_path / ".env").read_text() == "STASHHOG_STASH__API_KEY=secret-key\n"
        for private in (file, token, tmp_path / ".env"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o600
        assert names(start_embedded(other)).isdisjoint(
            {f"stashhog{RESTORING}", f"stashhog{REPLACED}", f"prefect{RESTORING}"}
        )

        assert stashhog(monkeypatch, "restore", str(file)) == 2
        assert "There is data already: 1 scene, 1 plan" in capsys.readouterr().err
        with (
            open_database(Settings(home=other)) as database,
            database.transaction() as session,
        ):
            session.add(AnalysisPlan(name="new", detectors={}, facts={}))
        assert stashhog(monkeypatch, "restore", "--replace", str(file)) == 0
        assert both(other) == before


def test_settings_that_are_there_stay(
    filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup's come to lie beside them, for their owner alone."""
    (tmp_path / ".env").write_text("STASHHOG_STASH__URL=http://old\n")
    monkeypatch.setenv("STASHHOG_HOME", str(filled.home))
    file = tmp_path / "b.zip"
    assert stashhog(monkeypatch, "backup", str(file)) == 0
    (tmp_path / ".env").write_text("STASHHOG_STASH__URL=http://new\n")

    assert stashhog(monkeypatch, "restore", "--replace", str(file)) == 0

    beside = tmp_path / ".env.restored"
    assert (tmp_path / ".env").read_text() == "STASHHOG_STASH__URL=http://new\n"
    assert beside.read_text() == "STASHHOG_STASH__URL=http://old\n"
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".env.*part")) == []


RESTORE = """
import sys
from pathlib import Path
from stashhog.services.backup import restore
from stashhog_core.settings import Settings
restore(Settings(home=Path(sys.argv[1])), Path(sys.argv[2]), replace=True)
"""


def test_a_killed_restore_leaves_the_old_state(
    filled: Settings, tmp_path: Path
) -> None:
    """Both databases are as they were, and the next restore succeeds.

    The kill comes when all is restored under other names and is about to be renamed.
    """
    file, _ = back_up(filled, tmp_path / "b.zip")
    with open_database(filled) as database, database.transaction() as session:
        session.add(Scene(id=8, title="newer than the backup"))
    before = both(filled.home)
    url = start_embedded(filled.home)
    # Whoever is connected keeps the rename waiting.
    with psycopg.connect(url, autocommit=True) as guest:
        program = subprocess.Popen(
            [sys.executable, "-c", RESTORE, str(filled.home), str(file)]
        )

        def renames() -> bool:
            rows = guest.execute(
                "SELECT query FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%'"
                " AND state = 'active'"
            ).fetchall()
            return bool(rows)

        wait_until(renames, lambda: "the rename")
        assert f"prefect{RESTORING}" in names(url)
        program.send_signal(signal.SIGKILL)
        program.wait()
    assert both(filled.home) == before

    restore(filled, file, replace=True)

    with open_database(filled) as database, database.transaction() as session:
        assert session.get(Scene, 8) is None
        assert session.get(Scene, 7) is not None
    assert f"prefect{RESTORING}" not in names(url)


def test_a_killed_backup_leaves_no_file_of_that_name(
    filled: Settings, tmp_path: Path
) -> None:
    """The earlier backup stays, and the next one is written."""
    file = tmp_path / "b.zip"
    file.write_bytes(b"earlier")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from stashhog.services import backup\n"
        "from stashhog_core.settings import Settings\n"
        "sys.addaudithook(lambda event, _: event == 'subprocess.Popen'"
        " and 'pg_dump' in str(_) and os.kill(os.getpid(), signal.SIGKILL))\n"
        "backup.back_up(Settings(home=Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(filled.home), str(file)], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert file.read_bytes() == b"earlier"

    back_up(filled, file)

    assert OURS in read_backup(file).parts
    assert sorted(path.name for path in tmp_path.glob("*b*")) == ["b.zip"]


def test_nothing_is_backed_up_while_a_job_runs(
    filled: Settings, tmp_path: Path
) -> None:
    """The refusal names the job; with a wait, the backup comes when the job has ended.

    A restore is refused as well.
    """
    file, _ = back_up(filled, tmp_path / "b.zip")
    ended = threading.Event()
    begun = threading.Event()

    def work() -> None:
        with open_database(filled) as database, job_lock(database, "sync"):
            begun.set()
            ended.wait()

    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    try:
        with pytest.raises(TransientError, match=r"Runs are active.*stashhog sync"):
            back_up(filled, tmp_path / "c.zip")
        assert not (tmp_path / "c.zip").exists()
        with pytest.raises(TransientError, match=r"Runs are active.*stashhog sync"):
            restore(filled, file, replace=True)
        threading.Timer(0.5, ended.set).start()
        path, _ = back_up(filled, tmp_path / "c.zip", wait_seconds=300)
        assert path.exists()
    finally:
        ended.set()
        worker.join()


def test_a_restore_below_other_programs_is_refused(
    filled: Settings, tmp_path: Path
) -> None:
    """Nothing changes while anybody is connected to a database."""
    file, _ = back_up(filled, tmp_path / "b.zip")
    before = both(filled.home)
    with (
        psycopg.connect(start_embedded(filled.home, "prefect")),
        pytest.raises(ConfigurationError, match="Other programs are connected"),
    ):
        restore(filled, file, replace=True)
    assert both(filled.home) == before


def test_what_a_killed_restore_still_does_is_ended(
    filled: Settings, tmp_path: Path
) -> None:
    """PostgreSQL goes on with the last statement of a restore that was killed."""
    file, _ = back_up(filled, tmp_path / "b.zip")
    left = start_embedded(filled.home, f"stashhog{RESTORING}")
    with psycopg.connect(left) as connection:
        restore(filled, file, replace=True)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_restore_whose_server_dies_says_so_in_a_sentence(
    filled: Settings, tmp_path: Path
) -> None:
    """The old databases stay, and what was half restored goes with the next restore."""
    file, _ = back_up(filled, tmp_path / "b.zip")
    before = without_sequences(filled.home)
    url = start_embedded(filled.home)

    def lose_server() -> None:
        with (
            zipfile.ZipFile(file) as archive,
            archive.open(OURS) as source,
            Replacement(url, ["stashhog"]) as replacement,
        ):
            crash(postmaster(filled.home))
            replacement.restore("stashhog", source)

    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        lose_server()
    assert without_sequences(filled.home) == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda data: data[:-100], "no backup of StashHog", id="cut off"),
        pytest.param(
            lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
            "is damaged",
            id="one bit",
        ),
        pytest.param(lambda data: b"", "no backup of StashHog", id="empty"),
    ],
)
def test_a_damaged_backup_is_refused(
    filled: Settings, tmp_path: Path, damage: Callable[[bytes], bytes], words: str
) -> None:
    """One changed bit is enough, and nothing is changed."""
    file, _ = back_up(filled, tmp_path / "b.zip")
    file.write_bytes(damage(file.read_bytes()))
    before = both(filled.home)
    with pytest.raises(ConfigurationError, match=words):
        restore(filled, file, replace=True)
    assert both(filled.home) == before


@pytest.mark.parametrize(
    "newer", [{"schema": "9999"}, {"prefect": "99.1.0"}, {"format": 2}]
)
def test_a_backup_of_a_newer_version_is_refused(
    filled: Settings, tmp_path: Path, newer: dict[str, object]
) -> None:
    """The sentence says which version made the backup, and what to do."""
    file, _ = back_up(filled, tmp_path / "b.zip")
    changed = tmp_path / "c.zip"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == MANIFEST:
                facts = json.loads(content) | {"stashhog": "99.0"} | newer
                content = json.dumps(facts).encode()
            new.writestr(name, content)
    with pytest.raises(
        ConfigurationError, match=r"made by StashHog 99.0, which is newer.*update"
    ):
        restore(filled, changed, replace=True)


def test_a_backup_of_an_older_version_is_migrated(
    home: Path, tmp_path: Path, empty_database: Database
) -> None:
    """The restored tables are this version's, and the restore says so."""
    old = "0012"
    with empty_database.engine.begin() as connection:
        upgrade(connection, old)
        connection.exec_driver_sql("INSERT INTO scene (id, title) VALUES (7, 'old')")
    from stashhog_core.db.dump import dump

    file = tmp_path / "b.zip"
    facts = {
        "format": 1,
        "made_at": "2026-11-01T00:00:00+00:00",
        "stashhog": "0.0.9",
        "schema": old,
        "prefect": None,
        "parts": [OURS],
        "notes": [],
    }
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open(OURS, "w") as part:
            dump(empty_database.connection_string, part)
        archive.writestr(MANIFEST, json.dumps(facts))

    said = restore(Settings(home=home), file)

    assert f"from {old} to {latest_revision()}" in " ".join(said)
    with (
        open_database(Settings(home=home)) as database,
        database.transaction() as session,
    ):
        scene = session.get(Scene, 7)
        assert scene is not None
        assert scene.title == "old"


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A role of a server of one's own that owns no more than its databases."""
    name = f"role_{os.getpid()}"
    with database.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'p%w'")
        yield name
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", [name]
        ).fetchall()
        for (owned,) in rows:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(owned))
            )
        connection.execute(f"DROP ROLE {name}")


def test_a_server_of_ones_own_is_restored_by_an_ordinary_user(
    database: Database, role: str, tmp_path: Path
) -> None:
    """A user that may make databases needs no more; else the sentence says what."""
    name = f"own_{os.getpid()}"
    server = read_address(database.connection_string)
    address = replace(server, name=name, user=role, password="p%w")
    url, prefect_url = address.text, address.named(f"{name}_prefect").text
    settings = Settings(
        home=tmp_path / "home", database=DatabaseSettings.model_validate({"url": url})
    )
    with database.connect() as connection:
        for made in (name, f"{name}_prefect"):
            connection.execute(
                f"CREATE DATABASE {made} OWNER {role} TEMPLATE template0 "
                "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C'"
            )
        own = Database(url)
        with own.engine.begin() as there:
            upgrade(there)
        own.close()
        fill(settings)
        with psycopg.connect(prefect_url) as prefect:
            prefect.execute("CREATE EXTENSION pg_trgm")
            prefect.execute("CREATE TABLE kept AS SELECT 1 AS x")
        before = contents(url)
        file, facts = back_up(settings, tmp_path / "b.zip")
        assert facts.parts[:2] == (OURS, "prefect.dump")

        restore(settings, file, replace=True)

        assert contents(url) == before
        row = connection.execute(
            "SELECT datlocale, pg_get_userbyid(datdba) FROM pg_database "
            "WHERE datname = %s",
            [name],
        ).fetchone()
        assert row == ("C", role)
        assert exists(connection, f"{name}_prefect")

        connection.execute(f"ALTER ROLE {role} NOCREATEDB")
        with pytest.raises(ConfigurationError, match=f"ALTER ROLE {role} CREATEDB"):
            restore(settings, file, replace=True)
        assert contents(url) == before


def test_a_database_of_prefect_of_ones_own_is_left_alone(
    filled: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The backup says that it lacks that database, and how to back it up."""
    monkeypatch.setenv("STASHHOG_HOME", str(filled.home))
    monkeypatch.setenv(
        "PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://u:p@db/own"
    )
    assert stashhog(monkeypatch, "backup", str(tmp_path / "b.zip")) == 0
    assert "back it up with pg_dump" in capsys.readouterr().out.replace("\n", " ")
    assert "prefect.dump" not in read_backup(tmp_path / "b.zip").parts
