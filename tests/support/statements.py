"""The statements that a block of a test sends to PostgreSQL, and their answers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import psycopg
import pytest

T = TypeVar("T")


def statements() -> AbstractContextManager[list[tuple[str, Any]]]:
    """Yield the statements of the block with their values, by whatever library.

    Of other processes there are none.
    """
    return _noted(lambda _, query, values: (str(query), values))


def answers() -> AbstractContextManager[list[tuple[str, int]]]:
    """Yield the statements of the block with the number of rows that each sent back."""
    return _noted(
        lambda cursor, query, _: (
            str(query),
            cursor.rowcount if cursor.description else 0,
        )
    )


@contextmanager
def _noted(entry: Callable[[Any, Any, Any], T]) -> Iterator[list[T]]:
    """Yield what `entry` makes of each cursor, statement and its values, once sent."""
    noted: list[T] = []
    execute = psycopg.Cursor.execute

    def note(cursor: Any, query: Any, values: Any = None, **options: Any) -> Any:
        try:
            return execute(cursor, query, values, **options)
        finally:
            noted.append(entry(cursor, query, values))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", note)
        yield noted
