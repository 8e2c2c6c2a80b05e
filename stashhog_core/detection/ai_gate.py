"""How many videos an AI server gets at a time, and when it is left alone.

Both are known per address and shared by all batches of this process.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stashhog_core.errors import Deferred

OPEN_SECONDS = 60.0
"""So long a server that was found away is not asked again."""

_POLL_SECONDS = 0.5


class Gate:
    """Lets so many requests through at a time, and none while the server is away.

    Args:
        limit: Our requests at a time.
        clock: Seconds that only go forward.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._changed = threading.Condition()
        self._in_flight = 0
        self._others = 0
        self._away: tuple[float, str] | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold a place for one request.

        Raises:
            Deferred: The server was found away a moment ago.
        """
        with self._changed:
            self.check()
            while self._in_flight >= self.allowed:
                self._changed.wait(_POLL_SECONDS)
                self.check()
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    @property
    def allowed(self) -> int:
        """Our requests at a time, now: others' work counts, but one is always let in.

        The server queues without bound, so that more would only wait there.
        """
        return max(1, self._limit - self._others)

    def heard(self, outstanding: str | None) -> None:
        """Note what the server said in `X-Outstanding-Requests`."""
        if outstanding is None or not outstanding.strip().isdecimal():
            return
        with self._changed:
            # The answered request is not among them.
            self._others = max(0, int(outstanding) - self._in_flight)
            self._changed.notify_all()

    def check(self) -> None:
        """Return, unless the server was found away a moment ago.

        Raises:
            Deferred: It was; says why.
        """
        away = self._away
        if away is not None and self._clock() - away[0] < OPEN_SECONDS:
            raise Deferred(away[1], remedy="the scenes stay unanalyzed")

    def found_away(self, reason: str) -> None:
        """Ask nothing for a while."""
        self._away = (self._clock(), reason)

    def found_there(self) -> None:
        """The server answers."""
        self._away = None


_gates: dict[str, Gate] = {}
_lock = threading.Lock()


def gate_of(url: str, limit: int) -> Gate:
    """Return the gate of the server at an address."""
    with _lock:
        return _gates.setdefault(f"{url} {limit}", Gate(limit))
