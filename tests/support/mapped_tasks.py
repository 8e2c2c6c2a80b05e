"""Tasks for the tests of the runners; in a module that other processes can import."""

import os
import signal
import sys
import time
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from stashhog_core.errors import ItemError, JobCancelled
from tasks.run_progress import workflow_progress
from tasks.runtime import open_job
from tasks.task_runners import mapped
from tests.support.waiting import wait_until


@task(cache_policy=NO_CACHE)
def halve(number: int) -> tuple[int, int]:
    """Return half of an even number, and in which process that was done."""
    if number % 2:
        raise ItemError("It is odd", where=str(number))
    return number // 2, os.getpid()


@flow
def halve_all(numbers: list[int], parallel: int = 2) -> list[object]:
    with mapped(halve, [{"number": n} for n in numbers], parallel) as outcomes:
        return list(outcomes)


@task(cache_policy=NO_CACHE)
def halve_or_die(number: int, folder: str, dies: str | None) -> int:
    """Return half of an even number; the process dies the first time, or always."""
    died = Path(folder) / f"died-{number}"
    if dies and (dies == "always" or not died.exists()):
        died.touch()
        # As the kernel does where memory is out.
        os.kill(os.getpid(), signal.SIGKILL)
    half, process = halve.fn(number)
    (Path(folder) / f"halved-in-{process}").touch()
    return half


@flow
def halve_and_die(
    numbers: list[int], deadly: dict[int, str], folder: str
) -> list[object]:
    """Return the outcomes, wrapped: a flow that returns exceptions has failed.

    Args:
        numbers: What to halve, two at a time.
        deadly: The numbers that kill their process, and when: `once` or `always`.
        folder: Where the processes leave their traces.
    """
    calls = [{"number": n, "folder": folder, "dies": deadly.get(n)} for n in numbers]
    with mapped(halve_or_die, calls, 2) as outcomes:
        return [repr(o) if isinstance(o, Exception) else o for o in outcomes]


@task(cache_policy=NO_CACHE)
def count_together(folder: str, number: int, parallel: int) -> int:
    """Return how many calls were under way at most while this one was.

    The first ones wait until so many are.
    """
    mine = Path(folder) / f"{number}.begun"
    mine.touch()
    if number < parallel:
        wait_for(folder, "*", parallel)
    most = 0
    for _ in range(20):
        most = max(most, len(list(Path(folder).glob("*.begun"))))
        time.sleep(0.01)
    mine.rename(mine.with_suffix(".ended"))
    return most


@flow
def count_all(folder: str, calls: int, parallel: int) -> list[int]:
    each = [
        {"folder": folder, "number": number, "parallel": parallel}
        for number in range(calls)
    ]
    with mapped(count_together, each, parallel) as outcomes:
        return list(outcomes)


@task(cache_policy=NO_CACHE)
def work_until_stopped(folder: str, number: int) -> None:
    """Work until a stop is asked for; leave a file for the start and one for it."""
    with open_job("work") as job:
        (Path(folder) / f"started-{number}").touch()
        try:
            while True:
                job.progress.checkpoint()
                time.sleep(0.05)
        except JobCancelled:
            (Path(folder) / f"stopped-{number}").touch()
            raise


class Interrupted(BaseException):
    """As Prefect's TerminationSignal: no Exception."""


@flow
def work_and_be_interrupted(folder: str, *, forever: bool = False) -> None:
    """Map three calls, two at a time, and be interrupted once two have started."""
    with workflow_progress("work-progress"):
        calls = [{"folder": folder, "number": number} for number in range(3)]
        with mapped(work_until_stopped, calls, 2) as outcomes:
            if forever:
                next(outcomes)
            wait_for(folder, "started-*", 2)
            raise Interrupted


def wait_for(folder: str, pattern: str, count: int) -> None:
    wait_until(
        lambda: len(list(Path(folder).glob(pattern))) >= count,
        lambda: f"{pattern} in {list(Path(folder).iterdir())}",
    )


if __name__ == "__main__":
    from tests.support.mapped_tasks import work_and_be_interrupted as run

    run(sys.argv[1], forever=True)
