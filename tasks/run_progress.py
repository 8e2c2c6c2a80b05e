"""Progress as Prefect artifacts, in the run's log, and to whoever listens."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from stashhog_core.markdown import text
from stashhog_core.progress import Progress, Stop
from tasks.prefect_api import display

UPDATE_INTERVAL_SECONDS = 1.0
_AFTER_FAILURE_SECONDS = 30.0
# How often the log tells of the active step: at each tenth of its way, though not twice
# in a moment, and at least once a minute while it reports.
LOG_STEP_PERCENT = 10.0
LOG_LEAST_SECONDS = 10.0
LOG_INTERVAL_SECONDS = 60.0

logger = logging.getLogger("stashhog_core.progress")

Listener = Callable[[float, str], None]
"""Takes per cent of the whole run and what is being done now."""

listeners: list[Listener] = []
"""Told of every report in this process; the terminal listens here."""

Line = Callable[[float | None, str], None]
"""Takes a line of the log: per cent of the run at a milestone, None in between."""

line_listeners: list[Line] = []
"""Told of every line that is logged here, for those who want no more than that."""


class WorkflowProgress:
    """The bar of a whole flow run. It only moves forward.

    A task's messages are shown on it; they move it if the flow is that one task, or
    within the span that the flow has given to its tasks.
    """

    def __init__(self, key: str, *, is_one_task: bool = False) -> None:
        self.stop = threading.Event()
        self._is_one_task = is_one_task
        self._artifact = _Artifact(key)
        self._lock = threading.Lock()
        self._percent = 0.0
        self._span: tuple[float, float] | None = None
        self._shares: dict[object, float] = {}

    def span(self, start: float, width: float) -> None:
        """Have each task move the bar on from `start`, by up to `width` per cent.

        Tasks that run side by side add up, but leave the rest to the next milestone,
        which ends this.
        """
        with self._lock:
            self._span = start, width

    def move(self, percent: float, message: str) -> None:
        """Move to a milestone."""
        with self._lock:
            self._percent = max(self._percent, percent)
            self._span = None
        logger.info("%3.0f %% %s", self._percent, message)
        for listener in line_listeners:
            listener(self._percent, message)
        self._show(message)

    def note(
        self, message: str, percent: float = 0.0, task: object | None = None
    ) -> None:
        """Show what an active task does, and how far it is."""
        with self._lock:
            if self._is_one_task:
                self._percent = max(self._percent, percent)
            elif self._span is not None:
                start, width = self._span
                self._shares[task] = percent
                share = min(sum(self._shares.values()), 100) / 100
                self._percent = max(self._percent, start + width * share)
        self._show(message)

    def ended(self, task: object) -> None:
        """Forget a task that has ended; a milestone tells that its part is done."""
        with self._lock:
            self._shares.pop(task, None)

    def close(self) -> None:
        """Have the last report stand in Prefect's UI."""
        self._artifact.close()

    def _show(self, message: str) -> None:
        for listener in listeners:
            listener(self._percent, message)
        self._artifact.show(self._percent, message)


_workflow: ContextVar[WorkflowProgress | None] = ContextVar("workflow", default=None)


@contextmanager
def workflow_progress(
    key: str, *, is_one_task: bool = False
) -> Iterator[WorkflowProgress]:
    """Open the bar of a flow run; tasks that it calls or maps find it by themselves.

    A cancelled run stops its mapped tasks: Prefect tells them nothing.
    """
    progress = WorkflowProgress(key, is_one_task=is_one_task)
    token = _workflow.set(progress)
    try:
        yield progress
    except BaseException:
        progress.stop.set()
        raise
    finally:
        _workflow.reset(token)
        progress.close()


def stop_mapped_tasks() -> None:
    """Tell the tasks in this process's threads to stop at their next report."""
    workflow = _workflow.get()
    if workflow is not None:
        workflow.stop.set()


@contextmanager
def task_progress(name: str, stop: Stop | None = None) -> Iterator[Progress]:
    """Open the bar of one task; it becomes an artifact once the task takes a while.

    Args:
        name: Shown on it.
        stop: What stops a task whose run goes on in another process.
    """
    workflow = _workflow.get()
    artifact = _Artifact(None)
    log = StepLog(name)
    percent = 0.0

    def sink(fraction: float | None, message: str) -> None:
        nonlocal percent
        # While nobody knows how far it is, the bar stays where it was.
        if fraction is not None:
            percent = 100 * fraction
        if workflow is not None:
            workflow.note(message, percent, artifact)
        else:
            for listener in listeners:
                listener(percent, message)
        log.tell(fraction, message)
        artifact.show(percent, f"{name}: {message}")

    try:
        yield Progress(sink, workflow.stop if workflow else stop)
    finally:
        if workflow is not None:
            workflow.ended(artifact)
        artifact.close()


class StepLog:
    """Says in the log now and then how far a task is, and what it does.

    A task that ends soon says nothing. A share that nobody knows is not told: neither
    before the first one is known, nor again while it stays unknown. `clock` returns
    seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()
        self._last_percent = 0.0

    def tell(self, fraction: float | None, message: str) -> None:
        """Log a report if it is time for a line."""
        with self._lock:
            now = self._clock()
            waited = now - self._last
            percent = None if fraction is None else 100 * fraction
            if waited < LOG_LEAST_SECONDS or not (
                waited >= LOG_INTERVAL_SECONDS or self._is_a_tenth_on(percent)
            ):
                return
            self._last = now
            if percent is not None:
                self._last_percent = percent
        share = "" if percent is None else f", {int(percent)} % done"
        line = f"{self._name}{share}: {message}"
        logger.info("%s", line)
        for listener in line_listeners:
            listener(None, line)

    def _is_a_tenth_on(self, percent: float | None) -> bool:
        if percent is None:
            return False
        step = LOG_STEP_PERCENT
        return percent // step > self._last_percent // step


class _Artifact:
    """A progress artifact, made on the first report and updated once a second.

    What is reported in between is sent when the second is over, so that the last word
    always comes to stand there, however long nothing follows it.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._id: UUID | None = None
        self._lock = threading.Lock()
        # A task that ends sooner than this makes no artifact at all.
        self._next = time.monotonic() + (0 if key else UPDATE_INTERVAL_SECONDS)
        self._unsent: tuple[float, str] | None = None
        self._timer: threading.Timer | None = None

    def show(self, percent: float, message: str) -> None:
        with self._lock:
            self._unsent = percent, message
            wait = self._next - time.monotonic()
            if wait <= 0:
                self._send()
            elif self._key and self._timer is None:
                # Prefect knows by the context to which run an artifact belongs.
                context = copy_context()
                self._timer = threading.Timer(wait, context.run, [self._send_late])
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Send what is not sent yet."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._id is not None:
                self._send()

    def _send_late(self) -> None:
        with self._lock:
            self._timer = None
            self._send()

    def _send(self) -> None:
        if self._unsent is None:
            return
        percent, message = self._unsent
        self._unsent = None
        self._next = time.monotonic() + _AFTER_FAILURE_SECONDS
        with display("the progress of this run"):
            self._put(percent, message)
            self._next = time.monotonic() + UPDATE_INTERVAL_SECONDS

    def _put(self, percent: float, message: str) -> None:
        if self._id is not None:
            update_progress_artifact(self._id, percent, description=text(message))
            return
        made = create_progress_artifact(
            percent, key=self._key, description=text(message)
        )
        if isinstance(made, UUID):
            self._id = made
