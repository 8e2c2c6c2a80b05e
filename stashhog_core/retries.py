"""Trying a call again after a short outage: the one policy, built on `stamina`."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import stamina
import stamina.instrumentation

from stashhog_core.errors import is_transient

T = TypeVar("T")

# Callers word their own log lines; stamina's would stand beside them.
stamina.instrumentation.set_on_retry_hooks(())


def with_retries(
    call: Callable[[], T],
    delays_seconds: Iterable[float],
    *,
    on: Callable[[Exception], bool] = is_transient,
    on_retry: Callable[[Exception, float], None] | None = None,
) -> T:
    """Return what `call` returns; call it again while it fails with a passing error.

    Args:
        call: What to do, once or several times.
        delays_seconds: The pause before each further call. When the pauses are used
            up, the error of the last call is raised.
        on: Tells whether another call may help.
        on_retry: Receives the error and the seconds before each pause.

    Raises:
        Exception: What `call` raised last.
    """
    delays = iter(delays_seconds)

    def pause(error: Exception) -> bool | float:
        if not on(error):
            return False
        delay_seconds = next(delays, None)
        if delay_seconds is None:
            return False
        if on_retry is not None:
            on_retry(error, delay_seconds)
        return float(delay_seconds)

    for attempt in stamina.retry_context(on=pause, attempts=None, timeout=None):
        with attempt:
            return call()
    raise AssertionError("stamina ends with a result or an error")
