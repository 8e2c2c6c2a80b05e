"""The process behind `stashhog up`: keeps Prefect's server and a worker running.

It holds the embedded PostgreSQL open, starts a child anew when it ends, and stops all
of them when it is told to stop. What it started stands in `services.json` in the home
folder, so that `up` can mend what a crash left behind and `down` stops nothing else.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import httpx
import psutil

from flows._local import prepare_prefect
from stashhog_core.settings import Settings, get_settings

POOL = "stashhog"
_LOG_LIMIT_BYTES = 10_000_000
_STOP_LIMIT_SECONDS = 20
_CHECK_INTERVAL_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


def state_file(settings: Settings) -> Path:
    """Return the file that names the running processes."""
    return settings.home_folder / "services.json"


def api_url() -> str:
    """Return the address of the Prefect API that `up` serves."""
    port = os.environ.get("PREFECT_SERVER_API_PORT", "4200")
    return f"http://127.0.0.1:{port}/api"


def answers() -> bool:
    """Tell whether a Prefect server answers at `api_url`."""
    try:
        return httpx.get(f"{api_url()}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def service_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of Prefect's server, worker and command line."""
    os.environ.pop("PREFECT_API_URL", None)
    prepare_prefect(settings)
    return os.environ | {
        "PREFECT_API_URL": api_url(),
        # Often enough for the automation that finds dead runs.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # The logs are for reading: what the terminal's runs hide belongs here.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
    }


def running(settings: Settings) -> dict[str, psutil.Process]:
    """Return the processes of `services.json` that are still the same and alive."""
    try:
        recorded = json.loads(state_file(settings).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    alive = {}
    for name, (pid, created) in recorded.items():
        try:
            process = psutil.Process(pid)
            # A number may have been given to another process meanwhile; and a killed
            # one stays listed until its parent, perhaps a slow init, looks after it.
            same = abs(process.create_time() - created) < 1
            if same and process.status() != psutil.STATUS_ZOMBIE:
                alive[name] = process
        except psutil.NoSuchProcess:
            continue
    return alive


def open_log(settings: Settings, name: str) -> int:
    """Open a log file for appending; a large one is first put aside."""
    folder = settings.home_folder / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.log"
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class _Supervisor:
    """Starts the children, and again when they end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environment = service_environment(settings)
        port = api_url().split(":")[2].split("/")[0]
        prefect = f"{shlex.quote(sys.executable)} -m prefect"
        self._commands = {
            "server": f"{prefect} server start --host 127.0.0.1 --port {port}",
            "worker": f"{prefect} worker start --pool {POOL} --type process",
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._pauses = dict.fromkeys(self._commands, _CHECK_INTERVAL_SECONDS)
        self._started = dict.fromkeys(self._commands, 0.0)
        self._stopping = False

    def run(self) -> None:
        """Keep the children running until a signal says stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self._stopping:
            for name in self._commands:
                self._keep(name)
            time.sleep(_CHECK_INTERVAL_SECONDS)
        self._end()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _keep(self, name: str) -> None:
        child = self._children.get(name)
        if name == "worker" and child is None and not answers():
            # It would give up before the server is there.
            return
        if child is not None and child.poll() is None:
            return
        ran_for = time.monotonic() - self._started[name]
        if child is not None:
            if ran_for < self._pauses[name]:
                return
            # Ended soon after its start: wait longer before the next one.
            short = ran_for < _LONGEST_PAUSE_SECONDS
            self._pauses[name] = (
                min(2 * self._pauses[name], _LONGEST_PAUSE_SECONDS)
                if short
                else _CHECK_INTERVAL_SECONDS
            )
        log = open_log(self._settings, name)
        self._children[name] = subprocess.Popen(
            shlex.split(self._commands[name]),
            env=self._environment,
            stdout=log,
            stderr=log,
        )
        os.close(log)
        self._started[name] = time.monotonic()
        self._record()

    def _record(self) -> None:
        pids = {"supervisor": os.getpid()}
        pids |= {name: child.pid for name, child in self._children.items()}
        recorded = {
            name: (pid, psutil.Process(pid).create_time())
            for name, pid in pids.items()
            if psutil.pid_exists(pid)
        }
        path = state_file(self._settings)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(recorded))
        temporary.replace(path)

    def _end(self) -> None:
        # The worker first: it still tells the server what it leaves.
        for name in reversed(list(self._commands)):
            child = self._children.get(name)
            if child is None:
                continue
            child.terminate()
            try:
                child.wait(_STOP_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        state_file(self._settings).unlink(missing_ok=True)


if __name__ == "__main__":
    _Supervisor(get_settings()).run()
