"""One measured value and its goal."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Point = tuple[float, float]
"""Size, and cost in seconds."""


@dataclass(frozen=True)
class Measurement:
    """A value that must not exceed its goal (`max`) or must reach it (`min`).

    `points` are what an exponent was fitted to.
    """

    name: str
    value: float
    unit: str
    goal: float
    direction: Literal["max", "min"]
    points: tuple[Point, ...] = ()

    @property
    def sign(self) -> str:
        return "≤" if self.direction == "max" else "≥"

    @property
    def met(self) -> bool:
        return (
            self.value <= self.goal
            if self.direction == "max"
            else self.value >= self.goal
        )


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processor_seconds(work: Callable[[], object]) -> float:
    """Return how much processor time `work` takes in all threads of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the shortest of several runs: the one least disturbed."""
    return min(seconds(work) for _ in range(times))


def peak_megabytes() -> float:
    """Return the most memory that this program has taken, in megabytes.

    `getrusage` also counts what the process was before it became this program: the
    memory of the program that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000
