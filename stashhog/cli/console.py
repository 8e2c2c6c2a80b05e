"""What all commands share: the console, JSON for programs, the database, errors.

A module of commands imports at its top only what each of its commands needs; what a
single command needs, such as SQLAlchemy or the models of results, is imported in the
command. Start-up is most of what a short command takes.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stashhog_core.batches import batched
from stashhog_core.errors import ConfigurationError
from stashhog_core.ids import MAX_ID
from stashhog_core.json_text import as_json as to_json
from stashhog_core.json_text import json_list
from stashhog_core.redaction import visible_lines
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.orm import Session

EXIT_FAILED = 1
EXIT_CANCELLED = 130

ROWS_PER_TABLE = 500
"""Rows of a table that are laid out together."""

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=MAX_ID, help="Maximum number of rows.")]

# Names may hold what Rich takes for the code of a picture, such as :heart:.
console = Console(emoji=False)
errors = Console(stderr=True, emoji=False)


def path(text: str) -> Path:
    """Return a path that somebody typed; Typer shows this function's name as its type.

    Raises:
        ConfigurationError: There is none: Python would take it for the current folder.
    """
    if not text:
        raise ConfigurationError(
            "A path is empty", remedy="write a path; the current folder is `.`"
        )
    return Path(text)


class Plain(str):
    """Text that is shown as it is: its brackets are escaped. `shown` is unescaped."""

    shown: str


def plain(value: object) -> Plain:
    """Return a value as text for the terminal, whatever stands in it.

    Brackets are no markup, and no character steers the terminal or turns the line.
    """
    shown = visible_lines(str(value))
    escaped = Plain(escape(shown))
    escaped.shown = shown
    return escaped


class WrappedTable(Table):
    """A table that never cuts a cell: what is too wide goes on below."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row."""
        # As it is: Rich doubles a backslash at the end of what is escaped.
        super().add_row(
            *(Text(cell.shown) if isinstance(cell, Plain) else cell for cell in cells),
            **options,
        )


def wrapped_table(*headers: str, **options: Any) -> WrappedTable:
    """Return a table with these headers."""
    table = WrappedTable(**options)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


@contextmanager
def open_session() -> "Iterator[Session]":
    """Yield a session of the database that the settings name."""
    from stashhog_core.db.open import open_database

    with open_database(get_settings()) as database, database.transaction() as session:
        yield session


@contextmanager
def open_connection() -> "Iterator[psycopg.Connection[Any]]":
    """Yield a connection to that database, for a command that needs no session."""
    from stashhog_core.db.open import open_connection as connect

    with connect(get_settings()) as connection:
        yield connection


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(to_json(value))  # noqa: T201 - the asked-for output


def print_json_rows(rows: Iterable[Any]) -> None:
    """Print a list for programs, each row as it comes."""
    sys.stdout.writelines(json_list(rows))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Print rows as they come; return how many there are.

    A long list is printed as several tables, since the columns of a table get their
    widths from all of its rows.
    """
    number = 0
    for page in batched(rows, ROWS_PER_TABLE):
        table = wrapped_table(*columns)
        for row in page:
            table.add_row(*row)
        console.print(table)
        number += len(page)
    if not number:
        console.print(wrapped_table(*columns))
    return number


def say_and_exit(what: object, status: int) -> NoReturn:
    """Print one sentence and end with an exit status."""
    errors.print(f"[bold red]Error:[/] {plain(what)}", highlight=False, soft_wrap=True)
    sys.exit(status)
