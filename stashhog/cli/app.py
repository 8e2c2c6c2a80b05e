"""The terminal: `stashhog`.

Exit status: 0 done (also with errors in parts, which the report names), 1 failed,
2 wrong usage or configuration, 130 cancelled.
"""

import difflib
from dataclasses import asdict
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from stashhog.cli.edits import edits_app
from stashhog.cli.library import library_app
from stashhog.cli.parameters import parameter_rows, print_parameters, shown, typed_value
from stashhog.cli.plain import plain
from stashhog.cli.plans import app as plans_app
from stashhog.cli.push import push
from stashhog.cli.running import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    console,
    print_json,
    print_json_rows,
    run_here,
    say_and_exit,
)
from stashhog_core.errors import (
    ConfigurationError,
    JobError,
    StashHogError,
    first_problem,
)
from stashhog_core.http import keep_loopback_direct
from stashhog_core.params import JOB_PARAMS, JobParams
from stashhog_core.report import counted
from stashhog_core.settings import get_settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from stashhog_core.db.scenes import SceneFilter

EXIT_USAGE = 2

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(plans_app, name="plans")
app.add_typer(library_app, name="library")
app.add_typer(edits_app, name="edits")
app.command()(push)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _print_version(*, wanted: bool) -> None:
    if wanted:
        console.print(f"stashhog {metadata.version('stashhog')}", highlight=False)
        raise typer.Exit


