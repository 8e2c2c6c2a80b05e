"""The first hour: check, init, demo, a run from a form, review, report, down.

Each program starts in a fresh home and an empty folder, as a newcomer's would.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from dotenv import dotenv_values

from sandbox.samples import Sample
from sandbox.stash.server import StandIn
from tests.conftest import copy_cluster
from tests.support.http import NO_CERTIFICATES, loopback
from tests.support.processes import postmaster
from tests.support.services import FEW_SAMPLES
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from tests.workflow.test_make_run import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DEPLOYMENT = "process_new_scenes/process-new-scenes"
BIN = Path(sys.executable).parent


class Newcomer:
    """Somebody at a terminal, in a folder without any `.env`."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.variables = {
            "STASHHOG_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            # Nothing on this machine is asked by way of a proxy.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "ALL_PROXY": "http://127.0.0.1:9",
        }

    def types(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command of `stashhog`, or with `python` as the first word a module."""
        program = [BIN / "stashhog"]
        if words[0] == "python":
            program, words = [Path(sys.executable)], words[1:]
        return subprocess.run(
            [*program, *map(str, words)],
            cwd=self.folder,
            env=clean_environment(**self.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def sandbox(self) -> Path:
        """Where the demo keeps everything."""
        return self.home / "sandbox"

    @property
    def prefect(self) -> str:
        """The address of the demo's Prefect server."""
        port = dotenv_values(self.sandbox / "demo.env")["PREFECT_SERVER_API_PORT"]
        return f"http://127.0.0.1:{port}"

    def follows(self, demo: str) -> None:
        """Do what the demo says is next: `export STASHHOG_ENV_FILE=…`."""
        line = re.search(r"export (.*)", demo)
        assert line is not None
        (assignment,) = shlex.split(line[1])
        name, _, value = assignment.partition("=")
        del self.variables["STASHHOG_HOME"]
        self.variables[name] = value

    def sends_form(self, parameters: dict[str, Any]) -> httpx.Response:
        """Ask for a run as the form in Prefect's UI does."""
        api = f"{self.prefect}/api/deployments"
        deployment = loopback.get(f"{api}/name/{DEPLOYMENT}").json()
        return loopback.post(
            f"{api}/{deployment['id']}/create_flow_run",
            json={"parameters": parameters, "state": {"type": "SCHEDULED"}},
        )

    def waits_for_run(self, run_id: str) -> Any:
        """Return a run when it has ended."""
        over = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        path = f"{self.prefect}/api/flow_runs/{run_id}"
        wait_until(
            lambda: loopback.get(path).json()["state_type"] in over,
            "the end of the run from the form",
        )
        return loopback.get(path).json()

    def reads(self, *words: object) -> Any:
        """Run a command with `--json`; return what it printed."""
        done = self.types(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def newcomer(
    home: Path,
    tmp_path: Path,
    migrated_cluster: Path,
    sample_videos: tuple[Path, list[Sample]],
) -> Newcomer:
    """Somebody with a home that has blanks and a comma, and with an empty folder.

    Databases and sample videos are copies, as to make them takes long:
    tests/workflow/test_wheel.py starts without databases, test_make_run.py without
    videos.
    """
    somebody = Newcomer(home / "my home, too", tmp_path / "folder")
    downloads = somebody.sandbox / "downloads"
    downloads.mkdir(parents=True)
    for name in FEW_SAMPLES:
        shutil.copy(sample_videos[0] / name, downloads)
    for folder in (somebody.home, somebody.sandbox):
        copy_cluster(migrated_cluster, folder)
    (somebody.folder / "downloads").mkdir(parents=True)
    return somebody


def test_the_first_hour(newcomer: Newcomer, stand_in: StandIn) -> None:
    """One after the other, as the documents tell; each step builds on those before."""
    check_says_where_to_begin(newcomer)
    init_tries_and_writes(newcomer, stand_in)
    demo = start_demo(newcomer)
    try:
        names = processes(newcomer.sandbox)
        newcomer.follows(demo)
        plan_waits_for_review(newcomer)
        plan_is_accepted_in_the_terminal_and_applied_on_the_page(newcomer, demo)
        runs_start_from_the_form(newcomer)
        report_and_check_say_how_it_is(newcomer)
    finally:
        newcomer.variables.pop("STASHHOG_ENV_FILE", None)
        newcomer.variables["STASHHOG_HOME"] = str(newcomer.home)
        down = newcomer.types("python", "-m", "sandbox", "demo", "down")

    assert down.returncode == 0, down.stdout + down.stderr
    assert {"supervisor", "server", "worker", "pages", "stash"} <= names.keys()
    wait_until(
        lambda: not any(map(psutil.pid_exists, names.values())), "the end of the demo"
    )
    again = newcomer.types("python", "-m", "sandbox", "demo", "down")
    assert again.stdout == "Nothing was running\n"


def check_says_where_to_begin(newcomer: Newcomer) -> None:
    """Nothing is set: the first check fails, and names the command to go on with."""
    first = newcomer.types("check")

    assert first.returncode == 2
    assert "stashhog init" in first.stdout


def init_tries_and_writes(newcomer: Newcomer, stand_in: StandIn) -> None:
    """The answers come from options; afterwards only what starts later is missing."""
    made = newcomer.types(
        *("init", "--yes", "--file", ".env", "--stash-url", stand_in.url),
        *("--library", stand_in.library, "--downloads", "downloads", "--dry-run"),
    )
    after = newcomer.types("check")

    assert made.returncode == 0, made.stdout + made.stderr
    assert "process_downloads: Completed" in made.stdout
    # Prefect's server does not run yet.
    assert after.returncode == 1, after.stdout
    assert "✗" not in after.stdout
    assert "run `stashhog up`" in after.stdout


def start_demo(newcomer: Newcomer) -> str:
    """The sandbox is started to last, and one run is made; return what was said."""
    demo = newcomer.types("python", "-m", "sandbox", "demo")

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "process_new_scenes · 4 items: CompletedWithErrors" in demo.stdout
    return demo.stdout


def plan_waits_for_review(newcomer: Newcomer) -> None:
    """The run has left its plan to a person."""
    (plan,) = newcomer.reads("plans", "list")

    assert plan["id"] == 1
    assert newcomer.reads("report")["waiting"]["open_changes"] > 0


def plan_is_accepted_in_the_terminal_and_applied_on_the_page(
    newcomer: Newcomer, demo: str
) -> None:
    """The page that the demo names starts the job as a run of the worker."""
    accepted = newcomer.types("plans", "accept", 1)
    assert accepted.returncode == 0, accepted.stderr

    address = re.search(r"^Review the plan +(\S+)$", demo, re.MULTILINE)
    assert address is not None
    origin = address[1].partition("/?")[0]
    with httpx.Client(
        base_url=origin,
        headers={"Origin": origin},
        verify=NO_CERTIFICATES,
        trust_env=False,
        timeout=PATIENCE_SECONDS,
    ) as browser:
        assert browser.get(address[1], follow_redirects=True).is_success
        started = browser.post("/plans/1/apply").json()
        path = f"/jobs/{started['job']}"
        wait_until(lambda: browser.get(path).json()["is_over"], "the plan is applied")
        ended = browser.get(path).json()

    assert ended["failed"] is False, ended
    assert f"{newcomer.prefect}/runs/flow-run/" in ended["link"]


def runs_start_from_the_form(newcomer: Newcomer) -> None:
    """The form's values reach the run, and a wrong one is refused at once."""
    run = newcomer.sends_form({"batch_size": 5})
    refused = newcomer.sends_form({"batch_size": -1})

    assert run.is_success, run.text
    assert refused.status_code in {409, 422}
    ended = newcomer.waits_for_run(run.json()["id"])
    assert ended["state_name"] in {"Completed", "CompletedWithErrors"}
    assert ended["parameters"]["batch_size"] == 5


def report_and_check_say_how_it_is(newcomer: Newcomer) -> None:
    """Nothing is left to decide, and everything runs."""
    report = newcomer.reads("report")
    checked = newcomer.types("check")

    assert report["waiting"]["open_changes"] == 0
    assert report["scenes"] == 3
    assert checked.returncode == 1, checked.stdout
    assert "✗" not in checked.stdout
    assert "✓ worker" in checked.stdout


def processes(sandbox: Path) -> dict[str, int]:
    """Return the processes of the demo by name."""
    found = {"postgres": postmaster(sandbox).pid}
    for file in (sandbox / "services.json", sandbox / "stash" / "services.json"):
        recorded = json.loads(file.read_text())["processes"]
        found |= {name: pid for name, (pid, _) in recorded.items()}
    return found
