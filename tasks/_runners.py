"""Where mapped tasks run: threads, processes, a Dask or a Ray cluster, by setting."""

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from typing import Any

from prefect import Task
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import (
    ProcessPoolTaskRunner,
    TaskRunner,
    ThreadPoolTaskRunner,
)

from stashhog_core.db.locks import is_held, job_lock
from stashhog_core.db.open import open_database
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.settings import RunnerSettings, get_settings
from tasks._progress import stop_mapped_tasks

# Prefect kills a cancelled run after 30 seconds.
_STOP_SECONDS = 10.0
# A run that died and is tried again may meet tasks that have not noticed yet.
_LOCK_SECONDS = 15.0
_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 10

_INSTALL = {"dask": "run `make extras`", "ray": "pip install prefect-ray"}

Call = Mapping[str, Any]
"""The parameters of one call of a mapped task."""


def task_runner(parallel: int) -> TaskRunner[Any]:
    """Return the task runner that the settings name, for so many tasks at a time.

    Raises:
        ConfigurationError: Its package is not installed.
    """
    settings = get_settings().runner
    if settings.kind == "processes":
        return ProcessPoolTaskRunner(parallel)
    if settings.kind == "dask":
        return _dask(settings, parallel)
    if settings.kind == "ray":
        return _ray(settings, parallel)
    return ThreadPoolTaskRunner(parallel)


def _dask(settings: RunnerSettings, parallel: int) -> TaskRunner[Any]:
    package = _required("prefect_dask", "dask")
    if settings.address:
        runner = package.DaskTaskRunner(
            address=settings.address, client_kwargs={"timeout": _CONNECT_SECONDS}
        )
    else:
        runner = package.DaskTaskRunner(
            cluster_kwargs={
                "n_workers": parallel,
                "threads_per_worker": 1,
                # Dask would share the memory out and kill a worker that takes more.
                "memory_limit": 0,
                "dashboard_address": None,
            }
        )
    return runner  # type: ignore[no-any-return]


def _ray(settings: RunnerSettings, parallel: int) -> TaskRunner[Any]:
    package = _required("prefect_ray", "ray")
    if settings.address:
        runner = package.RayTaskRunner(address=settings.address)
    else:
        runner = package.RayTaskRunner(
            init_kwargs={"num_cpus": parallel, "include_dashboard": False}
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
def mapped(
    task: Task[Any, Any], calls: Sequence[Call], parallel: int
) -> Iterator[Iterator[Any]]:
    """Run a task once for each of `calls`; give their outcomes, in order.

    An outcome is the result, or the exception that the call ended with. No more than
    `parallel` are under way at any moment, whatever the size of the cluster.

    When the run is cancelled inside, or fails, no further call starts; those under way
    are told to stop and are waited for, but no longer than a few seconds. Calls in
    other processes notice it within about a second of their next report; so they do
    when this process was killed.

    Raises:
        ConfigurationError: The runner's package is not installed.
        TransientError: The cluster does not answer.
    """
    runner = task_runner(parallel)
    is_here = isinstance(runner, ThreadPoolTaskRunner)
    window = _Window(runner, task, calls, parallel)
    with runner:
        try:
            with nullcontext() if is_here else _announced_as_alive():
                window.fill()
                yield window.outcomes()
        except BaseException:
            stop_mapped_tasks()
            window.wait(_STOP_SECONDS)
            raise


class _Window:
    """Keeps a number of calls under way."""

    def __init__(
        self,
        runner: TaskRunner[Any],
        task: Task[Any, Any],
        calls: Sequence[Call],
        parallel: int,
    ) -> None:
        self._runner = runner
        self._task = task
        self._calls = calls
        self._parallel = parallel
        self._started = 0
        self._under_way: dict[int, PrefectFuture[Any]] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()

    def outcomes(self) -> Iterator[Any]:
        """Yield the outcomes in order, starting further calls as others end."""
        outcomes: dict[int, Any] = {}
        for number in range(len(self._calls)):
            while number not in outcomes:
                ended = self._ended.get()
                outcomes[ended] = _outcome(self._under_way.pop(ended))
                self.fill()
            yield outcomes.pop(number)

    def wait(self, seconds: float) -> None:
        """Wait until the calls under way have ended, but no longer than this."""
        deadline = time.monotonic() + seconds
        for future in self._under_way.values():
            future.wait(max(0, deadline - time.monotonic()))

    def fill(self) -> None:
        """Start as many calls as may be under way."""
        while self._started < len(self._calls) and (
            len(self._under_way) < self._parallel
        ):
            number = self._started
            try:
                future = self._runner.submit(self._task, dict(self._calls[number]))
            except OSError as error:
                raise TransientError(
                    f"The {get_settings().runner.kind} cluster does not answer",
                    where=get_settings().runner.address or "",
                    remedy=f"start it, or check STASHHOG_RUNNER__ADDRESS ({error})",
                ) from error
            self._started += 1
            self._under_way[number] = future
            future.add_done_callback(lambda _, number=number: self._ended.put(number))


def _outcome(future: PrefectFuture[Any]) -> Any:
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:  # noqa: BLE001 - such as a worker that died
        return error


class MapperAlive:
    """Tells a task in another process whether the run that mapped it still wants it.

    The run holds a lock of the database meanwhile, which is freed when it is cancelled,
    fails, is killed, or its machine is gone.
    """

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id
        self._next = 0.0
        self._stopped = False

    def is_set(self) -> bool:
        """Tell whether the task should stop; looks at most once a second."""
        if not self._stopped and time.monotonic() >= self._next:
            self._stopped = not is_held(self._database, _lock_name(self._run_id))
            self._next = time.monotonic() + _LOOK_SECONDS
        return self._stopped


def stop_of_mapper(database: Database) -> MapperAlive | None:
    """Return what stops this task if its run goes on in another process."""
    run = FlowRunContext.get()
    if run is None or not run.detached:
        return None
    return MapperAlive(database, str(flow_run.get_id()))


@contextmanager
def _announced_as_alive() -> Iterator[None]:
    with (
        open_database(get_settings()) as database,
        job_lock(
            database,
            _lock_name(str(flow_run.get_id())),
            wait_seconds=_LOCK_SECONDS,
        ),
    ):
        yield


def _lock_name(run_id: str) -> str:
    return f"run {run_id}"
