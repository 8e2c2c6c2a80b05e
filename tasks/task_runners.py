"""Where mapped tasks run: threads, processes, a Dask or a Ray cluster, by setting."""

import importlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import (
    ProcessPoolTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)

from stashhog_core.background import leave_process_group
from stashhog_core.errors import ConfigurationError, JobError, TransientError
from stashhog_core.settings import RunnerSettings, get_settings
from tasks.cancellation import crash_task_runs, mapper_is_alive
from tasks.prefect_api import display
from tasks.run_progress import stop_mapped_tasks

logger = logging.getLogger("stashhog_core.runners")

# Prefect kills a cancelled run after 30 seconds.
_STOP_SECONDS = 5.0

_INSTALL = {
    "dask": "install stashhog[dask] (`make extras` in a checkout)",
    "ray": "pip install prefect-ray",
}

Call = Mapping[str, Any]
"""The parameters of one call of a mapped task."""

OnEnd = Callable[[int, Any], None]
"""Takes the number of a call, from 0, and its outcome."""


def task_runner(parallel: int) -> TaskRunner[Any]:
    """Return the task runner that the settings name, for so many tasks at a time.

    Raises:
        ConfigurationError: Its package is not installed.
    """
    settings = get_settings().runner
    if settings.kind == "processes":
        return ProcessPoolTaskRunner(
            parallel, initializer=leave_process_group, initargs=(os.getpid(),)
        )
    if settings.kind == "dask":
        return _dask(settings, parallel)
    if settings.kind == "ray":
        return _ray(settings, parallel)
    return ThreadPoolTaskRunner(parallel)


def is_elsewhere() -> bool:
    """Tell whether mapped tasks run on a cluster that stands by itself."""
    settings = get_settings().runner
    return settings.kind in {"dask", "ray"} and settings.address is not None


def _dask(settings: RunnerSettings, parallel: int) -> TaskRunner[Any]:
    package = _required("prefect_dask", "dask")
    if settings.address:
        runner = package.DaskTaskRunner(
            address=settings.address,
            client_kwargs={"timeout": settings.timeout_seconds},
        )
    else:
        runner = package.DaskTaskRunner(
            cluster_kwargs={
                "n_workers": parallel,
                "threads_per_worker": 1,
                # Dask would share the memory out and kill a worker that takes more.
                "memory_limit": 0,
                # No dashboard. Its server answers health checks all the same: at any
                # free port, or two runs at a time would both want 8787.
                "dashboard_address": "127.0.0.1:0",
                "scheduler_kwargs": {"dashboard": False},
                "preload": ["tasks.dask_worker"],
            }
        )
    return runner  # type: ignore[no-any-return]


def _ray(settings: RunnerSettings, parallel: int) -> TaskRunner[Any]:
    package = _required("prefect_ray", "ray")
    # Ray reports its use to its makers, and starts what died three times again.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TASK_MAX_RETRIES", "1")
    if settings.address:
        runner = package.RayTaskRunner(address=settings.address)
    else:
        runner = package.RayTaskRunner(
            init_kwargs={
                "num_cpus": parallel,
                "include_dashboard": False,
                # What tasks log comes by Prefect.
                "log_to_driver": False,
            }
        )
    return runner  # type: ignore[no-any-return]


