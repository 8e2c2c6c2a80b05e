"""All values that were ever measured on this machine, in one file; newest last."""

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measurement import Measurement

FILE = Path(__file__).parent / "results" / "history.jsonl"


@dataclass(frozen=True)
class Kept:
    """A measurement, the day of it, and the commit that was measured."""

    day: str
    commit: str
    measurement: Measurement


def keep(measured: Iterable[Measurement], file: Path = FILE) -> None:
    """Append measurements of the checkout as it is now."""
    day, commit = f"{datetime.now(UTC):%Y-%m-%d}", _commit()
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as history:
        for measurement in measured:
            kept = Kept(day, commit, measurement)
            history.write(json.dumps(asdict(kept)) + "\n")


def read(file: Path = FILE) -> dict[str, Sequence[Kept]]:
    """Return what was kept by the name of what was measured, the oldest first."""
    found: dict[str, list[Kept]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = row.pop("measurement")
        points = tuple(map(tuple, values.pop("points")))
        kept = Kept(**row, measurement=Measurement(**values, points=points))
        found.setdefault(kept.measurement.name, []).append(kept)
    return found


def _commit() -> str:
    """Return the commit that is checked out, and `+` if files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        check=False,
        text=True,
    )
    return described.stdout.strip() or "unknown"
