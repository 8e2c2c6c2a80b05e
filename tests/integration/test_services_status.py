"""What `stashhog status` says of each part that is not well, and who has the port."""

import json
import os
import shutil
from pathlib import Path

import psutil
import pytest

from sandbox.stash.server import StandIn
from stashhog.services.lifecycle import up
from stashhog.services.prefect_server import POOL
from stashhog.services.state import record, recorded_url, running, state_file
from stashhog.services.status import Part, status
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings, get_settings
from tests.support.http import answering
from tests.support.pages import serving
from tests.support.services import PARTS, free_port

pytestmark = pytest.mark.slow

VERSION = "/api/admin/version"
POOL_PATH = f"/api/work_pools/{POOL}"
WELL: dict[str, tuple[int, object]] = {
    VERSION: (200, "3"),
    "/api/ready": (200, {}),
    POOL_PATH: (200, {"is_paused": False}),
    f"{POOL_PATH}/workers/filter": (200, [{"status": "ONLINE"}]),
    "/api/deployments/count": (200, 14),
}


@pytest.fixture
def settings(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    database_url: str,
    stand_in: StandIn,
) -> Settings:
    """Settings with a home of their own, and a database and a Stash that answer."""
    monkeypatch.setenv("STASHHOG_STASH__URL", stand_in.url)
    monkeypatch.setenv(
        "STASHHOG_STASH__SCAN_PATHS", json.dumps([str(stand_in.library)])
    )
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    for name in ("PORT", "HOST", "AUTH_STRING"):
        monkeypatch.delenv(f"PREFECT_SERVER_API_{name}", raising=False)
    (tmp_path / "home").mkdir()
    return get_settings()


def read_status(settings: Settings, **answers: tuple[int, object]) -> dict[str, Part]:
    """Look at services whose API answers well but for `answers`."""
    with answering({**WELL, **answers}) as url:
        record(settings, url, dict.fromkeys(PARTS, os.getpid()))
        return status(settings)


def test_all_is_well(settings: Settings, database: Database) -> None:
    """Each part says what it does."""
    with serving(settings, database) as served:
        parts = read_status(served)

    assert all(part.ok for part in parts.values()), parts
    assert "takes runs from the work pool stashhog" in parts["worker"].words
    assert parts["deployments"].words == "14 deployments are registered"
    assert parts["server"].pid == os.getpid()
    assert parts["pages"].words == f"answer at {served.web.local_base}"


