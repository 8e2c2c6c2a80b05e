"""Telling how far a job is, and learning that it should stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Protocol

from stashhog_core.errors import JobCancelled

_CHECK_SECONDS = 0.2

Sink = Callable[[float | None, str], None]
"""Takes a fraction (0.0-1.0, None when unknown) and what is being done now."""


_askers: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("askers", default=())


@contextmanager
def asking_before_writes(ask: Callable[[], None]) -> Iterator[None]:
    """Have `ask` called before each write of the block that leaves the database.

    Args:
        ask: Returns if the job may still write, and raises if not.
    """
    _askers.set((*_askers.get(), ask))
    try:
        yield
    finally:
        # Not reset to what was: blocks may end in another order than they began.
        _askers.set(tuple(other for other in _askers.get() if other is not ask))


def before_write() -> None:
    """Return if this job may still write to files and other servers.

    Raises:
        TransientError: Its lock was lost, and another run may have begun.
    """
    for ask in _askers.get():
        ask()


def deadline_after(minutes: float | None) -> datetime | None:
    """Return the moment (UTC) so many minutes from now; None: there is no limit."""
    return None if minutes is None else datetime.now(UTC) + timedelta(minutes=minutes)


class Stop(Protocol):
    """Whether a job should stop, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Tell whether it should."""


class Progress:
    """A bar that only moves forward, and the place where a job may be stopped.

    Args:
        sink: Called with each report. None: reports go nowhere.
        stop: Set from another thread to stop the job at its next report. Prefect
            tells nothing to tasks that run in threads, so they need this.
    """

    def __init__(self, sink: Sink | None = None, stop: Stop | None = None) -> None:
        self._sink = sink
        self._stop = stop
        self._fraction = 0.0

    def update(self, fraction: float | None, message: str) -> None:
        """Report; a smaller fraction than before is shown as the one before.

        Raises:
            JobCancelled: A stop was asked for.
        """
        self.checkpoint()
        if fraction is not None:
            self._fraction = max(self._fraction, min(fraction, 1.0))
            fraction = self._fraction
        if self._sink is not None:
            self._sink(fraction, message)

    def items(self, done: int, total: int, what: str) -> None:
        """Report `what done/total`."""
        self.update(done / total if total else 1.0, f"{what} {done}/{total}")

    def checkpoint(self) -> None:
        """Return, unless a stop was asked for.

        Raises:
            JobCancelled: A stop was asked for.
        """
        if self._stop is not None and self._stop.is_set():
            raise JobCancelled("Cancelled on request")

    def sleep(
        self, seconds: float, wait: Callable[[float], bool] | None = None
    ) -> None:
        """Wait, but notice a stop meanwhile.

        Args:
            seconds: How long to wait.
            wait: Called with a part of the seconds, as often as needed; True ends
                the sleep early. None: only the time counts.

        Raises:
            JobCancelled: A stop was asked for.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.checkpoint()
            part_seconds = min(left, _CHECK_SECONDS)
            if wait is None:
                time.sleep(part_seconds)
            elif wait(part_seconds):
                return

    def within(self, start: float, end: float) -> "Progress":
        """Return a bar for one part of this job: its 0-1 is this one's start-end."""

        def sink(fraction: float | None, message: str) -> None:
            if fraction is not None:
                fraction = start + (end - start) * fraction
            self.update(fraction, message)

        return Progress(sink, self._stop)

    def words_only(self, prefix: str) -> "Progress":
        """Return a bar for a part that does not know what share of the job it is."""

        def sink(_: float | None, message: str) -> None:
            self.update(None, prefix + message)

        return Progress(sink, self._stop)
