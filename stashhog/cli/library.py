"""`stashhog library`: the index of the directory scan."""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stashhog.cli.console import (
    AsJson,
    Limit,
    console,
    open_session,
    plain,
    print_json,
    print_json_rows,
    print_table,
    wrapped_table,
)
from stashhog_core.ids import MAX_ID
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    from stashhog_core.db.models import LibraryFile

app = typer.Typer(
    help="Scan local folders, and search the index of their video files.",
    no_args_is_help=True,
)

Folder = Annotated[
    str, typer.Argument(help="Folder inside one of the allowed scan roots.")
]


@app.command("scan")
def scan(
    path: Folder,
    timeout_seconds: Annotated[
        float, typer.Option(min=0.1, help="Maximum duration of the scan in seconds.")
    ] = 300,
    shards: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Number of parts of the scan that run in parallel."
        ),
    ] = 1,
) -> None:
    """Start a scan of a folder on a worker, and print the id of the run."""
    from stashhog_core.file_index.walk import resolve_scan_folder

    settings = get_settings()
    folder = resolve_scan_folder(path, settings.library.allowed_scan_roots)
    wanted = {
        "path": str(folder),
        "timeout_seconds": timeout_seconds,
        "shards": shards,
    }
    from stashhog.services.prefect_server import prefect_environment

    with prefect_environment(settings):
        from stashhog.scans import submit

        print(submit(wanted))  # noqa: T201 - the asked-for output


@app.command("status")
def status(
    run: Annotated[
        str, typer.Argument(help="Id of the run, as `stashhog library scan` prints it.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show the status of a scan.

    The status is pending, running, complete, failed, timeout or cancelled.
    """
    settings = get_settings()
    from stashhog.services.prefect_server import prefect_environment

    with prefect_environment(settings):
        from stashhog.scans import scan_status

        scan = scan_status(settings, run)
    if as_json:
        print_json(scan)
        return
    share = scan["progress"]
    console.print(scan["status"] + ("" if share is None else f"  {share:.0%}"))
    if scan["error"]:
        console.print(plain(scan["error"]), highlight=False, soft_wrap=True)


@app.command("watch")
def watch(path: Folder) -> None:
    """Scan a folder whenever its videos change, until you press Ctrl-C."""
    from stashhog_core.file_index.walk import resolve_scan_folder
    from stashhog_core.file_index.watch import changes
    from stashhog_core.report import counted

    settings = get_settings()
    folder = resolve_scan_folder(path, settings.library.allowed_scan_roots)
    from stashhog.services.prefect_server import prefect_environment

    with prefect_environment(settings):
        from stashhog.scans import submit

        changed = changes(folder, threading.Event())
        next(changed)
        console.print(f"Watching {plain(folder)} (press Ctrl-C to stop)")
        for count in changed:
            run = submit({"path": str(folder)})
            console.print(
                f"{counted(count, 'change', 'changes')}: started scan {run}",
                highlight=False,
            )


@app.command("list")
def list_library(
    query: Annotated[
        str, typer.Argument(help="Words that the path must contain.")
    ] = "",
    folder: Annotated[
        str | None, typer.Option(help="List only files in or below this folder.")
    ] = None,
    state: Annotated[
        Literal["ok", "unreadable", "pending", "new", "changed", "touched"] | None,
        typer.Option(
            help="List only files in this state; pending means new, changed or touched."
        ),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help="List only videos with this codec, such as h264.")
    ] = None,
    min_height: Annotated[
        int | None, typer.Option(min=0, max=MAX_ID, help="Minimum height in pixels.")
    ] = None,
    min_seconds: Annotated[
        float | None, typer.Option(min=0, help="Minimum length in seconds.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Maximum length in seconds.")
    ] = None,
    hdr: Annotated[
        bool | None,
        typer.Option("--hdr/--sdr", help="List only HDR videos, or only SDR videos."),
    ] = None,
    in_stash: Annotated[
        bool | None,
        typer.Option(
            "--in-stash/--not-in-stash",
            help="List only files that Stash has, or that Stash does "
            "not have, by oshash.",
        ),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the files of the index, sorted by path."""
    from stashhog_core.file_index.queries import FileFilter, list_files

    which = FileFilter(
        text=query or None,
        folder=folder,
        state=state,
        codec=codec,
        min_height=min_height,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        hdr=hdr,
        in_stash=in_stash,
    )
    with open_session() as session:
        _print_files(list_files(session, which, limit), as_json=as_json)


@app.command("show")
def show(
    file: Annotated[str, typer.Argument(help="Id or path of the file.")],
    as_json: AsJson = False,
) -> None:
    """Show everything that the index holds about a file."""
    from stashhog_core.file_index.queries import find_file

    with open_session() as session:
        facts = _facts(find_file(session, file))
    if as_json:
        print_json(facts)
        return
    table = wrapped_table("", "", show_header=False)
    for name, value in facts.items():
        if value not in (None, [], {}):
            table.add_row(name.replace("_", " "), plain(value))
    console.print(table)


@app.command("duplicates")
def duplicates(
    distance: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=32,
            help="List videos that look alike instead: the maximum number "
            "of phash bits that differ.",
        ),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List files with the same content or, with --distance, videos that look alike."""
    from stashhog_core.file_index.queries import exact_duplicates, similar_files
    from stashhog_core.report import size_in_words

    with open_session() as session:
        found = (
            exact_duplicates(session, limit)
            if distance is None
            else similar_files(session, distance, limit)
        )
    if as_json:
        print_json([vars(group) for group in found])
        return
    table = wrapped_table("Files", "Size", "Different bits")
    for group in found:
        table.add_row(
            plain("\n".join(group.paths)),
            "\n".join(size_in_words(size) for size in group.size_bytes),
            str(group.distance),
        )
    console.print(table)


@app.command("missing")
def missing(
    in_stash_only: Annotated[
        bool,
        typer.Option(
            "--in-stash-only",
            help="List files that are in Stash but not in the index.",
        ),
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List indexed files that are gone from the disk, or files that only Stash has."""
    from stashhog_core.file_index.queries import FileFilter, list_files, stash_only

    with open_session() as session:
        if not in_stash_only:
            files = list_files(session, FileFilter(missing=True), limit)
            _print_files(files, as_json=as_json)
            return
        found = stash_only(session, limit)
    if as_json:
        print_json([vars(file) for file in found])
        return
    table = wrapped_table("Scene", "Path in Stash", "oshash")
    for file in found:
        table.add_row(str(file.scene_id), plain(file.path), file.oshash)
    console.print(table)


def _print_files(coming: "Iterable[LibraryFile]", *, as_json: bool) -> None:
    from stashhog_core.report import counted, size_in_words

    if as_json:
        print_json_rows(map(_facts, coming))
        return
    columns = ("Id", "File", "Size", "Length", "Picture", "Codec", "State")
    number = print_table(
        columns,
        (
            (
                str(file.id),
                plain(file.path),
                size_in_words(file.size_bytes),
                _length(file.duration_seconds),
                f"{file.width}x{file.height}" if file.width else "",
                plain(file.video_codec or ""),
                _state(file),
            )
            for file in coming
        ),
    )
    console.print(counted(number, "file", "files"))


def _length(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def _facts(file: "LibraryFile") -> dict[str, Any]:
    facts = {
        column.name: getattr(file, column.name) for column in file.__table__.columns
    }
    if file.phash is not None:
        # As Stash writes it.
        facts["phash"] = f"{file.phash % 2**64:x}"
    return facts


def _state(file: "LibraryFile") -> str:
    if file.missing_since:
        return "missing"
    return "out of reach" if file.unreachable_since else file.state
