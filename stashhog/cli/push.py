"""`stashhog push`: what qBittorrent and Stash call when something has happened."""

from typing import Annotated

import typer

from stashhog.cli.running import console


def push(
    deployment: Annotated[
        str,
        typer.Argument(help="Deployment, such as process_downloads/process-downloads."),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            help="Parameter as name=value; the value may be JSON. May be repeated.",
        ),
    ] = None,
    delay: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds to wait for more calls, which then share one run."
        ),
    ] = 10,
) -> None:
    """Start a run of a deployment soon; calls within a short time share one run."""
    from stashhog.cli.app import parse_parameters
    from stashhog.push import push as push_run

    job = deployment.partition("/")[0]
    values = parse_parameters(job, param) if param else {}
    pushed = push_run(deployment, values, delay_seconds=delay)
    console.print(
        f"{deployment} starts soon, as [bold]{pushed.name}[/]",
        highlight=False,
        soft_wrap=True,
    )
