"""`stashhog report`: the state of the library."""

from pathlib import Path
from typing import Annotated

import typer

from stashhog.cli.console import AsJson, console, path, plain, print_json, wrapped_table
from stashhog_core.files import unwritable, write_whole
from stashhog_core.settings import get_settings

app = typer.Typer()


@app.command("report")
def report(
    html: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Write the report as one HTML file, and print nothing else.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the library holds, what waits, and when each job last succeeded."""
    from dataclasses import asdict

    from stashhog_core.db.open import open_database
    from stashhog_core.overview import overview

    settings = get_settings()
    with open_database(settings) as database:
        if html is not None:
            from stashhog.web.library import report_html
            from stashhog_core.stash.servers import opened_stash

            with opened_stash(settings.stash) as stash:
                _write(html, report_html(settings, database, stash))
            console.print(f"Wrote {plain(html)}", soft_wrap=True)
            return
        with database.transaction() as session:
            state = overview(session, settings)
    if as_json:
        print_json(asdict(state))
        return
    table = wrapped_table("", "", show_header=False)
    table.add_row("scenes", f"{state.scenes:,}")
    for name, value in asdict(state.waiting).items():
        if value:
            table.add_row(name.replace("_", " "), plain(value))
    for job in state.jobs:
        ended = job.succeeded_at
        when = f"{ended:%Y-%m-%d %H:%M} UTC" if ended else "none is recorded"
        table.add_row(f"last success of {job.job}", when)
    console.print(table)


def _write(file: Path, text: str) -> None:
    try:
        write_whole(file, text)
    except OSError as error:
        raise unwritable("The report", file, error) from error
