"""`make up`, a run of a deployment on the worker, `make down`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.run import free_port
from sandbox.samples import make_samples, seed_library
from sandbox.stash.server import StandIn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Terminal:
    """Runs commands with the settings of one home."""

    def __init__(self, **variables: str) -> None:
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STASHHOG_", "PREFECT_"))
        } | variables

    def __call__(self, program: str, *arguments: str) -> Any:
        return subprocess.run(
            [BIN / program, *arguments],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


def test_up_run_kill_up_down(home: Path, tmp_path: Path, stand_in: StandIn) -> None:
    """The services start, run a deployment, survive a kill -9 of each, and stop."""
    downloads = tmp_path / "downloads"
    make_samples(downloads)
    seed_library(stand_in.store)
    port = str(free_port())
    terminal = Terminal(
        STASHHOG_HOME=str(home),
        STASHHOG_STASH__URL=stand_in.url,
        STASHHOG_STASH__SCAN_PATHS=json.dumps([str(stand_in.library)]),
        STASHHOG_STASH__POLL_INTERVAL_SECONDS="0.1",
        STASHHOG_DOWNLOADS__FOLDER=str(downloads),
        STASHHOG_DOWNLOADS__LIBRARY_ROOT=str(stand_in.library),
        STASHHOG_DOWNLOADS__SETTLE_SECONDS="0",
        PREFECT_SERVER_API_PORT=port,
        PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
        PREFECT_HOME=str(home / "prefect"),
    )
    name = "process_new_scenes/process-new-scenes"
    try:
        up = terminal("stashhog", "up")
        assert up.returncode == 0, up.stderr + logs(home)
        assert f"http://127.0.0.1:{port}" in up.stdout

        refused = terminal("prefect", "deployment", "run", name, "-p", "batch_size=0")
        assert refused.returncode == 1
        assert "batch_size" in refused.stdout + refused.stderr
        run = terminal(
            *("prefect", "deployment", "run", name),
            *("--param", "batch_size=50", "--watch"),
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "CompletedWithErrors" in run.stdout
        assert len(stand_in.store.ids("SELECT id FROM scenes")) > 5

        before = json.loads(terminal("stashhog", "status", "--json").stdout)
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        again = terminal("stashhog", "up")
        assert again.returncode == 0, again.stderr + logs(home)
        after = json.loads(terminal("stashhog", "status", "--json").stdout)
        assert None not in after.values()
        assert not set(after.values()) & set(before.values())
    finally:
        down = terminal("stashhog", "down")

    assert down.returncode == 0, down.stderr
    assert not any(is_alive(pid) for pid in after.values())


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended may stay listed for a while."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def logs(home: Path) -> str:
    """Return the ends of the services' logs, for the message of a failure."""
    return "".join(
        f"\n== {path.name}\n{path.read_text()[-3000:]}"
        for path in sorted((home / "logs").glob("*.log"))
    )