@app.callback()
def stashhog(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda wanted: _print_version(wanted=wanted),
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """StashHog: from finished downloads to tagged scenes."""


def main() -> None:
    """Run the terminal; every fault ends as one sentence and an exit status."""
    keep_loopback_direct()
    try:
        app()
    except ConfigurationError as error:
        say_and_exit(error, EXIT_USAGE)
    except StashHogError as error:
        say_and_exit(error, EXIT_FAILED)
    except KeyboardInterrupt:
        say_and_exit("Cancelled", EXIT_CANCELLED)


@app.command()
def run(
    job: Annotated[
        str, typer.Argument(help="Name of the job, one of: " + ", ".join(JOB_PARAMS))
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            help="Parameter as name=value; the value may be JSON. May be repeated.",
        ),
    ] = None,
    parameters: Annotated[
        bool,
        typer.Option(
            "--parameters",
            help="List the parameters of the job instead of running the job.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a job at once on this machine, and print what the job did.

    `stashhog run JOB --parameters` lists what it can be asked.
    """
    if parameters:
        rows = parameter_rows(_parameters_model(job))
        if as_json:
            print_json([asdict(row) for row in rows])
        else:
            print_parameters(console, job, rows)
        return
    values = parse_parameters(job, param or [])
    run_here(job, values, as_json=as_json)


@app.command()
def verify(
    scenes: Annotated[
        int, typer.Option(min=1, help="Number of randomly chosen scenes.")
    ] = 500,
    as_json: AsJson = False,
) -> None:
    """Compare the mirror with Stash, field by field."""
    run_here(
        "verify_mirror",
        parse_parameters("verify_mirror", [f"scenes={scenes}"]),
        as_json=as_json,
    )


@app.command()
def migrate() -> None:
    """Migrate the database to the tables of this version."""
    from stashhog_core.db.open import connect_database
    from stashhog_core.db.schema import migrate as migrate_schema

    with connect_database(get_settings()) as database:
        applied = migrate_schema(database)
        where = database.address
    if applied:
        console.print(f"Applied {', '.join(applied)} to {where}")
    else:
        console.print(f"{where} is up to date")


@app.command()
def up() -> None:
    """Start Prefect's server with its UI, a worker, and register the deployments."""
    from stashhog.services.lifecycle import open_to_the_network
    from stashhog.services.lifecycle import up as start

    console.print("Starting Prefect's server and a worker …")
    if open_to_the_network():
        console.print(
            "[yellow]The server listens beyond this machine without a password:[/] "
            "set PREFECT_SERVER_API_AUTH_STRING"
        )
    settings = get_settings()
    address, refused = start(settings)
    _warn(refused)
    if settings.stash.url is None:
        console.print(
            "[yellow]No Stash server is set, so runs will fail:[/] "
            "set STASHHOG_STASH__URL in .env"
        )
    console.print(f"Prefect's UI: [bold]{address}[/]   (stop: make down)")


@app.command()
def deploy() -> None:
    """Register the deployments at the Prefect server of PREFECT_API_URL."""
    from stashhog.local import read_prefect_variables
    from stashhog.services.lifecycle import register

    url = read_prefect_variables().get("PREFECT_API_URL")
    if not url:
        raise ConfigurationError(
            "No Prefect server is named",
            remedy="set PREFECT_API_URL, or run `stashhog up` to start one",
        )
    _warn(register(get_settings(), url))
    console.print(f"Registered at {url}")


def _warn(sentences: list[str]) -> None:
    for sentence in sentences:
        console.print(f"[yellow]{plain(sentence)}[/]", soft_wrap=True)


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from stashhog.services.lifecycle import down as stop

    stopped = stop(get_settings())
    console.print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was up")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the state of each service; exit status 1 unless all services are well."""
    from stashhog.services.status import status as look

    parts = look(get_settings())
    if as_json:
        print_json({name: asdict(part) for name, part in parts.items()})
    else:
        for name, part in parts.items():
            colour = "green" if part.ok else "red"
            process = f" ({part.pid})" if part.pid else ""
            console.print(
                f"[{colour}]{name:<12}[/] {plain(part.words)}{process}",
                highlight=False,
                soft_wrap=True,
            )
    if not all(part.ok for part in parts.values()):
        raise typer.Exit(EXIT_FAILED)


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
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the mirrored scenes, newest first."""
    from stashhog_core.db.open import open_database
    from stashhog_core.db.scenes import SceneFilter, list_scenes

    which = SceneFilter(
        generated=generated,
        video_analyzed=analyzed,
        tag=tag,
        performer=performer,
        studio=studio,
        text=query or None,
        impacted_by=impacted_by,
    )
    with open_database(get_settings()) as database, database.transaction() as session:
        coming = list_scenes(session, which, limit=limit)
        first = next(coming, None)
        if first is None:
            _refuse_unknown(session, which)
        listed = chain([first] if first else [], coming)
        if as_json:
            print_json_rows(vars(scene) for scene in listed)
            return
        found = list(listed)
    table = Table("Id", "Scene", "Studio", "Performers", "Tags", "Media", "Analyzed")
    for scene in found:
        table.add_row(
            str(scene.id),
            plain(scene.title or Path(scene.path or "").name),
            plain(scene.studio or ""),
            plain(", ".join(scene.performers)),
            plain(", ".join(scene.tags)),
            "yes" if scene.generated else "no",
            "yes" if scene.video_analyzed else "no",
        )
    console.print(table)
    console.print(counted(len(found), "scene", "scenes"))


def _refuse_unknown(session: "Session", which: "SceneFilter") -> None:
    """Tell a name that nothing has from one that no scene has.

    Raises:
        JobError: The mirror has no such tag, performer or studio, or there is no
            report of such a run.
    """
    from stashhog_core.db.models import JobReport
    from stashhog_core.plans.replacing import find_member

    for field, name in (
        ("tags", which.tag),
        ("performers", which.performer),
        ("studio", which.studio),
    ):
        if name is not None:
            find_member(session, field, name, "give its whole name or an alias")
    run = which.impacted_by
    if run is not None and session.get(JobReport, run) is None:
        raise JobError(
            f"There is no report of a run {run!r}",
            remedy="its id is in its address in Prefect's UI",
        )


def parse_parameters(job: str, pairs: list[str]) -> dict[str, Any]:
    """Return the parameters of `job` given as name=value, checked.

    Raises:
        ConfigurationError: The job or a name is unknown, or a value is not allowed.
    """
    model = _parameters_model(job)
    known = [field.alias or name for name, field in model.model_fields.items()]
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigurationError(
                f"The parameter {shown(pair)} has no value",
                remedy="write it as name=value",
            )
        if name not in known:
            raise ConfigurationError(
                f"{job} has no parameter {name!r}", remedy=_nearest(name, known)
            )
        values[name] = typed_value(model, name, text)
    try:
        model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"The parameter {first['loc'][0]} of {job} cannot be "
            f"{shown(first['input'])}",
            remedy=first_problem(error),
        ) from error
    return values


def _parameters_model(job: str) -> type[JobParams]:
    model = JOB_PARAMS.get(job)
    if model is None:
        raise ConfigurationError(
            f"There is no job {job!r}", remedy=_nearest(job, list(JOB_PARAMS))
        )
    return model


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "choose one of " + ", ".join(known)
