"""Set-wise writes: COPY into a temporary table, then merge what really differs.

COPY gets its rows in PostgreSQL's text format, written column by column: a driver that
looks at the type of every value takes four times as long, and was half of what storing
a scene cost.
"""

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import DateTime, Table, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import DeclarativeBase, Session

from stashhog_core.batches import batched
from stashhog_core.db.embedded import EMBEDDED_SETTING
from stashhog_core.db.session import driver_connection

Row = Sequence[Any]

_NULL = "\\N"
# A statement takes 65,535 values at the most.
_ROWS_PER_STATEMENT = 5_000
_SPECIAL_CHARACTERS = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_SPECIAL = str.maketrans(_SPECIAL_CHARACTERS)


class EncodedRows(NamedTuple):
    """Rows of a table as COPY reads them: made without a database, sent at once.

    Attributes:
        table: The table that they are for.
        columns: Names of what each row holds, in order.
        text: The rows.
        references: Table → ids of the rows that these rows refer to.
    """

    table: Table
    columns: Sequence[str]
    text: str
    references: Mapping[str, Set[int]]


def encode_rows(
    model: type[DeclarativeBase], columns: Sequence[str], rows: Collection[Row]
) -> EncodedRows:
    """Return rows of a table as COPY reads them."""
    table = _table(model)
    text = _as_text([table.c[column].type for column in columns], rows)
    references: dict[str, set[int]] = {}
    for key in table.foreign_keys:
        if (column := key.parent.name) in columns:
            named = set(map(itemgetter(columns.index(column)), rows))
            named.discard(None)
            references.setdefault(key.column.table.name, set()).update(named)
    return EncodedRows(table, columns, text, references)


def insert_encoded(session: Session, rows: EncodedRows) -> None:
    """COPY rows straight into their table. None may exist yet."""
    _copy(session, rows.table.name, rows.columns, rows.text)


def _copy(session: Session, name: str, columns: Sequence[str], rows: str) -> None:
    names = ", ".join(_quoted(columns))
    with (
        driver_connection(session).cursor() as cursor,
        cursor.copy(f'COPY "{name}" ({names}) FROM STDIN') as copy,
    ):
        if rows:
            copy.write(rows)


def _as_text(types: Sequence[Any], rows: Collection[Row]) -> str:
    if not rows:
        return ""
    columns = zip(*rows, strict=True)
    written = map(_column, types, columns)
    return "\n".join(map("\t".join, zip(*written, strict=True))) + "\n"


def _column(type_: Any, values: Sequence[Any]) -> Iterable[str]:
    """Return the values of one column as COPY reads them."""
    # PostgreSQL reads Python's words for numbers, truth values and times.
    text_of: Callable[[Any], str] = str
    if isinstance(type_, DateTime):
        return _times(values)
    if isinstance(type_, ARRAY | JSONB):
        empty = "{}" if isinstance(type_, ARRAY) else "[]"
        if values.count([]) == len(values):
            return [empty] * len(values)
        text_of = _array if isinstance(type_, ARRAY) else _json
    has_nulls = None in values
    texts: list[Any] = (
        [None if value is None else text_of(value) for value in values]
        if has_nulls
        else list(map(text_of, values))
    )
    whole = "".join(filter(None, texts))
    if any(character in whole for character in _SPECIAL_CHARACTERS):
        texts = [text and text.translate(_SPECIAL) for text in texts]
    return [_NULL if text is None else text for text in texts] if has_nulls else texts


def _times(values: Sequence[Any]) -> list[str]:
    # Eight times as fast as `str`, and no such text needs to be escaped.
    written = msgspec.json.encode(values).decode()[1:-1].replace('"', "")
    return [_NULL if text == "null" else text for text in written.split(",")]


def _array(values: Sequence[Any]) -> str:
    return f"{{{','.join(map(_array_item, values))}}}"


def _array_item(value: Any) -> str:
    if value is None:
        return "NULL"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def merge_rows(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    keys: Sequence[str] = (),
) -> list[Any]:
    """Insert `rows`, or update those whose key exists and that differ.

    Args:
        session: Open session; the caller commits.
        model: The table.
        columns: Names of what each row holds, in order; the key among them. Other
            columns keep their value, or get their default in new rows.
        rows: The rows; no key twice.
        keys: Columns that identify a row; none: the primary key.

    Returns:
        The first column of the key, of each row that was created or changed.
    """
    keys = keys or [key.name for key in _table(model).primary_key]
    with _staged(session, model, columns, rows) as name:
        return _merge_staged(session, model, columns, name, keys, keys[0])


def replace_children(
    session: Session,
    model: type[DeclarativeBase],
    parent: str,
    parent_ids: Iterable[int],
    columns: Sequence[str],
    rows: Iterable[Row],
) -> list[int]:
    """Make `rows` the only ones of these parents; touch only what differs.

    Args:
        session: Open session; the caller commits.
        model: The table of the children.
        parent: Its column that names the parent.
        parent_ids: Parents whose children are replaced, those without any included.
        columns: Names of what each row holds; the whole primary key among them.
        rows: All children of these parents.

    Returns:
        The parent of each row that was deleted, created or changed.
    """
    table = _table(model)
    keys = [key.name for key in table.primary_key]
    same = " AND ".join(f's."{key}" = t."{key}"' for key in keys)
    with _staged(session, model, columns, rows) as name:
        deleted = session.scalars(
            text(
                f'DELETE FROM "{table.name}" t WHERE t."{parent}" = ANY(:parents) '  # noqa: S608
                f'AND NOT EXISTS (SELECT 1 FROM "{name}" s WHERE {same}) '
                f'RETURNING t."{parent}"'
            ),
            {"parents": list(parent_ids)},
        ).all()
        return [*deleted, *_merge_staged(session, model, columns, name, keys, parent)]


