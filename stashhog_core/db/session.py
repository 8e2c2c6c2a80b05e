"""Connections and transactions."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from stashhog_core.db.address import first_line, read_address
from stashhog_core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

# deadlock_detected and serialization_failure: the same transaction may succeed next.
_CONFLICTS = {"40001", "40P01"}
# Roles, databases and the environment may ask for others. A zone west of UTC would move
# the first moment there is, which file systems and Stash use for "unknown", into a year
# that Python has not; and psycopg reads moments in the ISO style alone.
_SESSION = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "standard_conforming_strings": "on",
}
_CLIENT_ENCODING = "utf8"
_ENCODING = "UTF8"
# Else a server could end the idle connection that holds a lock.
_NEVER_IDLE = "-cidle_session_timeout=0"
_INVALID = "connection is bad: invalid "
_UNSUPPORTED = "unsupported startup parameter"


@dataclass(frozen=True)
class Claim:
    """What must be true for a transaction to begin.

    `make_sure` is called with a cursor in the transaction, and raises if it is not.
    `name` is what is claimed.
    """

    name: str
    server: str
    make_sure: "Callable[[psycopg.Cursor[Any]], None]"


# Of the context, not the database: what one thread may not do any more, another may.
_claims: ContextVar[tuple[Claim, ...]] = ContextVar("claims", default=())


@contextmanager
def claiming(claim: Claim) -> Iterator[None]:
    """Have the transactions of this context make sure of a claim when they begin."""
    _claims.set((*_claims.get(), claim))
    try:
        yield
    finally:
        # Not reset to what was: claims may end in another order than they began.
        _claims.set(tuple(other for other in _claims.get() if other is not claim))


def is_claimed(name: str) -> bool:
    """Tell whether this context is in a block that claims `name`."""
    return any(claim.name == name for claim in _claims.get())


class Database:
    """A PostgreSQL database; hands out one session per operation.

    SQLAlchemy is imported with the first session: a program that only uses `connect`
    starts in half the time.

    Args:
        url: `postgresql://user:password@host/name`.

    Raises:
        ConfigurationError: The address cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._where = read_address(url)
        self._engine: Engine | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def engine(self) -> "Engine":
        """SQLAlchemy's pool of connections."""
        with self._one_at_a_time:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    def _make_engine(self) -> "Engine":
        from sqlalchemy import create_engine, event, make_url

        engine = create_engine(
            make_url(self.connection_string).set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=5,
            # Whatever the role's default is: what waits for a lock must then see what
            # was stored meanwhile.
            isolation_level="READ COMMITTED",
            # Not in the address: that is handed on to other programs.
            connect_args=self._connect_args(),
        )
        event.listen(engine, "connect", lambda found, _: self._set_session(found))
        return engine

    def connect(self, *, application_name: str | None = None) -> psycopg.Connection:
        """Open a connection beside the pool, in autocommit mode; the caller closes it.

        Raises:
            TransientError: The server is away.
            ConfigurationError: The database cannot be used.
        """
        options: dict[str, Any] = self._connect_args()
        if application_name is not None:
            options["application_name"] = application_name
        with self.translated():
            connection = psycopg.connect(
                self.connection_string, autocommit=True, **options
            )
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            try:
                self._set_session(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _connect_args(self) -> dict[str, str]:
        """Return what is asked for with each connection."""
        ours = [
            f"-c{name}={value.replace(' ', '')}" for name, value in _SESSION.items()
        ]
        options = [*self._where.values("options"), *ours, _NEVER_IDLE]
        return {"options": " ".join(options), "client_encoding": _CLIENT_ENCODING}

    def _set_session(self, connection: "psycopg.Connection[Any]") -> None:
        """Set what the environment has set otherwise: it wins over options.

        PostgreSQL reports these settings unasked: looking at them costs nothing.

        Raises:
            ConfigurationError: The database cannot hold all characters.
        """
        report = connection.info.parameter_status
        if (encoding := report("server_encoding")) != _ENCODING:
            raise ConfigurationError(
                f"The database's encoding {encoding} cannot hold all names",
                where=self.address,
                remedy="create the database again: CREATE DATABASE … ENCODING "
                "'UTF8' TEMPLATE template0",
            )
        wrong = {
            name: value for name, value in _SESSION.items() if report(name) != value
        }
        if not wrong:
            return
        before = connection.autocommit
        # Or they would be undone with the first transaction that is rolled back.
        connection.autocommit = True
        for name, value in wrong.items():
            connection.execute(
                sql.SQL("SET {} = {}").format(sql.Identifier(name), value)
            )
        connection.autocommit = before

    @contextmanager
    def transaction(self) -> "Iterator[Session]":
        """Yield a session; commit at the end, roll back on any error.

        Raises:
            TransientError: The server is away, gave way to another transaction, or a
                lock that this job needs is lost.
        """
        from sqlalchemy.orm import Session

        with (
            self.translated(),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            if _claims.get():
                self.make_sure(driver_connection(session))
            yield session

    def make_sure(self, connection: "psycopg.Connection[Any]") -> None:
        """Make sure of this context's claims in a transaction that has just begun.

        Sessions of `transaction` have done so.

        Raises:
            TransientError: A lock that this job needs is lost.
        """
        claims = [c for c in _claims.get() if c.server == self.connection_string]
        if claims:
            with connection.cursor() as cursor:
                for claim in claims:
                    claim.make_sure(cursor)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise our errors for the driver's.

        Raises:
            TransientError: The server is away, or gave way to another transaction.
            ConfigurationError: A connection pooler refuses what is needed.
        """
        try:
            yield
        except Exception as error:
            # SQLAlchemy wraps the driver's errors. COPY goes by the driver's cursor,
            # so its errors come as they are.
            cause = getattr(error, "orig", error)
            if not isinstance(cause, psycopg.Error):
                raise
            if getattr(cause, "sqlstate", None) in _CONFLICTS:
                raise TransientError(
                    "The database ended a transaction because of a conflict "
                    "with another transaction",
                    where=self.address,
                    remedy="StashHog tries the transaction again",
                ) from error
            if isinstance(cause, psycopg.OperationalError):
                if _UNSUPPORTED in str(cause):
                    raise ConfigurationError(
                        "A connection pooler refuses the options that StashHog sets",
                        where=self.address,
                        remedy="add options to PgBouncer's ignore_startup_parameters, "
                        "or let STASHHOG_DATABASE__URL name PostgreSQL itself "
                        f"({first_line(cause)})",
                    ) from error
                if _INVALID in str(cause):
                    raise ConfigurationError(
                        "STASHHOG_DATABASE__URL has a value that PostgreSQL "
                        "does not accept",
                        where=self.address,
                        remedy=f"correct the value ({first_line(cause)})",
                    ) from error
                raise TransientError(
                    "The database did not answer",
                    where=self.address,
                    remedy="start PostgreSQL, or check STASHHOG_DATABASE__URL; why the "
                    "embedded one ended is in the file postgres/log below "
                    f"STASHHOG_HOME ({first_line(cause)})",
                ) from error
            raise

    @property
    def address(self) -> str:
        """Host and name, without credentials."""
        return self._where.in_words

    @property
    def connection_string(self) -> str:
        """What libpq needs to connect, credentials included: not for messages."""
        return self._where.text

    def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            ConfigurationError: It does not; says where and what to check.
        """
        try:
            with self.connect() as connection:
                connection.execute("SELECT 1")
        except TransientError as error:
            raise ConfigurationError(*error.args) from error

    def close(self) -> None:
        """Give back all connections of the pool."""
        if self._engine is not None:
            self._engine.dispose()


def driver_connection(session: "Session") -> "psycopg.Connection[Any]":
    """Return the driver's connection that a session works on, in its transaction."""
    driver = session.connection().connection.driver_connection
    if driver is None:
        raise RuntimeError("the session has no connection")
    connection: psycopg.Connection[Any] = driver
    return connection
