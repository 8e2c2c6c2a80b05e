"""The embedded server, its crashes and its users."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from stashhog_core.db.embedded import (
    LEAST_FREE_BYTES,
    embedded_url,
    has_lost_files,
    kept_running,
    require_space,
    start_embedded,
    stop_embedded,
    stop_unused,
)
from stashhog_core.db.open import open_database
from stashhog_core.db.schema import schema_state
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings
from tests.conftest import copy_cluster
from tests.support.embedded import USER, kill, start_user, wait_ready
from tests.support.mounted import has_mounts, run_mounted
from tests.support.processes import crash, is_alive, postmaster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def made_home(home: Path, migrated_cluster: Path) -> Path:
    """A home with the databases: to make them takes longer than most of the tests."""
    copy_cluster(migrated_cluster, home)
    return home


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


def test_a_locale_that_the_machine_lacks_is_no_matter(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal may send one along; the databases depend on none of the machine."""
    for name in ("LANG", "LC_ALL"):
        monkeypatch.setenv(name, "xx_XX.UTF-8")

    with psycopg.connect(start_embedded(home)) as connection:
        found = connection.execute(
            "SELECT datcollate, datctype, current_setting('lc_messages') "
            "FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    stop_embedded(home)

    assert found == ("C", "C", "C")


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


def test_the_last_user_stops_the_server_whoever_was_killed(made_home: Path) -> None:
    """Also when another one was killed after the last one came, and nobody waited.

    Such as the pages of `stashhog up`, which its supervisor outlives.
    """
    last = start_user(made_home, 1, "stay")
    wait_ready(last)
    killed = start_user(made_home, 2, "stay")
    wait_ready(killed)
    server = postmaster(made_home)
    killed.kill()
    wait_until(lambda: not is_alive(psutil.Process(killed.pid)), "the end")

    last.send_signal(signal.SIGINT)
    last.wait()
    kill(last)
    kill(killed)

    assert not is_alive(server)


def test_a_number_that_went_to_another_program_is_no_user(made_home: Path) -> None:
    """The server of a killed user stops, although a program has the user's number now.

    It would run on until that program ends, such as a desktop that never does.
    """
    user = start_user(made_home, 1, "stay")
    wait_ready(user)
    server = postmaster(made_home)
    kill(user)
    # This process stands for the other program.
    data = made_home / "postgres"
    for name in (".handle_pids.json", "stashhog-users.json"):
        text = (data / name).read_text()
        assert str(user.pid) in text
        (data / name).write_text(text.replace(str(user.pid), str(os.getppid())))

    assert stop_unused(made_home) == []
    assert not is_alive(server)


def test_the_last_user_stops_the_server_that_runs_now(made_home: Path) -> None:
    """Also one that another process had to start again after a crash."""
    last = start_user(made_home, 1, "stay")
    wait_ready(last)
    crash(postmaster(made_home))
    assert stored_scenes(made_home) == {1}
    start_embedded(made_home)
    server = postmaster(made_home)
    stop_embedded(made_home)
    assert is_alive(server)

    last.send_signal(signal.SIGINT)
    last.wait()
    kill(last)

    assert not is_alive(server)


def test_a_server_without_users_is_stopped(made_home: Path) -> None:
    """One whose users were killed, and none that a program still uses: that is named.

    Nobody else would stop the server of killed users before the next user comes.
    """
    user = start_user(made_home, 1, "stay")
    wait_ready(user)
    server = postmaster(made_home)
    assert stop_unused(made_home) == [user.pid]
    assert is_alive(server)

    kill(user)
    assert is_alive(server)

    assert stop_unused(made_home) == []
    assert not is_alive(server)
    assert stop_unused(made_home) == []


def test_server_recovers_from_a_crash(made_home: Path) -> None:
    """After server and user were killed, the next user finds the committed rows."""
    user = start_user(made_home, 1, "stay")
    wait_ready(user)
    server = postmaster(made_home)
    crash(server)
    kill(user)
    assert (made_home / "postgres/postmaster.pid").exists()

    assert stored_scenes(made_home) == {1}


@pytest.mark.parametrize("whose", ["another program", "another PostgreSQL", "nobody"])
def test_stale_pid_file(made_home: Path, postgres_url: str, whose: str) -> None:
    """A pid file with the number of another process, or none, keeps nobody out."""
    assert stored_scenes(made_home) == set()
    pid_file = made_home / "postgres/postmaster.pid"
    assert not pid_file.exists()
    data = made_home / "postgres"
    other = Path(str(make_url(postgres_url).query["host"])) / "postmaster.pid"
    pid = other.read_text().split()[0] if "Postgre" in whose else os.getpid()
    lines = f"{pid}\n{data}\n1700000000\n5432\n{data}\n\n  1 2\nready   \n"
    pid_file.write_text("" if whose == "nobody" else lines)

    assert embedded_url(made_home) is None
    assert stored_scenes(made_home) == set()


@pytest.mark.parametrize(
    "name", ['it\'s "a", $home `x` %41 \\ Ω', "long" * 30], ids=["quotes", "long"]
)
def test_any_folder_serves_and_opens_to_nobody(home: Path, name: str) -> None:
    """Quotes, commas and spaces in the home's path are no matter, nor is its length.

    The socket lies where no other account may enter, and what the home lies in is
    opened to nobody.
    """
    outside = home / "outside"
    outside.mkdir(0o700)
    inside = outside / name
    inside.mkdir(0o700)
    try:
        url = make_url(start_embedded(inside))
        database = Database(url.render_as_string(hide_password=False))
        database.check()
        database.close()
        sockets = Path(str(url.query["host"]))
        modes = [stat.S_IMODE(p.stat().st_mode) for p in (sockets, outside, inside)]
    finally:
        stop_embedded(inside)

    assert modes[0] == 0o700
    # Root lets one account pass; the group's part then shows the most that any has.
    assert [mode & 0o707 for mode in modes[1:]] == [0o700, 0o700]
    assert not any(mode & 0o060 for mode in modes[1:])


def test_line_breaks_in_the_home_are_refused(home: Path) -> None:
    """What cannot work is said in one sentence, and nothing is made."""
    with pytest.raises(ConfigurationError, match="line break"):
        start_embedded(home / "two\nlines")

    assert list(home.iterdir()) == []


def test_a_server_that_is_killed_in_a_run_is_started_again(made_home: Path) -> None:
    """While a run is kept up, what it asks next is answered after a moment."""
    database = Database(start_embedded(made_home))
    with kept_running(made_home):
        server = postmaster(made_home)
        crash(server)

        def answers() -> bool:
            with suppress(ConfigurationError):
                database.check()
                return True
            return False

        wait_until(answers, "the new server")
        assert postmaster(made_home).pid != server.pid
    database.close()


def test_a_server_that_nobody_started_is_not_started(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fails before it opens the database leaves no server behind."""
    monkeypatch.setattr("stashhog_core.db.embedded.WATCH_SECONDS", 0.01)

    with kept_running(home):
        time.sleep(0.5)

    assert not (home / "postgres").exists()
    assert "has ended" not in caplog.text


def test_server_that_dies_under_a_user_is_started_again(made_home: Path) -> None:
    """A long-lived process that opens the database anew gets a running server."""
    settings = Settings(home=made_home)
    with open_database(settings):
        server = postmaster(made_home)
    crash(server)

    with open_database(settings) as database:
        with database.connect() as connection:
            assert schema_state(connection).kind == "current"
        assert postmaster(made_home).pid != server.pid


def test_a_home_that_is_moved_while_it_is_used_stays_one_home(made_home: Path) -> None:
    """Whoever used it makes none at the old place; the server is at the new one.

    An empty database at the old place would look like a library that nobody knows.
    """
    with psycopg.connect(start_embedded(made_home)) as connection:
        connection.execute("CREATE TABLE mine (number int)")
    moved = made_home.with_name(f"{made_home.name}-moved")
    made_home.rename(moved)
    try:
        assert has_lost_files(made_home)
        with pytest.raises(ConfigurationError, match="PostgreSQL are gone"):
            start_embedded(made_home)
        assert not made_home.exists()

        there = embedded_url(moved)
        assert there is not None
        with psycopg.connect(there) as connection:
            connection.execute("SELECT number FROM mine")
        stop_embedded(made_home)
        assert stop_unused(moved) == []
        assert embedded_url(moved) is None
    finally:
        moved.rename(made_home)


def test_a_new_server_in_a_deleted_folder_keeps_its_socket(made_home: Path) -> None:
    """The server of the deleted folder would take it away, and is gone by then."""
    start_embedded(made_home)
    old = postmaster(made_home)
    shutil.rmtree(made_home / "postgres")
    with pytest.raises(ConfigurationError, match="PostgreSQL are gone"):
        start_embedded(made_home)
    stop_embedded(made_home)

    url = start_embedded(made_home)

    assert not is_alive(old)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")
    stop_embedded(made_home)


def test_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A home that cannot hold a server is a matter of configuration."""
    (tmp_path / "home").write_text("")

    with (
        pytest.raises(ConfigurationError, match="embedded PostgreSQL did not start"),
        open_database(Settings(home=tmp_path / "home")),
    ):
        pytest.fail("it opened")


def test_server_listens_to_no_network(made_home: Path) -> None:
    """The embedded server is reached by a local socket alone."""
    with open_database(Settings(home=made_home)) as database:
        with psycopg.connect(database.connection_string) as connection:
            row = connection.execute("SHOW listen_addresses").fetchone()

        assert row == ("",)


def test_a_killed_server_is_left_in_silence(made_home: Path) -> None:
    """The end of a command whose server was killed adds no traceback."""
    start_embedded(made_home)
    crash(postmaster(made_home))

    stop_embedded(made_home)


def test_the_server_of_another_account_is_left_alone(made_home: Path) -> None:
    """Root, as with sudo, would take the folder from its owner for ever."""
    data = made_home / "postgres"
    if os.geteuid() == 0:
        for path in (data, data / "PG_VERSION"):
            os.chown(path, 12345, 12345)
    else:
        shutil.rmtree(data)
        data.symlink_to("/usr")
    owner = data.stat().st_uid

    with pytest.raises(ConfigurationError, match=r"belongs to the account .*sudo -u"):
        start_embedded(made_home)

    assert data.stat().st_uid == owner


@pytest.mark.parametrize(
    ("made", "number"),
    [
        (".", signal.SIGINT),
        ("base/5", signal.SIGINT),
        ("PG_VERSION", signal.SIGKILL),
        ("base/5", signal.SIGKILL),
    ],
)
def test_stopped_while_the_cluster_is_made(
    home: Path, made: str, number: signal.Signals
) -> None:
    """Ctrl-C or a kill of the whole group: the next one makes the cluster anew."""
    program = "import signal; signal.signal(2, signal.default_int_handler)\n" + USER
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(home), "1", "stay"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: any(home.glob(f"postgres/**/{made}")), made)
    os.killpg(first.pid, number)
    first.communicate()
    second = start_user(home, 2)
    output, _ = second.communicate()

    assert first.returncode != 0
    assert second.returncode == 0
    assert output == "ready\n"
    assert not (home / "postgres" / "unfinished").exists()


def test_a_killed_maker_of_the_cluster_leaves_its_program(home: Path) -> None:
    """`initdb` outlives whoever has called it; the next one ends it and begins anew."""
    first = start_user(home, 1)
    wait_until(lambda: any(home.glob("postgres/**/pg_hba.conf")), "initdb")
    kill(first)

    assert stored_scenes(home) == set()
    with psycopg.connect(start_embedded(home)) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class").fetchone()


def test_a_cluster_that_was_being_moved_is_made_anew(made_home: Path) -> None:
    """The version of a cluster comes last: without it, all that is there is a rest."""
    data = made_home / "postgres"
    (data / "unfinished").mkdir()
    (data / "PG_VERSION").rename(data / "unfinished" / "PG_VERSION")

    assert stored_scenes(made_home) == set()
    assert not (data / "unfinished").exists()


_MAKE = """
import sys
from pathlib import Path
from stashhog_core.db.embedded import start_embedded
from stashhog_core.errors import ConfigurationError
home = Path(sys.argv[1])
try:
    start_embedded(home)
except ConfigurationError as error:
    print(error)
print([path.name for path in home.rglob("*")])
"""


@pytest.mark.skipif(not has_mounts(), reason="the kernel lets nobody mount here")
def test_no_server_is_made_on_a_disk_without_space(tmp_path: Path) -> None:
    """One sentence instead of half a server, whose programs end in the middle."""
    home = tmp_path / "home"

    said, left = run_mounted(
        _MAKE, {}, str(home), memory={home: "size=20m"}
    ).splitlines()

    assert "20 MB left" in said
    assert f"({home})" in said
    assert left == "['postgres']"


@pytest.mark.parametrize("name", ["not/there", "x" * 300])
def test_a_home_that_is_not_there_yet_has_the_space_of_its_disk(
    home: Path, name: str
) -> None:
    """The first command asks before anything is made; what cannot be is said later."""
    assert require_space(home / name) > LEAST_FREE_BYTES


def test_other_files_in_the_folder_of_the_cluster_are_left_alone(home: Path) -> None:
    """One sentence says so."""
    other = home / "postgres" / "something"
    other.parent.mkdir(parents=True)
    other.touch()

    with pytest.raises(ConfigurationError, match="holds other files"):
        start_embedded(home)

    assert other.exists()


def test_what_initdb_says_is_in_the_sentence(home: Path) -> None:
    """One line of its output, and nothing beside the sentence."""
    most = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (100_000, 100_000))\n"
    done = subprocess.run(
        [sys.executable, "-c", most + _MAKE, str(home)],
        check=True,
        capture_output=True,
        text=True,
    )

    assert "(initdb: " in done.stdout
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""