def _merge_staged(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    staged: str,
    keys: Sequence[str],
    returned: str,
) -> list[Any]:
    """Merge what is staged; return one column of what was created or changed."""
    table = _table(model)
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
    merged = session.scalars(
        text(
            f'INSERT INTO "{table.name}" ({names}) '  # noqa: S608
            f'SELECT {names} FROM "{staged}" '
            f"ON CONFLICT ({', '.join(_quoted(keys))}) {action} "
            f'RETURNING "{returned}"'
        )
    )
    return list(merged)


@contextmanager
def _staged(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Iterable[Row],
) -> Iterator[str]:
    """COPY `rows` into a temporary table of these columns; yield its name."""
    table = _table(model)
    name = f"staged_{table.name}"
    session.execute(
        text(
            f'CREATE TEMP TABLE "{name}" ON COMMIT DROP AS '  # noqa: S608
            f'SELECT {", ".join(_quoted(columns))} FROM "{table.name}" WITH NO DATA'
        )
    )
    types = [table.c[column].type for column in columns]
    _copy(session, name, columns, _as_text(types, list(rows)))
    yield name
    # Before the transaction ends, so that the name is free again.
    session.execute(text(f'DROP TABLE "{name}"'))


def update_rows(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    stamped: str,
) -> None:
    """Write some columns of rows that exist; a thousand need no temporary table.

    Args:
        session: Open session; the caller commits.
        model: The table.
        columns: Names of what each row holds, in order; the whole primary key among
            them.
        rows: The rows; no primary key twice.
        stamped: The column that gets the present time.
    """
    table = _table(model)
    keys = [key.name for key in table.primary_key]
    written = [dict(zip(columns, row, strict=True)) for row in rows]
    assignments = [f'"{c}" = v."{c}"' for c in columns if c not in keys]
    assignments.append(f'"{stamped}" = now()')
    same = " AND ".join(f't."{key}" = v."{key}"' for key in keys)
    # All names come from the models, never from data.
    session.execute(
        text(
            f'UPDATE "{table.name}" t SET {", ".join(assignments)} FROM '  # noqa: S608
            f'json_populate_recordset(NULL::"{table.name}", CAST(:rows AS json)) v '
            f"WHERE {same}"
        ),
        {"rows": msgspec.json.encode(written).decode()},
    )


def upsert(
    session: Session,
    model: type[DeclarativeBase],
    rows: Iterable[Mapping[str, Any]],
    *,
    stamped: str,
) -> None:
    """Insert rows, or replace those of the same primary key.

    Unlike `merge_rows` it touches rows that do not differ: they were found anew.

    Args:
        session: Open session; the caller commits.
        model: The table.
        rows: Column → value, of the same columns for all rows; no primary key twice.
        stamped: The column that gets the present time.
    """
    keys = [key.name for key in _table(model).primary_key]
    for batch in batched(rows, _ROWS_PER_STATEMENT):
        statement = insert(model).values(batch)
        new = {name: statement.excluded[name] for name in batch[0] if name not in keys}
        session.execute(
            statement.on_conflict_do_update(
                index_elements=keys, set_={**new, stamped: func.now()}
            )
        )


def insert_rows(
    session: Session,
    model: type[DeclarativeBase],
    columns: Sequence[str],
    rows: Collection[Row],
) -> None:
    """COPY `rows` straight into the table. None may exist yet."""
    insert_encoded(session, encode_rows(model, columns, rows))


Insert = Callable[[Session, EncodedRows], None]
"""Inserts rows: see `insert_encoded`."""


@contextmanager
def unchecked_references(
    session: Session, known: Mapping[str, Set[int]]
) -> Iterator[Insert]:
    """Insert rows without having PostgreSQL look up each foreign key, if it may be.

    For the links of scenes the look-ups take longer than all the rest of storing them.
    They are left out on the embedded server alone: on any other somebody else may rely
    on triggers, which are left out as well. The keys of the rows are looked up among
    the known ones before the rows are sent; after the block PostgreSQL looks up each
    key again.

    Args:
        session: Open session; the caller commits.
        known: Table → ids of rows that exist until the transaction ends: it has locked
            or inserted them.

    Yields:
        What inserts rows in the block. It raises `ValueError` if a row refers to one
        that is not known.
    """
    allowed = session.scalar(
        text(
            f"SELECT current_setting('{EMBEDDED_SETTING}', true) = 'on' "
            "AND current_setting('is_superuser') = 'on'"
        )
    )

    def insert_known(session: Session, rows: EncodedRows) -> None:
        for parent, named in rows.references.items():
            if unknown := named - known.get(parent, set()):
                raise ValueError(
                    f"a row of {rows.table.name} refers to {parent} {min(unknown)}, "
                    "which does not exist"
                )
        insert_encoded(session, rows)

    if allowed:
        # As for the changes that logical replication brings in.
        session.execute(text("SET LOCAL session_replication_role = replica"))
    yield insert_known
    # After an error there is nothing to set back: the transaction is over.
    if allowed:
        session.execute(text("SET LOCAL session_replication_role = origin"))


def _table(model: type[DeclarativeBase]) -> Table:
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]
