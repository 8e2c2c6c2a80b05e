"""`stashhog up` and `down`: server, worker, pages, and the deployments."""

import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from stashhog.local import prefect_defaults, read_prefect_variables
from stashhog.services.logs import log_folder, open_log
from stashhog.services.prefect_server import (
    Answer,
    answer,
    api_url,
    auth_string,
    client_auth,
    has_tables,
    listen_host,
    server_database,
    worker_polls,
)
from stashhog.services.state import (
    end_processes,
    record,
    recorded_url,
    running,
    state_file,
    taking_turns,
)
from stashhog.web.address import address, pages_answer
from stashhog_core.db.embedded import stop_unused
from stashhog_core.db.open import open_database
from stashhog_core.errors import ConfigurationError
from stashhog_core.processes import lives
from stashhog_core.settings import Settings

# Only a part that hangs is waited for so long: one that ends is noticed at once.
_START_LIMIT_SECONDS = 300
_CHECK_INTERVAL_SECONDS = 0.5
# Longer than a supervisor pauses before it starts the pages anew; one of an earlier
# version never starts any.
_FIRST_SIGN_SECONDS = 75
# A part that was started more often does not come; once, its database may be away.
_MOST_STARTS = 2
_QUOTED_LINES = 8
_QUOTED_LETTERS = 80
_ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception): ")
_FAULT = "Error: "
"""Begins the sentence that the pages end with."""


@dataclass(frozen=True)
class Services:
    """What runs after `up`.

    Attributes:
        prefect: The address of Prefect's UI.
        pages: The address that opens the pages; None: they are not served.
        faults: A sentence for each part that does less than it should: the pages, a
            deployment or a schedule that will fail.
    """

    prefect: str
    pages: str | None
    faults: list[str]


def up(settings: Settings) -> Services:
    """Start what does not run yet, and register the deployments.

    Pages that do not come are a fault, and stop nothing else.

    Raises:
        ConfigurationError: A part does not start; says why, and where its log is. What
            this call has started is stopped again, what ran before goes on.
        KeyboardInterrupt: Somebody cancels the call. If nothing ran before, what it has
            started is stopped again.
    """
    url = api_url()
    with taking_turns(settings):
        before = running(settings)
        with _stopped_on_ctrl_c(settings, before):
            refused, fault = _up(settings, url, before)
    return Services(
        url.removesuffix("/api"),
        None if fault else address(settings),
        [*refused, *([fault] if fault else [])],
    )


def _up(
    settings: Settings, url: str, before: Mapping[str, psutil.Process]
) -> tuple[list[str], str | None]:
    """Do what `up` does; return what was refused, and why no pages are served."""
    with open_database(settings):
        # Said here rather than in a log.
        address_of_database = server_database(settings)
        supervisor = before.get("supervisor")
        read_from = {
            name: _size(settings, name) for name in ("server", "worker", "pages")
        }
        if supervisor is None:
            _free_port(settings, url)
            supervisor = _start_supervisor(settings, url)
        elif (there := recorded_url(settings)) not in {url, None}:
            raise ConfigurationError(
                "The services run at another address",
                where=str(there),
                remedy="run `stashhog down` first, or set PREFECT_SERVER_API_PORT "
                "to the earlier port",
            )
        else:
            end_server_without_tables(settings, url, address_of_database)
        try:
            _wait_for_server(settings, url, supervisor, read_from["server"])
            _wait_for_worker(settings, url, supervisor, read_from["worker"])
        except ConfigurationError as error:
            if before:
                raise _with(error, "what ran before keeps running") from error
            _stop_all(settings)
            raise _with(error, "`up` has stopped all parts that it started") from error
    try:
        refused = register(settings, url)
    except ConfigurationError as error:
        raise _with(error, "Prefect's server and the worker run") from error
    # Last: the pages have come meanwhile. What a supervisor that ran before has
    # logged of them still holds.
    since = 0 if before else read_from["pages"]
    fault = _pages_fault(settings, supervisor, since)
    return refused, fault


