"""The stand-in's library file: connections, transactions, and the log."""

import json
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.stash.clock import Clock
from sandbox.stash.errors import ApiError

_TABLES = Path(__file__).with_name("tables.sql")
_LOG_ENTRIES = 30

Row = tuple[Any, ...]


class Library:
    """One SQLite file, read by many threads and written by one at a time.

    Args:
        home: Folder of the file; made if missing. A second server on the same folder
            finds the same library.
        clock: Stamps what is written.
    """

    def __init__(self, home: Path, clock: Clock) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.clock = clock
        self._path = home / "library.sqlite"
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._writing = threading.RLock()
        self._log: deque[dict[str, str]] = deque(maxlen=_LOG_ENTRIES)
        connection = self._connection
        tables = _TABLES.read_text(encoding="utf-8")
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            connection.executescript(tables)
        _add_new_columns(connection, tables)

    @property
    def generated(self) -> Path:
        """Folder of what generate jobs write."""
        return self.home / "generated"

    @property
    def path(self) -> Path:
        """The library's file."""
        return self._path

    def close(self) -> None:
        """Close all connections. No request or job may be running."""
        with self._opening:
            for connection in self._open:
                connection.close()
            self._open.clear()
            self._local = threading.local()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a query.

        Raises:
            ApiError: SQLite refuses it; the message has the shape Stash's has.
        """
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _refused(sql, values, error) from error

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row; None when there is no row."""
        rows = self.rows(sql, values)
        return rows[0][0] if rows else None

    def ids(self, sql: str, values: Sequence[Any] = ()) -> list[int]:
        """Return the first column of all rows."""
        return [row[0] for row in self.rows(sql, values)]

    @contextmanager
    def transaction(self) -> Iterator["Writer"]:
        """Write all or nothing. Readers see the state before until the end."""
        with self._writing:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Writer(self, connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def maintain(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement on the whole file, outside of any transaction.

        Raises:
            ApiError: SQLite refuses it.
        """
        with self._writing:
            try:
                self._connection.execute(sql, values)
            except sqlite3.Error as error:
                raise ApiError(f"vacuum failed: {error}") from error

    def log(self, level: str, message: str) -> None:
        """Remember a line; the last 30 are kept, as long as the server runs."""
        self._log.appendleft(
            {"time": self.clock.now_exactly(), "level": level, "message": message}
        )

    def logs(self) -> list[dict[str, str]]:
        """Return the remembered lines, newest first."""
        return list(self._log)

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=30
            )
            connection.execute("PRAGMA journal_mode = WAL")
            # A stand-in need not survive a power cut.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA case_sensitive_like = OFF")
            connection.create_function("REGEXP", 2, _regexp, deterministic=True)
            with self._opening:
                self._open.append(connection)
            self._local.connection = connection
        return connection


class Writer:
    """The open transaction of a `Library`."""

    def __init__(self, library: Library, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.library = library
        self.now = library.clock.now()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; return how many rows it changed.

        Raises:
            ApiError: SQLite refuses it; the message has the shape Stash's has.
        """
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise _refused(sql, values, error) from error

    def many(self, sql: str, rows: Iterable[Row]) -> None:
        """Run a statement for each of many rows."""
        self._connection.executemany(sql, rows)

    def insert(self, table: str, values: dict[str, Any]) -> int:
        """Insert a row; return its id."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        try:
            cursor = self._connection.execute(sql, list(values.values()))
        except sqlite3.Error as error:
            raise _refused(sql, list(values.values()), error) from error
        return cursor.lastrowid or 0

    def update(self, table: str, ids: Iterable[int], values: dict[str, Any]) -> int:
        """Set columns of the rows with these ids; return how many there were."""
        names = ", ".join(f"{name} = ?" for name in values)
        return self.run(
            f"UPDATE {table} SET {names} WHERE id IN (SELECT value FROM json_each(?))",
            [*values.values(), json.dumps(list(ids))],
        )

    def replace_list(
        self, table: str, owner: str, owner_id: int, rows: Iterable[dict[str, Any]]
    ) -> None:
        """Make these the only rows of `table` that belong to one owner."""
        self.run(f"DELETE FROM {table} WHERE {owner} = ?", [owner_id])
        for row in rows:
            self.insert(table, {owner: owner_id, **row})


def _add_new_columns(connection: sqlite3.Connection, tables: str) -> None:
    """Give a library of an earlier version the columns that were added since."""
    columns = 'SELECT name, type, "notnull", dflt_value FROM pragma_table_info(?)'
    with sqlite3.connect(":memory:") as model:
        model.executescript(tables)
        names = model.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in names.fetchall():
            known = {row[0] for row in connection.execute(columns, [table])}
            for name, kind, required, default in model.execute(columns, [table]):
                if known and name not in known:
                    rule = f" NOT NULL DEFAULT {default}" if required else ""
                    connection.execute(
                        f"ALTER TABLE {table} ADD COLUMN {name} {kind}{rule}"
                    )
    model.close()


def _refused(sql: str, values: Sequence[Any], error: sqlite3.Error) -> ApiError:
    shown = " ".join(str(value) for value in values)
    return ApiError(f"error executing `{sql}` [[{shown}]]: {error}")


def _regexp(pattern: str, text: str | None) -> bool:
    return text is not None and re.search(pattern, text) is not None
