"""A second database on the server of ours, for the tables of another program."""

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError


def database_beside(database: Database, suffix: str) -> str:
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
            remedy=f"have it made: CREATE DATABASE {name} OWNER {url.username} "
            f"({str(error).strip().splitlines()[0]})",
        ) from error
    return url.set(database=name).render_as_string(hide_password=False)
