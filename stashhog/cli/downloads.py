"""`stashhog downloads`: the import ledger."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stashhog.cli.console import (
    AsJson,
    Limit,
    console,
    open_session,
    plain,
    print_json,
    wrapped_table,
)
from stashhog_core.errors import ConfigurationError
from stashhog_core.ids import MAX_ID
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    from stashhog_core.db.session import Database

app = typer.Typer(
    help="List the import ledger, and retry or forget its files.", no_args_is_help=True
)


class State(StrEnum):
    """How far a file is. Typer takes no list of a Literal."""

    FOUND = "found"
    PLACED = "placed"
    SCANNED = "scanned"
    SEEN = "seen"
    FAILED = "failed"
    BLOCKED = "blocked"
    LEFT_OUT = "left_out"


Ids = Annotated[
    list[int] | None,
    typer.Argument(
        min=1, max=MAX_ID, help="Ids of files, as `stashhog downloads list` shows them."
    ),
]
States = Annotated[
    list[State] | None,
    typer.Option(
        "--state",
        help="Select only files in this state. Repeat the option for more states.",
    ),
]
Text = Annotated[
    str,
    typer.Option(help="Select only files whose name, path or reason contains this."),
]


@app.command("list")
def list_downloads(
    state: States = None,
    text: Text = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the files of downloads, the newest first."""
    from stashhog_core.downloads.listing import ledger_page
    from stashhog_core.report import counted

    with open_session() as session:
        page = ledger_page(session, state or (), text, size=limit)
    if as_json:
        print_json([vars(row) for row in page.rows])
        return
    table = wrapped_table("Id", "File", "State", "Reason", "Next try (UTC)")
    for row in page.rows:
        table.add_row(
            str(row.id),
            plain(row.name),
            row.state,
            plain(row.reason or ""),
            f"{row.next_try_at:%Y-%m-%d %H:%M}" if row.next_try_at else "",
        )
    console.print(table)
    more = "; to see more, use --limit" if page.after else ""
    console.print(f"{counted(len(page.rows), 'file', 'files')}{more}")


@app.command("show")
def show_download(
    item_id: Annotated[
        int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="Id of the file.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show everything that the ledger knows about a file."""
    from stashhog_core.downloads.listing import ledger_item

    with open_session() as session:
        item = ledger_item(session, item_id)
    if as_json:
        print_json(asdict(item))
        return
    table = wrapped_table("", "", show_header=False)
    for name, value in asdict(item).items():
        if value not in (None, ""):
            is_time = hasattr(value, "isoformat")
            shown = f"{value:%Y-%m-%d %H:%M:%S} UTC" if is_time else value
            table.add_row(name.replace("_", " "), plain(shown))
    console.print(table)


@app.command("retry")
def retry_downloads(
    ids: Ids = None, state: States = None, text: Text = "", as_json: AsJson = False
) -> None:
    """Try failed or blocked files again in the next run of process_downloads.

    Name the files by their ids, or select them by state and text.
    """
    from stashhog_core.db.open import open_database
    from stashhog_core.downloads.listing import retry
    from stashhog_core.report import counted

    with open_database(get_settings()) as database:
        count = retry(database, _selected(database, ids, state, text))
    if as_json:
        print_json({"retried": count})
    else:
        console.print(f"The next run tries {counted(count, 'file', 'files')} again")


@app.command("forget")
def forget_downloads(
    ids: Ids = None, state: States = None, text: Text = "", as_json: AsJson = False
) -> None:
    """Take files out of the ledger; the files themselves stay.

    Name the files by their ids, or select them by state and text.
    """
    from stashhog_core.db.open import open_database
    from stashhog_core.downloads.listing import forget
    from stashhog_core.report import counted

    with open_database(get_settings()) as database:
        count = forget(database, _selected(database, ids, state, text))
    if as_json:
        print_json({"forgotten": count})
    else:
        console.print(f"The ledger has forgotten {counted(count, 'file', 'files')}")


def _selected(
    database: "Database",
    ids: Sequence[int] | None,
    states: Sequence[str] | None,
    text: str,
) -> Sequence[int]:
    """Return the ids that were given, or those of the files that were selected.

    Raises:
        ConfigurationError: Nothing was given, or both.
    """
    from stashhog_core.downloads.listing import matching_ids

    has_filter = bool(states or text)
    if bool(ids) == has_filter:
        raise ConfigurationError(
            "The files are named by ids and by a filter"
            if ids
            else "No files are named",
            remedy="give either ids, or --state and --text",
        )
    if ids:
        return ids
    with database.transaction() as session:
        return matching_ids(session, states or (), text)
