"""`stashhog check`: is everything ready, and what mends what is not."""

import textwrap
from typing import TYPE_CHECKING

import typer

from stashhog.cli.console import AsJson, console, plain, print_json
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashhog_core.results import CheckLine

EXIT_WARNINGS = 1
EXIT_FAILURES = 2

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red", "skipped": "dim"}
_NAME_WIDTH = 17
_NARROWEST = 60

app = typer.Typer()


@app.command()
def check(as_json: AsJson = False) -> None:
    """Check settings, services, folders and links, and say how to mend each problem.

    The exit status is 0 if all is well, 1 if there are warnings, and 2 if something
    keeps a job from working.
    """
    from stashhog.services.health import all_checks
    from stashhog_core.health.checks import Checkup, run_checks, summarized

    settings = get_settings()
    with all_checks(settings) as checks, Checkup(settings) as checkup:
        result = summarized(run_checks(checkup, checks))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        print_checks(result.checks)
    if result.failed:
        raise typer.Exit(EXIT_FAILURES)
    if result.warnings:
        raise typer.Exit(EXIT_WARNINGS)


def print_checks(lines: "Sequence[CheckLine]") -> None:
    """Print one line for each check, and one below for what mends it."""
    from stashhog_core.report import CHECK_MARKS

    for line in lines:
        mark = f"[{_COLOURS[line.state]}]{CHECK_MARKS[line.state]}[/]"
        _print_wrapped(f"{line.name:<{_NAME_WIDTH}} {line.found}", mark)
        if line.remedy:
            _print_wrapped(f"{'':<{_NAME_WIDTH}} → {line.remedy}", " ")


def _print_wrapped(text: str, mark: str) -> None:
    width = max(console.width, _NARROWEST) - 2
    wrapped = textwrap.wrap(
        text,
        width,
        subsequent_indent=" " * (_NAME_WIDTH + 1),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    for number, row in enumerate(wrapped):
        console.print(
            f"{mark if number == 0 else ' '} {plain(row)}",
            highlight=False,
            soft_wrap=True,
        )
