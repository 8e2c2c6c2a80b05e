"""Fixtures shared by all tests: clean settings, real PostgreSQL, a stand-in Stash."""

import fcntl
import gc
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import hypothesis
import psycopg
import pytest
from psycopg import sql

from sandbox.samples import Sample, make_samples
from sandbox.stash.server import StandIn
from stashhog_core import redaction
from stashhog_core.db.embedded import start_embedded, stop_embedded, stop_unused
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.settings import PREFIX, TEST_PREFIX, get_settings
from tests.support.process_state import process_state, restore

# Modules and tests stay: looking for garbage meanwhile is a quarter of the time that
# it takes to import and collect them.
gc.disable()

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would
# the programs that they start, which are then never ended by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how fast the machine is.
hypothesis.settings.register_profile(
    "any speed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any speed")

_numbers = itertools.count(1)

# Folders of tests, those with the longest files first.
_FOLDERS = (
    "containers",
    "chaos",
    "fuzz",
    "model",
    "workflow",
    "integration",
    "project",
    "unit",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long files first: no process is left with one when the others are done.

    How long a file may take is known of its tests' own limits of time.
    """
    lengths: Counter[Path] = Counter()
    for item in items:
        limit = item.get_closest_marker("timeout")
        lengths[item.path] += limit.args[0] if limit else 0
    items.sort(
        key=lambda item: (
            _FOLDERS.index(item.path.parent.name),
            -lengths[item.path],
            item.path,
        )
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Have no search for garbage look at the modules and tests again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """Fail the test that leaves this process other than it was, and put it right."""
    before = process_state()
    yield
    after = process_state()
    restore(before)
    changed = [
        f"{name}: {before.get(name)!r} became {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if changed:
        pytest.fail(f"The next tests would find another process: {changed}")


@pytest.fixture(autouse=True)
def clean_settings(
    unchanged_process: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """No setting of the machine reaches a test, and none of a test the next."""
    del unchanged_process
    for name in list(os.environ):
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stashhog_core.settings.PROJECT", tmp_path / "project")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()
    # Else a word that was one test's password is `***` in the texts of the next.
    redaction.forget()


@contextmanager
def postgres_home() -> Iterator[Path]:
    """Yield an own home for an embedded server, and remove it in the end.

    Not under pytest's folders: another session of pytest takes them away from the
    account that PostgreSQL runs under when root starts it.
    """
    home = Path(tempfile.mkdtemp(prefix="stashhog-postgres-"))
    yield home
    stop_embedded(home)
    left = stop_unused(home)
    assert not left, f"processes still use the server: {left}"
    shutil.rmtree(home)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the session that all processes that run the tests share."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that one of the processes that run the tests makes for all."""
    shared = shared_folder(factory)
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(shared / f"{name}.part")
            (shared / f"{name}.part").rename(folder)
    return folder


@pytest.fixture(scope="session")
def sample_videos(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[Sample]]:
    """The sandbox's sample videos, and what they are."""
    made = _made_once(tmp_path_factory, "samples", make_samples)
    folder = tmp_path_factory.mktemp("samples")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder, make_samples(folder)


@pytest.fixture(scope="session")
def migrated_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a PostgreSQL server with both databases: ours, and Prefect's.

    Prefect's migrations take seconds: a home that is not about them gets a copy.
    """

    def make(folder: Path) -> None:
        with postgres_home() as home:
            _migrate_both(home)
            copy_cluster(home / "postgres", folder)

    return _made_once(tmp_path_factory, "clusters", make) / "postgres"


def _migrate_both(home: Path) -> None:
    database = Database(start_embedded(home))
    migrate(database)
    database.close()
    url = start_embedded(home, "prefect")
    _do_not_wait_for_disks(url)
    upgrade = ("prefect", "server", "database", "upgrade", "--yes")
    address = url.replace("postgresql://", "postgresql+asyncpg://")
    subprocess.run(
        [sys.executable, "-m", *upgrade],
        env=os.environ
        | {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_DATABASE_CONNECTION_URL": address,
        },
        check=True,
        capture_output=True,
    )
    stop_embedded(home)


def copy_cluster(cluster: Path, home: Path) -> None:
    """Have an embedded server under `home` start with the databases of a cluster."""
    home.mkdir(parents=True, exist_ok=True)
    # Its files belong to the account that PostgreSQL runs under.
    subprocess.run(["cp", "-a", cluster, home / "postgres"], check=True)


@pytest.fixture(scope="session")
def postgres_files() -> Iterator[Path]:
    """The home of the PostgreSQL server of the session."""
    with postgres_home() as home:
        yield home


@pytest.fixture(scope="session")
def postgres_url(postgres_files: Path) -> str:
    """A real PostgreSQL server for the whole session, with a migrated template."""
    url = start_embedded(postgres_files, "template")
    database = Database(url)
    migrate(database)
    database.close()
    _do_not_wait_for_disks(url)
    return url


def _do_not_wait_for_disks(postgres_url: str) -> None:
    """Nothing on the server outlives the session."""
    with _server(postgres_url) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def used_database(postgres_url: str) -> Iterator["UsedDatabase"]:
    """The database that the tests use one after another."""
    used = UsedDatabase(postgres_url)
    yield used
    used.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """An own home, fit for an embedded server."""
    with postgres_home() as home:
        yield home


@pytest.fixture
def database_url(used_database: "UsedDatabase") -> Iterator[str]:
    """An own, migrated, empty database."""
    yield used_database.url
    used_database.empty()


@pytest.fixture
def database(used_database: "UsedDatabase", database_url: str) -> Iterator[Database]:
    """An own, migrated, empty database, opened."""
    del database_url
    yield used_database.opened
    used_database.opened.close()


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[Database]:
    """An own database without any table, opened."""
    name = _create_database(postgres_url, "template0")
    database = Database(_url_of(postgres_url, name))
    yield database
    database.close()
    _drop_database(postgres_url, name)


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """A running stand-in with an empty library; its folder is `stand_in.library`."""
    folder = tmp_path / "stash-library"
    folder.mkdir()
    with StandIn(home=tmp_path / "stash-home", library=folder) as server:
        server.faults.item_seconds = 0
        yield server


class UsedDatabase:
    """One database, emptied after each test: making one anew writes 20 MB to disk."""

    def __init__(self, postgres_url: str) -> None:
        self._postgres_url = postgres_url
        self._make()

    def _make(self) -> None:
        self._name = _create_database(self._postgres_url, "template")
        self.url = _url_of(self._postgres_url, self._name)
        # One object for all tests: it keeps the statements that it has compiled.
        self.opened = Database(self.url)
        self._connection = self._connect()
        self._schema = _schema(self._connection)

    def _connect(self) -> psycopg.Connection[Any]:
        """Open what lasts for all tests: a new connection reads the catalogs anew."""
        return psycopg.connect(self.url, autocommit=True)

    def remove_rows(self) -> None:
        """Remove all rows, faster than TRUNCATE, which makes each table a new file."""
        self._execute(_REMOVE_ROWS)

    def empty(self) -> None:
        """Remove all rows; a test that changed the schema makes a new database due."""
        self._execute(_END_OTHERS)
        if _schema(self._connection) == self._schema:
            self.remove_rows()
            return
        self.close()
        _drop_database(self._postgres_url, self._name)
        self._make()

    def _execute(self, statement: LiteralString) -> None:
        try:
            self._connection.execute(statement)
        except psycopg.OperationalError:
            # The test has ended all connections, or the server.
            self._connection = self._connect()
            self._connection.execute(statement)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


_END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# Foreign keys are not looked at: in the end no row is left on either side.
_REMOVE_ROWS = """
DO $$
DECLARE name text; used boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN
        SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname <> 'stashhog_schema'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO used;
        IF used THEN EXECUTE format('DELETE FROM %s', name); END IF;
    END LOOP;
    FOR name IN
        SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences
        WHERE last_value IS NOT NULL
    LOOP
        EXECUTE format('ALTER SEQUENCE %s RESTART', name);
    END LOOP;
END $$
"""


def _schema(connection: psycopg.Connection[Any]) -> Any:
    """Return what tells a changed schema from the migrated one."""
    query = """
        SELECT (SELECT string_agg(version_num, ',') FROM stashhog_schema),
            (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute),
            (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_proc)
    """
    return connection.execute(query).fetchone()


def _create_database(postgres_url: str, template: str) -> str:
    name = f"test_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with _server(postgres_url) as connection:
        connection.execute(
            statement.format(sql.Identifier(name), sql.Identifier(template))
        )
    return name


def _drop_database(postgres_url: str, name: str) -> None:
    statement = sql.SQL("DROP DATABASE {} WITH (FORCE)")
    with _server(postgres_url) as connection:
        connection.execute(statement.format(sql.Identifier(name)))


def _server(postgres_url: str) -> psycopg.Connection[Any]:
    """Connect to the server, outside of the databases of the tests."""
    return psycopg.connect(_url_of(postgres_url, "postgres"), autocommit=True)


def _url_of(postgres_url: str, name: str) -> str:
    return re.sub(r"/\w+\?", f"/{name}?", postgres_url, count=1)
