"""Connections and transactions."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from stashhog_core.errors import ConfigurationError, TransientError

APPLICATION = "stashhog"
"""How our connections are named in pg_stat_activity."""

# deadlock_detected and serialization_failure: the same transaction may succeed next.
_GAVE_WAY = {"40001", "40P01"}
_CONNECT_OPTIONS = {
    "connect_timeout": "10",
    # A server that vanished without a word is noticed within a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": APPLICATION,
}
# A zone west of UTC would move the first moment there is, which file systems and
# Stash use for "unknown", into a year that Python has not.
_UTC = "-ctimezone=UTC"


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
            # Not in the address: that is handed on to other programs.
            connect_args={"options": _with_utc(parsed)},
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session; commit at the end, roll back on any error.

        Raises:
            TransientError: The server is away, or gave way to another transaction.
        """
        try:
            with (
                Session(self.engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except (DBAPIError, psycopg.Error) as error:
            # COPY goes by the driver's own cursor, so its errors come as they are.
            cause = error.orig if isinstance(error, DBAPIError) else error
            if getattr(cause, "sqlstate", None) in _GAVE_WAY:
                raise TransientError(
                    "The database gave way to another transaction",
                    where=self.address,
                    remedy="it is tried again",
                ) from error
            if isinstance(cause, psycopg.OperationalError):
                raise TransientError(
                    "The database did not answer",
                    where=self.address,
                    remedy="start it, or check STASHHOG_DATABASE__URL "
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
        remedy="write it as postgresql://user:password@host/name",
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
    options = {k: v for k, v in _CONNECT_OPTIONS.items() if k not in url.query}
    return url.set(drivername="postgresql+psycopg").update_query_dict(options)


def _with_utc(url: URL) -> str:
    """Return the server's options that the address names, and ours."""
    return " ".join([*url.normalized_query.get("options", ()), _UTC])


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
