"""`stashhog up`, `down` and `status`: Prefect's server, a worker, the deployments."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from flows._supervisor import (
    POOL,
    answers,
    api_url,
    open_log,
    running,
    service_environment,
    state_file,
)
from stashhog_core.db.open import open_database
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings

PROJECT = Path(__file__).parent.parent
_START_LIMIT_SECONDS = 120
_STOP_LIMIT_SECONDS = 60
_LOOK_INTERVAL_SECONDS = 0.5


def up(settings: Settings) -> str:
    """Start what does not run yet, register the deployments; return the UI's address.

    Raises:
        ConfigurationError: A part does not start; says where its log is.
    """
    with open_database(settings) as database:
        database.check()
    alive = running(settings)
    supervisor = alive.get("supervisor")
    if supervisor is None:
        # Children of a supervisor that was killed.
        _stop(list(alive.values()))
        if answers():
            raise ConfigurationError(
                "Something else answers at Prefect's port",
                where=api_url(),
                remedy="stop it, or choose a port with PREFECT_SERVER_API_PORT",
            )
        supervisor = _start_supervisor(settings)
    _wait_for_api(settings, supervisor)
    environment = service_environment(settings)
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    pool = ["work-pool", "create", POOL, "--type", "process", "--overwrite"]
    for command in (pool, ["deploy", "--all"]):
        done = subprocess.run(
            [*prefect, *command],
            env=environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ConfigurationError(
                f"prefect {' '.join(command[:2])} failed",
                remedy=(done.stderr or done.stdout).strip().splitlines()[-1],
            )
    apply = [sys.executable, "-m", "flows._automations"]
    subprocess.run(
        [*apply, str(PROJECT / "deployments" / "automations.yaml")],
        env=environment,
        check=True,
    )
    return api_url().removesuffix("/api")


def down(settings: Settings) -> list[str]:
    """Stop what `up` started, and nothing else; return the names of those parts."""
    alive = running(settings)
    supervisor = alive.pop("supervisor", None)
    if supervisor is not None:
        _stop([supervisor])
    # Children of a supervisor that was killed.
    left = running(settings)
    _stop([process for name, process in left.items() if name != "supervisor"])
    state_file(settings).unlink(missing_ok=True)
    return [*(["supervisor"] if supervisor else []), *alive]


def status(settings: Settings) -> dict[str, int | None]:
    """Return the process number of each part, None for those that do not run."""
    alive = running(settings)
    return {
        name: alive[name].pid if name in alive else None
        for name in ("supervisor", "server", "worker")
    }


def _stop(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=_STOP_LIMIT_SECONDS)
    for process in stubborn:
        process.kill()


def _start_supervisor(settings: Settings) -> psutil.Process:
    log = open_log(settings, "supervisor")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows._supervisor"],
        stdout=log,
        stderr=log,
        # It outlives this terminal.
        start_new_session=True,
    )
    os.close(log)
    return psutil.Process(process.pid)


def _wait_for_api(settings: Settings, supervisor: psutil.Process) -> None:
    """Return when the server answers and the worker was started.

    Raises:
        ConfigurationError: They did not come in time; says where the logs are.
    """
    deadline = time.monotonic() + _START_LIMIT_SECONDS
    while time.monotonic() < deadline and supervisor.is_running():
        if supervisor.status() == psutil.STATUS_ZOMBIE:
            break
        if answers() and "worker" in running(settings):
            return
        time.sleep(_LOOK_INTERVAL_SECONDS)
    raise ConfigurationError(
        "Prefect's server did not start",
        where=api_url(),
        remedy=f"see the logs in {settings.home_folder / 'logs'}",
    )
