"""The statements that a block of a test sends to PostgreSQL, and their answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Yield the statements of the block with their values, by whatever library.

    Of other processes there are none.
    """
    sent: list[tuple[str, Any]] = []
    execute = psycopg.Cursor.execute

    def note(cursor: Any, query: Any, values: Any = None, **options: Any) -> Any:
        sent.append((str(query), values))
        return execute(cursor, query, values, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", note)
        yield sent


@contextmanager
def answers() -> Iterator[list[tuple[str, int]]]:
    """Yield the statements of the block with the number of rows that each sent back."""
    sent: list[tuple[str, int]] = []
    execute = psycopg.Cursor.execute

    def note(cursor: Any, query: Any, values: Any = None, **options: Any) -> Any:
        result = execute(cursor, query, values, **options)
        sent.append((str(query), cursor.rowcount if cursor.description else 0))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", note)
        yield sent
