"""One measured value and its goal."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Measurement:
    """A value that must not exceed its goal (`max`) or must reach it (`min`)."""

    name: str
    value: float
    unit: str
    goal: float
    direction: Literal["max", "min"]

    @property
    def met(self) -> bool:
        return (
            self.value <= self.goal
            if self.direction == "max"
            else self.value >= self.goal
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "value": round(self.value, 4)}


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
