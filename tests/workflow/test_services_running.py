"""`stashhog up` and `down`: what they start, mend and stop."""

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

import psycopg
import pytest

from stashhog.services.schedules import VARIABLE
from stashhog_core.db.embedded import start_embedded, stop_embedded
from tests.conftest import copy_cluster, postgres_home
from tests.support.http import loopback
from tests.support.media import write_video
from tests.support.processes import is_alive, kill_all, postmaster, processes
from tests.support.services import (
    PARTS,
    SERVICES,
    RunningServices,
    prepared_services,
)
from tests.support.stand_in import until
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCHEDULED = "process_new_scenes/process-new-scenes"
EVERY_5_MINUTES = "auto_stash_sync/auto-stash-sync"
SCAN = "stash_scan/stash-scan"
# Nothing listens there.
PROXIES = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:9"
)


@pytest.fixture(scope="module")
def prepared_up(
    migrated_cluster: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServices]:
    """What `stashhog up` needs, with another account's files in the temporary folder.

    A file has the name of the folder that Prefect shares there between all accounts.
    """
    shared = tmp_path_factory.mktemp("shared")
    (shared / "runner_storage").touch()
    folder = tmp_path_factory.mktemp("up")
    with postgres_home() as home:
        copy_cluster(migrated_cluster, home)
        with prepared_services(home, folder, TMPDIR=str(shared)) as services:
            yield services


def test_another_account_may_own_the_shared_temporary_folder(
    up: RunningServices,
) -> None:
    """The worker takes runs although Prefect's own folder there cannot be used."""
    state = up.wait_for_end(up.start(SCAN, {}))["state"]

    assert (Path(up.variables["TMPDIR"]) / "runner_storage").is_file()
    assert state["type"] == "COMPLETED", state


def test_up_again(up: RunningServices) -> None:
    """A second `up` restarts nothing, and leaves what people switched in the UI.

    No proxy of the environment is asked for what is on this machine.
    """
    before = up.pids()
    deployment = up.ask("GET", f"/deployments/name/{SCHEDULED}")
    schedule = deployment["schedules"][0]
    assert not schedule["active"]
    path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
    later = {"cron": "7 5 * * *", "timezone": "UTC"}
    up.ask("PATCH", path, {"active": True, "schedule": later})
    every = up.ask("GET", f"/deployments/name/{EVERY_5_MINUTES}")["schedules"]
    up.ask("PATCH", "/work_pools/stashhog", {"concurrency_limit": 7})

    again = up.command("stashhog", "up", **PROXIES)

    assert again.returncode == 0, again.stderr
    assert f"{up.url} " in again.stdout
    pages = f"http://127.0.0.1:{up.variables['STASHHOG_WEB__PORT']}/"
    (opens,) = re.findall(rf"{re.escape(pages)}\?token=\S+", again.stdout)
    assert "<h1>Plans</h1>" in loopback.get(opens, follow_redirects=True).text
    # The token is for the terminal: the log may be sent to somebody.
    assert opens.rpartition("=")[2] not in up.logs()
    twice = up.command("stashhog", "web")
    assert (twice.returncode, opens in twice.stdout) == (0, True), twice.stderr
    assert all(part["ok"] for part in up.status(**PROXIES).values())
    assert up.pids() == before
    # Prefect's server runs on PostgreSQL, and left no file of SQLite.
    assert not list((up.home / "prefect").glob("*.db"))
    after = up.ask("GET", f"/deployments/name/{SCHEDULED}")["schedules"]
    assert [(s["id"], s["active"]) for s in after] == [(schedule["id"], True)]
    assert after[0]["schedule"]["cron"] == later["cron"]
    # The anchor of the interval as well.
    assert up.ask("GET", f"/deployments/name/{EVERY_5_MINUTES}")["schedules"] == every
    assert up.ask("GET", "/work_pools/stashhog")["concurrency_limit"] == 7
    up.ask("PATCH", "/work_pools/stashhog", {"concurrency_limit": None})
    reset = up.command("stashhog", "deploy", "--reset-schedules")
    assert reset.returncode == 0, reset.stderr
    (restored,) = up.ask("GET", f"/deployments/name/{SCHEDULED}")["schedules"]
    assert (restored["id"], restored["active"]) == (schedule["id"], False)
    assert restored["schedule"] == schedule["schedule"]


def test_what_up_starts_is_checked(up: RunningServices) -> None:
    """`check` looks at server, deployments, worker, schedules and runs."""
    said = up.command("stashhog", "check")

    for name in ("Prefect", "deployments", "worker", "schedules", "runs"):
        assert f"✓ {name} " in said.stdout, said.stdout + said.stderr


