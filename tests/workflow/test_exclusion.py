"""One run of a job at a time; nobody who died keeps the others out."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from flows.jobs import sync
from flows.process_new_scenes import process_new_scenes
from stashhog_core.db.session import Database
from stashhog_core.errors import TransientError
from tasks import sync as sync_task
from tests.support.locks import locks
from tests.support.prefect import ROOT
from tests.support.services import Services
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

HOLD = """
import sys, time
from stashhog_core.db.locks import job_lock
from stashhog_core.db.session import Database
with job_lock(Database(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_run(database: Database, job: str) -> Iterator["subprocess.Popen[str]"]:
    """Have another process hold the lock of a job."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, database.connection_string, job],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_main_job_is_refused_and_the_first_is_named(
    services: Services, database: Database
) -> None:
    """Two at once would analyze the same scenes twice: one sentence, nothing done."""
    with another_run(database, "process_new_scenes") as other:
        state: Any = process_new_scenes(return_state=True)

    error = state.result(raise_on_failure=False)
    assert state.is_failed()
    assert isinstance(error, TransientError)
    assert f"process {other.pid} on" in str(error)
    assert list(services.library.iterdir()) == []


@pytest.mark.parametrize("job", ["process_new_scenes", "sync"])
def test_a_run_that_was_killed_keeps_nobody_out(
    services: Services, database: Database, job: str
) -> None:
    """The database frees the lock of a process that is gone, at once."""
    with another_run(database, job) as other:
        assert len(locks(database)) == 1
        other.kill()
        wait_until(lambda: locks(database) == [], "the end of the lock")
        state: Any = sync(return_state=True)
        main: Any = process_new_scenes(return_state=True, steps=["incremental_sync"])

    assert state.name == "Completed"
    assert main.name == "Completed"


def test_a_job_that_is_busy_is_waited_for(
    services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sync under way is an outage to this one: tried again, and then done."""
    may_retry = sync_task.sync.retry_condition_fn
    refused: list[Any] = []
    monkeypatch.setattr(sync_task.sync, "retry_delay_seconds", [0.1])
    with another_run(database, "sync") as other:

        def end_the_other(task: Any, run: Any, state: Any) -> bool:
            refused.append(state.result(raise_on_failure=False))
            other.kill()
            wait_until(lambda: locks(database) == [], "the end of the lock")
            return may_retry is None or bool(may_retry(task, run, state))

        monkeypatch.setattr(sync_task.sync, "retry_condition_fn", end_the_other)
        state: Any = sync(return_state=True)

    (error,) = refused
    assert f"process {other.pid} on" in str(error)
    assert state.name == "Completed"


def test_a_restarted_database_keeps_nobody_out(
    services: Services, database: Database
) -> None:
    """All connections end, and the locks with them; the next runs are as ever."""
    with another_run(database, "sync"):
        assert len(locks(database)) == 1
        end_all_connections(database)
        wait_until(lambda: locks(database) == [], "the end of the lock")
        state: Any = sync(return_state=True)

    assert state.name == "Completed"
    assert locks(database) == []


def end_all_connections(database: Database) -> None:
    """End them as a server that is shut down does."""
    with database.transaction() as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
