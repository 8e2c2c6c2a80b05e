"""One run of a job at a time, across all processes and machines on one database."""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import psycopg

from stashhog_core.db.session import APPLICATION, Database
from stashhog_core.errors import TransientError

_WORD = 2**32
_LONGEST_NAME_BYTES = 63
_PAUSE_SECONDS = 0.1
_TRY = "SELECT pg_try_advisory_lock(%s)"
_HOLDER = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND l.classid = %s::bigint::oid AND l.objid = %s::bigint::oid"
)


@contextmanager
def job_lock(
    database: Database,
    name: str,
    *,
    wait_seconds: float = 0,
    checkpoint: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the lock of the job `name`, or refuse at once, or after a while.

    While it waits it calls `checkpoint`, which may raise to end that.

    It is PostgreSQL's, on a connection of its own, and so is freed by the database
    whenever its holder ends or dies. A machine that vanished without a word frees
    its locks after about a minute.

    Raises:
        TransientError: Another run holds it (says which), or the database is away.
    """
    key = _key(name)
    try:
        connection = psycopg.connect(
            database.connection_string,
            autocommit=True,
            application_name=_holder_name(name),
        )
    except psycopg.OperationalError as error:
        raise TransientError(
            "The database did not answer",
            where=database.address,
            remedy=f"start it, or check STASHHOG_DATABASE__URL ({error})",
        ) from error
    # Closing the connection frees the lock, even when the server is gone.
    with connection:
        for setting in ("idle = 30", "interval = 10", "count = 3"):
            connection.execute(f"SET tcp_keepalives_{setting}")
        deadline = time.monotonic() + wait_seconds
        while not (held := _is_true(connection, _TRY, key)):
            if time.monotonic() >= deadline:
                break
            checkpoint()
            time.sleep(_PAUSE_SECONDS)
        if not held:
            raise TransientError(
                f"Another run of {name} is under way",
                where=_describe_holder(connection, key),
                remedy="wait for it to end, or cancel it",
            )
        try:
            yield
        finally:
            # The server sees the end of a connection a moment later: too late for a
            # run that starts at once.
            with suppress(psycopg.OperationalError):
                connection.execute("SELECT pg_advisory_unlock(%s)", [key])


def is_held(database: Database, name: str) -> bool:
    """Tell whether some run holds the lock of this name.

    Raises:
        TransientError: The database is away.
    """
    key = _key(name)
    with database.transaction() as session:
        found = session.connection().exec_driver_sql(
            f"SELECT EXISTS (SELECT {_HOLDER})",
            (key % 2**64 // _WORD, key % _WORD),
        )
        return bool(found.scalar_one())


def _key(name: str) -> int:
    digest = hashlib.blake2b(f"job {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _holder_name(name: str) -> str:
    """Say who holds the lock, within the length PostgreSQL keeps."""
    text = f"{APPLICATION} {name}, process {os.getpid()} on {socket.gethostname()}"
    return text.encode("ascii", "replace")[:_LONGEST_NAME_BYTES].decode()


def _is_true(connection: psycopg.Connection, query: str, key: int) -> bool:
    row = connection.execute(query, [key]).fetchone()
    return row is not None and bool(row[0])


def _describe_holder(connection: psycopg.Connection, key: int) -> str:
    """Name the holder and since when it runs."""
    row = connection.execute(
        f"SELECT a.application_name, a.backend_start, a.pid {_HOLDER}",
        [key % 2**64 // _WORD, key % _WORD],
    ).fetchone()
    if row is None:
        return "it has just ended"
    name, since, pid = row
    moment: datetime = since.astimezone(UTC)
    return f"{name or 'unknown'}, since {moment:%Y-%m-%d %H:%M:%S} UTC, backend {pid}"
