"""Running a flow in this process, on a temporary Prefect API or on the user's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import httpx
from dotenv import dotenv_values

from stashhog.importing import importing
from stashhog.temporary_server import TemporaryServer
from stashhog_core.db.address import first_line
from stashhog_core.db.embedded import kept_running, require_space, start_embedded
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.redaction import remember_address, remember_credentials
from stashhog_core.results import Result
from stashhog_core.settings import (
    Settings,
    env_file,
    get_settings,
    make_home_folder,
)


class Display(Protocol):
    """Shows a run while it goes."""

    def __call__(self, percent: float, message: str) -> None:
        """Show a report: per cent of the run, and what is being done."""

    def say(self, percent: float | None, message: str) -> None:
        """Show a line: per cent of the run at a milestone, None in between."""


def prepare_prefect(settings: Settings) -> None:
    """Set Prefect up through the environment; must come before its first import.

    With a `PREFECT_API_URL` the user's own server is used. Otherwise a temporary one
    runs on the embedded PostgreSQL: on SQLite, bursts of task runs lock it.
    """
    defaults = prefect_defaults(settings) | read_prefect_variables()
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Prefect makes the folder itself, but not the ones it lies in.
    make_home_folder(Path(os.environ["PREFECT_HOME"]))
    if not os.environ.get("PREFECT_API_URL") and not os.environ.get(
        "PREFECT_API_DATABASE_CONNECTION_URL"
    ):
        url = start_embedded(settings.home_folder, "prefect")
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = (
            "postgresql+asyncpg" + url.removeprefix("postgresql")
        )


def prefect_defaults(settings: Settings) -> dict[str, str]:
    """Return the variables that Prefect gets where the user has set none."""
    return {
        "PREFECT_HOME": str(settings.home_folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The temporary server has no pages; no other page may use its API.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
        # The automation that finds dead runs would take a slower one for dead.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # What the core says belongs into the run's log, wherever it is started.
        "PREFECT_LOGGING_EXTRA_LOGGERS": "stashhog_core",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # The terminal shows the run in its own words.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }


def read_prefect_variables() -> dict[str, str]:
    """Return the `PREFECT_` variables of `.env` and the environment, which wins.

    The address of the API has no slash at its end: Prefect takes both forms, and paths
    are appended to ours.
    """
    variables = {
        name: value
        for name, value in {**dotenv_values(env_file()), **os.environ}.items()
        if name.startswith("PREFECT_") and value
    }
    if url := variables.get("PREFECT_API_URL"):
        variables["PREFECT_API_URL"] = url.strip().rstrip("/")
    for value in variables.values():
        if "://" in value:
            remember_address(value)
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        user, _, password = variables.get(name, "").partition(":")
        remember_credentials(user, password)
    return variables


def run_flow(
    job: str, values: dict[str, Any], display: Display
) -> tuple[str, Result | BaseException]:
    """Run a job's flow here; return its end state's name and its result, or error.

    Args:
        job: Name of the flow.
        values: Its parameters by wire name, already checked.
        display: Receives each report of the run, and each line of its log.

    Raises:
        ConfigurationError: Prefect's API does not start, or does not answer; or the
            disk of the embedded PostgreSQL is full.
        TransientError: Prefect's API has failed in the middle of the run.
    """
    settings = get_settings()
    variables = read_prefect_variables()
    is_embedded = settings.database.url is None or not (
        variables.get("PREFECT_API_URL")
        or variables.get("PREFECT_API_DATABASE_CONNECTION_URL")
    )
    if is_embedded:
        require_space(settings.home_folder)
    prepare_prefect(settings)
    with kept_running(settings.home_folder) if is_embedded else nullcontext():
        temporary = None if os.environ.get("PREFECT_API_URL") else TemporaryServer()
        # Prefect is slow to import, and reads the environment when it is.
        with importing():
            from flows import flow_of
            from flows.outcome import result_of

            flow = flow_of(job)

        if temporary is not None:
            temporary.wait()
        else:
            _reach(os.environ["PREFECT_API_URL"])
        with _shown_progress(display), _api_failures():
            state = flow(**values, return_state=True)
    return state.name, result_of(state)


def _reach(api_url: str) -> None:
    """Ask the user's own Prefect API whether it is there.

    Raises:
        ConfigurationError: It does not answer.
    """
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            client.hello()
    # Prefect raises bare RuntimeErrors where a server cannot be reached.
    except (RuntimeError, httpx.HTTPError) as error:
        raise ConfigurationError(
            "Prefect's API does not answer",
            where=api_url,
            remedy="start the server, or unset PREFECT_API_URL to use "
            "a temporary server",
        ) from error


@contextmanager
def _api_failures() -> Iterator[None]:
    """Say in a sentence that Prefect's API has failed: the run itself never raises.

    Raises:
        TransientError: It has; what the run has done stays.
    """
    try:
        yield
    except httpx.HTTPError as error:
        raise TransientError(
            "Prefect's API has failed in the middle of the run; finished work stays",
            where=os.environ["PREFECT_API_URL"],
            remedy="see whether its server runs and the disk of its database has "
            f"space, and run again ({first_line(error)})",
        ) from error


@contextmanager
def _shown_progress(display: Display) -> Iterator[None]:
    from tasks.run_progress import line_listeners, listeners

    say = display.say
    listeners.append(display)
    line_listeners.append(say)
    try:
        yield
    finally:
        listeners.remove(display)
        line_listeners.remove(say)
