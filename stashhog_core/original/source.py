"""The database of the original StashHog, in PostgreSQL or SQLite, read only.

Both kinds give the same rows: JSON and times as text, whatever stands in them.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from stashhog_core.db.address import first_line
from stashhog_core.errors import ConfigurationError
from stashhog_core.redaction import remember_address

OWN_TABLE = "stashhog_schema"
"""A table that this product's database has, and the original's has not."""

_NEEDED = ("scene", "analysis_plan", "plan_change")
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]+)")
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+\w+)?://")
_SQLITE_HEADER = b"SQLite format 3\0"
_AS_TEXT = ("json", "jsonb", "timestamptz", "timestamp")
_ROWS_PER_FETCH = 2000

Row = Mapping[str, Any]


class Source(Protocol):
    """The original's database, as it is at one moment."""

    def tables(self) -> frozenset[str]:
        """Return the names of the tables."""

    def rows(self, table: str, column: str = "", value: int = 0) -> Iterator[Row]:
        """Yield the rows of a table by id; with a column, those that have the value."""


@contextmanager
def opened_source(address: str) -> Iterator[Source]:
    """Yield the original's database.

    Args:
        address: `postgresql://…`, `sqlite:///path`, or the path of an SQLite file. The
            original's own forms, such as `postgresql+asyncpg://…`, are accepted.

    Raises:
        ConfigurationError: It cannot be opened or read, or is no database of the
            original.
    """
    where = address
    try:
        if _POSTGRES.match(address):
            remember_address(address)
            where = address.rpartition("@")[2]
            url = _POSTGRES.sub("postgresql://", address, count=1)
            with _opened_postgres(url) as found:
                yield _checked(found, where)
        else:
            match = _SQLITE.match(address)
            path = Path(unquote(match["path"]) if match else address).expanduser()
            where = str(path)
            with _opened_sqlite(path) as found:
                yield _checked(found, where)
    except (psycopg.Error, sqlite3.Error, OSError) as error:
        raise ConfigurationError(
            "The database of the original StashHog cannot be read",
            where=where,
            remedy=f"check the address ({first_line(error)})",
        ) from error


def _checked(source: Source, where: str) -> Source:
    tables = source.tables()
    if OWN_TABLE in tables:
        raise ConfigurationError(
            "This is a database of StashHog on Prefect, not of the original StashHog",
            where=where,
            remedy="name the database that the original StashHog used",
        )
    if missing := [name for name in _NEEDED if name not in tables]:
        raise ConfigurationError(
            f"This is no database of StashHog: it lacks the table {missing[0]}",
            where=where,
            remedy="name the database that the original StashHog used",
        )
    return source


class _Postgres:
    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def tables(self) -> frozenset[str]:
        found = self._connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v', 'p') "
            "AND pg_table_is_visible(oid)"
        ).fetchall()
        return frozenset(name for (name,) in found)

    def rows(self, table: str, column: str = "", value: int = 0) -> Iterator[Row]:
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
        if column:
            query += sql.SQL(" WHERE {} = {}").format(sql.Identifier(column), value)
        query += sql.SQL(" ORDER BY id")
        with self._connection.cursor(f"rows of {table}", row_factory=dict_row) as rows:
            rows.itersize = _ROWS_PER_FETCH
            rows.execute(query)
            yield from rows


@contextmanager
def _opened_postgres(url: str) -> Iterator[Source]:
    with psycopg.connect(url, connect_timeout=10) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # A moment such as infinity, or one in another style, must not end the import.
        for kind in _AS_TEXT:
            connection.adapters.register_loader(kind, TextLoader)
        connection.execute("SET datestyle = 'ISO'")
        yield _Postgres(connection)
        connection.rollback()


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> frozenset[str]:
        found = self._connection.execute("SELECT name FROM sqlite_schema")
        return frozenset(row["name"] for row in found)

    def rows(self, table: str, column: str = "", value: int = 0) -> Iterator[Row]:
        # The names are this module's and its callers' own.
        where = f' WHERE "{column}" = ?' if column else ""
        found = self._connection.execute(
            f'SELECT * FROM "{table}"{where} ORDER BY id',  # noqa: S608
            (value,) if column else (),
        )
        yield from map(dict, found)


@contextmanager
def _opened_sqlite(path: Path) -> Iterator[Source]:
    with path.open("rb") as file:
        if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
            raise ConfigurationError(
                "The file is no SQLite database",
                where=str(path),
                remedy="name the database file of the original StashHog, such as "
                "stashhog.db, or an address postgresql://user:password@host/name",
            )
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        # SQLite stores any bytes as text.
        connection.text_factory = lambda data: data.decode(errors="replace")
        connection.execute("BEGIN")
        yield _Sqlite(connection)
    finally:
        with suppress(sqlite3.Error):
            connection.rollback()
        connection.close()
