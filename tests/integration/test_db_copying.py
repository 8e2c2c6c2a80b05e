"""COPY of rows, on real PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from stashhog_core.db.embedded import EMBEDDED_SETTING
from stashhog_core.db.merge import encode_rows, insert_rows, unchecked_references
from stashhog_core.db.models import Scene, SceneTag
from stashhog_core.db.reading import any_of, read_rows
from stashhog_core.db.session import Database

COLUMNS = (
    "id",
    "title",
    "urls",
    "rating100",
    "organized",
    "groups",
    "stash_ids",
    "stash_created_at",
    "play_count",
    "date",
)
# PostgreSQL has no NUL, and no halves of characters.
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
records = st.dictionaries(
    words, words | st.none() | st.integers(-99, 99) | st.floats(-1, 1)
)
rows = st.tuples(
    words,
    st.lists(words),
    st.none() | st.integers(0, 100),
    st.booleans(),
    st.lists(records),
    st.lists(records),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.integers(0, 2**63 - 1),
    st.none() | words,
)


def stored(session: Session) -> list[tuple[Any, ...]]:
    columns = [getattr(Scene, name) for name in COLUMNS]
    return read_rows(session, select(*columns).order_by(Scene.id))


@pytest.mark.slow
@settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
@given(values=st.lists(rows, max_size=6))
def test_whatever_is_copied_is_read_back(
    database: Database, values: list[tuple[Any, ...]]
) -> None:
    """Texts of any characters, lists, records, times and nulls arrive as they are."""
    given_rows = [(id_, *row) for id_, row in enumerate(values, 1)]
    with database.transaction() as session:
        session.execute(delete(Scene))
        insert_rows(session, Scene, COLUMNS, given_rows)

        assert stored(session) == given_rows


def test_copy_words_of_the_format_are_no_nulls(database: Database) -> None:
    """What COPY would read as a null or an end of data is a text like any other."""
    with database.transaction() as session:
        for id_, title in enumerate(("\\N", "\\.", "a\tb", "a\r\nb", "\\"), 1):
            insert_rows(
                session, Scene, ("id", "title", "urls"), [(id_, title, [title])]
            )
        found = read_rows(session, select(Scene.title, Scene.urls).order_by(Scene.id))

    assert found == [(t, [t]) for t in ("\\N", "\\.", "a\tb", "a\r\nb", "\\")]


def test_refused_row_is_an_error(database: Database) -> None:
    """A value the column cannot hold stops the whole COPY."""
    with pytest.raises(psycopg.DataError), database.transaction() as session:
        insert_rows(session, Scene, ("id", "title"), [(1, "fine"), (2, "zero\0byte")])
    with database.transaction() as session:
        assert read_rows(session, select(Scene.id)) == []


def test_many_ids_are_one_condition(database: Database) -> None:
    """A column is compared with any number of ids, none included."""
    with database.transaction() as session:
        insert_rows(session, Scene, ("id",), [(id_,) for id_ in range(1, 6)])

        assert read_rows(session, select(Scene.id).where(Scene.id == any_of([]))) == []
        among = select(Scene.id).where(Scene.id == any_of(range(4, 5000)))
        assert sorted(read_rows(session, among)) == [(4,), (5,)]


def test_references_are_checked_again_after_the_block(database: Database) -> None:
    """Keys are left unchecked inside the block alone."""
    with database.transaction() as session:
        with unchecked_references(session, {}) as insert:
            insert(session, encode_rows(Scene, ("id",), [(1,)]))
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            insert_rows(session, SceneTag, ("scene_id", "tag_id"), [(1, 99)])
        session.rollback()


def test_no_reference_dangles_after_the_block(database: Database) -> None:
    """Each key is looked up among the known rows; one fault undoes the transaction."""

    def load() -> None:
        with (
            database.transaction() as session,
            unchecked_references(session, {"scene": {1}, "tag": {98}}) as insert,
        ):
            insert(session, encode_rows(Scene, ("id", "studio_id"), [(1, None)]))
            insert(
                session,
                encode_rows(SceneTag, ("scene_id", "tag_id"), [(1, 98), (1, 99)]),
            )

    with pytest.raises(
        ValueError, match="a row of scene_tag refers to tag 99, which does not exist"
    ):
        load()

    with database.transaction() as session:
        assert read_rows(session, select(Scene.id)) == []


def test_on_a_server_of_somebody_else_triggers_run(database: Database) -> None:
    """A superuser's address is not enough: every key is looked up there."""
    with database.transaction() as session:
        session.execute(text(f"SET LOCAL {EMBEDDED_SETTING} = off"))
        with (
            unchecked_references(session, {"scene": {1}, "tag": {99}}) as insert,
            pytest.raises(psycopg.errors.ForeignKeyViolation),
        ):
            insert(session, encode_rows(SceneTag, ("scene_id", "tag_id"), [(1, 99)]))
        session.rollback()


def test_without_the_right_every_reference_is_checked(database: Database) -> None:
    """A user who is no superuser stores the same rows, each key looked up."""
    with database.transaction() as session:
        role = session.scalar(text("SELECT current_database()"))
        name = f"plain_{role}"
        session.execute(text(f'CREATE ROLE "{name}"'))
        session.execute(text(f'GRANT ALL ON scene, scene_tag, tag TO "{name}"'))
        session.execute(text(f'SET LOCAL ROLE "{name}"'))
        with unchecked_references(session, {"scene": {1}, "tag": {99}}) as insert:
            insert(
                session,
                encode_rows(
                    Scene, ("id", "stash_created_at"), [(1, datetime.now(UTC))]
                ),
            )
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                insert(
                    session, encode_rows(SceneTag, ("scene_id", "tag_id"), [(1, 99)])
                )
            session.rollback()
