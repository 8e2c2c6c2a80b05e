"""`stashhog downloads`: the import ledger."""

from typing import Annotated, Literal

import typer
from rich.table import Table

from stashhog.cli.console import AsJson, console, open_session, plain, print_json
from stashhog_core.ids import MAX_ID
from stashhog_core.settings import get_settings

app = typer.Typer(
    help="List the import ledger, and retry or forget its files.", no_args_is_help=True
)

Ids = Annotated[
    list[int],
    typer.Argument(
        min=1, max=MAX_ID, help="Ids of files, as `stashhog downloads list` shows them."
    ),
]


@app.command("list")
def list_downloads(
    state: Annotated[
        Literal["found", "placed", "scanned", "seen", "failed", "blocked", "left_out"]
        | None,
        typer.Option(help="List only files in this state."),
    ] = None,
    text: Annotated[
        str, typer.Option(help="List only files whose name or reason contains this.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the files of downloads, the newest first."""
    from stashhog_core.downloads.listing import ledger_page
    from stashhog_core.report import counted

    with open_session() as session:
        rows = ledger_page(session, (state,) if state else (), text, size=limit).rows
    if as_json:
        print_json([vars(row) for row in rows])
        return
    table = Table("Id", "File", "State", "Reason", "Next try (UTC)")
    for row in rows:
        table.add_row(
            str(row.id),
            plain(row.name),
            row.state,
            plain(row.reason or ""),
            f"{row.next_try_at:%Y-%m-%d %H:%M}" if row.next_try_at else "",
        )
    console.print(table)
    console.print(counted(len(rows), "file", "files"))


@app.command("retry")
def retry_downloads(ids: Ids) -> None:
    """Try failed or blocked files again in the next run of process_downloads."""
    from stashhog_core.db.open import open_database
    from stashhog_core.downloads.listing import retry
    from stashhog_core.report import counted

    with open_database(get_settings()) as database:
        count = retry(database, ids)
    console.print(f"The next run tries {counted(count, 'file', 'files')} again")


@app.command("forget")
def forget_downloads(ids: Ids) -> None:
    """Take files out of the ledger; the files themselves stay."""
    from stashhog_core.db.open import open_database
    from stashhog_core.downloads.listing import forget
    from stashhog_core.report import counted

    with open_database(get_settings()) as database:
        count = forget(database, ids)
    console.print(f"The ledger has forgotten {counted(count, 'file', 'files')}")
