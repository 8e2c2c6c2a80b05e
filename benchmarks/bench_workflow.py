"""What the workflow costs on top of its work: idle, and for each analysis batch."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measurement import Measurement, best_of, processor_seconds
from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import stop_embedded
from stashhog_core.db.open import open_database
from stashhog_core.detection.job import analyze, unanalyzed_scene_ids
from stashhog_core.params import AnalysisParams
from stashhog_core.progress import Progress
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient

_BATCHES = 20
_RUNS = 5


def measure() -> Iterator[Measurement]:
    """Measure on a temporary Prefect server and stand-ins, without and with scenes."""
    with tempfile.TemporaryDirectory(prefix="stashhog-bench-") as folder:
        home = Path(folder)
        for name in ("library", "downloads"):
            (home / name).mkdir()
        library = home / "library"
        try:
            with StandIn(home=home / "empty", library=library) as stash:
                configure(home, stash.url)
                yield _idle()
            with StandIn(home / "filled", library, scenes=_BATCHES) as stash:
                configure(home, stash.url)
                yield _per_batch()
        finally:
            stop_embedded(home)


def configure(home: Path, stash_url: str) -> None:
    """Use a home with the folders `library` and `downloads`, and a Stash."""
    os.environ |= {
        "STASHHOG_HOME": str(home),
        "STASHHOG_STASH__URL": stash_url,
        "STASHHOG_STASH__SCAN_PATHS": json.dumps([str(home / "library")]),
        "STASHHOG_DOWNLOADS__FOLDER": str(home / "downloads"),
        "STASHHOG_DOWNLOADS__LIBRARY_ROOT": str(home / "library"),
    }
    get_settings.cache_clear()


def _idle() -> Measurement:
    """Compare an idle run with an empty flow of six empty tasks on the same server."""
    from stashhog.local import prepare_prefect

    prepare_prefect(get_settings())
    from prefect import flow, task
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.process_new_scenes import process_new_scenes

    @task
    def nothing(number: int) -> int:
        return number

    @flow
    def empty() -> None:
        for number in range(6):
            nothing(number)

    # Every flow waits for its heartbeat to end, up to a second: more than all that is
    # measured here, and the same for both.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        # The first ones also start the temporary server and connect.
        empty()
        process_new_scenes()
        floor = min(processor_seconds(empty) for _ in range(_RUNS))
        idle = min(processor_seconds(process_new_scenes) for _ in range(_RUNS))
    return Measurement(
        "idle process_new_scenes over an empty flow of six tasks, processor time",
        idle - floor,
        "s",
        0.25,
        "max",
    )


def _per_batch() -> Measurement:
    """Compare batches of one scene each with analyzing the same scenes one by one.

    The videos are not there, so the scenes stay unanalyzed, and each run does the same.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.process_new_scenes import process_new_scenes

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        process_new_scenes(steps=["incremental_sync", "analysis"])
        without = best_of(_RUNS, lambda: process_new_scenes(steps=["incremental_sync"]))
        batches = best_of(
            _RUNS,
            lambda: process_new_scenes(
                steps=["analysis"], batch_size=1, parallel_batches=1
            ),
        )
    work = best_of(_RUNS, _analyze_one_by_one)
    return Measurement(
        f"an analysis batch over its own work ({_BATCHES} batches)",
        1000 * (batches - without - work) / _BATCHES,
        "ms",
        150,
        "max",
    )


def _analyze_one_by_one() -> None:
    settings = get_settings()
    with open_database(settings) as database, StashClient(settings.stash) as stash:
        with database.transaction() as session:
            scene_ids = unanalyzed_scene_ids(session)
        for scene_id in scene_ids:
            params = AnalysisParams(scene_ids=(scene_id,), auto_approve=True)
            analyze(settings, stash, database, params, Progress(), run_id="bench")
