"""The statements that a block of a test sends to PostgreSQL."""

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
