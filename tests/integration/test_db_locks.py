"""One run of a job at a time."""

import getpass
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from stashhog_core.db.embedded import start_embedded
from stashhog_core.db.locks import (
    LockLostError,
    ends_this_run,
    hold_off,
    is_held,
    job_lock,
    require_exclusive,
    wait_until_free,
)
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.downloads.placing import LibraryFolder
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.errors import ConfigurationError, JobCancelled, TransientError
from tests.support.fake_stash import FakeStash
from tests.support.locks import cut_lock, elsewhere
from tests.support.processes import crash, postmaster
from tests.support.services import free_port
from tests.support.waiting import PATIENCE_SECONDS, wait_until

HOLDER = """
import sys, time
from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.session import Database
with job_lock(Database(sys.argv[1]), "sync"):
    print("held", flush=True)
    time.sleep(3600)
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
        process.kill()
        process.wait()

    # The database takes a moment to see that it is gone.
    with job_lock(database, "sync", wait_seconds=PATIENCE_SECONDS):
        pass


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
        job_lock(
            database, "sync", wait_seconds=PATIENCE_SECONDS, checkpoint=checkpoint
        ),
    ):
        pytest.fail("two hold it")


def test_others_can_tell_whether_a_lock_is_held(database: Database) -> None:
    """Asking takes nothing, and tells of the moment, whoever holds it."""
    before = is_held(database, "work")
    with job_lock(database, "work"):
        meanwhile = (is_held(database, "work"), is_held(database, "other"))
    after = is_held(database, "work")

    assert (before, meanwhile, after) == (False, (True, False), False)


def test_a_run_that_begins_while_it_is_held_off_waits(database: Database) -> None:
    """A transaction of somebody else holds a job off: the job waits for its end."""
    order: list[str] = []

    def begin() -> None:
        with job_lock(database, "work"):
            order.append("begun")

    run = threading.Thread(target=begin)
    with database.transaction() as session:
        assert hold_off(session, "work")
        run.start()
        wait_until(lambda: is_held(database, "work"), "the run")
        order.append("compared")
    run.join(PATIENCE_SECONDS)

    assert order == ["compared", "begun"]


def test_a_run_under_way_is_not_held_off(database: Database) -> None:
    """Who holds off a job learns that a run is under way; other jobs do not count."""
    found: list[bool] = []

    def ask() -> None:
        with database.transaction() as session:
            found.append(hold_off(session, "work"))

    with job_lock(database, "work"):
        elsewhere(ask)
    with job_lock(database, "other"):
        elsewhere(ask)

    assert found == [False, True]


def test_waiting_until_a_lock_is_free(database: Database) -> None:
    """Who waits takes nothing; after the time to wait, the holder is named."""
    asked: list[bool] = []

    def wait(seconds: float) -> None:
        wait_until_free(database, "work", seconds, lambda: asked.append(True))

    with (
        job_lock(database, "work"),
        pytest.raises(TransientError, match="Another run of work is under way") as held,
    ):
        wait(0.2)
    wait(0)

    assert str(os.getpid()) in str(held.value)
    assert asked
    assert not is_held(database, "work")


def store(database: Database, scene_id: int) -> None:
    with database.transaction() as session:
        session.execute(text("INSERT INTO scene (id) VALUES (:id)"), {"id": scene_id})


def stored(database: Database) -> list[int]:
    with database.transaction() as session:
        return list(session.scalars(text("SELECT id FROM scene ORDER BY id")))


def token(database: Database) -> int:
    with database.connect() as connection:
        row = connection.execute("SELECT token FROM job_lock").fetchone()
    return row[0] if row else 0


@pytest.mark.parametrize("stays", [True, False], ids=["at work", "done"])
def test_who_lost_a_lock_writes_nothing_more(
    database: Database, tmp_path: Path, *, stays: bool
) -> None:
    """Once another run has had the lock, nothing of the first one is written.

    Neither to the database, nor to Stash, nor to the library, whether the other run
    is still at work or done. Asking Stash to stop a job is no write.
    """
    video = tmp_path / "video.mp4"
    video.write_bytes(b"video")
    library = LibraryFolder(tmp_path / "library", "hardlink_or_copy", 0, lambda: None)
    library.root.mkdir()
    stash = FakeStash(scenes=[1])
    with ExitStack() as other, job_lock(database, "work"):
        store(database, 1)
        cut_lock(database, "work")

        def take_over() -> None:
            other.enter_context(job_lock(database, "work"))
            store(database, 2)
            if not stays:
                other.close()

        elsewhere(take_over)

        lost = "The lock of work was lost, and another run may have begun"
        with pytest.raises(TransientError, match=lost):
            store(database, 3)
        with pytest.raises(TransientError, match=lost):
            stash.update_scene(1, {"title": "lost"})
        file = SourceFile(str(video), "video.mp4", 5)
        with pytest.raises(TransientError, match=lost):
            library.place(file, ("video.mp4",))
        stash.stop_job(7)

    assert stored(database) == [1, 2]
    assert [name for name, _ in stash.requests] == ["StopJob"]
    assert not list(library.root.iterdir())


def test_a_lost_lock_ends_what_runs_under_it(database: Database) -> None:
    """Trying again helps only outside of the lock's block, where it is taken anew."""
    with job_lock(database, "outer"):
        with job_lock(database, "work"):
            cut_lock(database, "work")

            def take_over() -> None:
                with job_lock(database, "work"):
                    pass

            elsewhere(take_over)
            with pytest.raises(LockLostError) as lost:
                store(database, 1)
            sent = pickle.loads(pickle.dumps(lost.value))  # noqa: S301 - our own
            assert ends_this_run(lost.value)
            assert ends_this_run(sent)
            assert str(sent) == str(lost.value)
        assert not ends_this_run(lost.value)
        assert not ends_this_run(TransientError("The database did not answer"))