def test_an_upgrade_keeps_what_people_set(up: RunningServices) -> None:
    """The version before kept no record of the schedules that it had registered.

    Times, switches, paused deployments, schedules that people added, and runs stay.
    """
    deployment = up.ask("GET", f"/deployments/name/{SCHEDULED}")
    path = f"/deployments/{deployment['id']}"
    (ours,) = deployment["schedules"]
    run = up.ask("POST", f"{path}/create_flow_run", {"state": {"type": "COMPLETED"}})
    changed = {"active": True, "schedule": {"cron": "7 5 * * *", "timezone": "UTC"}}
    up.ask("PATCH", f"{path}/schedules/{ours['id']}", changed)
    added = {"active": False, "schedule": {"cron": "1 2 3 4 *", "timezone": "UTC"}}
    (theirs,) = up.ask("POST", f"{path}/schedules", [added])
    up.ask("POST", f"{path}/pause_deployment", {})
    up.ask("DELETE", f"/variables/name/{VARIABLE}")
    before = up.ask("GET", path)

    again = up.command("stashhog", "up")

    assert again.returncode == 0, again.stderr
    after = up.ask("GET", path)
    assert after["paused"]
    by_id = itemgetter("id")
    assert sorted(after["schedules"], key=by_id) == sorted(
        before["schedules"], key=by_id
    )
    assert up.ask("GET", f"/flow_runs/{run['id']}")["state"]["type"] == "COMPLETED"
    up.ask("POST", f"{path}/resume_deployment", {})
    up.ask("DELETE", f"{path}/schedules/{theirs['id']}")
    reset = {name: ours[name] for name in ("active", "schedule")}
    up.ask("PATCH", f"{path}/schedules/{ours['id']}", reset)


def test_a_schedule_that_is_on_plans_its_runs(up: RunningServices) -> None:
    """Prefect's scheduler writes runs: with a wrong SQLAlchemy it writes none."""
    deployment = up.ask("GET", "/deployments/name/verify_mirror/verify-mirror")
    assert deployment["schedules"][0]["active"]
    planned = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }

    up.wait_until(
        lambda: bool(up.ask("POST", "/flow_runs/filter", planned)), "a planned run"
    )


def test_only_its_own_pages_may_use_the_api(up: RunningServices) -> None:
    """A page of another origin, open in the same browser, is let see no answer."""

    def allowed(origin: str) -> str | None:
        said = loopback.get(f"{up.url}/api/health", headers={"Origin": origin})
        return said.headers.get("access-control-allow-origin")

    assert allowed(up.url) == up.url
    assert allowed("http://elsewhere.example") is None


def test_a_killed_supervisor_is_followed_by_another(up: RunningServices) -> None:
    """The next `up` takes server and worker over: what they run goes on."""
    before = up.pids()
    kill_all(processes([before["supervisor"]]))
    broken = up.command("stashhog", "status")
    assert broken.returncode == 1
    assert "start it with `stashhog up`" in broken.stdout

    again = up.command("stashhog", "up")

    assert again.returncode == 0, again.stderr + up.logs()
    after = up.pids()
    assert after.pop("supervisor") != before.pop("supervisor")
    assert after == before


def test_everything_killed_at_once(up: RunningServices) -> None:
    """After a `kill -9` of all parts, the database's too, `up` mends them."""
    before = up.pids()
    database = postmaster(up.home).pid
    kill_all(processes([*before.values(), database]))
    status = up.status()
    assert not any(status[name]["ok"] for name in SERVICES)

    again = up.command("stashhog", "up")

    assert again.returncode == 0, again.stderr + up.logs()
    assert not set(up.pids().values()) & set(before.values())
    assert postmaster(up.home).pid != database
    state = up.wait_for_end(up.start(SCAN, {}))["state"]
    assert state["type"] == "COMPLETED", state


def test_the_supervisor_mends_the_rest(up: RunningServices) -> None:
    """Whatever is killed, but for the supervisor, comes again without any command."""
    before = up.pids()
    children = [before[name] for name in ("server", "worker", "pages")]
    kill_all([postmaster(up.home), *processes(children)])

    up.wait_until_well()

    after = up.pids()
    assert after["supervisor"] == before["supervisor"]
    assert after["server"] != before["server"]
    assert after["worker"] != before["worker"]
    assert after["pages"] != before["pages"]


