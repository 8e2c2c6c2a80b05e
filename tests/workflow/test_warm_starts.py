"""Runs are forked from a process that has imported what they need."""

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun

from stashhog.services.warm_starts import code_version
from tests.support.prefect import Runner, processes_of
from tests.support.processes import is_alive, kill_all
from tests.support.services import Services
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux"),
]

# A flow of another checkout: it tells where it runs, and whose modules it finds.
FLOW = """
import json, os, sys
from pathlib import Path
from prefect import flow
import flows

@flow
def tell():
    facts = {"file": flows.__file__, "pid": os.getpid(), "parent": os.getppid()}
    facts["level"] = __import__("prefect").settings.get_current_settings().logging.level
    Path("facts.json").write_text(json.dumps(facts))
"""
STEP = "prefect.deployments.steps.set_working_directory"


@pytest.fixture
def warm(process_worker: Runner, services: Services) -> Runner:
    """A worker with this test's services."""
    process_worker.configure()
    return process_worker


def servers(worker: Runner) -> list[psutil.Process]:
    """Return the run servers of a worker."""
    module = "stashhog.services.run_server"
    children = psutil.Process(worker.process.pid).children()
    return [child for child in children if module in child.cmdline()]


def run_scan(worker: Runner, folder: Path) -> FlowRun:
    """Have a run refused its folder: the shortest of all runs."""
    run = worker.start("directory_scan", path=str(folder))
    worker.wait_for(run, "Failed")
    wait_until(lambda: not processes_of(run.id), f"the end of {run.name}")
    return run


@pytest.fixture
def telling(tmp_path: Path) -> Path:
    """The folder of a deployment with a flow of its own."""
    folder = tmp_path / "telling"
    folder.mkdir()
    return folder


def tell(worker: Runner, folder: Path, entrypoint: str) -> dict[str, object]:
    """Run the flow of a folder; return what the flow has found."""
    client = worker.client
    deployment = client.create_deployment(
        flow_id=client.create_flow_from_name("tell"),
        name=folder.name,
        entrypoint=entrypoint,
        work_pool_name=worker.name,
        pull_steps=[{STEP: {"directory": str(folder)}}],
    )
    run = client.create_flow_run_from_deployment(deployment)
    worker.wait_for(run, "Completed")
    facts: dict[str, object] = json.loads((folder / "facts.json").read_text())
    return facts


def test_runs_share_the_imports_and_nothing_else(warm: Runner, telling: Path) -> None:
    """Each run is a process of its own, below one run server."""
    (telling / "mine.py").write_text(FLOW)

    first = tell(warm, telling, "mine.py:tell")
    second = tell(warm, telling, "mine.py:tell")

    (server,) = servers(warm)
    assert first["parent"] == second["parent"] == server.pid
    assert first["pid"] != second["pid"]


def test_another_checkout_runs_its_own_modules(warm: Runner, telling: Path) -> None:
    """Modules that were imported from elsewhere are of no use to such a run."""
    (telling / "flows").mkdir()
    (telling / "flows" / "__init__.py").touch()
    (telling / "flows" / "mine.py").write_text(FLOW)

    found = tell(warm, telling, "flows.mine.tell")

    assert found["file"] == str(telling / "flows" / "__init__.py")


def test_settings_of_the_folder_hold(warm: Runner, telling: Path) -> None:
    """Prefect's settings in the folder of a deployment are read for each run."""
    (telling / "mine.py").write_text(FLOW)
    before = tell(warm, telling, "mine.py:tell")
    (telling / "prefect.toml").write_text('[logging]\nlevel = "ERROR"\n')

    assert before["level"] != "ERROR"
    assert tell(warm, telling, "mine.py:tell")["level"] == "ERROR"


def test_a_killed_run_server_is_followed_by_another(
    warm: Runner, tmp_path: Path
) -> None:
    """The next run has a run server again; nobody has to restart the worker."""
    run_scan(warm, tmp_path)
    (before,) = servers(warm)
    kill_all([before])
    wait_until(lambda: not is_alive(before), "the end of the run server")

    run_scan(warm, tmp_path)

    (after,) = [each for each in servers(warm) if is_alive(each)]
    assert after.pid != before.pid


def test_the_run_server_ends_with_its_worker(warm: Runner, tmp_path: Path) -> None:
    """Also if the worker is killed."""
    doomed = Runner("cold", "worker", warm.client, tmp_path / "worker")
    with doomed.running():
        doomed.configure()
        run_scan(doomed, tmp_path)
        (server,) = servers(doomed)
        doomed.process.kill()
        doomed.process.wait()

        wait_until(lambda: not is_alive(server), "the end of the run server")


def test_an_update_is_noticed(tmp_path: Path) -> None:
    """A module that is changed, added or removed makes another version of the code."""
    module = tmp_path / "package" / "module.py"
    module.parent.mkdir()
    module.touch()
    versions = [code_version([tmp_path])]
    os.utime(module, ns=(1, 1))
    versions.append(code_version([tmp_path]))
    (module.parent / "other.py").touch()
    versions.append(code_version([tmp_path]))
    module.unlink()
    versions.append(code_version([tmp_path]))

    assert versions[-1] == code_version([tmp_path])
    assert len({tuple(version) for version in versions}) == len(versions)
