"""A second database on the server of ours."""

import psycopg
import pytest

from stashhog_core.db.open import sidecar_database
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError


def test_it_is_made_once(empty_database: Database) -> None:
    """The second call finds what the first has made, with what was put into it."""
    url = sidecar_database(empty_database, "other")
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept ()")
        assert sidecar_database(empty_database, "other") == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        drop(empty_database, "other")


def test_who_may_not_make_it_reads_what_to_have_done(
    empty_database: Database,
) -> None:
    """Without the right to make databases, the sentence has the statement to run."""
    name = empty_database.engine.url.database
    role = f"{name}_user"
    run(empty_database, f"CREATE ROLE {role} LOGIN NOCREATEDB")
    url = empty_database.engine.url.set(username=role)
    limited = Database(url.render_as_string(hide_password=False))
    try:
        with pytest.raises(
            ConfigurationError, match=f"CREATE DATABASE {name}_other OWNER {role}"
        ):
            sidecar_database(limited, "other")
    finally:
        limited.close()
        run(empty_database, f"DROP ROLE {role}")


def run(database: Database, statement: str) -> None:
    with psycopg.connect(database.connection_string, autocommit=True) as connection:
        connection.execute(statement)


def drop(database: Database, suffix: str) -> None:
    name = database.engine.url.database
    run(database, f"DROP DATABASE {name}_{suffix} WITH (FORCE)")