def test_a_lock_that_nobody_had_meanwhile_is_taken_again(database: Database) -> None:
    """A job whose lock's connection was cut goes on, and still keeps others out."""
    with job_lock(database, "work"):
        cut_lock(database, "work")
        store(database, 1)

        assert is_held(database, "work")
        with (
            pytest.raises(TransientError, match="Another run of work"),
            job_lock(database, "work"),
        ):
            pytest.fail("two hold it")

    assert stored(database) == [1]
    assert not is_held(database, "work")


def test_the_next_holder_waits_for_what_is_being_stored(database: Database) -> None:
    """A transaction of a job that lost its lock ends before the next run begins."""
    order: list[str] = []

    def take_over() -> None:
        with job_lock(database, "work"):
            order.append(f"begun with {stored(database)}")

    next_run = threading.Thread(target=take_over)
    with job_lock(database, "work"):
        before = token(database)
        with database.transaction() as session:
            session.execute(text("INSERT INTO scene (id) VALUES (1)"))
            cut_lock(database, "work")
            next_run.start()
            wait_until(lambda: token(database) != before, "the next run")
            order.append("stored")
        next_run.join(PATIENCE_SECONDS)

    assert order == ["stored", "begun with [1]"]


def test_locks_are_lost_one_by_one(database: Database) -> None:
    """Who lost one lock stops; another job of the same process goes on."""
    with ExitStack() as other, job_lock(database, "one"):
        cut_lock(database, "one")
        elsewhere(lambda: other.enter_context(job_lock(database, "one")))
        with pytest.raises(TransientError, match="The lock of one was lost"):
            store(database, 1)

        def second() -> None:
            with job_lock(database, "two"):
                store(database, 2)

        elsewhere(second)
    store(database, 3)

    assert stored(database) == [2, 3]


@pytest.mark.slow
def test_a_job_outlives_a_restart_of_the_server(home: Path) -> None:
    """After PostgreSQL has crashed and come back, the job still is the only one."""
    database = Database(start_embedded(home))
    migrate(database)
    with job_lock(database, "work"):
        crash(postmaster(home))
        start_embedded(home)

        store(database, 1)
        with (
            pytest.raises(TransientError, match="Another run of work"),
            job_lock(database, "work"),
        ):
            pytest.fail("two hold it")
    assert stored(database) == [1]
    database.close()


@contextmanager
def pgbouncer(url: str, settings: str) -> Iterator[Database]:
    """Yield a database as it is reached through PgBouncer."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    server = make_url(url)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        configuration = Path(folder) / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n{server.database} = user=postgres "
            f"host={server.query['host']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = any\n{settings}\n"
        )
        # It does not run as root; PostgreSQL's account may enter its socket's folder.
        account = Path(str(server.query["host"])).stat().st_uid
        demote = (lambda: os.setuid(account)) if getpass.getuser() == "root" else None
        process = subprocess.Popen(
            [program, str(configuration)],
            stderr=subprocess.PIPE,
            preexec_fn=demote,
            text=True,
        )
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if "process up" in line:
                    break
            database = Database(
                f"postgresql://postgres@127.0.0.1:{port}/{server.database}"
            )
            try:
                yield database
            finally:
                database.close()
                process.kill()
                process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 20])
def test_a_pooler_that_shares_backends_is_refused(database_url: str, size: int) -> None:
    """Behind PgBouncer in transaction mode no lock is granted at all."""
    with (
        pgbouncer(
            database_url,
            f"pool_mode = transaction\ndefault_pool_size = {size}\n"
            "ignore_startup_parameters = options",
        ) as database,
    ):
        refused = r"pool_mode = session.*names? Postgre"
        with (
            pytest.raises(ConfigurationError, match=refused),
            job_lock(database, "work"),
        ):
            pytest.fail("it was granted")
        with pytest.raises(ConfigurationError, match=refused):
            require_exclusive(database)


@pytest.mark.slow
def test_a_pooler_that_keeps_backends_is_used(database_url: str) -> None:
    """Behind PgBouncer in session mode locks hold, and sessions are set up as ours."""
    with pgbouncer(
        database_url, "pool_mode = session\nignore_startup_parameters = options"
    ) as database:
        with job_lock(database, "work"):
            with (
                pytest.raises(TransientError, match="Another run of work"),
                job_lock(database, "work"),
            ):
                pytest.fail("two hold it")
            require_exclusive(database)
            with database.transaction() as session:
                zone = session.scalar(text("SELECT current_setting('TimeZone')"))
        assert zone == "UTC"


@pytest.mark.slow
def test_a_pooler_that_refuses_options_is_named(database_url: str) -> None:
    """PgBouncer's default is no outage: the error names the setting that mends it."""
    with (
        pgbouncer(database_url, "pool_mode = session") as database,
        pytest.raises(ConfigurationError, match="ignore_startup_parameters"),
    ):
        store(database, 1)
