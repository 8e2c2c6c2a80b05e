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
_IN_ARRAY = str.maketrans({"\\": "\\\\", '"': '\\"'})


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
    if isinstance(type_, ARRAY):
        text_of = _array
    elif isinstance(type_, JSONB):
        text_of = _json
    if None in values:
        return [_NULL if v is None else _escaped(text_of(v)) for v in values]
    texts = list(map(text_of, values))
    whole = "".join(texts)
    if any(character in whole for character in _SPECIAL_CHARACTERS):
        return map(_escaped, texts)
    return texts


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)


def _array(values: Sequence[Any]) -> str:
    if not values:
        return "{}"
    items = (
        "NULL" if v is None else f'"{str(v).translate(_IN_ARRAY)}"' for v in values
    )
    return f"{{{','.join(items)}}}"


def _json(value: Any) -> str:
    return "[]" if value == [] else msgspec.json.encode(value).decode()
