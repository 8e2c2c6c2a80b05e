"""What all commands share: the console, JSON for programs, the database, errors.

A module of commands imports at its top only what each of its commands needs; what a
single command needs, such as SQLAlchemy or the models of results, is imported in the
command. Start-up is most of what a short command takes.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from stashhog_core.json_text import as_json as to_json
from stashhog_core.json_text import json_list
from stashhog_core.redaction import visible_lines
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.orm import Session

EXIT_FAILED = 1
EXIT_CANCELLED = 130

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

console = Console()
errors = Console(stderr=True)


def plain(value: object) -> str:
    """Return a value as text for the terminal, whatever stands in it.

    Brackets are no markup, and no character steers the terminal or turns the line.
    """
    return escape(visible_lines(str(value)))


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


def say_and_exit(what: object, status: int) -> NoReturn:
    """Print one sentence and end with an exit status."""
    errors.print(f"[bold red]Error:[/] {plain(what)}", highlight=False, soft_wrap=True)
    sys.exit(status)
