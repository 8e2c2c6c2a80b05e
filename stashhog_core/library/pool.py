"""Worker processes that look into files: each can crash, hang or be killed alone."""

import ctypes
import os
import resource
import signal
import sys
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import wait
from multiprocessing import current_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import ProcessExpired, ProcessPool

from stashhog_core.library.examine import (
    OUT_OF_MEMORY,
    Outcome,
    Request,
    Wanted,
    examine,
)

FILE_LIMIT_SECONDS = 30.0
"""Longest time for one file, killing its worker included."""

MEMORY_LIMIT_BYTES = 4 * 2**30

_KILL_SECONDS = 4.0
_FILES_PER_WORKER = 5000
"""Then it makes way for a fresh one, whatever its decoders have leaked."""

_AHEAD = 16
_LOOK_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
_TOLD_TO_END = {-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}


class _Process(SpawnProcess):
    """A process that starts without the parent's main module, and below any parent.

    The module would be loaded again in each worker, and in a run that is Prefect's
    engine.
    """

    def start(self) -> None:
        """Start, even below a daemon, as the workers of a Dask cluster are.

        Python forbids it since a daemon that is ended leaves its children behind; these
        die with their parent.
        """
        parent: Any = current_process()
        daemon = parent._config.pop("daemon", False)
        try:
            super().start()
        finally:
            parent._config["daemon"] = daemon

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _Context(SpawnContext):
    Process = _Process


class ExaminerPool:
    """Looks into files side by side; a context manager that leaves no process behind.

    Args:
        wanted: What is made of each file.
        workers: How many processes; None: one per core.
        file_limit_seconds: Longest time for one file, killing its worker included.
        memory_limit_bytes: Most address space of a worker.
        look: What looks into a file; a function of a module.
    """

    def __init__(
        self,
        wanted: Wanted,
        workers: int | None = None,
        *,
        file_limit_seconds: float = FILE_LIMIT_SECONDS,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
        look: Callable[[Request, Wanted], Outcome] = examine,
    ) -> None:
        self._wanted = wanted
        self._look = look
        self._workers = workers or os.cpu_count() or 1
        self._limit = file_limit_seconds
        self._pool = ProcessPool(
            max_workers=self._workers,
            max_tasks=_FILES_PER_WORKER,
            initializer=_confine,
            initargs=(os.getpid(), memory_limit_bytes),
            context=_Context(),
        )

    def __enter__(self) -> "ExaminerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def examine(
        self, requests: Iterable[Request], checkpoint: Callable[[], None]
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each request, in their order.

        Args:
            requests: Taken only a little ahead of what is yielded.
            checkpoint: Called while waiting; may raise to stop.
        """
        running: deque[tuple[Request, Any]] = deque()
        for request in requests:
            running.append((request, self._start(request)))
            while len(running) >= self._workers * _AHEAD or (
                running and running[0][1].done()
            ):
                yield self._outcome(*running.popleft(), checkpoint)
        while running:
            yield self._outcome(*running.popleft(), checkpoint)

    def _start(self, request: Request) -> Any:
        limit = max(0.1, self._limit - _KILL_SECONDS)
        return self._pool.schedule(
            self._look, args=(request, self._wanted), timeout=limit
        )

    def _outcome(
        self, request: Request, future: Any, checkpoint: Callable[[], None]
    ) -> Outcome:
        while not wait([future], timeout=_LOOK_SECONDS).done:
            checkpoint()
        try:
            outcome: Outcome = future.result()
        except TimeoutError:
            problem = f"It took longer than {self._limit:.0f} s; its reader was stopped"
        except ProcessExpired as error:
            if error.exitcode in _TOLD_TO_END:
                return Outcome(request.id, request.path, "interrupted")
            problem = f"Its reader died ({_cause(error.exitcode)})"
        except MemoryError:
            problem = OUT_OF_MEMORY
        except Exception as error:  # noqa: BLE001 - one file stops no scan
            problem = f"Its reader failed: {error}"
        else:
            return outcome
        return Outcome(request.id, request.path, "unreadable", problem=problem)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"


def _confine(parent: int, memory_limit_bytes: int) -> None:
    """Bind a worker to its parent's life and to its share of memory."""
    # The pool's own handler is Python's: it never runs while a decoder hangs.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    stand_apart(parent)


def stand_apart(parent: int) -> None:
    """Make this process one that ends with its parent, not with its parent's group.

    A run that is cancelled, or gets Ctrl-C, gets that as a group: its children would
    be gone before it could tell them to finish what they are at.
    """
    os.setpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
