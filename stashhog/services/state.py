"""What `stashhog up` started: the processes and the address, in the home folder."""

import fcntl
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from stashhog_core.files import write_whole
from stashhog_core.processes import lives, recorded_process, start_of
from stashhog_core.settings import Settings, make_home_folder

# Longer than the supervisor may take to stop its three children.
_STOP_LIMIT_SECONDS = 240
_CHECK_INTERVAL_SECONDS = 0.1


def state_file(settings: Settings) -> Path:
    """Return the file that names the running processes."""
    return settings.home_folder / "services.json"


@contextmanager
def taking_turns(settings: Settings) -> Iterator[None]:
    """Wait until no other `up` or `down` of this home is at work."""
    make_home_folder(settings.home_folder)
    with (settings.home_folder / "services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def record(settings: Settings, url: str, pids: Mapping[str, int]) -> None:
    """Write down which processes run, and where the server listens."""
    processes = {}
    for name, pid in pids.items():
        with suppress(psutil.NoSuchProcess):
            processes[name] = (pid, start_of(psutil.Process(pid)))
    state = {"url": url, "processes": processes, "home": _identity(settings)}
    text = json.dumps(state)
    # After a power failure none of these processes runs.
    write_whole(state_file(settings), text, durable=False)


def recorded_url(settings: Settings) -> str | None:
    """Return the address of the server that was started."""
    url = _recorded(settings).get("url")
    return url if isinstance(url, str) else None


def running(settings: Settings) -> dict[str, psutil.Process]:
    """Return the recorded processes that are still the same and alive."""
    processes = _recorded(settings).get("processes")
    if not isinstance(processes, dict):
        return {}
    found = {name: recorded_process(*known) for name, known in processes.items()}
    return {name: process for name, process in found.items() if process is not None}


def end_processes(
    processes: Iterable[psutil.Process], patience: float = _STOP_LIMIT_SECONDS
) -> None:
    """Stop processes and return when none runs; after `patience` seconds by force."""
    left = list(processes)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                end(process)
        deadline = time.monotonic() + patience
        while (left := [p for p in left if lives(p)]) and time.monotonic() < deadline:
            time.sleep(_CHECK_INTERVAL_SECONDS)


def _recorded(settings: Settings) -> dict[str, object]:
    try:
        recorded = json.loads(state_file(settings).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    if not isinstance(recorded, dict):
        return {}
    mine = _identity(settings)
    # Of a copy of the home: what runs belongs to the original.
    return recorded if recorded.get("home", mine) == mine else {}


def _identity(settings: Settings) -> list[int]:
    """Return what a home keeps when it is moved, and a copy of it does not have."""
    status = settings.home_folder.stat()
    return [status.st_dev, status.st_ino]
