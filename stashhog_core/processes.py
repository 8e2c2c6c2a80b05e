"""Processes that are known by a number which was written down.

A number alone is no proof: the system gives it to another process later. Nor is the
time of day at which a process started: on a machine without a clock of its own, which
learns the time from the network after its boot, that changes.
"""

import psutil

# The time of the boot, which the system derives from the time of day, is rounded.
_ROUNDING_SECONDS = 2.0


def start_of(process: psutil.Process) -> float:
    """Return when a process started, in seconds after the boot of the machine.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    return process.create_time() - psutil.boot_time()


def recorded_process(pid: int, start: float | None) -> psutil.Process | None:
    """Return the living process of a record; None: it has ended.

    Args:
        pid: Its number.
        start: What `start_of` gave, or, in a record of an earlier version, the time of
            day in seconds since 1970; None: nobody wrote it down.
    """
    try:
        process = psutil.Process(pid)
        starts = (start_of(process), process.create_time())
        is_same = start is None or any(
            abs(found - start) < _ROUNDING_SECONDS for found in starts
        )
        return process if is_same and lives(process) else None
    except psutil.NoSuchProcess:
        return None


def lives(process: psutil.Process) -> bool:
    """Tell whether a process runs.

    A killed one stays listed until its parent, perhaps a slow init, looks after it.
    """
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
