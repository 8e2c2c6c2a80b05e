"""One run of a job at a time."""

import os
import signal
import subprocess
import sys
import time

import pytest

from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, TransientError

HOLDER = """
import sys, time
from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.session import Database
with job_lock(Database(sys.argv[1]), "sync"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_holder_is_refused_by_name(database: Database) -> None:
    """A lock is not waited for; the error names who has it."""
    with (
        job_lock(database, "sync"),
        pytest.raises(
            TransientError,
            match=rf"Another run of sync .*process {os.getpid()} on .*since 20\d\d-",
        ),
        job_lock(database, "sync"),
    ):
        pytest.fail("two hold it")


def test_lock_is_free_after_its_holder(database: Database) -> None:
    """Leaving frees the lock, by an error as well; other jobs were never kept."""
    with job_lock(database, "sync"), job_lock(database, "analysis"):
        pass
    with pytest.raises(ZeroDivisionError), job_lock(database, "sync"):
        _ = 1 / 0
    with job_lock(database, "sync"):
        pass


@pytest.mark.slow
def test_killed_holder_frees_the_lock(database: Database, database_url: str) -> None:
    """A process that dies without a word holds nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(TransientError, match=f"process {process.pid} "),
            job_lock(database, "sync"),
        ):
            pytest.fail("two hold it")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    deadline = time.monotonic() + 10
    while True:
        try:
            with job_lock(database, "sync"):
                break
        except TransientError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_waiting_asks_whether_to_go_on(database: Database) -> None:
    """Who waits for a lock is asked in between, and may end it by an error."""
    asked = 0

    def checkpoint() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise JobCancelled("stop")

    with (
        job_lock(database, "sync"),
        pytest.raises(JobCancelled),
        job_lock(database, "sync", wait_seconds=60, checkpoint=checkpoint),
    ):
        pytest.fail("two hold it")


def test_others_can_tell_whether_a_lock_is_held(database: Database) -> None:
    """Asking takes nothing, and tells of the moment, whoever holds it."""
    before = is_held(database, "work")
    with job_lock(database, "work"):
        meanwhile = (is_held(database, "work"), is_held(database, "other"))
    after = is_held(database, "work")

    assert (before, meanwhile, after) == (False, (True, False), False)
