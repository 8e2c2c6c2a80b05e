"""Opening the database that the settings name, and a second one beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.schema import migrate, require_current
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
        try:
            if settings.database.url is None:
                migrate(database)
            else:
                require_current(database)
        except TransientError as error:
            raise ConfigurationError(*error.args) from error
        yield database


@contextmanager
def _named_database(settings: Settings) -> Iterator[Database]:
    configured = settings.database.url
    database = Database(
        configured.get_secret_value()
        if configured
        else start_embedded(settings.home_folder)
    )
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
    url = make_url(database.connection_string)
    name = f"{url.database}_{suffix}"
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
            f"{url.username} ({str(error).strip().splitlines()[0]})",
        ) from error
    return url.set(database=name).render_as_string(hide_password=False)
