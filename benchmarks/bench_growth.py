"""How the cost of each job grows with the library, and with what has changed.

Processor time counts, of StashHog and of PostgreSQL: neither other programs nor the
stand-in change it much. Like a real Stash, the stand-in has no index for times of
change, so its own time for a glance grows with the library.

STASHHOG_TEST_BENCH_LARGEST is the largest library, 100,000 scenes by default.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from sqlalchemy import text

from benchmarks.bench_downloads import run as place_downloads
from benchmarks.growth import SIZES, exponent
from benchmarks.measurement import Measurement, Point
from benchmarks.sync_place import Place, stand_in
from stashhog_core.db.session import Database
from stashhog_core.detection.job import unanalyzed_scene_ids
from stashhog_core.downloads.in_stash import confirm_in_stash
from stashhog_core.params import StashGenerateParams
from stashhog_core.paths import PathMap
from stashhog_core.plans.plans import attention_needed, changes_of_run
from stashhog_core.plans.records import unapplied_plan_ids
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.generate import generate

_CHANGED = (10, 100, 1_000, 10_000)
_STUDIOS = 50
_LEAST_SECONDS = 0.4
_UNCHANGED_GOAL = 0.2
_CHANGED_GOAL = 1.05

# A past as long as the library: all is analyzed, generated, and in Stash.
_PAST = (
    "UPDATE scene SET generated = true, video_analyzed = true",
    "INSERT INTO download_item (source, entry_key, entry_name, relative_path, "
    "size_bytes, state, oshash) SELECT 'folder', n, n, n, n, 'in_stash', n "
    "FROM generate_series(1, :scenes) n",
    "INSERT INTO stash_job (run_id, kind, stash_job_id, state) "
    "SELECT n, 'generate', n, 'finished' FROM generate_series(1, :scenes / 10) n",
    "INSERT INTO analysis_plan (name, state, run_id) SELECT n, 'applied', n "
    "FROM generate_series(1, :scenes / 100) n",
    "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, proposed, "
    "confidence, detector, state) SELECT id, id * 100 + k, 'title', 'set', k, "
    """'"x"', 1, 'd', 'applied' FROM analysis_plan, generate_series(1, 100) k""",
)


def measure() -> Iterator[Measurement]:
    """Yield the exponent of each growth."""
    unchanged: dict[str, list[Point]] = {}
    compared: dict[str, list[Point]] = {}
    for size in SIZES:
        with stand_in(size) as place:
            place.sync()
            with place.database.transaction() as session:
                for statement in _PAST:
                    session.execute(text(statement), {"scenes": size})
            with place.database.connect() as connection:
                # Or the server does so by itself, while something else is measured.
                connection.execute("VACUUM ANALYZE")
            place.sync()
            place.check()
            for name, work in _idle(place).items():
                _note(unchanged, name, size, place, work)
            _note(compared, "listing of the whole library", size, place, place.list_all)
            _note(compared, "deep sync", size, place, lambda: place.sync(deep=True))
            _note(compared, "verification of all scenes", size, place, place.verify)
            if size == SIZES[-1]:
                changed = _changed(place)
    for name, points in unchanged.items():
        yield _exponent(f"{name}, nothing changed, by scenes", points, _UNCHANGED_GOAL)
    for name, points in compared.items():
        yield _exponent(f"{name}, by scenes", points, _CHANGED_GOAL)
    name = f"sync, {SIZES[-1]:,} scenes, by changed scenes"
    yield _exponent(name, changed, _CHANGED_GOAL)


def _idle(place: Place) -> dict[str, Callable[[], object]]:
    """Return the steps of a workflow run, for a run with nothing to do."""
    folder, library = place.home / "downloads", place.home / "placed"
    folder.mkdir()
    library.mkdir()
    return {
        "check": place.check,
        "sync": place.sync,
        "process_downloads": lambda: _place(place.database, folder, library),
        "analysis": lambda: _ask_for_analysis(place.database),
        "stash_generate": lambda: generate(
            place.stash,
            place.database,
            StashGenerateParams(),
            Progress(),
            run_id="growth",
            settings=place.settings,
        ),
        "report": lambda: _ask_for_report(place.database),
    }


def _place(database: Database, folder: Path, library: Path) -> None:
    result = place_downloads(database, folder, library, "hardlink_or_copy")
    assert result.total_items == 0, result


def _ask_for_analysis(database: Database) -> None:
    with database.transaction() as session:
        assert not unanalyzed_scene_ids(session)
        assert not unapplied_plan_ids(session)


def _ask_for_report(database: Database) -> None:
    assert not confirm_in_stash(database, PathMap({})).videos
    with database.transaction() as session:
        changes_of_run(session, "7", limit=500)
        attention_needed(session, "7")


def _changed(place: Place) -> list[Point]:
    ids = place.scene_ids()
    numbers = count()
    points: list[Point] = []
    for number in (n for n in _CHANGED if n <= len(ids) // 10):
        chosen = ids[:: len(ids) // number][:number]

        def edit(chosen: list[int] = chosen) -> None:
            for start in range(0, len(chosen), 1000):
                part = chosen[start : start + 1000]
                place.edit(part, 1 + next(numbers) % _STUDIOS)

        points.append((number, place.processor_seconds(place.sync, before=edit)))
        print(f"   sync, {number:,} changed: {points[-1][1]:.4f} s")
    return points


def _note(
    curves: dict[str, list[Point]],
    name: str,
    size: int,
    place: Place,
    work: Callable[[], object],
) -> None:
    cost = place.processor_seconds(work, least=_LEAST_SECONDS)
    print(f"   {name}, {size:,} scenes: {cost:.4f} s")
    curves.setdefault(name, []).append((size, cost))


def _exponent(name: str, points: list[Point], goal: float) -> Measurement:
    return Measurement(
        name, exponent(points), "exponent", goal, "max", points=tuple(points)
    )
