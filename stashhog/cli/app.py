"""The terminal: `stashhog`.

Exit status: 0 done (also with errors in parts, which the report names), 1 failed,
2 wrong usage or configuration, 130 cancelled.
"""

import logging
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from stashhog.cli.console import EXIT_CANCELLED, EXIT_FAILED, console, say_and_exit
from stashhog.cli.output import guarded_streams
from stashhog.cli.ranges import with_ranges_in_words
from stashhog_core.errors import ConfigurationError, OutputError, StashHogError
from stashhog_core.loopback import keep_loopback_direct

EXIT_USAGE = 2

_MODULES = {
    # The module in this folder that has the command; a group is the whole module.
    "run": "runs",
    "verify": "runs",
    "push": "runs",
    "init": "setup",
    "check": "health",
    "up": "services",
    "status": "services",
    "down": "services",
    "deploy": "services",
    "web": "services",
    "migrate": "services",
    "settings": "services",
    "backup": "backup",
    "restore": "backup",
    "import-stashhog": "original",
    "report": "report",
    "scenes": "scenes",
    "plans": "plans",
    "library": "library",
    "downloads": "downloads",
    "edits": "edits",
}


class _Commands(Mapping[str, TyperCommand | TyperGroup]):
    """The commands by name. A command's module is imported when the command is read."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        module = import_module(f"stashhog.cli.{_MODULES[name]}")
        group = get_group(module.app)
        if name in group.commands:
            command: TyperCommand = group.commands[name]  # type: ignore[assignment]
            return with_ranges_in_words(command)
        group.name = name
        return with_ranges_in_words(group)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Terminal(TyperGroup):
    """All commands; only the module of the command that is called is imported."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Typer ends one that is cancelled without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say_and_exit("Cancelled", EXIT_CANCELLED)


app = typer.Typer(cls=_Terminal, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from importlib import metadata

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
    # The terminal shows a run in its own words: that a line of the log cannot be sent
    # to Prefect is not one of them.
    logging.raiseExceptions = False
    with guarded_streams():
        try:
            app()
        except OutputError:
            raise
        except ConfigurationError as error:
            say_and_exit(error, EXIT_USAGE)
        except StashHogError as error:
            say_and_exit(error, EXIT_FAILED)
