"""Running a job in the terminal, reading the database, printing what came of it."""

import atexit
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from sqlalchemy.orm import Session

from stashhog.cli.plain import plain
from stashhog_core.errors import StashHogError
from stashhog_core.results import as_json as to_json
from stashhog_core.results import json_list
from stashhog_core.settings import get_settings

EXIT_FAILED = 1
EXIT_CANCELLED = 130

console = Console()
errors = Console(stderr=True)


@contextmanager
def open_session() -> Iterator[Session]:
    """Yield a session of the database that the settings name."""
    # Imported here: `--help` need not wait for it.
    from stashhog_core.db.open import open_database

    with open_database(get_settings()) as database, database.transaction() as session:
        yield session


def run_here(job: str, values: dict[str, Any], *, as_json: bool) -> None:
    """Run a job here and now, with parameters already checked.

    Raises:
        StashHogError: What the job failed with.
        typer.Exit: It failed otherwise, or was cancelled.
    """
    from stashhog.cli.display import RunDisplay, print_result
    from stashhog.local import run_flow

    try:
        with RunDisplay(errors if as_json else console) as display:
            state, result = run_flow(job, values, display)
    except KeyboardInterrupt:
        say_and_exit(f"{job} was cancelled; what it had finished stays", EXIT_CANCELLED)
    finally:
        end_undisturbed()
    if isinstance(result, StashHogError):
        raise result
    if isinstance(result, BaseException):
        say_and_exit(f"{job} failed: {result}", EXIT_FAILED)
    if as_json:
        print(result.model_dump_json(indent=2))  # noqa: T201 - the asked-for output
    else:
        print_result(console, job, state, result)
    if state in {"Failed", "Crashed", "Deferred", "TimedOut"}:
        raise typer.Exit(EXIT_FAILED)
    if state == "Cancelled":
        raise typer.Exit(EXIT_CANCELLED)


def end_undisturbed() -> None:
    """Have Ctrl-C ignored once this process ends: it stops its servers then.

    To be called when these run, since what is registered last is done first.
    """
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


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
