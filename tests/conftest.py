"""Fixtures shared by all tests: a clean environment and a real PostgreSQL."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.models import Base
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


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real PostgreSQL server for the whole session, with a migrated template."""
    home = tmp_path_factory.mktemp("postgres-home")
    url = start_embedded(home, "template")
    database = Database(url)
    Base.metadata.create_all(database.engine)
    database.close()
    return url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An own, migrated, empty database."""
    name = f"test_{next(_numbers)}"
    server = postgres_url.replace("/template?", "/postgres?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template").format(sql.Identifier(name))
        )
    yield postgres_url.replace("/template?", f"/{name}?")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An own, migrated, empty database, opened."""
    database = Database(database_url)
    yield database
    database.close()
