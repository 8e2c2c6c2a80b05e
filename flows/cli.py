"""The terminal: `stashhog`.

Exit status: 0 done (also with errors in parts, which the report names), 1 failed,
2 wrong usage or configuration, 130 cancelled.
"""

import difflib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from stashhog_core.errors import ConfigurationError, StashHogError
from stashhog_core.params import JOB_PARAMS
from stashhog_core.settings import get_settings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANCELLED = 130

app = typer.Typer(
    help="StashHog: from finished downloads to tagged scenes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
plans_app = typer.Typer(help="Plans of proposed changes.", no_args_is_help=True)
app.add_typer(plans_app, name="plans")
console = Console()
errors = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the terminal; every fault ends as one sentence and an exit status."""
    try:
        app()
    except ConfigurationError as error:
        _say_and_exit(error, EXIT_USAGE)
    except StashHogError as error:
        _say_and_exit(error, EXIT_FAILED)
    except KeyboardInterrupt:
        _say_and_exit("Cancelled", EXIT_CANCELLED)


@app.command()
def run(
    job: Annotated[str, typer.Argument(help="One of: " + ", ".join(JOB_PARAMS))],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="name=value; the value may be JSON."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a job here and now, and print what it did."""
    values = parse_parameters(job, param or [])
    get_settings()
    from flows._local import prepare_prefect, run_flow, told_of_progress
    from flows._terminal import RunDisplay, print_result

    prepare_prefect(get_settings())
    with (
        RunDisplay(errors if as_json else console) as display,
        told_of_progress(display),
    ):
        state, result = run_flow(job, values)
    if isinstance(result, StashHogError):
        raise result
    if isinstance(result, BaseException):
        _say_and_exit(f"{job} failed: {result}", EXIT_FAILED)
    if as_json:
        print(result.model_dump_json(indent=2))  # noqa: T201 - the asked-for output
    else:
        print_result(console, job, state, result)
    if state in {"Failed", "Crashed"}:
        raise typer.Exit(EXIT_FAILED)
    if state == "Cancelled":
        raise typer.Exit(EXIT_CANCELLED)


@app.command()
def migrate() -> None:
    """Bring the database's tables to this version."""
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
    from flows._services import up as start

    console.print("Starting Prefect's server and a worker …")
    address = start(get_settings())
    console.print(f"Prefect's UI: [bold]{address}[/]   (stop: make down)")


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from flows._services import down as stop

    stopped = stop(get_settings())
    console.print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was up")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say which of the services run."""
    from flows._services import status as look

    parts = look(get_settings())
    if as_json:
        _print_json(parts)
    else:
        for name, pid in parts.items():
            console.print(f"{name:<12}{f'runs ({pid})' if pid else 'does not run'}")
    if None in parts.values():
        raise typer.Exit(EXIT_FAILED)


@app.command()
def scenes(
    query: Annotated[str, typer.Argument(help="Words in title or path.")] = "",
    generated: Annotated[
        bool | None,
        typer.Option("--generated/--not-generated", help="With generated media."),
    ] = None,
    analyzed: Annotated[
        bool | None,
        typer.Option("--analyzed/--not-analyzed", help="Video-analysed."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag.")] = None,
    performer: Annotated[str | None, typer.Option(help="With this performer.")] = None,
    studio: Annotated[str | None, typer.Option(help="Of this studio.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
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
    )
    with open_database(get_settings()) as database, database.transaction() as session:
        found = list_scenes(session, which, limit=limit)
    if as_json:
        _print_json([asdict(scene) for scene in found])
        return
    table = Table("Id", "Scene", "Studio", "Performers", "Tags", "Media", "Analysed")
    for scene in found:
        table.add_row(
            str(scene.id),
            scene.title or Path(scene.path or "").name,
            scene.studio or "",
            ", ".join(scene.performers),
            ", ".join(scene.tags),
            "yes" if scene.generated else "no",
            "yes" if scene.video_analyzed else "no",
        )
    console.print(table)
    console.print(f"{len(found)} scenes")


@plans_app.command("list")
def list_plans(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the plans, newest first."""
    from stashhog_core.analysis.plans import list_plans as read_plans
    from stashhog_core.db.open import open_database

    with open_database(get_settings()) as database, database.transaction() as session:
        plans = read_plans(session, limit=limit)
    if as_json:
        _print_json([plan.model_dump(mode="json") for plan in plans])
        return
    table = Table("Id", "Plan", "State", "Changes", "Applied", "Created")
    for plan in plans:
        table.add_row(
            str(plan.id),
            plan.name,
            plan.state,
            str(plan.changes),
            str(plan.applied),
            f"{plan.created_at:%Y-%m-%d %H:%M} UTC",
        )
    console.print(table)


@plans_app.command("show")
def show_plan(
    plan_id: Annotated[int, typer.Argument(min=1, help="The plan's id.")],
    as_json: AsJson = False,
) -> None:
    """Show the changes of a plan, with their evidence."""
    from stashhog_core.analysis.plans import plan_changes
    from stashhog_core.db.open import open_database

    with open_database(get_settings()) as database, database.transaction() as session:
        changes = plan_changes(session, plan_id)
    if as_json:
        _print_json([change.model_dump(mode="json") for change in changes])
        return
    table = Table("Id", "Scene", "Change", "Confidence", "Why", "State")
    for change in changes:
        table.add_row(
            str(change.id),
            str(change.scene_id),
            change.in_words,
            f"{change.confidence:.2f}",
            change.why,
            change.state,
        )
    console.print(table)


def parse_parameters(job: str, pairs: list[str]) -> dict[str, Any]:
    """Return the parameters of `job` given as name=value, checked.

    Raises:
        ConfigurationError: The job or a name is unknown, or a value is not allowed.
    """
    model = JOB_PARAMS.get(job)
    if model is None:
        raise ConfigurationError(
            f"There is no job {job!r}", remedy=_nearest(job, list(JOB_PARAMS))
        )
    known = [field.alias or name for name, field in model.model_fields.items()]
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise ConfigurationError(
                f"The parameter {pair!r} has no value", remedy="write it as name=value"
            )
        if name not in known:
            raise ConfigurationError(
                f"{job} has no parameter {name!r}", remedy=_nearest(name, known)
            )
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    try:
        model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"The parameter {first['loc'][0]} of {job} cannot be {first['input']!r}",
            remedy=first["msg"],
        ) from error
    return values


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "choose one of " + ", ".join(known)


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    print(text)  # noqa: T201 - the asked-for output


def _say_and_exit(what: object, status: int) -> NoReturn:
    errors.print(f"[bold red]Error:[/] {what!s}", highlight=False, soft_wrap=True)
    sys.exit(status)
