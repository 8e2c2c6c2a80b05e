"""Where the Prefect server of `stashhog up` listens, its password and its database."""

import os
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

import httpx
import psycopg
from sqlalchemy import make_url

from stashhog.local import (
    prefect_defaults,
    prepare_prefect,
    read_prefect_variables,
)
from stashhog.services.state import recorded_url, running
from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.open import sidecar_database
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import ENV_FILE_VARIABLE, Settings, env_file

POOL = "stashhog"
LOOPBACK = "127.0.0.1"
DATABASE_VARIABLES = (
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)
_ORIGINS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
_ASK_SECONDS = 30


class Answer(StrEnum):
    """What comes of asking for the Prefect server."""

    PREFECT = "answers"
    NONE = "does not answer"
    REFUSED = (
        f"refuses the password, because {_AUTH} has changed since the server started"
    )
    FOREIGN = "does not run: another program answers"


def listen_host() -> str:
    """Return the interface that the server listens on; loopback unless set."""
    return read_prefect_variables().get("PREFECT_SERVER_API_HOST") or LOOPBACK


def api_url() -> str:
    """Return the address of the Prefect API that `up` serves.

    Raises:
        ConfigurationError: PREFECT_SERVER_API_PORT is no port.
    """
    port = read_prefect_variables().get("PREFECT_SERVER_API_PORT") or "4200"
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigurationError(
            f"PREFECT_SERVER_API_PORT cannot be {port!r}",
            remedy="set a port from 1 to 65535, or leave the variable "
            "empty to use port 4200",
        )
    # A server that listens everywhere is asked on loopback.
    host = listen_host()
    here = LOOPBACK if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared only
    return f"http://{f'[{here}]' if ':' in here else here}:{port}/api"


def server_url(settings: Settings) -> str:
    """Return the address of the API of the server that `up` has started, or would."""
    return recorded_url(settings) or api_url()


def own_api(settings: Settings) -> str | None:
    """Return the address of the Prefect API that this installation uses, if any.

    That is PREFECT_API_URL, or else the server that `up` has started, while it runs.
    What merely answers at the usual port may be another project's or another home's.
    """
    chosen = read_prefect_variables().get("PREFECT_API_URL")
    return chosen or (server_url(settings) if "server" in running(settings) else None)


def ui_url(settings: Settings) -> str | None:
    """Return the address of the UI of that server, without a slash at the end."""
    url = read_prefect_variables().get("PREFECT_UI_URL") or own_api(settings)
    return url.removesuffix("/api").rstrip("/") if url else None


def auth_string() -> str | None:
    """Return the `user:password` that the server asks for."""
    return read_prefect_variables().get(_AUTH) or None


def ask(url: str, path: str, content: object = None) -> httpx.Response:
    """Ask the Prefect API as its own client would.

    Raises:
        httpx.TransportError: Nothing answers.
    """
    auth = auth_string()
    # As Prefect's client does; httpx would add a colon to a password without one.
    token = b64encode(auth.encode()).decode() if auth else ""
    headers = {"Authorization": f"Basic {token}"} if auth else {}
    # Proxies of the environment are for the world outside.
    with httpx.Client(headers=headers, timeout=_ASK_SECONDS, trust_env=False) as client:
        if content is None:
            return client.get(url + path)
        return client.post(url + path, json=content)


def answer(url: str) -> Answer:
    """Look whether a Prefect server answers, and takes our password."""
    try:
        said = ask(url, "/admin/version")
    except httpx.TransportError:
        return Answer.NONE
    if said.status_code == httpx.codes.UNAUTHORIZED:
        return Answer.REFUSED
    is_prefect = said.is_success and said.headers.get("content-type", "").startswith(
        "application/json"
    )
    return Answer.PREFECT if is_prefect else Answer.FOREIGN


def worker_polls(url: str, since: float) -> bool:
    """Tell whether the worker of this machine asks for runs.

    Args:
        url: The address of the API.
        since: When the worker's process started, in seconds since 1970. What the server
            knows from before is about an earlier process of that name.
    """
    pool = f"/work_pools/{POOL}"
    try:
        workers = ask(url, f"{pool}/workers/filter", {})
        queues = ask(url, f"{pool}/queues/filter", {})
    except httpx.TransportError:
        return False
    if not (workers.is_success and queues.is_success):
        return False
    return any(
        worker["name"] == socket.gethostname()
        and worker["status"] == "ONLINE"
        and _is_after(worker["last_heartbeat_time"], since)
        for worker in workers.json()
    ) and any(_is_after(queue["last_polled"], since) for queue in queues.json())


def _is_after(time: str | None, since: float) -> bool:
    return time is not None and datetime.fromisoformat(time).timestamp() >= since


