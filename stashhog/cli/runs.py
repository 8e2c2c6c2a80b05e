"""`stashhog run`, `verify` and `push`: a job here and now, or soon on a worker."""

import signal
from dataclasses import asdict
from typing import Annotated, Any

import typer

from stashhog.cli.console import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    AsJson,
    console,
    errors,
    plain,
    print_json,
    say_and_exit,
)
from stashhog.cli.parameters import (
    parameter_rows,
    parameters_of,
    parse_parameters,
    print_parameters,
)
from stashhog_core.errors import StashHogError
from stashhog_core.ids import MAX_ID
from stashhog_core.params import JOB_PARAMS, checked_parameters

Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        help="Parameter as name=value; the value may be JSON. Repeat "
        "the option for more parameters.",
    ),
]


app = typer.Typer()


@app.command()
def run(
    job: Annotated[
        str, typer.Argument(help="Name of the job, one of: " + ", ".join(JOB_PARAMS))
    ],
    param: Parameters = None,
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

    `stashhog run JOB --parameters` lists the parameters of a job. The job uses the
    services that the settings name, and never the sandbox of `make run`.
    """
    if parameters:
        rows = parameter_rows(parameters_of(job))
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
        int,
        typer.Option(min=1, max=MAX_ID, help="Number of randomly chosen scenes."),
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
def push(
    deployment: Annotated[
        str,
        typer.Argument(help="Deployment, such as process_downloads/process-downloads."),
    ],
    param: Parameters = None,
    delay: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            help="Seconds to wait for more calls, which then share one run.",
        ),
    ] = 10,
) -> None:
    """Start a run of a deployment soon. Calls within a short time share one run."""
    from stashhog.push import push as push_run

    job = deployment.partition("/")[0]
    values = parse_parameters(job, param) if param else {}
    pushed = push_run(deployment, values, delay_seconds=delay)
    console.print(
        f"Scheduled a run of {plain(deployment)}: [bold]{plain(pushed.name)}[/]",
        highlight=False,
        soft_wrap=True,
    )


def run_here(job: str, values: dict[str, Any], *, as_json: bool) -> None:
    """Run a job here and now, with parameters by their wire names.

    Raises:
        ConfigurationError: There is no such job, or a parameter is not allowed.
        StashHogError: What the job failed with.
        typer.Exit: It failed otherwise, or was cancelled.
    """
    checked_parameters(job, parameters_of(job), values)
    from stashhog.cli.display import RunDisplay, print_result
    from stashhog.local import run_flow

    try:
        with RunDisplay(errors if as_json else console) as display:
            state, result = run_flow(job, values, display)
    except KeyboardInterrupt:
        say_and_exit(f"{job} was cancelled; finished work stays", EXIT_CANCELLED)
    finally:
        end_undisturbed()
    if isinstance(result, StashHogError):
        raise result
    if isinstance(result, BaseException):
        say_and_exit(f"{job} failed: {result}", EXIT_FAILED)
    if as_json:
        print(result.model_dump_json(indent=2))  # noqa: T201 - the asked-for output
    else:
        print_result(console, job, state, result)
    if state in {"Failed", "Crashed", "Deferred", "TimedOut"}:
        raise typer.Exit(EXIT_FAILED)
    if state == "Cancelled":
        raise typer.Exit(EXIT_CANCELLED)


def end_undisturbed() -> None:
    """Ignore Ctrl-C from now on: this process only has to stop its servers.

    If Ctrl-C came while Python exits, Python would print a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
