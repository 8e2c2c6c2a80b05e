"""Opening the database the settings name, with a schema this code can use."""

from collections.abc import Iterator
from contextlib import contextmanager

from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.schema import migrate, require_current
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.settings import Settings


@contextmanager
def connect_database(settings: Settings) -> Iterator[Database]:
    """Yield the database whatever its schema is; for `migrate` and diagnosis.

    Raises:
        ConfigurationError: The server does not answer, or the embedded one does
            not start.
    """
    with _named_database(settings) as database:
        database.check()
        yield database


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Yield the database, ready for use.

    The embedded server is migrated by itself; a server of one's own only by command,
    since others may still run on its schema.

    Raises:
        ConfigurationError: The server does not answer, or its schema is missing,
            older or newer than this code; says what to do.
    """
    with _named_database(settings) as database:
        try:
            if settings.database.url is None:
                migrate(database)
            else:
                require_current(database)
        except TransientError as error:
            raise ConfigurationError(*error.args) from error
        yield database


@contextmanager
def _named_database(settings: Settings) -> Iterator[Database]:
    configured = settings.database.url
    database = Database(
        configured.get_secret_value()
        if configured
        else start_embedded(settings.home_folder)
    )
    try:
        yield database
    finally:
        database.close()
