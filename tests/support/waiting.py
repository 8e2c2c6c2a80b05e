"""Waiting for what another thread, process or server does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 400.0
"""After so long something will not come about any more, however busy the machine is.

No test waits for anything that takes an idle machine more than a tenth of this.
"""


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
    while True:
        began = time.monotonic()
        if found := condition():
            return found
        ended = time.monotonic()
        if ended > deadline:
            message = what if isinstance(what, str) else what()
            raise AssertionError(f"{message} did not come about")
        time.sleep(min(max(0.05, 8 * (ended - began)), 0.5))
