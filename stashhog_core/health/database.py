"""Checks of the database."""

import time
from datetime import timedelta
from statistics import median

from stashhog_core.db.locks import lock_holders, require_exclusive
from stashhog_core.db.schema import migrate, require_current, schema_state
from stashhog_core.health.checks import Checkup, Finding, failure, good, warning

_OLDEST = 14
_SLOW_SECONDS = 0.02
_TRIPS = 5
_LONG = timedelta(days=2)
_FACTS = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int,
    current_setting('is_superuser') = 'on', current_setting('DateStyle')
"""


def check_database(checkup: Checkup) -> Finding:
    """Connect, and see the version of PostgreSQL and how fast it answers."""
    database = checkup.database
    with database.connect() as connection:
        row = connection.execute(_FACTS).fetchone()
        version, number, _, date_style = row or ("", 0, False, "")
        trips = []
        for _ in range(_TRIPS):
            begun = time.perf_counter()
            connection.execute("SELECT 1")
            trips.append(time.perf_counter() - begun)
    if number // 10_000 < _OLDEST:
        return failure(
            f"PostgreSQL {version} at {database.address} is too old",
            f"upgrade to PostgreSQL {_OLDEST} or newer",
        )
    if not date_style.startswith("ISO"):
        return failure(
            f"sessions at {database.address} use DateStyle {date_style}",
            "remove the setting DateStyle of the role, the database or the pooler",
        )
    seconds = median(trips)
    found = (
        f"PostgreSQL {version.split()[0]} at {database.address} answers in "
        f"{seconds * 1000:.1f} ms"
    )
    if seconds > _SLOW_SECONDS:
        return warning(
            f"{found}, so each run takes noticeably longer",
            "run StashHog and PostgreSQL in one network",
        )
    return good(found)


def check_schema(checkup: Checkup) -> Finding:
    """Compare the version of the tables with that of this code."""
    database = checkup.database
    if checkup.settings.database.url is None:
        # As every other command does.
        migrate(database)
    with database.connect() as connection:
        state = schema_state(connection)
    require_current(state, database.address)
    return good(f"version {state.revision} is current")


def check_superuser(checkup: Checkup) -> Finding | None:
    """See whether StashHog's account may do anything on a server of the user's."""
    if checkup.settings.database.url is None:
        # Whoever reaches the embedded server is its superuser, by design.
        return None
    with checkup.database.connect() as connection:
        row = connection.execute(_FACTS).fetchone()
    if row is not None and row[2]:
        return warning(
            "StashHog connects as a superuser of PostgreSQL",
            "let STASHHOG_DATABASE__URL name an account that only owns this database",
        )
    return good("the account is no superuser")


def check_holders(checkup: Checkup) -> Finding:
    """Find jobs whose lock has been held for very long."""
    with checkup.database.connect() as connection:
        holders = lock_holders(connection, _LONG)
    if holders:
        return warning(
            f"a job has been active for more than {_LONG.days} days: {holders[0]}",
            "cancel its run in Prefect's UI, or end this process",
        )
    return good("no job has been active for days")


def check_locks(checkup: Checkup) -> Finding:
    """Try whether a lock that one connection has is refused to another."""
    require_exclusive(checkup.database)
    return good("a job that runs is not started twice")
