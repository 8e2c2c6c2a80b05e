"""Connections and transactions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, timeout_from_conninfo
from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from stashhog_core.errors import ConfigurationError, TransientError

APPLICATION = "stashhog"
"""How our connections are named in pg_stat_activity."""

# deadlock_detected and serialization_failure: the same transaction may succeed next.
_CONFLICTS = {"40001", "40P01"}
_CONNECT_OPTIONS = {
    "connect_timeout": "10",
    # A server that vanished without a word is noticed within a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": APPLICATION,
}
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
    """

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


class Database:
    """A PostgreSQL database; hands out one session per operation.

    Args:
        url: `postgresql://user:password@host/name`.
    """

    def __init__(self, url: str) -> None:
        parsed = _parsed(url)
        self.engine: Engine = create_engine(
            parsed,
            pool_pre_ping=True,
            pool_size=5,
            # Whatever the role's default is: what waits for a lock must then see what
            # was stored meanwhile.
            isolation_level="READ COMMITTED",
            # Not in the address: that is handed on to other programs.
            connect_args=self._connect_args(parsed),
        )
        event.listen(self.engine, "connect", lambda found, _: self._set_session(found))

    def connect(self, *, application_name: str | None = None) -> psycopg.Connection:
        """Open a connection beside the pool, in autocommit mode; the caller closes it.

        Raises:
            TransientError: The server is away.
            ConfigurationError: The database cannot be used.
        """
        options: dict[str, Any] = self._connect_args(self.engine.url)
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

    @staticmethod
    def _connect_args(url: URL) -> dict[str, str]:
        """Return what is asked for with each connection."""
        ours = [
            f"-c{name}={value.replace(' ', '')}" for name, value in _SESSION.items()
        ]
        options = [*url.normalized_query.get("options", ()), *ours, _NEVER_IDLE]
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
    def transaction(self) -> Iterator[Session]:
        """Yield a session; commit at the end, roll back on any error.

        Raises:
            TransientError: The server is away, gave way to another transaction, or a
                lock that this job needs is lost.
        """
        with (
            self.translated(),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            if _claims.get():
                driver: Any = session.connection().connection.driver_connection
                self.make_sure(driver)
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
        except (DBAPIError, psycopg.Error) as error:
            # COPY goes by the driver's own cursor, so its errors come as they are.
            cause = error.orig if isinstance(error, DBAPIError) else error
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
                        f"({_first_line(cause)})",
                    ) from error
                if _INVALID in str(cause):
                    raise ConfigurationError(
                        "STASHHOG_DATABASE__URL has a value that PostgreSQL "
                        "does not accept",
                        where=self.address,
                        remedy=f"correct the value ({_first_line(cause)})",
                    ) from error
                raise TransientError(
                    "The database did not answer",
                    where=self.address,
                    remedy="start PostgreSQL, or check STASHHOG_DATABASE__URL "
                    f"({_first_line(cause)})",
                ) from error
            raise

    @property
    def address(self) -> str:
        """Host and name, without credentials."""
        url = self.engine.url
        return f"{url.host or url.query.get('host', 'local socket')}/{url.database}"

    @property
    def connection_string(self) -> str:
        """What libpq needs to connect, credentials included: not for messages."""
        return self.engine.url.set(drivername="postgresql").render_as_string(
            hide_password=False
        )

    def check(self) -> None:
        """Make sure that the server answers.

        Raises:
            ConfigurationError: It does not; says where and what to check.
        """
        try:
            with self.transaction() as session:
                session.execute(text("SELECT 1"))
        except TransientError as error:
            raise ConfigurationError(*error.args) from error

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def _parsed(address: str) -> URL:
    """Read the address in any usual form; name psycopg 3 as the driver."""
    problem = ConfigurationError(
        "STASHHOG_DATABASE__URL is not a PostgreSQL address",
        remedy="write the address as postgresql://user:password@host/name",
    )
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        # Not chained: the parser's words hold the password.
        raise problem from None
    if url.drivername not in {"postgresql+psycopg", "postgresql", "postgres"}:
        raise problem
    if not url.database:
        raise problem
    if "@" in (url.host or ""):
        # What was read as the host begins with the rest of the password.
        raise ConfigurationError(
            "The password in STASHHOG_DATABASE__URL holds an @",
            remedy="write each @ of the password as %40",
        ) from None
    options = {k: v for k, v in _CONNECT_OPTIONS.items() if k not in url.query}
    url = url.set(drivername="postgresql").update_query_dict(options)
    try:
        known = conninfo_to_dict(url.render_as_string(hide_password=False))
        timeout_from_conninfo(known)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            "STASHHOG_DATABASE__URL has an option that PostgreSQL does not accept",
            remedy=f"correct or remove the option ({_first_line(error)})",
        ) from None
    return url.set(drivername="postgresql+psycopg")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