def use_running_server(settings: Settings) -> None:
    """Point to the server that `up` started, if it runs, through the environment.

    It must come before the first import of Prefect, which reads the environment then.
    """
    if not os.environ.get("PREFECT_API_URL") and "server" in running(settings):
        os.environ["PREFECT_API_URL"] = server_url(settings)
        os.environ |= client_auth()


@contextmanager
def prefect_environment(settings: Settings) -> Iterator[None]:
    """Point to the server that `stashhog up` started, if it runs.

    It must come before the first import of Prefect, which reads the environment then.
    The environment is as it was in the end: a program may call more than one command.
    """
    before = dict(os.environ)
    try:
        use_running_server(settings)
        prepare_prefect(settings)
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


def service_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of Prefect's server, worker and command line.

    The database of the server is made unless it exists, and the embedded PostgreSQL is
    started when it is there.

    Raises:
        ConfigurationError: The database cannot be had.
    """
    file = env_file()
    return {
        **prefect_defaults(settings),
        # Runs start in a folder of their own.
        **({ENV_FILE_VARIABLE: str(file.absolute())} if file.exists() else {}),
        _ORIGINS: ",".join(_own_origins()),
        **read_prefect_variables(),
        **os.environ,
        **client_auth(),
        DATABASE_VARIABLES[0]: server_database(settings),
        "PREFECT_API_URL": api_url(),
        # Often enough for the automation that finds dead runs.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # The logs are for reading: what the terminal's runs hide belongs here.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
    }


def _own_origins() -> list[str]:
    """Return what the pages of the server's own UI are served from.

    By default Prefect lets every page in the browser use its API.
    """
    address = urlsplit(api_url())
    names = dict.fromkeys((address.netloc, f"localhost:{address.port}"))
    return [f"{address.scheme}://{name}" for name in names]


def server_database(settings: Settings) -> str:
    """Return the address of the server's database, in the form that Prefect takes.

    It is the one that Prefect's own variable names; or else one beside StashHog's, on
    the server of STASHHOG_DATABASE__URL or on the embedded one.

    Raises:
        ConfigurationError: It is not PostgreSQL, or cannot be made.
    """
    variables = read_prefect_variables()
    for name in DATABASE_VARIABLES:
        if chosen := variables.get(name):
            if not chosen.startswith("postgresql+asyncpg:"):
                raise ConfigurationError(
                    f"{name} does not name a PostgreSQL database",
                    remedy="set it to an address like "
                    "postgresql+asyncpg://user:password@host/name, "
                    "or unset the variable; with SQLite, Prefect's server "
                    "fails when many tasks run",
                )
            return chosen
    if settings.database.url is None:
        return asyncpg_url(start_embedded(settings.home_folder, "prefect"))
    database = Database(settings.database.url.get_secret_value())
    try:
        return asyncpg_url(sidecar_database(database, "prefect"))
    finally:
        database.close()


def asyncpg_url(url: str) -> str:
    """Return a `postgresql://` address as Prefect's driver understands it.

    Raises:
        ConfigurationError: The address has options that the driver does not take.
    """
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    options = dict(parsed.query)
    if "sslmode" in options:
        options["ssl"] = options.pop("sslmode")
    # What our own connections set besides.
    for name in list(options):
        if name in {"connect_timeout", "application_name"} or "keepalives" in name:
            del options[name]
    if foreign := sorted(set(options) - {"host", "port", "ssl"}):
        raise ConfigurationError(
            f"Prefect's server does not understand {', '.join(foreign)} "
            "in STASHHOG_DATABASE__URL",
            remedy=f"set {DATABASE_VARIABLES[0]} to the address of Prefect's "
            "database, such as postgresql+asyncpg://user:password@host/name",
        )
    return parsed.set(query=options).render_as_string(hide_password=False)


def has_tables(address: str) -> bool:
    """Tell whether Prefect's server has made its tables in its database.

    Args:
        address: The database, in the form that Prefect takes. One that does not answer
            counts as having tables.
    """
    parsed = make_url(address).set(drivername="postgresql")
    names = {"ssl": "sslmode"}
    query = {names.get(name, name): value for name, value in parsed.query.items()}
    try:
        with psycopg.connect(
            parsed.set(query=query).render_as_string(hide_password=False),
            connect_timeout=_ASK_SECONDS,
        ) as connection:
            found = connection.execute("SELECT to_regclass('alembic_version')")
            return found.fetchone() != (None,)
    except psycopg.Error:
        return True


def client_auth() -> dict[str, str]:
    """Return the variable that gives Prefect's clients the server's password."""
    auth = auth_string()
    return {"PREFECT_API_AUTH_STRING": auth} if auth else {}
