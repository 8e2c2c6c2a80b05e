"""COPY of many rows into a table, in PostgreSQL's text format.

The rows are written column by column: a driver that looks at the type of every value
takes four times as long, and was half of what storing a scene cost.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

Row = Sequence[Any]

_NULL = "\\N"
_SPECIAL_CHARACTERS = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_SPECIAL = str.maketrans(_SPECIAL_CHARACTERS)


def copy_rows(
    session: Session,
    name: str,
    table: Table,
    columns: Sequence[str],
    rows: Collection[Row],
) -> None:
    """COPY rows into a table.

    Args:
        session: Open session; the caller commits.
        name: The table that is written.
        table: A table with the same columns: it says their types.
        columns: Names of what each row holds, in order.
        rows: The rows.
    """
    connection = session.connection().connection.driver_connection
    if connection is None:
        raise RuntimeError("the session has no connection")
    names = ", ".join(f'"{column}"' for column in columns)
    with (
        connection.cursor() as cursor,
        cursor.copy(f'COPY "{name}" ({names}) FROM STDIN') as copy,
    ):
        if rows:
            types = [table.c[column].type for column in columns]
            copy.write(_as_text(types, rows))


def _as_text(types: Sequence[Any], rows: Collection[Row]) -> str:
    columns = zip(*rows, strict=True)
    written = map(_column, types, columns)
    return "\n".join(map("\t".join, zip(*written, strict=True))) + "\n"


def _column(type_: Any, values: Sequence[Any]) -> Iterable[str]:
    """Return the values of one column as COPY reads them."""
    # PostgreSQL reads Python's words for numbers, truth values and times.
    text_of: Callable[[Any], str] = str
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


def _array(values: Sequence[Any]) -> str:
    return f"{{{','.join(map(_array_item, values))}}}"


def _array_item(value: Any) -> str:
    if value is None:
        return "NULL"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
