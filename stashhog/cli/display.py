"""What a run looks like in the terminal: a line for each milestone, then the report."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from stashhog.cli.console import plain, wrapped_table
from stashhog_core.errors import OutputError
from stashhog_core.report import (
    counted,
    failures,
    in_stash_already,
    job_markdown,
    notes,
    step_rows,
    undo_commands,
)
from stashhog_core.results import Result, WorkflowReport

_COLOURS = {
    "Completed": "green",
    "CompletedWithErrors": "yellow",
    "Skipped": "dim",
    "Held": "yellow",
    "Deferred": "red",
    "Failed": "red",
    "Cancelled": "red",
}


_SHOWN_SCENES, _SHOWN_PLANS = 20, 10


class RunDisplay:
    """Shows a run as it goes, for a `with` block; call it with each report.

    Each milestone is a line. A terminal also has a bar that says what is being done
    now; anywhere else a line says so now and then. The run goes on if nothing can be
    shown any more: its reader has left, or the disk of its output is full.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.percentage:3.0f} %"),
            BarColumn(bar_width=30),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=100)

    def __enter__(self) -> Self:
        with suppress(OutputError):
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OutputError):
            self._bar.stop()

    def __call__(self, percent: float, message: str) -> None:
        """Show a report: per cent of the run, and what is being done."""
        with suppress(OutputError):
            self._bar.update(self._task, completed=percent, description=plain(message))

    def say(self, percent: float | None, message: str) -> None:
        """Show a line of the log: a milestone of the run, or how far a step is."""
        is_terminal = self._console.is_terminal
        if percent is None:
            if not is_terminal:
                self._print(f"       {plain(message)}")
        # The bar shows what begins.
        elif not (is_terminal and message.endswith("…")):
            self._print(f"[cyan]{percent:3.0f} %[/]  {plain(message)}")

    def _print(self, line: str) -> None:
        with suppress(OutputError):
            self._console.print(line, highlight=False, soft_wrap=True)


def print_result(console: Console, job: str, state: str, result: Result) -> None:
    """Print what a run did."""
    if not isinstance(result, WorkflowReport):
        from rich.markdown import Markdown

        console.print(Markdown(job_markdown(job, result)))
        return
    table = wrapped_table("Step", "State", "Result", title="process_new_scenes")
    table.add_column("Seconds", justify="right")
    for title, step_state, what, seconds in step_rows(result):
        colour = _COLOURS.get(step_state, "white")
        table.add_row(
            title, f"[{colour}]{step_state}[/]", plain(what), f"{seconds:.1f}"
        )
    console.print(table)
    if result.scenes:
        changes = wrapped_table("Scene", "Changes", title="Changed scenes")
        for scene in result.scenes[:_SHOWN_SCENES]:
            changes.add_row(plain(scene.title), plain(", ".join(scene.changes)))
        console.print(changes)
    for line in _not_shown(len(result.scenes) - _SHOWN_SCENES, "changed scene"):
        console.print(f"[dim]{line}[/]", highlight=False, soft_wrap=True)
    for line in failures(result):
        console.print(f"[yellow]![/] {plain(line)}", highlight=False, soft_wrap=True)
    for line in itertools.chain(_first_plans(undo_commands(result)), notes(result)):
        console.print(f"[dim]{plain(line)}[/]", highlight=False, soft_wrap=True)
    summary = result.summary
    already = "".join(f"{words}, " for words in in_stash_already(summary))
    console.print(
        f"[bold {_COLOURS.get(state, 'white')}]{state}[/]: "
        f"{counted(summary.total_synced_items, 'item', 'items')} placed, "
        f"{counted(summary.total_scenes_analyzed, 'scene', 'scenes')} analyzed, "
        f"{summary.total_changes_applied} of {summary.total_changes_approved} "
        f"approved changes applied, {already}"
        f"{counted(summary.total_errors, 'error', 'errors')}",
        highlight=False,
    )


def _first_plans(commands: Iterable[str]) -> Iterator[str]:
    lines = list(commands)
    yield from lines[:_SHOWN_PLANS]
    yield from _not_shown(len(lines) - _SHOWN_PLANS, "plan")


def _not_shown(count: int, noun: str) -> Iterator[str]:
    if count > 0:
        yield f"{counted(count, noun)} more: the report in Prefect's UI lists all"
