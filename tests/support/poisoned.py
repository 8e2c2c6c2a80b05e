"""Readers that crash, hang or eat memory on files named for it."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stashhog_core.file_index.probe import (
    ProbeOutcome,
    ProbeRequest,
    Wanted,
    probe_file,
)


class Unpicklable(Exception):  # noqa: N818 - a name for a test
    """An error that can be pickled, but not made again from its pickle."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True)
class EndsReaders(Wanted):
    """A wish that ends readers before they have taken a file: so many of them."""

    how: int = signal.SIGKILL
    most: int = 1_000_000

    def __reduce__(self) -> tuple[Any, ...]:
        return _end_reader, (self.folder, self.how, self.most)


def _end_reader(folder: Path, how: int, most: int) -> Wanted:
    folder.mkdir(exist_ok=True)
    for number in range(most):
        try:
            (folder / f"{number}.ended").touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), how)
    return Wanted(folder)


def probe(request: ProbeRequest, wanted: Wanted) -> ProbeOutcome:
    """Probe a file as the product does, unless its name asks for trouble.

    With "picture" in it, the trouble begins with the pictures only.
    """
    if "picture" in request.path and not wanted.pictures:
        return probe_file(request, wanted)
    if "late-picture" in request.path:
        # As if all its time were used up when it comes to the first picture.
        outcome = probe_file(request, replace(wanted, file_limit_seconds=0))
        allowed = dict.fromkeys(outcome.not_made, wanted.file_limit_seconds)
        return replace(outcome, not_made=allowed)
    if "crash" in request.path:
        ctypes.string_at(0)
    if "hang" in request.path:
        Path(request.path).with_suffix(".begun").touch()
        # As a decoder does that holds the interpreter.
        ctypes.PyDLL(None).sleep(3600)
    if "hog" in request.path:
        held = bytearray(64 * 2**30)
        held[0] = 1
    once = Path(request.path).with_suffix(".once")
    if "fainting" in request.path and not once.exists():
        once.touch()
        os.abort()
    if "unstorable" in request.path:
        return ProbeOutcome(request.id, request.path, "unreadable", problem="a\0b")
    if "unpicklable" in request.path:
        raise Unpicklable(reason="it travels badly")
    if "told" in request.path:
        how = signal.SIGKILL if "told-hard" in request.path else signal.SIGTERM
        os.kill(os.getpid(), how)
    if "raise" in request.path:
        raise RuntimeError("of all things")
    if "slow" in request.path:
        time.sleep(3600)
    return probe_file(request, wanted)
