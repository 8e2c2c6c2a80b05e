"""The schema's versions: which one a database has, and bringing it up to date."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg import sql

from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION_TABLE = "stashhog_schema"
"""Alembic's default name would collide with Prefect's table in a shared database."""

_VERSION = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))
_MIGRATIONS = Path(__file__).parent / "migrations"
# Any constant will do; it only has to differ from those of the job locks.
_MIGRATION_LOCK = 0x57A5_4806


@dataclass(frozen=True)
class SchemaState:
    """How a database's schema relates to this code.

    `revision` is the database's (None: it has none), `expected` this code's.
    """

    kind: Literal["empty", "older", "current", "newer"]
    revision: str | None
    expected: str


def schema_state(connection: "psycopg.Connection[Any]") -> SchemaState:
    """Return the state of the schema of the database that `connection` is to."""
    expected = latest_revision()
    # Two statements: the table must exist when the second one is read.
    has_table = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL", [VERSION_TABLE]
    ).fetchone()
    found = has_table == (True,) and connection.execute(_VERSION).fetchone()
    if not found:
        return SchemaState("empty", None, expected)
    revision: str = found[0]
    if revision == expected:
        return SchemaState("current", revision, expected)
    return SchemaState(
        "older" if revision in _revisions() else "newer", revision, expected
    )


def migrate(database: Database) -> list[str]:
    """Bring the schema up to date; return the revisions that were applied, in order.

    All or nothing. Processes that migrate at once take turns; all but the first
    find nothing to do.

    Raises:
        ConfigurationError: The schema is newer than this code.
        TransientError: The server does not answer.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    with database.connect() as found:
        if schema_state(found).kind == "current":
            return []
    try:
        with database.engine.begin() as connection:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK}
            )
            return upgrade(connection)
    except OperationalError as error:
        raise TransientError(
            "The database did not answer while its schema was being migrated",
            where=database.address,
            remedy="nothing was changed; try again",
        ) from error


def upgrade(connection: "Connection", target: str = "head") -> list[str]:
    """Migrate within the connection's transaction, up to the revision `target`.

    Returns:
        The revisions that were applied, in order.
    """
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection to the database is closed")
    state = schema_state(driver)
    if state.kind == "newer":
        raise _newer(state)
    # Slow to import, and seldom needed.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, target)
    last = state.expected if target == "head" else target
    return [r for r in _revisions() if (state.revision or "") < r <= last]


def require_current(state: SchemaState, where: str) -> None:
    """Make sure that this code can work with a schema; `where` names the database.

    Raises:
        ConfigurationError: It cannot; says what to do.
    """
    if state.kind == "newer":
        raise _newer(state)
    if state.kind == "empty":
        raise ConfigurationError(
            "The database has no StashHog tables yet",
            where=where,
            remedy="run `stashhog migrate` once",
        )
    if state.kind == "older":
        raise ConfigurationError(
            f"The database's schema {state.revision} is older than this StashHog's "
            f"{state.expected}",
            where=where,
            remedy="stop other StashHog processes, then run `stashhog migrate`",
        )


def _newer(state: SchemaState) -> ConfigurationError:
    return ConfigurationError(
        f"The database's schema {state.revision} is newer than this StashHog, "
        f"which knows up to {state.expected}",
        remedy="update StashHog; a newer version has migrated this database",
    )


def latest_revision() -> str:
    """Return the revision of the schema that this code works with."""
    return _revisions()[-1]


@cache
def _revisions() -> tuple[str, ...]:
    """Return the numbers that the files of the migrations begin with, in order."""
    files = (_MIGRATIONS / "versions").glob("[0-9]*_*.py")
    found = tuple(sorted(path.name.partition("_")[0] for path in files))
    if not found:
        raise RuntimeError(f"no migrations in {_MIGRATIONS}")
    return found
