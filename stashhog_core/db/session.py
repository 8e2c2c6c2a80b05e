"""Connections and transactions."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from stashhog_core.errors import ConfigurationError, TransientError

_SERIALIZATION_FAILURES = {"40001", "40P01"}


class Database:
    """A PostgreSQL database; hands out one session per operation.

    Args:
        url: `postgresql://user:password@host/name`.
    """

    def __init__(self, url: str) -> None:
        self.engine: Engine = create_engine(
            _with_driver(url), pool_pre_ping=True, pool_size=5
        )
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

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
        except OperationalError as error:
            raise TransientError(
                "The database did not answer",
                where=self.address,
                remedy="start it, or check STASHHOG_DATABASE__URL "
                f"({_first_line(error)})",
            ) from error
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _SERIALIZATION_FAILURES:
                raise TransientError(
                    "The database gave way to another transaction",
                    where=self.address,
                    remedy="it is tried again",
                ) from error
            raise

    @property
    def address(self) -> str:
        """Host and name, without credentials."""
        url = self.engine.url
        return f"{url.host or url.query.get('host', 'local socket')}/{url.database}"

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


def _with_driver(url: str) -> str:
    """Name psycopg 3 as the driver, whatever form of the scheme the user wrote."""
    for scheme in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    raise ConfigurationError(
        "STASHHOG_DATABASE__URL is not a PostgreSQL address",
        remedy="write it as postgresql://user:password@host/name",
    )


def _first_line(error: OperationalError) -> str:
    """Return what the driver said, without SQLAlchemy's frame around it."""
    return str(error.orig).strip().splitlines()[0]
