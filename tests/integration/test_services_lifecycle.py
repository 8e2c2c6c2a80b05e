"""What `down` stops: the parts, what they have started, and the database."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from stashhog.services.lifecycle import down, end_server_without_tables
from stashhog.services.state import record, running
from stashhog_core.settings import Settings
from tests.support.embedded import kill, start_user, wait_ready
from tests.support.http import answering
from tests.support.processes import is_alive, postmaster, processes

pytestmark = pytest.mark.slow

# A part that ends at once, and leaves behind a run, a user of the database.
PART = """
import subprocess, sys
run = subprocess.Popen(sys.argv[1:], start_new_session=True)
print(run.pid, flush=True)
run.wait()
"""
RUN = """
import signal, sys, time
from pathlib import Path
from stashhog_core.db.embedded import start_embedded
signal.signal(signal.SIGTERM, signal.SIG_DFL)
start_embedded(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(3600)
"""


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home)


def test_runs_end_before_the_database(settings: Settings) -> None:
    """A run that outlives its worker is ended too: it would keep the database running.

    Killed users strike themselves off no list, so that nobody else stops the server.
    """
    part = subprocess.Popen(
        [
            *(sys.executable, "-c", PART),
            *(sys.executable, "-c", RUN, str(settings.home_folder)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert part.stdout is not None
    run = int(part.stdout.readline())
    wait_ready(part)
    ended = [part.pid, run]
    server = postmaster(settings.home_folder)
    record(settings, "http://127.0.0.1:1/api", {"worker": part.pid})

    stopped = down(settings)

    assert not any(is_alive(process) for process in [*processes(ended), server])
    assert list(stopped.sentences()) == ["Stopped: worker"]
    assert running(settings) == {}
    kill(part)


def test_a_server_whose_database_was_lost_is_ended(
    settings: Settings, database_url: str
) -> None:
    """So that the next one makes its tables; a server that has them goes on."""
    address = database_url.replace("postgresql:", "postgresql+asyncpg:")
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    record(settings, "http://127.0.0.1:1/api", {"server": server.pid})
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num text)")
    with answering({"/api/admin/version": (200, "3")}) as url:
        end_server_without_tables(settings, url, address)
        assert list(running(settings)) == ["server"]

        with psycopg.connect(database_url) as connection:
            connection.execute("DROP TABLE alembic_version")
        end_server_without_tables(settings, url, address)
        assert running(settings) == {}
    server.wait()


def test_a_database_in_use_is_left(settings: Settings) -> None:
    """A command in another terminal goes on, and `down` names that command."""
    user = start_user(settings.home_folder, 1, "stay")
    wait_ready(user)

    stopped = down(settings)

    first, second = stopped.sentences()
    assert first == "Nothing was running"
    assert second.startswith("The embedded database runs on until the last of these ")
    assert f"({user.pid})" in second
    assert is_alive(postmaster(settings.home_folder))
    kill(user)
    assert list(down(settings).sentences()) == ["Nothing was running"]
