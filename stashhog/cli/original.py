"""`stashhog import-stashhog`: take over what the original StashHog knows."""

from dataclasses import asdict
from typing import Annotated

import typer

from stashhog.cli.console import (
    AsJson,
    console,
    errors,
    plain,
    print_json,
    wrapped_table,
)
from stashhog_core.settings import get_settings

app = typer.Typer()


@app.command("import-stashhog")
def import_stashhog(
    address: Annotated[
        str,
        typer.Argument(
            help="Database of the original StashHog: "
            "postgresql://user:password@host/name, sqlite:///path, or the path of the "
            "SQLite file."
        ),
    ],
    apply: Annotated[
        bool,
        typer.Option(
            "--apply", help="Store what the report shows. Without it, nothing changes."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take over flags, plans, downloads and the history of the original StashHog.

    Run a sync first. The original's database is only read. You can run the command
    again at any time: what was taken over before stays as it is.
    """
    from stashhog_core.db.open import open_database
    from stashhog_core.original.source import opened_source
    from stashhog_core.original.take_over import take_over

    with (
        opened_source(address) as source,
        open_database(get_settings()) as database,
        errors.status("Reading the database of the original StashHog …"),
    ):
        report = take_over(database, source, apply=apply)
    if as_json:
        print_json(asdict(report))
        return
    table = wrapped_table(
        "", "In the original", "New" if apply else "Would be new", "Here already"
    )
    for name, tally in report.tallies.items():
        table.add_row(name, *(f"{n:,}" for n in (tally.found, tally.new, tally.known)))
    console.print(table)
    if report.states:
        states = ", ".join(f"{n:,} {state}" for state, n in report.states.items())
        console.print(f"New changes by state: {states}", soft_wrap=True)
    if report.left_out:
        left = wrapped_table("Not taken over", "Rows", "Such as")
        for reason, rows in report.left_out.items():
            examples = ", ".join(rows.examples)
            left.add_row(plain(reason), f"{rows.count:,}", plain(examples))
        console.print(left)
    for note in report.notes:
        console.print(f"[yellow]![/] {plain(note)}", highlight=False, soft_wrap=True)
    if not apply:
        console.print("Nothing was changed. To store this, add --apply.")
