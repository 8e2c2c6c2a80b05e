"""Who holds the product's locks in the database."""

from sqlalchemy import text

from stashhog_core.db.session import Database
from tests.support.waiting import wait_until


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
