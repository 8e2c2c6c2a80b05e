"""`stashhog report`: the state of the library."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stashhog.cli.console import AsJson, console, plain, print_json
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import get_settings

app = typer.Typer()


@app.command("report")
def report(
    html: Annotated[
        Path | None,
        typer.Option(help="Write the report as one HTML file, and print nothing else."),
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
    table = Table("", "", show_header=False)
    table.add_row("scenes", f"{state.scenes:,}")
    for name, value in asdict(state.waiting).items():
        if value:
            table.add_row(name.replace("_", " "), plain(value))
    for job in state.jobs:
        ended = job.succeeded_at
        when = f"{ended:%Y-%m-%d %H:%M} UTC" if ended else "none is recorded"
        table.add_row(f"last success of {job.job}", when)
    console.print(table)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigurationError(
            "The report cannot be written",
            where=str(path),
            remedy=f"choose another file ({error.strerror})",
        ) from error
