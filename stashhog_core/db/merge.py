"""Set-wise writes: COPY into a temporary table, then merge what really differs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Table, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Session

Row = Sequence[Any]


@dataclass(frozen=True)
class MergeCounts:
    """Rows created, changed, and left as they were."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: "MergeCounts") -> "MergeCounts":
        return MergeCounts(
            self.created + other.created,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
        )


def merge_rows(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Iterable[Row],
) -> MergeCounts:
    """Insert `rows`, or update those whose primary key exists and that differ.

    Args:
        session: Open session; the caller commits.
        model: The table.
        columns: Names of what each row holds, in order; the primary key among them.
            Other columns keep their value, or get their default in new rows.
        rows: The rows; no primary key twice.
    """
    table = _table(model)
    staged = stage_rows(session, model, columns, rows)
    keys = [column.name for column in table.primary_key]
    values = [name for name in columns if name not in keys]
    names = ", ".join(_quoted(columns))
    action = "DO NOTHING"
    if values:
        assignments = ", ".join(f'"{v}" = EXCLUDED."{v}"' for v in values)
        mine = ", ".join(f'"{table.name}"."{v}"' for v in values)
        theirs = ", ".join(f'EXCLUDED."{v}"' for v in values)
        action = (
            f"DO UPDATE SET {assignments} WHERE ({mine}) IS DISTINCT FROM ({theirs})"
        )
    # All names come from the models, never from data.
    created, updated = session.execute(
        text(
            f'WITH merged AS (INSERT INTO "{table.name}" ({names}) '  # noqa: S608
            f'SELECT {names} FROM "{staged.name}" '
            f"ON CONFLICT ({', '.join(_quoted(keys))}) {action} "
            "RETURNING (xmax = 0) AS created) "
            "SELECT count(*) FILTER (WHERE created), "
            "count(*) FILTER (WHERE NOT created) FROM merged"
        )
    ).one()
    staged.drop(session)
    return MergeCounts(created, updated, staged.count - created - updated)


def replace_children(
    session: Session,
    model: type[DeclarativeBase],
    parent: str,
    parent_ids: Iterable[int],
    columns: Sequence[str],
    rows: Iterable[Row],
) -> int:
    """Make `rows` the only ones of these parents; touch only what differs.

    Args:
        session: Open session; the caller commits.
        model: The table of the children.
        parent: Its column that names the parent.
        parent_ids: Parents whose children are replaced, those without any included.
        columns: Names of what each row holds; the whole primary key among them.
        rows: All children of these parents.

    Returns:
        The number of rows deleted, created or changed.
    """
    table = _table(model)
    rows = list(rows)
    key_columns = [column.name for column in table.primary_key]
    positions = [columns.index(name) for name in key_columns]
    keys = [[row[position] for position in positions] for row in rows]
    staged = stage_rows(session, model, key_columns, keys)
    same = " AND ".join(f's."{name}" = t."{name}"' for name in key_columns)
    deleted = session.execute(
        text(
            f'DELETE FROM "{table.name}" t WHERE t."{parent}" = ANY(:parents) '  # noqa: S608
            f'AND NOT EXISTS (SELECT 1 FROM "{staged.name}" s WHERE {same})'
        ),
        {"parents": list(parent_ids)},
    )
    staged.drop(session)
    counts = merge_rows(session, model, columns, rows)
    return int(deleted.rowcount) + counts.created + counts.updated  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Staged:
    """A temporary table filled by COPY."""

    name: str
    count: int

    def drop(self, session: Session) -> None:
        """Drop it before the transaction ends, so that its name is free again."""
        session.execute(text(f'DROP TABLE "{self.name}"'))


def stage_rows(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Iterable[Row],
) -> Staged:
    """COPY `rows` into a temporary table with the column types of `model`."""
    table = _table(model)
    name = f"staged_{table.name}"
    session.execute(
        text(
            f'CREATE TEMP TABLE "{name}" ON COMMIT DROP AS '  # noqa: S608
            f'SELECT {", ".join(_quoted(columns))} FROM "{table.name}" WITH NO DATA'
        )
    )
    as_json = [isinstance(table.c[column].type, JSONB) for column in columns]
    connection = session.connection().connection.driver_connection
    if connection is None:
        raise RuntimeError("the session has no connection")
    count = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(
            f'COPY "{name}" ({", ".join(_quoted(columns))}) FROM STDIN'
        ) as copy,
    ):
        for row in rows:
            copy.write_row(
                [
                    Jsonb(value) if json and value is not None else value
                    for value, json in zip(row, as_json, strict=True)
                ]
            )
            count += 1
    return Staged(name, count)


def _table(model: type[DeclarativeBase]) -> Table:
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]
