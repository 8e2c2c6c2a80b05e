"""One run of a job at a time, across all processes and machines on one database.

A lock is PostgreSQL's own, held by a connection. The database frees it when that
connection ends: when its holder dies, but also when the server is restarted. So each
holder also has a token, which the next holder replaces. Every transaction of the job
begins by looking whether token and lock are still its own, under a second lock that the
next holder waits for. A lock that was lost is taken again if nobody had it meanwhile;
otherwise the job stops before it writes anything more.
"""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from stashhog_core.db.address import APPLICATION
from stashhog_core.db.session import Claim, Database, claiming, is_claimed
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.progress import asking_before_writes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_WORD = 2**32
_LONGEST_NAME_BYTES = 63
_PAUSE_SECONDS = 0.1
# How long a connection that was cut may take to free its lock.
_CUT_SECONDS = 60.0
# How long the last transaction of a holder that lost the lock may take.
_FENCE_SECONDS = 60.0
_POOLER_TRIES = 3
_BEGIN = (
    "SELECT pg_backend_pid(), set_config('tcp_keepalives_idle', '30', false), "
    "set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
_TRY = "SELECT pg_try_advisory_lock(%s)"
_TOKEN = "SELECT token FROM job_lock WHERE name = %s"  # noqa: S105 - no password
# Returns the new token; nothing if somebody else has the lock.
_TAKE = (
    "WITH lock AS MATERIALIZED (SELECT pg_try_advisory_lock(%s) AS is_taken) "
    "INSERT INTO job_lock (name) SELECT %s FROM lock WHERE is_taken "
    "ON CONFLICT (name) "
    "DO UPDATE SET token = nextval(pg_get_serial_sequence('job_lock', 'token')) "
    "RETURNING token"
)
_FREE = (
    "WITH gone AS (DELETE FROM job_lock WHERE name = %s AND token = %s) "
    "SELECT pg_advisory_unlock(%s)"
)
_IS_TAKEN = (
    "FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND l.classid = {word}::bigint::oid AND l.objid = {rest}::bigint::oid"
)
_HOLDER = _IS_TAKEN.replace(
    "FROM pg_locks l", "FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
).format(word="%s", rest="%s")


class LockLostError(TransientError):
    """A job lost its lock, and another run may have begun in its place.

    Whoever takes the lock anew may go on; within the block of the lost lock, trying
    again never helps.
    """

    def __init__(self, name: str, where: str = "") -> None:
        super().__init__(
            f"The lock of {name} was lost, and another run may have begun",
            where,
            "this run writes nothing more; the next run does the remaining work",
        )
        # What an error is made again from when it is unpickled.
        self.args = (name, where)
        self.name = name


def ends_this_run(error: object) -> bool:
    """Tell whether the error says that the lock around the caller was lost."""
    return isinstance(error, LockLostError) and is_claimed(error.name)


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

    In the block, transactions on this database and writes to other servers raise
    LockLostError once another run may have begun, see the module.

    Raises:
        TransientError: Another run holds it (says which), or the database is away.
        ConfigurationError: A connection pooler makes locks worthless.
    """
    lock = _Lock(database, name)
    try:
        lock.take(wait_seconds, checkpoint)
        claim = Claim(name, database.connection_string, lock.make_sure)
        with claiming(claim), asking_before_writes(lock.ask):
            yield
    finally:
        lock.free()


def require_exclusive(database: Database) -> None:
    """Make sure that a lock of one connection is refused to all others.

    No job has the lock that is tried, so runs that are under way are not disturbed.

    Raises:
        ConfigurationError: A connection pooler makes locks worthless.
        TransientError: The database is away.
    """
    lock = _Lock(database, f"check {uuid4()}")
    try:
        lock.require_exclusive()
    finally:
        lock.free()


class _Lock:
    """The lock of one job."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._key = _key(f"job {name}")
        self._fence = _key(f"fence {name}")
        self._token = 0
        self._backend = 0
        self._one_at_a_time = threading.Lock()
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection:
        return self._database.connect(application_name=_holder_name(self._name))

    def take(self, wait_seconds: float, checkpoint: Callable[[], None]) -> None:
        """Take the lock, then wait until a holder that lost it writes no more."""
        with self._database.translated():
            self._refuse_pooler()
            deadline = time.monotonic() + wait_seconds
            while not (token := _value(self._connection, _TAKE, self._key, self._name)):
                # A holder that has ended just now is no reason to give up.
                holder = _describe_holder(self._connection, self._key)
                if holder and time.monotonic() >= deadline:
                    raise _under_way(self._name, holder)
                checkpoint()
                time.sleep(_PAUSE_SECONDS)
            self._token = token
            deadline = time.monotonic() + max(wait_seconds, _FENCE_SECONDS)
            wait = "SELECT pg_try_advisory_xact_lock(%s)"
            while not _value(self._connection, wait, self._fence):
                if time.monotonic() >= deadline:
                    raise TransientError(
                        f"An earlier run of {self._name} is still storing its results",
                        where=self._database.address,
                        remedy="wait until the other run ends, or cancel it",
                    )
                checkpoint()
                time.sleep(_PAUSE_SECONDS)

    def require_exclusive(self) -> None:
        """Try whether another connection can take the lock as well.

        Raises:
            ConfigurationError: It can.
        """
        with self._database.translated(), self._database.connect() as other:
            self._refuse_pooler()
            _value(self._connection, _TRY, self._key)
            if _value(other, _TRY, self._key):
                # A pooler's backend would keep the lock for others to stumble over.
                for _ in range(2):
                    other.execute("SELECT pg_advisory_unlock(%s)", [self._key])
                raise _shared_by_pooler(self._database)

    def free(self) -> None:
        """Give the lock back; closing the connection would do so a moment later."""
        # Closing frees it even when the server is gone.
        with suppress(psycopg.Error), self._connection as connection:
            if not self._token:
                return
            connection.execute(_FREE, [self._name, self._token, self._key])

    def make_sure(self, cursor: "psycopg.Cursor[Any]") -> None:
        """Keep the next holder waiting until this transaction ends, or raise.

        Raises:
            LockLostError: Another run may have begun.
        """
        held = _IS_TAKEN.format(word=self._key % 2**64 // _WORD, rest=self._key % _WORD)
        name = self._name.replace("'", "''")
        # One trip to the server. The second statement sees what was stored before the
        # first one was through.
        cursor.execute(
            f"SELECT pg_advisory_xact_lock_shared({self._fence}); "  # noqa: S608 - ours
            f"SELECT (SELECT token FROM job_lock WHERE name = '{name}'), "
            f"EXISTS (SELECT {held} AND l.pid = {self._backend})",
            prepare=False,
        )
        cursor.nextset()
        token, is_held = cursor.fetchone() or (None, False)
        if token != self._token:
            raise self._lost()
        if not is_held:
            self._take_again()

    def ask(self) -> None:
        """Look whether the lock is held; take it again if nobody had it meanwhile.

        Raises:
            LockLostError: Another run may have begun.
            TransientError: The database is away.
        """
        with self._database.translated():
            if not self._is_held():
                self._take_again()

    def _is_held(self) -> bool:
        """Tell whether the connection lives; raise if somebody else has the lock."""
        try:
            token = _value(self._connection, _TOKEN, self._name)
        except psycopg.OperationalError:
            return False
        if token != self._token:
            raise self._lost()
        return True

    def _take_again(self) -> None:
        with self._one_at_a_time:
            if self._is_held():
                return
            self._connection.close()
            self._connection = self._connect()
            deadline = time.monotonic() + _CUT_SECONDS
            while True:
                taken = _value(self._connection, _TRY, self._key)
                # Looked at last: who has the lock replaces the token before all else.
                token = _value(self._connection, _TOKEN, self._name)
                if token != self._token or time.monotonic() >= deadline:
                    self._connection.close()
                    raise self._lost()
                if taken:
                    break
                time.sleep(_PAUSE_SECONDS)
            self._backend = _value(self._connection, "SELECT pg_backend_pid()")

    def _lost(self) -> LockLostError:
        return LockLostError(self._name, self._database.address)

    def _refuse_pooler(self) -> None:
        """Make sure that this connection stays with one backend.

        A pooler that hands a backend to one client after the other (PgBouncer's
        `pool_mode = transaction`) lets all of them share a lock. PostgreSQL itself
        tells the backend's number when connecting; where that is another one,
        something stands in between, and it is tried out what that does.

        Raises:
            ConfigurationError: Locks would be worthless.
        """
        self._backend = _value(self._connection, _BEGIN)
        if self._backend == self._connection.info.backend_pid:
            return
        refused = _shared_by_pooler(self._database)
        for _ in range(_POOLER_TRIES):
            # A transaction of another connection gets the backend that this one
            # seemed to have, or this one gets another while it lasts.
            with self._database.connect() as other:
                try:
                    with other.transaction():
                        theirs = _value(other, "SELECT pg_backend_pid()")
                        if theirs == self._backend:
                            raise refused
                        mine = _value(self._connection, "SELECT pg_backend_pid()")
                        if mine != self._backend:
                            raise refused
                except psycopg.errors.ProtocolViolation as error:
                    raise refused from error


def _shared_by_pooler(database: Database) -> ConfigurationError:
    return ConfigurationError(
        "A connection pooler shares database sessions between clients, so job locks "
        "do not work",
        where=database.address,
        remedy="set pool_mode = session for this database in PgBouncer, or let "
        "STASHHOG_DATABASE__URL name PostgreSQL itself",
    )


def is_held(database: Database, name: str) -> bool:
    """Tell whether some run holds the lock of this name.

    Raises:
        TransientError: The database is away.
    """
    key = _key(f"job {name}")
    with database.transaction() as session:
        found = session.connection().exec_driver_sql(
            f"SELECT EXISTS (SELECT {_HOLDER})",
            (key % 2**64 // _WORD, key % _WORD),
        )
        return bool(found.scalar_one())


def running_jobs(connection: "psycopg.Connection[Any]") -> list[str]:
    """Return who holds locks of jobs in this database, by name."""
    rows = connection.execute(
        "SELECT DISTINCT a.application_name FROM pg_locks l "
        "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
        "AND l.granted AND l.objsubid = 1 AND a.datname = current_database() "
        "AND a.application_name LIKE %s ORDER BY 1",
        [f"{APPLICATION} %, process %"],
    )
    return [name for (name,) in rows]


def lock_holders(connection: psycopg.Connection[Any], at_least: timedelta) -> list[str]:
    """Name who has held a job's lock for so long, the longest first."""
    rows = connection.execute(
        "SELECT DISTINCT a.application_name, a.backend_start FROM pg_locks l "
        "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
        "AND l.granted AND a.datname = current_database() "
        "AND a.application_name LIKE %s AND a.backend_start < now() - %s "
        "ORDER BY a.backend_start",
        [f"{APPLICATION} %", at_least],
    ).fetchall()
    return [
        f"{name}, since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        for name, since in rows
    ]


def wait_until_free(
    database: Database,
    name: str,
    wait_seconds: float,
    checkpoint: Callable[[], None],
) -> None:
    """Return once no run holds the lock of this name.

    While it waits it calls `checkpoint`, which may raise to end that.

    Raises:
        TransientError: After this time a run still holds it (says which), or the
            database is away.
    """
    key = _key(f"job {name}")
    deadline = time.monotonic() + wait_seconds
    with database.translated(), database.connect() as connection:
        while holder := _describe_holder(connection, key):
            if time.monotonic() >= deadline:
                raise _under_way(name, holder)
            checkpoint()
            time.sleep(_PAUSE_SECONDS)


def hold_off(session: "Session", name: str) -> bool:
    """Keep a job from storing anything until this transaction ends.

    It is for a transaction of a moment that does not belong to the job: a run that
    begins meanwhile waits for its end, and does not refuse.

    Returns:
        Whether no run is under way. False: end the transaction soon, the run waits.
    """
    key = _key(f"job {name}")
    connection = session.connection()
    # Every transaction of a run shares it, and a run that begins waits for it.
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(%s)", (_key(f"fence {name}"),)
    )
    held = connection.exec_driver_sql(
        f"SELECT EXISTS (SELECT {_HOLDER})", (key % 2**64 // _WORD, key % _WORD)
    )
    return not held.scalar_one()


def _under_way(name: str, holder: str) -> TransientError:
    return TransientError(
        f"Another run of {name} is under way",
        where=holder,
        remedy="wait until the other run ends, or cancel it",
    )


def _key(name: str) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _holder_name(name: str) -> str:
    """Say who holds the lock, within the length PostgreSQL keeps."""
    text = f"{APPLICATION} {name}, process {os.getpid()} on {socket.gethostname()}"
    return text.encode("ascii", "replace")[:_LONGEST_NAME_BYTES].decode()


def _value(connection: psycopg.Connection, query: str, *values: Any) -> Any:
    """Return the only value of the first row; None if there is no row."""
    row = connection.execute(query, values).fetchone()
    return row[0] if row else None


def _describe_holder(connection: psycopg.Connection, key: int) -> str | None:
    """Name the holder and since when it runs; None: nobody holds the lock."""
    row = connection.execute(
        f"SELECT a.application_name, a.backend_start, a.pid {_HOLDER}",
        [key % 2**64 // _WORD, key % _WORD],
    ).fetchone()
    if row is None:
        return None
    name, since, pid = row
    moment: datetime = since.astimezone(UTC)
    return f"{name or 'unknown'}, since {moment:%Y-%m-%d %H:%M:%S} UTC, backend {pid}"
