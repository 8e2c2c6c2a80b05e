"""Identifying at a stash-box: what the detector adds to the bare requests to Stash."""

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement, seconds
from sandbox.stash.scraping import Box
from sandbox.stash.server import StandIn
from sandbox.stash_box import StashBox, named, scene
from stashhog_core.batches import batched
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.detection.job import analyze
from stashhog_core.detection.stash_box import SCENES_PER_REQUEST
from stashhog_core.params import AnalysisParams, SyncParams
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync

SCENES = 15_000
"""Of these, two thirds have a perceptual hash."""

ASKED = 2_000
KNOWN_SHARE = 4
"""The stash-box knows every so-manieth scene."""

ANSWER_SECONDS = 0.5
"""How long the stash-box takes for 40 scenes: one on the internet, without covers."""


def measure() -> Iterator[Measurement]:
    """Yield the share that the detector adds, and the requests of a second run."""
    logging.getLogger("stashhog_core").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        database = Database(start_embedded(home / "db", "bench"))
        (home / "library").mkdir()
        try:
            migrate(database)
            with (
                StandIn(
                    home=home / "home", library=home / "library", scenes=SCENES
                ) as stand_in,
                StashBox() as box,
                StashClient(StashSettings(url=stand_in.url)) as client,
            ):
                stand_in.boxes.append(Box(box.endpoint, box.api_key, "box"))
                # Comparing bits would take longer than a stash-box does.
                box.phash_distance = 0
                yield from _measured(database, stand_in, box, client)
        finally:
            database.close()
            stop_embedded(home / "db")


def _measured(
    database: Database, stand_in: StandIn, box: StashBox, client: StashClient
) -> Iterator[Measurement]:
    sync(client, database, SyncParams(), Progress(), trigger="bench")
    rows = stand_in.store.rows(
        "SELECT scene_id, value, title FROM fingerprints JOIN scenes_files "
        "USING (file_id) JOIN scenes ON scenes.id = scene_id WHERE type = 'phash'"
    )
    box.scenes = [
        scene(
            f"Remote {id_}",
            fingerprints=[("PHASH", phash, 60)],
            code=f"C-{id_}",
            tags=[named(f"Tag {id_ % 300 + 1:04d}"), named("Unknown tag")],
            performers=[named(f"Performer {id_ % 400 + 1:04d}")],
        )
        for id_, phash, _ in rows
        if id_ % KNOWN_SHARE == 0
    ]
    ids = sorted(row[0] for row in rows)
    asked = ids[-ASKED:]

    def slowly(operation: str, variables: Any) -> None:
        time.sleep(ANSWER_SECONDS)

    def ask() -> None:
        for batch in batched(asked, SCENES_PER_REQUEST):
            client.scrape_scenes(box.endpoint, batch, timeout_seconds=60)

    def identify(number: int, scene_ids: tuple[int, ...] | None) -> None:
        analyze(
            Settings(),
            client,
            database,
            AnalysisParams(
                scene_ids=scene_ids,
                include_analyzed=True,
                detect_video_tags=False,
                detect_tags=False,
                detect_fingerprints=True,
            ),
            Progress(),
            run_id=f"bench {number}",
        )

    box.fault = slowly
    bare = seconds(ask)
    found = seconds(lambda: identify(1, tuple(asked)))
    print(f"   {ASKED} scenes: {bare:.1f} s bare, {found:.1f} s identified")
    yield Measurement(
        f"identify {ASKED:,} scenes / the bare requests", found / bare, "x", 1.1, "max"
    )
    box.fault = lambda operation, variables: None
    identify(2, None)
    box.requests.clear()
    again = seconds(lambda: identify(3, None))
    print(f"   {len(ids)} scenes asked again: {again:.1f} s")
    yield Measurement(
        f"requests for {len(ids):,} scenes asked again",
        len(box.requests),
        "requests",
        0,
        "max",
    )
