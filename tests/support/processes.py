"""Processes that a test looks at or kills.

Of processes that belong together the others may end by themselves as soon as the first
is killed, and so before it is their turn.
"""

import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.waiting import PATIENCE_SECONDS


def is_alive(process: psutil.Process) -> bool:
    """Tell whether it runs; an ended one that nobody waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes(numbers: Iterable[int]) -> list[psutil.Process]:
    """Return the processes of these numbers that there are."""
    found = []
    for number in numbers:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(number))
    return found


def workers_of_pools(number: int | None = None) -> list[psutil.Process]:
    """Return the processes of process pools that are alive below one, or below ours."""
    found = []
    for child in psutil.Process(number).children(recursive=True):
        # One that has just ended has no command line.
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill_all(
    victims: Iterable[psutil.Process], how: signal.Signals = signal.SIGKILL
) -> None:
    """Send a signal to processes; without one they are killed without a word."""
    for process in victims:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(how)


def postmaster(home: Path) -> psutil.Process:
    """Return the main process of the embedded database under a home folder."""
    listed = (home / "postgres" / "postmaster.pid").read_text()
    return psutil.Process(int(listed.splitlines()[0]))


def crash(server: psutil.Process) -> None:
    """Kill a database server with its children, and wait for its end."""
    kill_all([server, *server.children()])
    psutil.wait_procs([server], timeout=PATIENCE_SECONDS)
