"""The terminal: `stashhog`.

Exit status: 0 done (also with errors in parts, which the report names), 1 failed,
2 wrong usage or configuration, 130 cancelled.
"""

from importlib import metadata
from typing import Annotated

import typer

from stashhog.cli import runs, services
from stashhog.cli.console import EXIT_CANCELLED, EXIT_FAILED, console, say_and_exit
from stashhog.cli.edits import edits_app
from stashhog.cli.library import library_app
from stashhog.cli.plans import app as plans_app
from stashhog.cli.scenes import scenes
from stashhog_core.errors import ConfigurationError, StashHogError
from stashhog_core.http import keep_loopback_direct

EXIT_USAGE = 2

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    runs.run,
    runs.verify,
    runs.push,
    services.up,
    services.status,
    services.down,
    services.deploy,
    services.web,
    services.migrate,
    services.settings,
    scenes,
):
    app.command()(command)
app.add_typer(plans_app, name="plans")
app.add_typer(library_app, name="library")
app.add_typer(edits_app, name="edits")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        console.print(f"stashhog {metadata.version('stashhog')}", highlight=False)
        raise typer.Exit


@app.callback()
def stashhog(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda wanted: _print_version(wanted=wanted),
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Turn finished downloads into tagged scenes with previews in Stash."""


def main() -> None:
    """Run the terminal; every fault ends as one sentence and an exit status."""
    keep_loopback_direct()
    try:
        app()
    except ConfigurationError as error:
        say_and_exit(error, EXIT_USAGE)
    except StashHogError as error:
        say_and_exit(error, EXIT_FAILED)
    except KeyboardInterrupt:
        say_and_exit("Cancelled", EXIT_CANCELLED)
