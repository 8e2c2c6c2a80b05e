"""Connections to the database."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import literal, make_url, select, text

from stashhog_core.db.models import SceneFile
from stashhog_core.db.session import Database


@pytest.fixture
def western(database: Database) -> Iterator[Database]:
    """A database whose own time zone is west of UTC."""
    name = database.engine.url.database
    with database.transaction() as session:
        session.execute(
            text(f"ALTER DATABASE {name} SET timezone = 'America/New_York'")
        )
    database.close()
    yield database
    with database.transaction() as session:
        session.execute(text(f"ALTER DATABASE {name} RESET timezone"))


def test_first_moment_is_read_in_any_zone(western: Database) -> None:
    """The year 1, by which a time is said to be unknown, is never before itself."""
    first = datetime(1, 1, 1, tzinfo=UTC)
    with western.transaction() as session:
        read = session.scalar(select(literal(first, SceneFile.mod_time.type)))

    assert read == first


def test_options_of_the_address_are_kept(database: Database) -> None:
    """What the address asks of the server is asked as well as our own."""
    url = make_url(database.connection_string).update_query_dict(
        {"options": "-c work_mem=7MB -c timezone=Asia/Tokyo"}
    )
    other = Database(url.render_as_string(hide_password=False))
    with other.transaction() as session:
        found = session.execute(
            text("SELECT current_setting('work_mem'), current_setting('timezone')")
        ).one()
    other.close()

    assert tuple(found) == ("7MB", "UTC")
