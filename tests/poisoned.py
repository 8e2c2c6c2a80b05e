"""Readers that crash, hang or eat memory on files named for it."""

import ctypes
import os
import signal
import time

from stashhog_core.library.examine import Outcome, Request, Wanted, examine


def look(request: Request, wanted: Wanted) -> Outcome:
    """Look into a file as the product does, unless its name asks for trouble."""
    if "crash" in request.path:
        ctypes.string_at(0)
    if "hang" in request.path:
        # As a decoder does that holds the interpreter.
        ctypes.PyDLL(None).sleep(60)
    if "hog" in request.path:
        held = bytearray(64 * 2**30)
        held[0] = 1
    if "told" in request.path:
        os.kill(os.getpid(), signal.SIGTERM)
    if "raise" in request.path:
        raise RuntimeError("of all things")
    if "slow" in request.path:
        time.sleep(60)
    return examine(request, wanted)
