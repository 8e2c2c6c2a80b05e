"""Who holds the product's locks in the database, and how locks are lost."""

import threading
from collections.abc import Callable

from sqlalchemy import text

from stashhog_core.db.session import Database
from tests.support.waiting import PATIENCE_SECONDS, wait_until


def locks(database: Database) -> list[str]:
    """Return who holds advisory locks in the database."""
    query = text(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with database.transaction() as session:
        return list(session.scalars(query))


def wait_until_unlocked(database: Database) -> None:
    """Wait until PostgreSQL has noticed the end of a process that was killed."""
    wait_until(lambda: locks(database) == [], "the end of the locks of the dead")


def cut_lock(database: Database, name: str) -> None:
    """End the connection that holds a lock, as a restart of the server does."""
    with database.connect() as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity "
            "WHERE application_name LIKE %s",
            [int(1000 * PATIENCE_SECONDS), f"stashhog {name}, %"],
        ).fetchall()
    assert ended == [(True,)]


def elsewhere(work: Callable[[], None]) -> None:
    """Do something in a thread of its own, which has none of our locks."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    if errors:
        raise errors[0]