def _required(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigurationError(
            f"STASHHOG_RUNNER__KIND is {extra}, but {error.name} is not installed",
            remedy=f"{_INSTALL[extra]}, here and on the cluster",
        ) from error


@contextmanager
def mapper(parallel: int) -> Iterator["Mapper"]:
    """Open the task runner that the settings name, for calls of mapped tasks.

    When the run is cancelled inside, or fails, no further call starts; those under way
    are asked to stop and are waited for, but no longer than a few seconds. Calls in
    other processes notice it within about a second of their next report; so they do
    when this process was killed.

    Raises:
        ConfigurationError: The runner's package is not installed.
        TransientError: The cluster does not answer.
    """
    with closing(Mapper(parallel)) as opened:
        try:
            with nullcontext() if opened.is_here else mapper_is_alive():
                yield opened
        except BaseException:
            stop_mapped_tasks()
            opened.wait(_STOP_SECONDS)
            raise


@contextmanager
def mapped(
    task: Task[Any, Any],
    calls: Sequence[Call],
    parallel: int,
    on_end: OnEnd | None = None,
) -> Iterator[Iterator[Any]]:
    """Open a `mapper` for these calls alone; give their outcomes, in order."""
    with mapper(parallel) as opened:
        yield opened.map(task, calls, on_end)


class Mapper:
    """Runs tasks side by side, never more than so many at a time.

    The bound holds whatever the size of the cluster. A process pool breaks as a whole
    when one of its processes dies; that says nothing about the calls in the others, so
    the pool is opened anew. The calls that were under way are then tried once more,
    one at a time: one that ends its process again has failed, and no other with it.
    """

    def __init__(self, parallel: int) -> None:
        self._parallel = parallel
        self._under_way: dict[int, PrefectFuture[Any]] = {}
        self._crashed: list[UUID] = []
        self._open()

    @property
    def is_here(self) -> bool:
        """Whether the tasks run in this process."""
        return isinstance(self._runner, ThreadPoolTaskRunner)

    def map(
        self,
        task: Task[Any, Any],
        calls: Sequence[Call],
        on_end: OnEnd | None = None,
    ) -> Iterator[Any]:
        """Start a task once for each of `calls`; return their outcomes, in order.

        An outcome is the result, or the exception that the call ended with. `on_end` is
        told of each as soon as it is there, whatever the order.

        Raises:
            TransientError: The cluster does not answer.
        """
        ended: SimpleQueue[int] = SimpleQueue()
        waiting = deque(range(len(calls)))
        # Their processes died, or another one's death took them along.
        suspects: deque[int] = deque()
        lost: list[int] = []
        found: dict[int, Any] = {}

        def fill() -> None:
            if suspects:
                if not self._under_way:
                    start(suspects[0])
                return
            while waiting and len(self._under_way) < self._parallel:
                start(waiting.popleft())

        def start(number: int) -> None:
            future = self._submit(task, calls[number])
            self._under_way[number] = future
            future.add_done_callback(partial(_note, ended, number))

        def take(number: int) -> None:
            future = self._under_way.pop(number)
            was_alone = bool(suspects)
            if was_alone:
                suspects.popleft()
            try:
                found[number] = future.result(raise_on_failure=False)
            except BrokenExecutor:
                self._crashed.append(future.task_run_id)
                if was_alone:
                    found[number] = _ended_its_process()
                    self._reopen()
                else:
                    lost.append(number)
            except Exception as error:  # noqa: BLE001 - whatever a cluster raises
                self._crashed.append(future.task_run_id)
                found[number] = _lost(error)
            if lost and not self._under_way:
                self._reopen()
                suspects.extend(sorted(lost))
                lost.clear()
            if not lost:
                fill()

        def outcomes() -> Iterator[Any]:
            for number in range(len(calls)):
                while number not in found:
                    last = ended.get()
                    take(last)
                    if on_end is not None and last in found:
                        on_end(last, found[last])
                yield found.pop(number)

        fill()
        return outcomes()

    def wait(self, seconds: float) -> None:
        """Wait until the calls under way have ended, but no longer than this."""
        deadline = time.monotonic() + seconds
        for future in self._under_way.values():
            # What a call ends with is of no interest any more.
            with suppress(Exception):
                future.wait(max(0, deadline - time.monotonic()))

    def close(self) -> None:
        """Close the runner; show as crashed the task runs that could not say so."""
        try:
            self._opened.close()
        finally:
            if self._crashed:
                with display("that tasks have crashed"):
                    crash_task_runs(self._crashed)

    def _reopen(self) -> None:
        logger.warning(
            "A process that ran mapped tasks has died; starting new processes"
        )
        self._opened.close()
        self._open()

    def _open(self) -> None:
        self._opened = ExitStack()
        with _answering():
            self._runner = self._opened.enter_context(task_runner(self._parallel))

    def _submit(self, task: Task[Any, Any], call: Call) -> PrefectFuture[Any]:
        with _answering():
            future: PrefectFuture[Any] = self._runner.submit(task, dict(call))
        return future


@contextmanager
def _answering() -> Iterator[None]:
    """Say in a sentence that the cluster of the settings does not answer.

    Dask looks for its cluster with the first call, and Ray before.
    """
    try:
        yield
    except OSError as error:
        runner = get_settings().runner
        raise TransientError(
            f"The {runner.kind} cluster does not answer",
            where=runner.address or "",
            remedy=f"start the cluster, or check STASHHOG_RUNNER__ADDRESS ({error})",
        ) from error


def _note(ended: SimpleQueue[int], number: int, _: PrefectFuture[Any]) -> None:
    ended.put(number)


_REMEDY = (
    "check the system's log for a lack of memory, and run fewer tasks in parallel or "
    "choose another STASHHOG_RUNNER__KIND"
)


def _ended_its_process() -> JobError:
    return JobError("The process of this task died twice", remedy=_REMEDY)


def _lost(error: Exception) -> JobError:
    """Say in a sentence that a cluster has lost a task: its own error may be empty."""
    said = JobError(
        f"The {get_settings().runner.kind} cluster lost this task, such as with a "
        "process that died again and again",
        where=type(error).__name__,
        remedy=_REMEDY,
    )
    said.__cause__ = error
    return said
