"""Reading many rows of few columns at once."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from psycopg.types.json import set_json_loads
from sqlalchemy import URL, SelectBase, bindparam, func, text
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from stashhog_core.db.session import driver_connection

_DIALECT = URL.create("postgresql+psycopg").get_dialect()()

THESE = func.any(bindparam("these", type_=NullType()))
"""What a column is compared with in a query of `read_these` to be one of the ids."""


NOT_READ_BACK = {"synchronize_session": False}
"""Execution options of a statement that changes any number of rows.

SQLAlchemy would read back the id of each, to bring objects of the session up to date.
"""


def any_of(ids: Iterable[int]) -> Any:
    """Return what a column is compared with to be one of many ids."""
    return func.any(bindparam(None, _array(ids), NullType(), unique=True))


def plan_for_many(session: Session) -> None:
    """Plan the statements of this transaction for many rows, whatever statistics say.

    PostgreSQL's statistics of a table may date from before a bulk write. If they count
    a few rows, the planner compares each row of one table with each row of the other.
    With many rows this comparison takes hours.
    """
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_nestloop = off"))


def read_these(
    session: Session, query: SelectBase, ids: Iterable[int]
) -> list[tuple[Any, ...]]:
    """Return the rows of a constant query with `THESE` in it, as `read_rows` does.

    It is put into words once: for a page of scenes that takes as long as reading them.
    """
    return _fetch(session, _in_words(query), {"these": _array(ids)})


def read_rows(session: Session, query: SelectBase) -> list[tuple[Any, ...]]:
    """Return the rows of `query` as plain tuples, in the types of the driver.

    It goes by the driver's own cursor, in binary: for a row of two numbers this takes
    a third of the time. Not for columns or values that SQLAlchemy converts.
    """
    compiled = query.compile(dialect=_DIALECT)
    return _fetch(session, str(compiled), compiled.params)


@lru_cache(maxsize=64)
def _in_words(query: SelectBase) -> str:
    return str(query.compile(dialect=_DIALECT))


def _array(ids: Iterable[int]) -> str:
    # As one text of no type: the driver would look at each item of a list, and an
    # array that is cast is no constant to the planner.
    return f"{{{','.join(map(str, ids))}}}"


def _fetch(
    session: Session, words: str, params: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    with driver_connection(session).cursor(binary=True) as cursor:
        set_json_loads(msgspec.json.decode, cursor)
        # Not prepared: a plan for any list of ids may search each row for each id.
        cursor.execute(words, params, prepare=False)
        return cursor.fetchall()
