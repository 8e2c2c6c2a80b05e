"""Worker processes that probe files: each can crash, hang or be killed alone."""

import logging
import os
import resource
import signal
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import current_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from pebble import ProcessExpired, ProcessPool

from stashhog_core.background import leave_process_group
from stashhog_core.errors import JobError
from stashhog_core.file_index.probe import (
    KILL_SECONDS,
    OUT_OF_MEMORY,
    ProbeOutcome,
    ProbeRequest,
    Verdict,
    Wanted,
    probe_file,
    without_pictures,
)

MEMORY_LIMIT_BYTES = 4 * 2**30

_FILES_PER_WORKER = 5000
"""Then it makes way for a fresh one, whatever its decoders have leaked."""

_AHEAD = 16
_CHECK_SECONDS = 0.2
_STALL_SECONDS = 30.0
_ENDS_TO_BLAME = 2
"""After so many a file is read once more without its pictures."""

_MOST_BREAKS_PER_FILE = 3
_MOST_BREAKS = 10
# No reader sends itself these: SIGKILL comes from a person, or from the system when
# memory is short, whoever has used it up.
_END_SIGNALS = {-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGKILL}

logger = logging.getLogger(__name__)


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


class ProbePool:
    """Probes files in parallel; a context manager that leaves no process behind.

    What happens to the pool says nothing about a file: a pool that broke is replaced,
    and the files that waited are submitted again. A file is to blame only when it has
    ended its reader twice; what its headers say is then read alone.

    Args:
        wanted: What is made of each file.
        workers: How many processes; None: one per core.
        memory_limit_bytes: Most address space of a worker.
        probe: Probes one file; a function of a module.
    """

    def __init__(
        self,
        wanted: Wanted,
        workers: int | None = None,
        *,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
        probe: Callable[[ProbeRequest, Wanted], ProbeOutcome] = probe_file,
    ) -> None:
        self._wanted = wanted
        self._probe = probe
        self._workers = workers or os.cpu_count() or 1
        self._limit = wanted.file_limit_seconds
        self._memory_limit_bytes = memory_limit_bytes
        self._pool = self._new_pool()
        self._breaks = 0

    def __enter__(self) -> "ProbePool":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_pool()

    def probe(
        self, requests: Iterable[ProbeRequest], checkpoint: Callable[[], None]
    ) -> Generator[ProbeOutcome, None, None]:
        """Yield the outcome of each request, in their order.

        Args:
            requests: Taken only a little ahead of what is yielded.
            checkpoint: Called while waiting; may raise to stop.

        Raises:
            JobError: No reader can be kept running.
        """
        waiting: deque[_Waiting] = deque()
        for request in requests:
            waiting.append(_Waiting(request, self._start(request)))
            while len(waiting) >= self._workers * _AHEAD or (
                waiting and waiting[0].is_done()
            ):
                yield self._first(waiting, checkpoint)
        while waiting:
            yield self._first(waiting, checkpoint)

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._workers,
            max_tasks=_FILES_PER_WORKER,
            initializer=_confine,
            initargs=(os.getpid(), self._memory_limit_bytes),
            context=_Context(),
        )

    def _end_pool(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _start(self, request: ProbeRequest, ends: int = 0) -> Any:
        """Submit a file that has ended so many readers; None: the pool is broken."""
        limit = max(0.1, self._limit - KILL_SECONDS)
        wanted = self._wanted
        if ends >= _ENDS_TO_BLAME:
            wanted = replace(
                wanted, thumbnails=False, sprites=False, phashes=False, pictures=False
            )
        try:
            return self._pool.schedule(
                _probe_safely, args=(self._probe, request, wanted), timeout=limit
            )
        except RuntimeError:
            return None

    def _first(
        self, waiting: deque["_Waiting"], checkpoint: Callable[[], None]
    ) -> ProbeOutcome:
        """Return the outcome of the first file, and take it out."""
        first = waiting[0]
        outcome = None
        while outcome is None:
            if not self._wait(waiting, checkpoint):
                outcome = self._renew(waiting)
                continue
            try:
                outcome = first.with_problem(first.future.result(), self._wanted)
                self._breaks = 0
            except BrokenProcessPool:
                outcome = self._renew(waiting)
            except TimeoutError:
                problem = (
                    f"Reading the file took longer than {self._limit:.0f} "
                    "s and was stopped"
                )
                outcome = self._ended(first, "unreadable", problem, is_late=True)
            except ProcessExpired as error:
                # Pebble's own readers exit with a status when they lose the pool.
                is_its_own = (error.exitcode or 0) < 0
                is_signalled = error.exitcode in _END_SIGNALS
                outcome = self._ended(
                    first,
                    "unreadable" if is_its_own and not is_signalled else "interrupted",
                    f"The process that read the file died ({_cause(error.exitcode)})",
                )
        waiting.popleft()
        return outcome

    def _wait(
        self, waiting: Iterable["_Waiting"], checkpoint: Callable[[], None]
    ) -> bool:
        """Wait for the first file; tell whether the pool holds until then.

        A reader that was killed while it held the pool's lock stops all others: a pool
        in which nothing comes to an end for long counts as broken, too.
        """
        first = next(iter(waiting))
        done, since = -1, time.monotonic()
        while first.future is not None:
            if wait([first.future], timeout=_CHECK_SECONDS).done:
                return True
            checkpoint()
            if not self._pool.active:
                # What it settled last may have come meanwhile.
                return first.is_done()
            now_done = sum(other.is_done() for other in waiting)
            if now_done != done:
                done, since = now_done, time.monotonic()
            elif time.monotonic() - since > self._limit + _STALL_SECONDS:
                return False
        return False

    def _renew(self, waiting: deque["_Waiting"]) -> ProbeOutcome | None:
        """Replace a broken pool and submit again all files that it has not settled.

        Returns:
            The first file's outcome, when pools break again and again while it waits.
        """
        first = waiting[0]
        first.breaks += 1
        self._breaks += 1
        if self._breaks > _MOST_BREAKS:
            raise JobError(
                "The worker processes that read video files end repeatedly",
                remedy="find out what ends the processes: check the system's log, the "
                "limits of memory and of processes, and the service manager",
            )
        logger.warning(
            "The worker processes that read video files have ended; starting new "
            "processes"
        )
        self._end_pool()
        self._pool = self._new_pool()
        gives_up = first.breaks == _MOST_BREAKS_PER_FILE
        for other in waiting:
            if not (gives_up and other is first):
                other.restart(self._start)
        if gives_up:
            return ProbeOutcome(first.request.id, first.request.path, "interrupted")
        return None

    def _ended(
        self,
        ended: "_Waiting",
        verdict: Verdict,
        problem: str,
        *,
        is_late: bool = False,
    ) -> ProbeOutcome | None:
        """Submit a file once more, and then without its pictures; then give it up.

        A file whose reader somebody ended is given up earlier: it is not to blame.
        """
        ended.ends += 1
        ended.problem, ended.is_late = problem, is_late
        if ended.ends < _ENDS_TO_BLAME or (
            ended.ends == _ENDS_TO_BLAME and verdict == "unreadable"
        ):
            logger.warning(
                "%s: %s; trying the file once more%s",
                ended.request.path,
                problem,
                "" if ended.ends < _ENDS_TO_BLAME else ", without its pictures",
            )
            ended.future = self._start(ended.request, ended.ends)
            return None
        return ProbeOutcome(
            ended.request.id, ended.request.path, verdict, problem=problem
        )


@dataclass
class _Waiting:
    """A file that was submitted; no future: the pool was broken by then.

    `ends` counts the readers it ended, `breaks` the pools that broke while it was next.
    `problem` says how the last reader ended, `is_late` whether for lack of time.
    """

    request: ProbeRequest
    future: Any
    ends: int = 0
    breaks: int = 0
    problem: str = ""
    is_late: bool = False

    def is_done(self) -> bool:
        return self.future is None or self.future.done()

    def with_problem(self, outcome: ProbeOutcome, wanted: Wanted) -> ProbeOutcome:
        """Return the outcome; if pictures were given up for it, with a warning."""
        if self.ends < _ENDS_TO_BLAME:
            return outcome
        return without_pictures(
            outcome, wanted, problem=self.problem, in_time=not self.is_late
        )

    def restart(self, start: Callable[[ProbeRequest, int], Any]) -> None:
        """Submit it again, unless the pool had settled it before it broke."""
        future = self.future
        if (
            future is None
            or not future.done()
            or isinstance(future.exception(), BrokenProcessPool)
        ):
            self.future = start(self.request, self.ends)


def _probe_safely(
    probe: Callable[[ProbeRequest, Wanted], ProbeOutcome],
    request: ProbeRequest,
    wanted: Wanted,
) -> ProbeOutcome:
    """Probe a file; an exception becomes an outcome.

    An exception would have to survive pickling on its way back: one that does not
    breaks the pool. What nobody foresaw may be a fault of the program or of the
    machine, so it is not remembered of the file.
    """
    try:
        return probe(request, wanted)
    except MemoryError:
        problem = OUT_OF_MEMORY
    except Exception as error:
        logger.exception("Could not read %s", request.path)
        problem = f"Reading the file failed: {type(error).__name__}: {error}"
        return ProbeOutcome(request.id, request.path, "failed", problem=problem)
    return ProbeOutcome(request.id, request.path, "unreadable", problem=problem)


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
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            # Nobody may raise what a service manager has set.
            memory_limit_bytes = min(memory_limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))
    leave_process_group(parent)