def test_up_names_a_worker_that_ends_again_and_again(up: RunningServices) -> None:
    """`up` quotes the worker's log, leaves what ran, and the mended worker comes.

    A file is in the way of the worker's folder: the worker ends soon after each start.
    """
    with broken_worker(up):
        before = up.pids()
        kill_all(processes([before["worker"]]))
        failed = up.command("stashhog", "up")

    assert failed.returncode == 2, failed.stdout
    assert "The worker ends soon after each start, so no job runs;" in failed.stderr
    assert "; what ran before keeps running (" in failed.stderr
    assert f"see {up.home / 'logs' / 'worker.log'}, which ends with" in failed.stderr
    assert "FileExistsError" in failed.stderr
    up.wait_until_well()
    assert up.pids()["server"] == before["server"]


def test_a_taken_port_of_the_pages_stops_nothing_else(up: RunningServices) -> None:
    """`up` says who must go, `status` names the part, and the pages come afterwards."""
    before = up.pids()
    port = int(up.variables["STASHHOG_WEB__PORT"])

    def take_port() -> socket.socket | None:
        kill_all(processes([up.pids()["pages"]]))
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
        return None

    with wait_until(take_port, "the port of the killed pages"):
        again = up.command("stashhog", "up")
        parts = up.status()

    assert again.returncode == 0, again.stderr
    assert f"The pages are not served: Port {port} cannot be used" in again.stdout
    assert "STASHHOG_WEB__PORT" in again.stdout
    assert "token" not in again.stdout
    assert [name for name, part in parts.items() if not part["ok"]] == ["pages"]
    up.wait_until_well()
    assert up.pids()["server"] == before["server"]


@contextmanager
def broken_worker(up: RunningServices) -> Iterator[None]:
    """Have a file in the way of the worker's folder meanwhile."""
    folder = up.home / "prefect" / "tmp"
    shutil.rmtree(folder)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()


def test_a_run_and_those_after_it_outlive_a_killed_server(up: RunningServices) -> None:
    """Prefect's server is killed while Stash scans: the scan ends, and blocks no other.

    What the run did is in our own tables, whatever Prefect knows of it.
    """
    write_video(up.stash.library / "late.mp4", seed=91)
    killed = threading.Event()
    up.stash.faults.on_item = until(killed)
    run = up.start(SCAN, {})
    up.wait_until(lambda: bool(up.stash.jobs.queue()), "the scan in Stash")
    kill_all(processes([up.pids()["server"]]))
    up.wait_until_well()
    killed.set()

    state = up.wait_for_end(run)["state"]
    assert state["type"] == "COMPLETED", state
    again = up.wait_for_end(up.start(SCAN, {}))["state"]
    assert again["type"] == "COMPLETED", again


def test_down(up: RunningServices) -> None:
    """`down` stops what `up` started, the database with it, and nothing else."""
    running = [*processes(up.pids().values()), postmaster(up.home)]

    down = up.command("stashhog", "down")

    assert down.returncode == 0, down.stderr
    assert all(name in down.stdout for name in PARTS)
    assert not any(is_alive(process) for process in running)
    assert "Nothing was running" in up.command("stashhog", "down").stdout


@pytest.fixture
def stopped(prepared_up: RunningServices) -> RunningServices:
    """The same services, of which none runs; the tests that stop them come last."""
    if prepared_up.pids():
        assert prepared_up.command("stashhog", "down").returncode == 0
    return prepared_up


def test_up_without_a_worker_leaves_nothing_behind(
    stopped: RunningServices,
) -> None:
    """If the worker ends from the start on, `up` stops what it had started."""
    up = stopped

    with broken_worker(up):
        failed = up.command("stashhog", "up")

    assert failed.returncode == 2, failed.stdout
    assert "; `up` has stopped all parts that it started (" in failed.stderr
    assert not (up.home / "services.json").exists()
    status = up.status()
    assert not any(status[name]["ok"] for name in SERVICES if name != "database")


def test_a_database_of_a_newer_prefect_is_named(stopped: RunningServices) -> None:
    """`up` quotes what the server said last, and stops what it had started."""
    up = stopped
    url = start_embedded(up.home, "prefect")
    change = "UPDATE alembic_version SET version_num = %s RETURNING old.version_num"
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(change, ["ffffffffffff"]).fetchone()
        try:
            failed = up.command("stashhog", "up")
        finally:
            connection.execute(change, list(row or ()))
    stop_embedded(up.home)

    assert failed.returncode == 2
    assert "Can't locate revision identified by 'ffffffffffff'" in failed.stderr
    assert not (up.home / "services.json").exists()