def test_pages_of_another_home(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """Other pages at our port are not ours, though they are of the same program."""
    other = settings.model_copy(update={"home": tmp_path / "other"})
    with serving(other, database) as served:
        mine = settings.model_copy(update={"web": served.web})
        pages = read_status(mine)["pages"]

    assert not pages.ok
    assert f"do not answer at {served.web.local_base}: see" in pages.words


@pytest.mark.parametrize(
    ("path", "said", "part", "words"),
    [
        pytest.param(VERSION, (401, {}), "server", "refuses the password", id="auth"),
        pytest.param(
            VERSION, (404, {}), "server", "another program answers", id="foreign"
        ),
        pytest.param(
            "/api/ready",
            (503, {}),
            "server",
            "its database does not answer",
            id="ready",
        ),
        pytest.param(POOL_PATH, (404, {}), "worker", "no work pool", id="no pool"),
        pytest.param(
            POOL_PATH,
            (200, {"is_paused": True}),
            "worker",
            "prefect work-pool resume stashhog",
            id="paused",
        ),
        pytest.param(
            f"{POOL_PATH}/workers/filter",
            (200, [{"status": "OFFLINE"}]),
            "worker",
            "has sent no heartbeat",
            id="offline",
        ),
        pytest.param(
            "/api/deployments/count", (200, 0), "deployments", "stashhog up", id="none"
        ),
    ],
)
def test_a_part_that_is_not_well(
    settings: Settings, path: str, said: tuple[int, object], part: str, words: str
) -> None:
    """Each fault is said in words that tell how to mend it."""
    parts = read_status(settings, **{path: said})

    assert not parts[part].ok
    assert words in parts[part].words


def test_a_server_that_does_not_answer(settings: Settings) -> None:
    """A process that runs without answering is not well, nor is what depends on it."""
    url = f"http://127.0.0.1:{free_port()}/api"
    record(settings, url, {"server": os.getpid(), "worker": os.getpid()})

    parts = status(settings)

    assert "server.log" in parts["server"].words
    assert "gets no runs" in parts["worker"].words
    assert not parts["deployments"].ok
    assert "stashhog up" in parts["supervisor"].words


def test_stash_and_the_folders_belong_to_the_status(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Services that run well do no job without Stash or the library."""
    monkeypatch.setenv("STASHHOG_STASH__URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("STASHHOG_DOWNLOADS__LIBRARY_ROOT", str(tmp_path / "gone"))
    parts = read_status(Settings())

    assert parts["worker"].ok
    assert not parts["Stash"].ok
    assert "STASHHOG_STASH__URL" in parts["Stash"].words
    assert not parts["library"].ok
    assert "gone" in parts["library"].words


def test_a_database_that_is_away(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the setting, and no password."""
    url = f"postgresql://u:secret@127.0.0.1:{free_port()}/x"
    monkeypatch.setenv("STASHHOG_DATABASE__URL", url)

    database = status(Settings())["database"]

    assert not database.ok
    assert "STASHHOG_DATABASE__URL" in database.words
    assert "secret" not in database.words


def test_a_number_that_went_to_another_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorded process is ours only when it was created when ours was."""
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "create_time", lambda _: 1.0)
        record(settings, "http://127.0.0.1:1/api", {"server": os.getpid()})

    assert running(settings) == {}


def test_services_are_known_after_the_clock_was_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a clock of its own learns the time when services run already.

    The system derives the times of its boot and of what started since from the clock.
    """
    now, boot = psutil.Process().create_time(), psutil.boot_time()
    with monkeypatch.context() as patch:
        day = 24 * 3600
        patch.setattr(psutil.Process, "create_time", lambda _: now - day)
        patch.setattr(psutil, "boot_time", lambda: boot - day)
        record(settings, "http://127.0.0.1:1/api", {"server": os.getpid()})

    assert list(running(settings)) == ["server"]


def test_services_of_the_version_before_are_known(settings: Settings) -> None:
    """After an upgrade, `down` stops what the earlier version has started.

    That version wrote down the time of day at which a process was created.
    """
    record(settings, "http://127.0.0.1:1/api", {"server": os.getpid()})
    file = state_file(settings)
    written = json.loads(file.read_text())
    written["processes"]["server"][1] = psutil.Process().create_time()
    file.write_text(json.dumps(written))

    assert list(running(settings)) == ["server"]


def test_what_runs_belongs_to_the_home_and_not_to_its_copy(
    settings: Settings, tmp_path: Path
) -> None:
    """A copy that was made while services ran shows none, and `down` there stops none.

    The home that was moved shows them, and so does one whose file is of the version
    before.
    """
    record(settings, "http://127.0.0.1:1/api", {"server": os.getpid()})
    home = settings.home_folder
    copy = shutil.copytree(home, tmp_path / "copy")
    moved = home.rename(tmp_path / "moved")

    of_copy = settings.model_copy(update={"home": copy})
    of_moved = settings.model_copy(update={"home": moved})

    assert (running(of_copy), recorded_url(of_copy)) == ({}, None)
    assert (list(running(of_moved)), recorded_url(of_moved)) == (
        ["server"],
        "http://127.0.0.1:1/api",
    )
    file = state_file(of_copy)
    written = json.loads(file.read_text())
    del written["home"]
    file.write_text(json.dumps(written))
    assert list(running(of_copy)) == ["server"]


def test_a_port_of_another_program(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` starts nothing on a port that is taken, and says who has it."""
    with answering({}) as url:
        port = url.rpartition(":")[2].partition("/")[0]
        monkeypatch.setenv("PREFECT_SERVER_API_PORT", port)
        database = settings.database.url
        assert database is not None
        monkeypatch.setenv(
            "PREFECT_API_DATABASE_CONNECTION_URL",
            database.get_secret_value().replace("postgresql:", "postgresql+asyncpg:"),
        )
        with pytest.raises(
            ConfigurationError, match=rf"Port {port} is not free: \S+ \({os.getpid()}\)"
        ):
            up(settings)

    assert running(settings) == {}
    assert not (settings.home_folder / "logs").exists()


def test_services_that_run_elsewhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed port is refused while the services run at the old one."""
    record(settings, "http://127.0.0.1:4777/api", {"supervisor": os.getpid()})
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "4778")
    monkeypatch.setenv(
        "PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://u@db/prefect"
    )

    with pytest.raises(ConfigurationError, match=r"4777.*stashhog down"):
        up(settings)
