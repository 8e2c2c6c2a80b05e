"""Several workers and work pools on one database, with PostgreSQL given and a password.

Prefect's server runs on the given PostgreSQL too; nothing embedded is started.
"""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from stashhog_core.db.session import Database
from tests.support.media import write_video
from tests.support.services import BIN, ROOT, RunningServices, prepared_services
from tests.support.stand_in import until
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

AUTH = "admin:correct horse"
ADDITIONAL_WORKERS = ("one", "two")
COPIED = (
    *("flow_id", "name", "entrypoint", "pull_steps", "enforce_parameter_schema"),
    *("parameter_openapi_schema", "parameters", "job_variables"),
)


@pytest.fixture
def prepared(empty_database: Database, tmp_path: Path) -> Iterator[RunningServices]:
    """Services on an empty database of a given PostgreSQL, with a password."""
    home = tmp_path / "home"
    home.mkdir()
    url = empty_database.engine.url.set(drivername="postgresql", query={})
    host = empty_database.engine.url.query["host"]
    name = url.database
    with prepared_services(
        home,
        tmp_path,
        STASHHOG_DATABASE__URL=f"postgresql://postgres@/{name}?host={host}",
        PREFECT_SERVER_API_AUTH_STRING=AUTH,
        PREFECT_API_AUTH_STRING=AUTH,
    ) as services:
        yield services
    with psycopg.connect(empty_database.connection_string, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name}_prefect WITH (FORCE)")


def test_workers_and_pools_share_the_work(
    prepared: RunningServices, empty_database: Database
) -> None:
    """Each worker takes runs with no other change, and no job runs twice at a time."""
    unmigrated = prepared.command("stashhog", "up")
    assert unmigrated.returncode == 2
    assert "stashhog migrate" in unmigrated.stderr
    assert prepared.command("stashhog", "migrate").returncode == 0
    up = prepared.command("stashhog", "up")
    assert up.returncode == 0, up.stderr + prepared.logs()
    check_password(prepared)
    check_database(prepared, empty_database)

    deployed = prepared.command("stashhog", "deploy")
    assert deployed.returncode == 0, deployed.stderr

    prepared.ask("POST", "/work_pools/", {"name": "second", "type": "process"})
    main = copy_deployment(prepared, "process_new_scenes/process-new-scenes")
    scan = copy_deployment(prepared, "stash_scan/stash-scan")
    for number in range(3):
        write_video(prepared.downloads / f"{number}.mp4", seed=60 + number)
    checked = threading.Event()
    prepared.stash.faults.on_item = until(checked)
    with ExitStack() as workers:
        for name in ADDITIONAL_WORKERS:
            workers.enter_context(worker(prepared, "second", name))
        # Each of the second pool's workers takes one run only: both are needed.
        first = start(prepared, main)
        prepared.wait_until(lambda: bool(prepared.stash.jobs.queue()), "the scan")
        twin = start(prepared, main)
        ended = prepared.wait_for_end(twin)
        assert ended["state"]["type"] == "FAILED"
        assert "Another run of process_new_scenes" in ended["state"]["message"]
        # The pool of `up` works meanwhile.
        check = prepared.start("process_downloads/process-downloads", {})
        ended = prepared.wait_for_end(check)
        assert ended["state"]["type"] == "COMPLETED", ended["state"]
        again = start(prepared, scan)
        checked.set()
        states = [prepared.wait_for_end(run)["state"] for run in (first, again)]

    assert [state["type"] for state in states] == ["COMPLETED", "COMPLETED"], states
    takers = [taken_by(prepared, run) for run in (first, twin)]
    assert sorted(takers, key=sorted) == [{"one"}, {"two"}], takers
    assert len(prepared.stash.store.ids("SELECT id FROM scenes")) == 3
    with psycopg.connect(empty_database.connection_string) as connection:
        placed = connection.execute("SELECT count(*) FROM download_item").fetchone()
    assert placed == (3,)


def check_password(services: RunningServices) -> None:
    """Nobody gets in without the password; `status` says when ours is wrong."""
    assert all(part["ok"] for part in services.status().values()), services.status()
    assert services.request("GET", "/flows/count", auth=None).status_code == 401
    wrong = services.status(PREFECT_SERVER_API_AUTH_STRING="admin:wrong")
    assert "PREFECT_SERVER_API_AUTH_STRING" in str(wrong["server"]["words"])
    assert not wrong["worker"]["ok"]
    for log in (services.home / "logs").glob("*.log"):
        assert AUTH not in log.read_text()


def check_database(services: RunningServices, database: Database) -> None:
    """Prefect's tables are in a database of their own on the same server."""
    name = database.engine.url.database
    sidecar = database.engine.url.set(
        drivername="postgresql", database=f"{name}_prefect", query={}
    )
    host = str(database.engine.url.query["host"])
    with psycopg.connect(dbname=sidecar.database, user="postgres", host=host) as found:
        deployed = found.execute("SELECT count(*) FROM deployment").fetchone()
    assert deployed is not None
    assert deployed[0] > 10
    assert not (services.home / "postgres").exists()
    assert not list((services.home / "prefect").glob("*.db"))


def copy_deployment(services: RunningServices, name: str) -> str:
    """Put a deployment on the second pool, without a limit of its own; return its id.

    Without the limit it is the job's own lock that keeps two runs apart.
    """
    known = services.ask("GET", f"/deployments/name/{name}")
    wanted = {field: known[field] for field in COPIED} | {
        "name": f"{known['name']}-second",
        "work_pool_name": "second",
    }
    return str(services.ask("POST", "/deployments/", wanted)["id"])


def start(services: RunningServices, deployment_id: str) -> str:
    """Ask for a run; return its id."""
    wanted = {"state": {"type": "SCHEDULED"}}
    path = f"/deployments/{deployment_id}/create_flow_run"
    return str(services.ask("POST", path, wanted)["id"])


def taken_by(services: RunningServices, run: str) -> set[str]:
    """Return the additional workers that took a run, from their own logs.

    Two workers that look at the same time both say that they submit a run; the
    server lets one of them do so, and the other says that it aborted.
    """

    def taken(name: str) -> bool:
        said = (services.home / "logs" / f"{name}.log").read_text()
        return (
            f"submitting flow run '{run}'" in said
            and f"Aborted submission of flow run '{run}'" not in said
        )

    return {name for name in ADDITIONAL_WORKERS if taken(name)}


@contextmanager
def worker(services: RunningServices, pool: str, name: str) -> Iterator[None]:
    """Run an additional worker meanwhile, as another machine would."""
    # A worker that is told to stop sends itself the signal that a shell has its
    # background jobs ignore.
    command = ["env", "--default-signal=INT", BIN / "prefect", "worker", "start"]
    log = services.home / "logs" / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--pool", pool, "--name", name, "--limit", "1"],
            env=os.environ | services.environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
