"""`stashhog scenes`: the mirror, for people."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stashhog.cli.console import (
    AsJson,
    Limit,
    console,
    open_session,
    plain,
    print_json_rows,
    print_table,
)
from stashhog_core.errors import JobError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from stashhog_core.db.scenes import SceneFilter

app = typer.Typer()


@app.command()
def scenes(
    query: Annotated[
        str, typer.Argument(help="Words that the title or the path must contain.")
    ] = "",
    generated: Annotated[
        bool | None,
        typer.Option(
            "--generated/--not-generated",
            help="List only scenes with, or without, generated media.",
        ),
    ] = None,
    analyzed: Annotated[
        bool | None,
        typer.Option(
            "--analyzed/--not-analyzed",
            help="List only scenes whose video has, or has not, been analyzed.",
        ),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="List only scenes with this tag.")
    ] = None,
    performer: Annotated[
        str | None, typer.Option(help="List only scenes with this performer.")
    ] = None,
    studio: Annotated[
        str | None, typer.Option(help="List only scenes of this studio.")
    ] = None,
    impacted_by: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="List only scenes for which the run with this id generated media.",
        ),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the mirrored scenes, newest first."""
    from stashhog_core.db.scenes import SceneFilter, list_scenes
    from stashhog_core.report import counted

    which = SceneFilter(
        generated=generated,
        video_analyzed=analyzed,
        tag=tag,
        performer=performer,
        studio=studio,
        text=query or None,
        impacted_by=impacted_by,
    )
    with open_session() as session:
        coming = list_scenes(session, which, limit=limit)
        first = next(coming, None)
        if first is None:
            _refuse_unknown(session, which)
        listed = chain([first] if first else [], coming)
        if as_json:
            print_json_rows(vars(scene) for scene in listed)
            return
        number = print_table(
            ("Id", "Scene", "Studio", "Performers", "Tags", "Media", "Analyzed"),
            (
                (
                    str(scene.id),
                    plain(scene.title or Path(scene.path or "").name),
                    plain(scene.studio or ""),
                    plain(", ".join(scene.performers)),
                    plain(", ".join(scene.tags)),
                    "yes" if scene.generated else "no",
                    "yes" if scene.video_analyzed else "no",
                )
                for scene in listed
            ),
        )
    console.print(counted(number, "scene", "scenes"))


def _refuse_unknown(session: "Session", which: "SceneFilter") -> None:
    """Tell a name that nothing has from one that no scene has.

    Raises:
        JobError: The mirror has no such tag, performer or studio, or there is no
            report of such a run.
    """
    from stashhog_core.db.models import JobReport
    from stashhog_core.plans.review import find_named

    for field, name in (
        ("tags", which.tag),
        ("performers", which.performer),
        ("studio", which.studio),
    ):
        if name is not None:
            find_named(session, field, name, "give the whole name or an alias")
    run = which.impacted_by
    if run is not None and session.get(JobReport, run) is None:
        raise JobError(
            f"StashHog has no report of the run {run!r}",
            remedy="copy the id from the address of the run in Prefect's UI",
        )
