"""Waiting for what another thread, process or server does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 180.0
"""After so long something will not come about any more, however busy the machine is."""


def wait_until(
    condition: Callable[[], T],
    what: str | Callable[[], object],
    seconds: float = PATIENCE_SECONDS,
) -> T:
    """Return what the condition gives, as soon as that is true.

    Looks that take long are rare, so that they leave the processors to what is waited
    for.

    Args:
        condition: Asked again and again.
        what: What is waited for, for the error; or a call that says so in the end.
        seconds: When to give up.
    """
    deadline = time.monotonic() + seconds
    asked_at = time.monotonic()
    while not (found := condition()):
        now = time.monotonic()
        if now > deadline:
            message = what if isinstance(what, str) else what()
            raise AssertionError(f"{message} did not come about")
        time.sleep(min(max(0.05, 8 * (now - asked_at)), 0.5))
        asked_at = time.monotonic()
    return found
