"""Fixtures shared by all tests: clean settings, real PostgreSQL, a stand-in Stash."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.settings import PREFIX, TEST_PREFIX, get_settings

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of the machine reaches a test, and none of a test the next."""
    for name in list(os.environ):
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@contextmanager
def postgres_home() -> Iterator[Path]:
    """Yield an own home for an embedded server, and remove it in the end.

    Not under pytest's folders: another session of pytest takes them away from the
    account that PostgreSQL runs under when root starts it.
    """
    home = Path(tempfile.mkdtemp(prefix="stashhog-postgres-"))
    yield home
    stop_embedded(home)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server for the whole session, with a migrated template."""
    with postgres_home() as home:
        url = start_embedded(home, "template")
        database = Database(url)
        migrate(database)
        database.close()
        yield url


@pytest.fixture
def home() -> Iterator[Path]:
    """An own home, fit for an embedded server."""
    with postgres_home() as home:
        yield home


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An own, migrated, empty database."""
    with _own_database(postgres_url, "template") as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An own, migrated, empty database, opened."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[Database]:
    """An own database without any table, opened."""
    with _own_database(postgres_url, "template0") as url:
        database = Database(url)
        yield database
        database.close()


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """A running stand-in with an empty library; its folder is `stand_in.library`."""
    folder = tmp_path / "stash-library"
    folder.mkdir()
    with StandIn(home=tmp_path / "stash-home", library=folder) as server:
        server.faults.item_seconds = 0
        yield server


@contextmanager
def _own_database(postgres_url: str, template: str) -> Iterator[str]:
    """Create a database from a template, and drop it in the end."""
    name = f"test_{next(_numbers)}"
    server = postgres_url.replace("/template?", "/postgres?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    yield postgres_url.replace("/template?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )
