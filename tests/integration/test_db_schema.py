"""Migrations on real PostgreSQL."""

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import text

from stashhog_core import db
from stashhog_core.db.columns import Base
from stashhog_core.db.open import open_database
from stashhog_core.db.schema import (
    VERSION_TABLE,
    SchemaState,
    migrate,
    schema_state,
    upgrade,
)
from stashhog_core.db.session import Database, driver_connection
from stashhog_core.errors import ConfigurationError
from stashhog_core.plans.plans import attention_needed
from stashhog_core.plans.records import unapplied_plan_ids
from stashhog_core.plans.summaries import list_plans
from stashhog_core.settings import DatabaseSettings, Settings

REVISIONS = sorted(
    path.name[:4]
    for path in (Path(db.__file__).parent / "migrations" / "versions").glob("[0-9]*.py")
)


def server_settings(url: str) -> Settings:
    return Settings(database=DatabaseSettings(url=SecretStr(url)))


def test_models_and_migrated_schema_agree(database: Database) -> None:
    """What the migrations build is what the models say, to the index."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "compare_type": True,
                "compare_server_default": True,
            },
        )

        assert compare_metadata(context, Base.metadata) == []


def state_of(database: Database) -> SchemaState:
    with database.connect() as connection:
        return schema_state(connection)


def test_fresh_database_asks_for_migrate(empty_database: Database) -> None:
    """A database without tables is not used; the error names the command."""
    url = empty_database.connection_string

    assert state_of(empty_database).kind == "empty"
    with (
        pytest.raises(ConfigurationError, match="run `stashhog migrate` once"),
        open_database(server_settings(url)),
    ):
        pytest.fail("an empty database was opened")

    assert migrate(empty_database) == REVISIONS
    with open_database(server_settings(url)) as database:
        assert state_of(database).kind == "current"
    assert migrate(empty_database) == []


def test_older_database_is_migrated_with_its_data(empty_database: Database) -> None:
    """An older schema is refused until it is migrated; its rows survive that."""
    with empty_database.engine.begin() as connection:
        assert upgrade(connection, "0002") == ["0001", "0002"]
        connection.execute(text("INSERT INTO scene (id, title) VALUES (7, 'kept')"))

    with (
        pytest.raises(ConfigurationError, match=r"0002 is older .* `stashhog migrate`"),
        open_database(server_settings(empty_database.connection_string)),
    ):
        pytest.fail("an older schema was opened")
    assert migrate(empty_database) == REVISIONS[2:]

    with empty_database.transaction() as session:
        titles = session.scalars(text("SELECT title FROM scene")).all()
        assert titles == ["kept"]


def test_plans_that_earlier_versions_closed_over_failures_are_open_again(
    empty_database: Database,
) -> None:
    """Their failed changes wait for a person, and nothing tries these by itself."""
    with empty_database.engine.begin() as connection:
        upgrade(connection, "0010")
        connection.execute(
            text(
                "INSERT INTO analysis_plan (id, name, state) VALUES (1, 'all done', "
                "'applied'), (2, 'one failed', 'applied'), (3, 'given up', 'cancelled')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, "
                "proposed, confidence, detector, state, approved_by) SELECT plan, 1, "
                "'tags', 'add', state, '{}', 1, 'test', state, 'auto' FROM (VALUES "
                "(1, 'applied'), (2, 'applied'), (2, 'failed'), (3, 'failed')) "
                "AS c(plan, state)"
            )
        )

    migrate(empty_database)

    with empty_database.transaction() as session:
        listed = list_plans(driver_connection(session))
        plans = {plan.id: plan.state for plan in listed}
        waiting = [
            plan.id for plan in list_plans(driver_connection(session), attention=True)
        ]
        assert plans == {1: "applied", 2: "reviewing", 3: "cancelled"}
        assert waiting == [2]
        assert {plan.id: plan.counts for plan in listed} == {
            1: {"applied": 1},
            2: {"applied": 1, "failed": 1},
            3: {"failed": 1},
        }
        assert [plan.item for plan in attention_needed(session, "")] == ["plan 2"]
        assert unapplied_plan_ids(session) == []


def test_newer_database_is_refused(database: Database) -> None:
    """A schema from the future is neither used nor touched, and the error says why."""
    with database.transaction() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))  # noqa: S608

    with (
        pytest.raises(ConfigurationError, match=r"9999 is newer .*update StashHog"),
        open_database(server_settings(database.connection_string)),
    ):
        pytest.fail("a newer schema was opened")
    with pytest.raises(ConfigurationError, match="newer"):
        migrate(database)
    assert state_of(database).revision == "9999"


def test_processes_that_migrate_at_once_take_turns(empty_database: Database) -> None:
    """Of many that migrate at once, one does it; the others find it done."""
    applied: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate(empty_database)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(len, applied)) == [0, 0, 0, len(REVISIONS)]


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql://me:hunter2@127.0.0.1:9/stash", id="refused"),
        pytest.param("postgresql://me:hunter2@127.0.0.1:x/stash", id="port"),
        pytest.param("mysql://me:hunter2@127.0.0.1/stash", id="other database"),
        pytest.param("me:hunter2@127.0.0.1", id="no address"),
    ],
)
def test_unusable_address_names_the_setting_not_the_password(url: str) -> None:
    """An address that leads nowhere is refused by its setting, without its password."""
    with (
        pytest.raises(ConfigurationError) as caught,
        open_database(server_settings(url)),
    ):
        pytest.fail("it opened")

    assert "STASHHOG_DATABASE__URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_missing_database_is_named(database_url: str) -> None:
    """A database that the server does not have is a matter of configuration."""
    url = database_url.replace("/test_", "/nothing_")

    with (
        pytest.raises(ConfigurationError, match=r'database "nothing_\d+" does not'),
        open_database(server_settings(url)),
    ):
        pytest.fail("it opened")