@contextmanager
def _stopped_on_ctrl_c(
    settings: Settings, before: Mapping[str, psutil.Process]
) -> Iterator[None]:
    """Stop what the block has started if somebody cancels it.

    Without that, the services would start on in the background.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not before:
            _stop_all(settings)
        raise


def end_server_without_tables(settings: Settings, url: str, database: str) -> None:
    """End a running server whose database was lost; the supervisor starts another one.

    Prefect's server makes its tables only when it starts. Until then it answers, and
    fails at whatever it is asked for.

    Args:
        settings: They say which server runs.
        url: The address of its API.
        database: The address of its database, which is there, perhaps made anew.
    """
    server = running(settings).get("server")
    is_up = server is not None and answer(url) is Answer.PREFECT
    if server is not None and is_up and not has_tables(database):
        end_processes([server])


def register(
    settings: Settings, url: str, *, reset_schedules: bool = False
) -> list[str]:
    """Register the deployments at the Prefect server of this address.

    Args:
        settings: They say where Prefect keeps its files.
        url: The address of the API.
        reset_schedules: Whether schedules that people changed in Prefect's UI go back
            to their defaults.

    Returns:
        A sentence for each deployment or schedule whose stored parameters are wrong.

    Raises:
        ConfigurationError: It failed; says why.
    """
    environment = {
        **prefect_defaults(settings),
        **read_prefect_variables(),
        **os.environ,
        **client_auth(),
        "PREFECT_API_URL": url,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stashhog.services.deployments"),
            *(["--reset-schedules"] if reset_schedules else []),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [
            "registering gave no reason"
        ]
        raise ConfigurationError(
            "The deployments could not be registered", where=url, remedy=lines[-1]
        )
    return done.stdout.splitlines()


@dataclass(frozen=True)
class Stopped:
    """What `down` has done.

    Attributes:
        parts: The names of the parts that ran.
        users: The programs for which the embedded database runs on.
    """

    parts: list[str]
    users: list[str]

    def sentences(self) -> Iterator[str]:
        """Say what has stopped, and what has not."""
        yield (
            f"Stopped: {', '.join(self.parts)}" if self.parts else "Nothing was running"
        )
        if self.users:
            yield (
                "The embedded database runs on until the last of these programs ends: "
                + ", ".join(self.users)
            )


def down(settings: Settings) -> Stopped:
    """Stop what `up` started, the embedded database with it, and nothing else."""
    with taking_turns(settings):
        return _stop_all(settings)


def _stop_all(settings: Settings) -> Stopped:
    alive = running(settings)
    started = _started_by(alive.values())
    if supervisor := alive.get("supervisor"):
        end_processes([supervisor])
    # Children of a supervisor that was killed, and the runs: a run that is just ending
    # is a user of the database, which would run on after the supervisor has left it.
    end_processes([*running(settings).values(), *started])
    state_file(settings).unlink(missing_ok=True)
    users = stop_unused(settings.home_folder) if settings.database.url is None else []
    return Stopped(list(alive), [_program(pid) for pid in users])


def _started_by(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += process.children(recursive=True)
    return found


def _program(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        command = shlex.join(process.cmdline()) or process.name()
        return f"{textwrap.shorten(command, _QUOTED_LETTERS)} ({pid})"
    except psutil.Error:
        return f"process {pid}"


def open_to_the_network() -> bool:
    """Tell whether the server listens beyond this machine and asks for no password."""
    return (
        listen_host() not in {"127.0.0.1", "localhost", "::1"} and auth_string() is None
    )


def _free_port(settings: Settings, url: str) -> None:
    """Stop left children that cannot be taken over, and see that the port is free.

    Raises:
        ConfigurationError: Another program has the port.
    """
    left = running(settings)
    strange = {Answer.REFUSED, Answer.FOREIGN}
    if recorded_url(settings) != url or answer(url) in strange:
        end_processes(left.values())
        left = {}
    if "server" in left:
        return
    where = urlsplit(url)
    with socket.socket(
        socket.AF_INET6 if ":" in (where.hostname or "") else socket.AF_INET
    ) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where.hostname, where.port))
        except OSError as error:
            raise ConfigurationError(
                f"Port {where.port} is not free: {_holder(where.port) or error}",
                where=url,
                remedy="stop that program, or choose another port with "
                "PREFECT_SERVER_API_PORT",
            ) from error


def _holder(port: int | None) -> str | None:
    """Return who listens at a port, as far as this account may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and connection.laddr[1:2] == (port,):
                return f"{psutil.Process(connection.pid).name()} ({connection.pid})"
    except psutil.Error:
        return None
    return None


