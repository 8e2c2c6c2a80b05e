"""`stashhog up`, `deploy`, `down` and `status`; the settings and the tables."""

from dataclasses import asdict
from typing import Annotated

import typer

from stashhog import project_file
from stashhog.cli.console import EXIT_FAILED, AsJson, console, plain, print_json
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import PROJECT, get_settings

app = typer.Typer()


@app.command()
def up() -> None:
    """Start Prefect's server, a worker and the pages, and register the deployments."""
    from stashhog.services.lifecycle import open_to_the_network
    from stashhog.services.lifecycle import up as start

    console.print("Starting Prefect's server, a worker and the pages …")
    if open_to_the_network():
        console.print(
            "[yellow]Other machines can reach Prefect's server "
            "without a password:[/] set PREFECT_SERVER_API_AUTH_STRING"
        )
    services = start(get_settings())
    _warn(services.faults)
    if get_settings().stash.url is None:
        _offer_ways()
    console.print(
        f"Prefect's UI: [bold]{plain(services.prefect)}[/]   (to stop: stashhog down)"
    )
    if services.pages:
        _say_address(services.pages)


def _offer_ways() -> None:
    console.print(
        "[yellow]No Stash server is set, so jobs that need Stash fail, and their "
        "schedules stay off.[/]\nChoose one:\n"
        "  stashhog init   set up your own services, then run `stashhog up` again"
        + (
            "\n  make demo       try everything on a sandbox with sample videos"
            if (PROJECT / "Makefile").exists()
            else ""
        ),
        highlight=False,
    )


def _say_address(address: str) -> None:
    # The whole address can be copied: it stays on one line.
    console.print(f"Review plans: [bold]{plain(address)}[/]", soft_wrap=True)


@app.command()
def deploy(
    reset_schedules: Annotated[
        bool,
        typer.Option(
            "--reset-schedules",
            help="Set all schedules back to their defaults and settings, including "
            "schedules that were changed or deleted in Prefect's UI.",
        ),
    ] = False,
) -> None:
    """Register the deployments at the Prefect server of PREFECT_API_URL."""
    from stashhog.local import read_prefect_variables
    from stashhog.services.lifecycle import register

    url = read_prefect_variables().get("PREFECT_API_URL")
    if not url:
        raise ConfigurationError(
            "No Prefect server is set",
            remedy="set PREFECT_API_URL, or run `stashhog up` to start one",
        )
    _warn(register(get_settings(), url, reset_schedules=reset_schedules))
    console.print(f"Registered the deployments at {plain(url)}", soft_wrap=True)


def _warn(sentences: list[str]) -> None:
    for sentence in sentences:
        console.print(f"[yellow]{plain(sentence)}[/]", soft_wrap=True)


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from stashhog.services.lifecycle import down as stop

    for sentence in stop(get_settings()).sentences():
        console.print(plain(sentence), soft_wrap=True)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the state of each service, of Stash and of the folders.

    The exit status is 0 only if all of them work. `stashhog check` tries everything.
    """
    from stashhog.services.status import status as read_status

    parts = read_status(get_settings())
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
def settings() -> None:
    """Print all settings with their meanings and defaults, as a .env file."""
    print(project_file("deployments/env.example").read_text(), end="")  # noqa: T201


@app.command()
def migrate() -> None:
    """Migrate the database to the tables of this version."""
    from stashhog_core.db.open import connect_database
    from stashhog_core.db.schema import migrate as migrate_schema

    with connect_database(get_settings()) as database:
        applied = migrate_schema(database)
        where = database.address
    if applied:
        console.print(f"Applied {', '.join(applied)} to {plain(where)}")
    else:
        console.print(f"{plain(where)} is up to date")


@app.command()
def web() -> None:
    """Serve the pages for review in the browser, until Ctrl-C."""
    from stashhog.services.state import running
    from stashhog.web.address import address, pages_answer
    from stashhog.web.server import serve

    settings = get_settings()
    if "pages" in running(settings) and pages_answer(settings):
        console.print("`stashhog up` serves the pages already.")
        _say_address(address(settings))
        return
    serve(settings, announce=lambda: _say_address(address(settings)))
