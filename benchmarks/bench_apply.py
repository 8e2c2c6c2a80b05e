"""What it costs to apply a plan, and to undo the plan, by the number of its changes.

Scenes of a folder get the same five tags, as those of one site do; Stash has none of
them yet. STASHHOG_TEST_BENCH_LARGEST is the largest number of changes, 100,000 by
default.
"""

import subprocess
import sys
from collections.abc import Iterator

from sqlalchemy import insert

from benchmarks.growth import SIZES, exponent
from benchmarks.measurement import Measurement, Point
from benchmarks.sync_place import Place, processor_seconds_of, stand_in
from stashhog_core.batches import batched
from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.plans.proposals import add_member
from tests.support.processes import postmaster

_TAGS = 300
_TAGS_PER_SCENE = 5
_SCENES_PER_FOLDER = 40
_ROWS_AT_ONCE = 5_000
_WORKS = ("apply", "undo")


def measure() -> Iterator[Measurement]:
    """Yield the exponents and the memory of both works."""
    points: dict[str, list[Point]] = {work: [] for work in _WORKS}
    memory = {}
    for size in SIZES:
        with stand_in(size // _TAGS_PER_SCENE) as place:
            place.sync()
            _add_plan(place)
            for work in _WORKS:
                seconds, memory[work] = _run(place, work, size)
                points[work].append((size, seconds))
                print(f"   {work}, {size:,} changes: {seconds:.2f} s", flush=True)
    for work in _WORKS:
        yield Measurement(
            f"plan {work}, by changes",
            exponent(points[work]),
            "exponent",
            1.05,
            "max",
            points=tuple(points[work]),
        )
        yield Measurement(
            f"plan {work}: memory, {SIZES[-1]:,} changes",
            memory[work],
            "MB",
            200,
            "max",
        )


def _add_plan(place: Place) -> None:
    with place.database.transaction() as session:
        plan = AnalysisPlan(name="Bench", state="draft")
        session.add(plan)
        session.flush()
        rows = (
            {"plan_id": plan.id, "scene_id": scene_id, "state": "approved", **row}
            for scene_id in place.scene_ids()
            for row in _tags(scene_id // _SCENES_PER_FOLDER)
        )
        for part in batched(rows, _ROWS_AT_ONCE):
            session.execute(insert(PlanChange), part)
    with place.database.connect() as connection:
        # Or the server does so by itself, while something else is measured.
        connection.execute("VACUUM ANALYZE")


def _tags(folder: int) -> Iterator[dict[str, object]]:
    for number in range(folder * _TAGS_PER_SCENE, (folder + 1) * _TAGS_PER_SCENE):
        name = f"Bench {number % _TAGS}"
        yield add_member("tags", None, name, 0.9, "bench", {}).row


def _run(place: Place, work: str, changes: int) -> tuple[float, float]:
    """Return the processor time, PostgreSQL's included, and the most memory in MB."""
    server = postmaster(place.home / "db").pid
    before = processor_seconds_of(server)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.plan_memory", work, str(changes)),
            *(place.stash_url, place.database_url),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    used, megabytes = map(float, done.stdout.split())
    return used + processor_seconds_of(server) - before, megabytes
