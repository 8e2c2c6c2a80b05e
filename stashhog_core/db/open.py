"""Opening the database that the settings name, and a second one beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from stashhog_core.db.address import read_address
from stashhog_core.db.schema import migrate, require_current, schema_state
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.settings import Settings


@contextmanager
def connect_database(settings: Settings) -> Iterator[Database]:
    """Yield the database whatever its schema is; for `migrate` and diagnosis.

    Raises:
        ConfigurationError: The server does not answer, or the embedded one does
            not start.
    """
    with _named_database(settings) as database:
        database.check()
        yield database


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Yield the database, ready for use.

    The embedded server is migrated by itself; a server of one's own only by command,
    since others may still run on its schema.

    Raises:
        ConfigurationError: The server does not answer, or its schema is missing,
            older or newer than this code; says what to do.
    """
    with _named_database(settings) as database:
        _ready_connection(settings, database).close()
        yield database


@contextmanager
def open_connection(settings: Settings) -> "Iterator[psycopg.Connection[Any]]":
    """Yield one connection, in autocommit mode, to the database, ready for use.

    For programs that read little and start often: SQLAlchemy, which takes longer to
    import than such a program runs, is imported only if the schema is to be migrated.

    Raises:
        ConfigurationError: As in `open_database`.
        TransientError: The server went away.
    """
    with (
        _named_database(settings) as database,
        _ready_connection(settings, database) as connection,
        database.translated(),
    ):
        yield connection


def _ready_connection(
    settings: Settings, database: Database
) -> "psycopg.Connection[Any]":
    """Return a connection to the database, migrated if it is the embedded one."""
    try:
        connection = database.connect()
        try:
            with database.translated():
                state = schema_state(connection)
            if state.kind != "current" and settings.database.url is None:
                migrate(database)
            else:
                require_current(state, database.address)
        except BaseException:
            connection.close()
            raise
    except TransientError as error:
        raise ConfigurationError(*error.args) from error
    return connection


@contextmanager
def _named_database(settings: Settings) -> Iterator[Database]:
    if settings.database.url is not None:
        url = settings.database.url.get_secret_value()
    else:
        from stashhog_core.db.embedded import start_embedded

        url = start_embedded(settings.home_folder)
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def sidecar_database(database: Database, suffix: str) -> str:
    """Make the database `<name>_<suffix>` unless it exists; return its address.

    Safe when two processes try at once.

    Raises:
        ConfigurationError: The server does not answer, or the user may not make it.
    """
    here = read_address(database.connection_string)
    there = here.named(f"{here.name}_{suffix}")
    name = there.name
    try:
        with database.connect() as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
            if not found:
                statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                connection.execute(statement)
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        pass  # Another process was first.
    except TransientError as error:
        raise ConfigurationError(*error.args) from error
    except psycopg.Error as error:
        raise ConfigurationError(
            f"The database {name} cannot be made",
            where=database.address,
            remedy=f"create the database: CREATE DATABASE {name} OWNER "
            f"{here.user} ({str(error).strip().splitlines()[0]})",
        ) from error
    return there.text
