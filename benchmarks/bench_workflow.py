"""What the workflow costs when there is nothing to do."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measurement import Measurement, best_of
from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import stop_embedded
from stashhog_core.settings import get_settings


def measure() -> Iterator[Measurement]:
    """Compare an idle `process_new_scenes` with an empty flow of six empty tasks."""
    with tempfile.TemporaryDirectory(prefix="stashhog-bench-") as folder:
        home = Path(folder)
        for name in ("library", "downloads"):
            (home / name).mkdir()
        with StandIn(home=home / "stash", library=home / "library") as stash:
            _configure(home, stash.url)
            try:
                yield _overhead()
            finally:
                stop_embedded(home)


def _configure(home: Path, stash_url: str) -> None:
    os.environ |= {
        "STASHHOG_HOME": str(home),
        "STASHHOG_STASH__URL": stash_url,
        "STASHHOG_STASH__SCAN_PATHS": json.dumps([str(home / "library")]),
        "STASHHOG_DOWNLOADS__FOLDER": str(home / "downloads"),
        "STASHHOG_DOWNLOADS__LIBRARY_ROOT": str(home / "library"),
    }
    get_settings.cache_clear()


def _overhead() -> Measurement:
    from flows._local import prepare_prefect

    prepare_prefect(get_settings())
    from prefect import flow, task

    from flows.process_new_scenes import process_new_scenes

    @task
    def nothing(number: int) -> int:
        return number

    @flow
    def empty() -> None:
        for number in range(6):
            nothing(number)

    # The first ones also start the temporary server and connect.
    empty()
    process_new_scenes()
    floor = best_of(3, empty)
    idle = best_of(3, process_new_scenes)
    return Measurement(
        "idle process_new_scenes over an empty flow of six tasks",
        idle - floor,
        "s",
        1.5,
        "max",
    )