def _start_supervisor(settings: Settings, url: str) -> psutil.Process:
    log = open_log(settings, "supervisor")
    process = subprocess.Popen(
        [sys.executable, "-m", "stashhog.services.supervisor"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # It outlives this terminal.
        start_new_session=True,
    )
    os.close(log)
    # It writes itself down some seconds later. If this call is killed meanwhile, the
    # next one would start another supervisor.
    pids = {name: part.pid for name, part in running(settings).items()}
    record(settings, url, {**pids, "supervisor": process.pid})
    return psutil.Process(process.pid)


def _wait_for_server(
    settings: Settings, url: str, supervisor: psutil.Process, read_from: int
) -> None:
    """Return when the server answers.

    Raises:
        ConfigurationError: The server did not come in time; says why.
    """
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    said = Answer.NONE
    starts: set[int] = set()
    while time.monotonic() < deadline and lives(supervisor):
        said = answer(url)
        server = running(settings).get("server")
        if server is not None:
            starts.add(server.pid)
        if len(starts) > _MOST_STARTS or said is Answer.REFUSED:
            break
        if said is Answer.PREFECT and server is not None:
            return
        time.sleep(_CHECK_INTERVAL_SECONDS)
    raise ConfigurationError(
        f"Prefect's server {said}",
        where=url,
        remedy="run `stashhog down` first"
        if said is Answer.REFUSED
        else _see_log(settings, "server", read_from),
    )


def _wait_for_worker(
    settings: Settings, url: str, supervisor: psutil.Process, read_from: int
) -> None:
    """Return when the worker that runs now asks the server for runs.

    Raises:
        ConfigurationError: The worker ends again and again, or does not ask in time;
            says why.
    """
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    starts: set[int] = set()
    while time.monotonic() < deadline and lives(supervisor):
        worker = running(settings).get("worker")
        if worker is not None:
            starts.add(worker.pid)
            if worker_polls(url, worker.create_time()) and lives(worker):
                return
        if len(starts) > _MOST_STARTS:
            break
        time.sleep(_CHECK_INTERVAL_SECONDS)
    raise ConfigurationError(
        "The worker ends soon after each start, so no job runs"
        if len(starts) > 1
        else "The worker does not ask Prefect's server for runs, so no job runs",
        where=url,
        remedy="correct the cause and run `stashhog up` again; "
        f"{_see_log(settings, 'worker', read_from)}",
    )


def _pages_fault(
    settings: Settings, supervisor: psutil.Process, read_from: int
) -> str | None:
    """Wait for the pages; return why they do not come, None: they are served."""
    log = log_folder(settings) / "pages.log"
    logged = _size(settings, "pages")
    begun = time.monotonic()
    starts: set[int] = set()
    said: list[str] = []
    while lives(supervisor):
        pages = running(settings).get("pages")
        if pages is not None:
            starts.add(pages.pid)
            if pages_answer(settings) and lives(pages):
                return None
            # They may have ended, and begun anew, while they were asked.
            said = _lines(log, logged)
        else:
            said = _lines(log, read_from)[-1:]
            if said and said[0].startswith(_FAULT):
                break
        waited = time.monotonic() - begun
        if len(starts) > _MOST_STARTS or waited > _START_LIMIT_SECONDS:
            break
        if not starts and waited > _FIRST_SIGN_SECONDS:
            break
        time.sleep(_CHECK_INTERVAL_SECONDS)
    faults = [line for line in said if line.startswith(_FAULT)]
    if faults:
        return (
            f"The pages are not served: {faults[-1].removeprefix(_FAULT)}; they start "
            "by themselves within a minute after the cause is gone"
        )
    return (
        f"The pages do not answer at {settings.web.local_base}: see {log}, or run "
        "`stashhog down` and then `stashhog up`"
    )


def _with(error: ConfigurationError, state: str) -> ConfigurationError:
    """Return the error that also says which state it leaves behind."""
    return ConfigurationError(f"{error.what}; {state}", error.where, error.remedy)


def _size(settings: Settings, name: str) -> int:
    """Return how long the log of a part is."""
    log = log_folder(settings) / f"{name}.log"
    return log.stat().st_size if log.exists() else 0


def _see_log(settings: Settings, name: str, read_from: int) -> str:
    """Name the log of a part and quote its last lines, and its last error before them.

    Args:
        settings: They say where the logs are.
        name: The part.
        read_from: How long the log was before: older lines are about older starts.
    """
    log = log_folder(settings) / f"{name}.log"
    lines = _lines(log, read_from)
    quoted = lines[-_QUOTED_LINES:]
    errors = [line for line in lines if _ERROR.match(line.strip())]
    if errors and errors[-1] not in quoted:
        quoted = [errors[-1], "…", *quoted]
    if not quoted:
        return f"see the logs in {log_folder(settings)}"
    return "\n    ".join((f"see {log}, which ends with", *quoted))


def _lines(log: Path, read_from: int) -> list[str]:
    """Return the lines of a log from a place on, without empty ones."""
    try:
        with log.open("rb") as file:
            # After it was put aside it begins anew.
            file.seek(read_from if read_from <= log.stat().st_size else 0)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.rstrip() for line in lines if line.strip()]
