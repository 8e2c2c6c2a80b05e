"""Connections to the database."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import literal, make_url, select, text
from sqlalchemy.exc import DBAPIError

from stashhog_core.db.models import SceneFile
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError


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


@pytest.fixture
def odd(database: Database) -> Iterator[Database]:
    """A database whose own settings are those of another program."""
    name = database.engine.url.database
    settings = {
        "DateStyle": "'SQL, DMY'",
        "client_encoding": "LATIN1",
        "TimeZone": "'Asia/Tokyo'",
        "IntervalStyle": "sql_standard",
        "default_transaction_isolation": "serializable",
        "standard_conforming_strings": "off",
    }
    with database.connect() as connection:
        for setting, value in settings.items():
            connection.execute(f"ALTER DATABASE {name} SET {setting} = {value}")  # type: ignore[arg-type]
    database.close()
    yield database
    with database.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} RESET ALL")  # type: ignore[arg-type]


_OURS = "SELECT " + ", ".join(
    f"current_setting('{name}')"
    for name in (
        "DateStyle",
        "client_encoding",
        "TimeZone",
        "IntervalStyle",
        "transaction_isolation",
        "standard_conforming_strings",
    )
)
_EXPECTED = ("ISO, MDY", "UTF8", "UTC", "postgres", "read committed", "on")


def test_sessions_are_set_up_alike_whatever_the_server_says(odd: Database) -> None:
    """Styles, zone, encoding and isolation are ours, also beside the pool.

    With the server's own, moments could not be read and names not be found.
    """
    moment = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    name = "Ελένη 映画 'x' \\ y"
    with odd.transaction() as session:
        found = tuple(session.execute(text(_OURS)).one())
        read = session.execute(select(literal(moment), literal(name))).one()
    with odd.connect() as connection, connection.transaction():
        sidecar = connection.execute(_OURS).fetchone()
        copied = connection.execute("SELECT %s::text, %s", [name, moment]).fetchone()

    assert found == _EXPECTED
    assert tuple(read) == (moment, name)
    assert sidecar == _EXPECTED
    assert copied == (name, moment)


def test_the_environment_of_other_programs_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libpq reads from variables, such as PGDATESTYLE, is set back; for good."""
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGTZ", "America/New_York")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    other = Database(database.connection_string)
    with pytest.raises(DBAPIError), other.transaction() as session:
        session.execute(text("SELECT 1/0"))
    with other.transaction() as session:
        found = tuple(session.execute(text(_OURS)).one())
    other.close()

    assert found == _EXPECTED


def test_a_database_that_cannot_hold_all_names_is_refused(database: Database) -> None:
    """One made with another encoding than UTF8 is named before anything is stored."""
    with database.connect() as connection:
        connection.execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
    url = make_url(database.connection_string).set(database="latin")
    other = Database(url.render_as_string(hide_password=False))
    try:
        with pytest.raises(
            ConfigurationError, match=r"encoding LATIN1 .*ENCODING 'UTF8"
        ):
            other.check()
    finally:
        other.close()
        with database.connect() as connection:
            connection.execute("DROP DATABASE latin WITH (FORCE)")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://h/db?foo=bar", 'does not accept.*"foo"'),
        ("postgresql://h/db?connect_timeout=abc", "does not accept.*'abc'"),
        ("postgresql://127.0.0.1:99999/db", 'does not accept.*"99999"'),
        ("postgresql://127.0.0.1:1/db?sslmode=what", 'does not accept.*"what"'),
    ],
)
def test_an_address_that_can_never_work_is_no_outage(address: str, words: str) -> None:
    """An unknown option or an impossible value is named, and not tried again."""
    with pytest.raises(ConfigurationError, match=words):
        Database(address).check()


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
