"""`stashhog backup` and `restore`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from stashhog.cli.console import console, path, plain
from stashhog_core.settings import env_file, get_settings, reading_settings_from

app = typer.Typer()


@app.command()
def backup(
    to: Annotated[
        Path,
        typer.Argument(
            parser=path,
            help="File to write, or a folder that gets a new file named by the time.",
        ),
    ],
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for active runs to end."),
    ] = 0,
) -> None:
    """Write the databases, the settings and the key of the pages into one file.

    The file holds passwords, and only you can read it. The services may keep running.
    """
    from stashhog.services.backup import back_up
    from stashhog_core.report import size_in_words

    file, facts = back_up(get_settings(), to, wait_seconds=wait)
    for note in facts.notes:
        console.print(f"[yellow]{plain(note)}[/]", soft_wrap=True)
    size = size_in_words(file.stat().st_size)
    _say(f"Wrote {file} ({size}): {', '.join(facts.parts)}")


@app.command()
def restore(
    file: Annotated[
        Path,
        typer.Argument(parser=path, help="File that `stashhog backup` has written."),
    ],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace the data that is there; it is lost then."
        ),
    ] = False,
) -> None:
    """Restore a backup. The services must be stopped.

    If there is no `.env`, the settings of the backup are used and kept; otherwise your
    settings stay.
    """
    from stashhog.services.backup import extracted_settings, keep_settings
    from stashhog.services.backup import restore as restore_backup

    with extracted_settings(file) as part:
        is_fresh = part is not None and not env_file().exists()
        with reading_settings_from(part) if part and is_fresh else nullcontext():
            said = restore_backup(get_settings(), file, replace=replace)
        if part is not None and (kept := keep_settings(part)):
            said.append(kept)
    for sentence in said:
        _say(sentence)


def _say(sentence: str) -> None:
    console.print(plain(sentence), highlight=False, soft_wrap=True)
