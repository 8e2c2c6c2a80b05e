"""The embedded server, its crashes and its users."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from stashhog_core.db.open import open_database
from stashhog_core.db.schema import schema_state
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings

pytestmark = pytest.mark.slow

USER = """
import sys, time
from pathlib import Path
from sqlalchemy import text
from stashhog_core.db.open import open_database
from stashhog_core.settings import Settings
with open_database(Settings(home=Path(sys.argv[1]))) as database:
    with database.transaction() as session:
        scene = {"id": sys.argv[2]}
        session.execute(text("INSERT INTO scene (id) VALUES (:id)"), scene)
    print("ready", flush=True)
    if sys.argv[3] == "stay":
        time.sleep(120)
"""


def start_user(
    home: Path, scene_id: int, until: str = "leave"
) -> subprocess.Popen[str]:
    """Start a process that opens the database under `home` and stores a scene."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home), str(scene_id), until],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def postmaster(home: Path) -> psutil.Process:
    pid = int((home / "postgres/postmaster.pid").read_text().splitlines()[0])
    return psutil.Process(pid)


def is_alive(server: psutil.Process) -> bool:
    """Tell whether it runs; an ended one that nobody waited for does not."""
    return server.is_running() and server.status() != psutil.STATUS_ZOMBIE


def stored_scenes(home: Path) -> set[int]:
    """Read the stored scenes in a process of their own, which then leaves."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sqlalchemy import text\n"
        "from stashhog_core.db.open import open_database\n"
        "from stashhog_core.settings import Settings\n"
        "with open_database(Settings(home=Path(sys.argv[1]))) as database:\n"
        "    with database.transaction() as session:\n"
        "        print(*session.scalars(text('SELECT id FROM scene')))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        check=True,
        capture_output=True,
        text=True,
    )
    return {int(word) for word in answer.stdout.split()}


def test_processes_share_one_server(home: Path) -> None:
    """Processes that start at once on a fresh home share one migrated server.

    One that is killed takes nothing with it, and counts as gone: the server stops
    when the last one ends.
    """
    first, second = start_user(home, 1, "stay"), start_user(home, 2, "stay")
    wait_ready(first)
    wait_ready(second)
    server = postmaster(home)

    kill(first)
    kill(second)
    assert is_alive(server)
    assert stored_scenes(home) == {1, 2}
    assert not is_alive(server)


def test_server_recovers_from_a_crash(home: Path) -> None:
    """After server and user were killed, the next user finds the committed rows."""
    user = start_user(home, 1, "stay")
    wait_ready(user)
    server = postmaster(home)
    for process in [server, *server.children()]:
        process.send_signal(signal.SIGKILL)
    kill(user)
    assert (home / "postgres/postmaster.pid").exists()

    assert stored_scenes(home) == {1}


def test_stale_pid_file_of_another_program(home: Path) -> None:
    """A pid file whose number went to another program keeps nobody out."""
    assert stored_scenes(home) == set()
    pid_file = home / "postgres/postmaster.pid"
    assert not pid_file.exists()
    data = home / "postgres"
    pid_file.write_text(
        f"{os.getpid()}\n{data}\n1700000000\n5432\n{data}\n\n  1 2\nready   \n"
    )

    assert stored_scenes(home) == set()


def test_server_that_dies_under_a_user_is_started_again(home: Path) -> None:
    """A long-lived process that opens the database anew gets a running server."""
    settings = Settings(home=home)
    with open_database(settings):
        server = postmaster(home)
    for process in [server, *server.children()]:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs([server], timeout=10)

    with open_database(settings) as database:
        assert schema_state(database).kind == "current"
        assert postmaster(home).pid != server.pid


def test_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A home that cannot hold a server is a matter of configuration."""
    (tmp_path / "home").write_text("")

    with (
        pytest.raises(ConfigurationError, match="embedded PostgreSQL did not start"),
        open_database(Settings(home=tmp_path / "home")),
    ):
        pytest.fail("it opened")


def test_server_listens_to_no_network(home: Path) -> None:
    """The embedded server is reached by a local socket alone."""
    with open_database(Settings(home=home)) as database:
        with psycopg.connect(database.connection_string) as connection:
            row = connection.execute("SHOW listen_addresses").fetchone()

        assert row == ("",)


@pytest.mark.parametrize("made", [".", "base", "pg_wal"])
def test_interrupted_while_the_cluster_is_made(home: Path, made: str) -> None:
    """Ctrl-C, which goes to the whole group, leaves no half of it."""
    program = "import signal; signal.signal(2, signal.default_int_handler)\n" + USER
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(home), "1", "leave"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while not (home / "postgres" / made).exists():
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGINT)
    first.communicate()
    second = start_user(home, 2)
    output, _ = second.communicate()

    assert first.returncode != 0
    assert second.returncode == 0
    assert output == "ready\n"
