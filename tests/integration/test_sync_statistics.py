"""What the planner of PostgreSQL knows after a bulk write."""

import pytest
from sqlalchemy import text

from stashhog_core.db.session import Database
from stashhog_core.sync.statistics import refresh_statistics
from tests.support.fake_stash import FakeStash
from tests.support.statements import statements
from tests.support.sync import run

ROWS_OF_A_SCENE = {"scene": 1, "scene_file": 1, "scene_fingerprint": 2}


@pytest.fixture(autouse=True)
def empty_tables(database: Database) -> None:
    """PostgreSQL remembers how many rows its tables had in an earlier test."""
    with database.transaction() as session:
        session.execute(text("ANALYZE"))


def expected_rows(database: Database) -> dict[str, float]:
    """Return how many rows the planner takes each table to have; -1: unknown."""
    with database.transaction() as session:
        rows = session.execute(
            text("SELECT relname, reltuples FROM pg_class WHERE relname = ANY(:names)"),
            {"names": list(ROWS_OF_A_SCENE)},
        )
        return dict(rows.tuples().all())


def statements_sent(database: Database, scenes: int) -> int:
    """Return how often the planner is told to look at so many scenes."""
    with database.transaction() as session:
        session.connection()
        with statements() as sent:
            refresh_statistics(session, scenes)
    return sum("ANALYZE" in statement for statement, _ in sent)


def test_planner_knows_the_size_of_a_mirror_that_was_just_filled(
    database: Database,
) -> None:
    """After a first sync a page of scenes is looked up, and no table read whole.

    PostgreSQL may have looked by itself a page earlier.
    """
    stash = FakeStash()
    for _ in range(1100):
        stash.add_scene()

    run(stash, database)

    found = expected_rows(database)
    for table, number in ROWS_OF_A_SCENE.items():
        assert 0.9 <= found[table] / (1100 * number) <= 1, found


def test_planner_counts_again_once_a_mirror_has_grown_by_a_tenth(
    database: Database,
) -> None:
    """A few new scenes in a large library, or a small library, need no look."""
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO scene (id) SELECT n FROM generate_series(1, 20000) n"
        )
        connection.execute(
            "INSERT INTO scene_file (scene_id, file_id, position, path) "
            "SELECT n, n, 0, n FROM generate_series(1, 20000) n"
        )
        # As PostgreSQL may do by itself, table by table.
        connection.execute("ANALYZE scene")

    sizes = (900, 20_000, 22_000, 24_000)
    assert [statements_sent(database, scenes) for scenes in sizes] == [0, 1, 0, 1]
