"""What a run looks like in the terminal: a line for each milestone, then the report."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stashhog_core.report import failures, job_markdown, step_rows
from stashhog_core.results import Result, WorkflowReport

_COLOURS = {
    "Completed": "green",
    "CompletedWithErrors": "yellow",
    "Skipped": "dim",
    "Failed": "red",
    "Cancelled": "red",
}


class ProgressLines:
    """Shows a bar on a terminal, and a line for each milestone anywhere else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._percent = -1.0

    def __call__(self, percent: float, message: str) -> None:
        """Print milestones; what a task says between them only on a terminal."""
        moved = percent != self._percent or message.endswith("…")
        self._percent = percent
        if moved:
            self._console.print(
                f"[cyan]{percent:3.0f} %[/]  {escape(message)}", highlight=False
            )
        elif self._console.is_terminal:
            self._console.print(f"       [dim]{escape(message)}[/]", highlight=False)


def print_result(console: Console, job: str, state: str, result: Result) -> None:
    """Print what a run did."""
    if not isinstance(result, WorkflowReport):
        from rich.markdown import Markdown

        console.print(Markdown(job_markdown(job, result)))
        return
    table = Table("Step", "State", "What", title="process_new_scenes")
    table.add_column("Seconds", justify="right")
    for title, step_state, what, seconds in step_rows(result):
        colour = _COLOURS.get(step_state, "white")
        table.add_row(
            title, f"[{colour}]{step_state}[/]", escape(what), f"{seconds:.1f}"
        )
    console.print(table)
    if result.scenes:
        changes = Table("Scene", "Changes", title="What changed")
        for scene in result.scenes:
            changes.add_row(escape(scene.title), escape(", ".join(scene.changes)))
        console.print(changes)
    for line in failures(result):
        console.print(f"[yellow]![/] {escape(line)}", highlight=False, soft_wrap=True)
    summary = result.summary
    console.print(
        f"[bold {_COLOURS.get(state, 'white')}]{state}[/]: "
        f"{summary.total_synced_items} items placed, "
        f"{summary.total_scenes_analyzed} scenes analyzed, "
        f"{summary.total_changes_applied} of {summary.total_changes_approved} "
        f"approved changes applied, {summary.total_errors} errors",
        highlight=False,
    )
