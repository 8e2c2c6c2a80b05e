"""`stashhog edits`: local edits of scenes that are not yet in Stash."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from stashhog.cli.console import AsJson, console, plain, wrapped_table
from stashhog_core.errors import (
    ConfigurationError,
    StashHogError,
    refused_value,
    shown,
)
from stashhog_core.ids import MAX_ID
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    from stashhog_core.db.session import Database

app = typer.Typer(
    help="List, make, push and discard local edits of scenes.", no_args_is_help=True
)

SceneId = Annotated[int, typer.Argument(min=1, max=MAX_ID, help="Id of the scene.")]


@contextmanager
def _database() -> "Iterator[Database]":
    from stashhog_core.db.open import open_database

    with open_database(get_settings()) as database:
        yield database


@app.command("list")
def list_all(
    conflicts: Annotated[
        bool,
        typer.Option(
            "--conflicts", help="List only edits of fields that Stash has changed too."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the edited fields and the values that Stash has for them."""
    from stashhog_core.sync.local_edits import list_edits

    with _database() as database, database.transaction() as session:
        edits = list_edits(session, conflicts_only=conflicts)
    if as_json:
        print(json.dumps([asdict(e) for e in edits], indent=2))  # noqa: T201
        return
    table = wrapped_table("Scene", "Field", "Here", "In Stash", "")
    for edit in edits:
        table.add_row(
            str(edit.scene_id),
            edit.field,
            plain(edit.value),
            plain(edit.theirs if edit.conflict else edit.base),
            "conflict" if edit.conflict else "",
        )
    console.print(table)


@app.command("set")
def set_fields(
    scene_id: SceneId,
    fields: Annotated[
        list[str],
        typer.Argument(
            help="Field and value as name=value. The value is a text or JSON."
        ),
    ],
) -> None:
    """Edit fields of a scene here; `stashhog edits push` sends the edits to Stash."""
    from stashhog.cli.parameters import typed_value
    from stashhog_core.sync.local_edits import SceneEdit, edit_scene

    values: dict[str, Any] = {}
    for pair in fields:
        name, separator, text = pair.partition("=")
        if not (name.strip() and separator):
            lacking = "field" if separator else "value"
            raise ConfigurationError(
                f"The edit {shown(pair)} has no {lacking}",
                remedy="write the edit as name=value",
            )
        values[name] = typed_value(SceneEdit, name, text, quoted=False)
    _require_fields(values)
    try:
        edit = SceneEdit.model_validate(values)
    except ValidationError as error:
        raise refused_value(error, "field") from error
    with _database() as database, database.transaction() as session:
        edit_scene(session, scene_id, edit)
    console.print(f"Edited scene {scene_id}: {plain(', '.join(values))}")


@app.command("discard")
def discard(
    scene_id: SceneId,
    fields: Annotated[
        list[str] | None,
        typer.Argument(help="Names of the fields; default: all edited fields."),
    ] = None,
) -> None:
    """Discard the local edits of a scene and restore Stash's values."""
    from stashhog_core.sync.local_edits import discard_edits

    _require_fields(fields or ())
    with _database() as database, database.transaction() as session:
        discarded = discard_edits(session, scene_id, fields or None)
    console.print(
        f"Discarded the edits of scene {scene_id}: {plain(', '.join(discarded))}"
        if discarded
        else f"Scene {scene_id} has no edits to discard"
    )


@app.command("keep")
def keep(
    scene_id: SceneId, field: Annotated[str, typer.Argument(help="Name of the field.")]
) -> None:
    """Resolve a conflict: keep the local value."""
    from stashhog_core.sync.local_edits import keep_local

    _require_fields([field])
    with _database() as database, database.transaction() as session:
        keep_local(session, scene_id, field)


@app.command("push")
def push(
    scene_ids: Annotated[
        list[int] | None,
        typer.Argument(
            min=1, max=MAX_ID, help="Ids of scenes; default: all edited scenes."
        ),
    ] = None,
) -> None:
    """Send the local edits to Stash, except edits that are in conflict."""
    from stashhog_core.progress import Progress
    from stashhog_core.report import counted
    from stashhog_core.stash.client import StashClient
    from stashhog_core.sync.push import push_edits

    with _database() as database, StashClient(get_settings().stash) as stash:
        stash.check_ready()
        done = push_edits(stash, database, Progress(), scene_ids or None)
    console.print(
        f"Pushed {counted(done.pushed, 'field', 'fields')}; {done.already} already in "
        f"Stash, {done.conflicts} in conflict"
    )
    for failure in done.failures:
        console.print(plain(f"{failure.item}: {failure.reason}"), soft_wrap=True)
    if done.failures:
        raise StashHogError("Some edits could not be pushed; the reasons are above")


def _require_fields(names: Iterable[str]) -> None:
    from stashhog_core.sync.local_edits import SceneEdit

    if unknown := set(names) - SceneEdit.model_fields.keys():
        raise ConfigurationError(
            f"Scenes have no field {', '.join(sorted(unknown))} that can be edited",
            remedy=f"choose one of {', '.join(SceneEdit.model_fields)}",
        )
