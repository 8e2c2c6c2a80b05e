"""The job queue: one at a time, first come first served, kept in memory only."""

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.stash.clock import Clock

_log = logging.getLogger(__name__)
_REMEMBERED = 10

Work = Callable[["Job"], None]


class JobFailed(Exception):  # noqa: N818 - named like the state
    """A job comes to no good end; its text is shown as the job's error."""


class Killed(BaseException):
    """The server died in the middle of a job."""


class Job:
    """A job as its work sees it."""

    def __init__(self, job_id: int, description: str, work: Work, clock: Clock) -> None:
        self.id = job_id
        self.description = description
        self.status = "READY"
        self.progress: float | None = 0
        self.error: str | None = None
        self.add_time = clock.now_exactly()
        self.start_time: str | None = None
        self.end_time: str | None = None
        self.stopped = threading.Event()
        self.killed = threading.Event()
        self._work = work
        self._sub_tasks: list[str] = []

    @contextmanager
    def sub_task(self, text: str) -> Iterator[None]:
        """Show what is being done while it is."""
        self._sub_tasks.insert(0, text)
        try:
            yield
        finally:
            self._sub_tasks.remove(text)

    def pause(self, seconds: float) -> None:
        """Wait, whether or not a stop was asked for.

        Raises:
            Killed: The server died meanwhile.
        """
        if self.killed.wait(seconds):
            raise Killed

    def run(self) -> None:
        """Do the work."""
        self._work(self)

    def shown(self) -> dict[str, Any]:
        """Return the job as the API shows it."""
        progress = self.progress
        if progress is not None and float(progress).is_integer():
            progress = int(progress)
        return {
            "id": str(self.id),
            "status": self.status,
            "subTasks": list(self._sub_tasks) or None,
            "description": self.description,
            "progress": progress,
            "startTime": self.start_time,
            "endTime": self.end_time,
            "addTime": self.add_time,
            "error": self.error,
        }


class JobQueue:
    """Runs jobs on one thread. A restart forgets all and counts from 1 again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._finished: OrderedDict[int, Job] = OrderedDict()
        self._last_id = 0
        self._closed = False
        self._thread = threading.Thread(
            target=self._run_all, name="stand-in-jobs", daemon=True
        )
        self._thread.start()

    def add(self, description: str, work: Work) -> int:
        """Queue a job; return its id. Equal jobs are queued as often as asked."""
        with self._changed:
            self._last_id += 1
            job = Job(self._last_id, description, work, self._clock)
            self._waiting.append(job)
            self._changed.notify_all()
        return job.id

    def find(self, job_id: int) -> dict[str, Any] | None:
        """Return a job; None if it never was, or was forgotten."""
        with self._lock:
            for job in self._live():
                if job.id == job_id:
                    return job.shown()
            job_or_none = self._finished.get(job_id)
            return job_or_none.shown() if job_or_none else None

    def queue(self) -> list[dict[str, Any]] | None:
        """Return the jobs that are not over; None, not [], when there are none."""
        with self._lock:
            return [job.shown() for job in self._live()] or None

    def stop(self, job_id: int) -> None:
        """Ask a job to stop, and do not wait. Unknown and finished ids do nothing."""
        with self._changed:
            for job in self._live():
                if job.id == job_id:
                    self._stop(job)

    def stop_all(self) -> None:
        """Ask every job to stop."""
        with self._changed:
            for job in self._live():
                self._stop(job)

    def close(self) -> None:
        """End as a killed server does: the running job gets no further."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._running:
                self._running.killed.set()
            self._changed.notify_all()
        self._thread.join()

    def wait(self, timeout_seconds: float = 400) -> None:
        """Return when no job is waiting or running.

        Raises:
            TimeoutError: There still is one.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._live(), timeout_seconds):
                raise TimeoutError("The stand-in's jobs did not end")

    def _live(self) -> list[Job]:
        return [*([self._running] if self._running else []), *self._waiting]

    def _stop(self, job: Job) -> None:
        job.stopped.set()
        if job.status == "READY":
            self._waiting.remove(job)
            job.status = "CANCELLED"
            self._remember(job)
        elif job.status == "RUNNING":
            job.status = "STOPPING"

    def _remember(self, job: Job) -> None:
        self._finished[job.id] = job
        while len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)
        self._changed.notify_all()

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                job.status = "RUNNING"
                job.start_time = self._clock.now_exactly()
            failed = False
            try:
                job.run()
            except Killed:
                return
            except JobFailed as error:
                job.error, failed = str(error), True
            except Exception:  # noqa: BLE001 - the queue must go on
                # As a panic in the real server: failed, and no word about it.
                _log.exception("Job %s of the stand-in broke", job.id)
                failed = True
            with self._changed:
                job.end_time = self._clock.now_exactly()
                if failed:
                    job.status = "FAILED"
                elif job.status == "STOPPING":
                    job.status = "CANCELLED"
                else:
                    job.status = "FINISHED"
                self._running = None
                self._remember(job)
