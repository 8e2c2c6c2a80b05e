"""Identifying a scene at a stash-box, applying and undoing: for every Stash server.

It runs against the sandbox's stand-in, and against a real Stash as
`test_stash_contract.py` does; a real one must be on this machine, for the sandbox's
stash-box answers on loopback.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash_box import Picture, StashBox, named, scene
from stashhog_core.db.session import Database
from stashhog_core.detection.job import analyze
from stashhog_core.params import (
    AnalysisParams,
    ApplyPlanParams,
    SyncParams,
    UndoParams,
)
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import plan_changes
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings, StashBoxSettings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync
from tests.support.media import write_video
from tests.support.pictures import png
from tests.support.stand_in import FIND_JOB, SCAN, Ask, asking
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

BOXES = (
    "mutation($boxes:[StashBoxInput!]){configureGeneral(input:{stashBoxes:$boxes})"
    "{stashBoxes{endpoint}}}"
)
SCENE = (
    "query($id:ID){findScene(id:$id){title code details director date urls organized "
    "studio{id} tags{id} performers{id} stash_ids{endpoint stash_id updated_at}}}"
)
FILES = (
    "{findScenes(filter:{per_page:-1})"
    "{scenes{id files{path fingerprints{type value}}}}}"
)
NAMES = (
    "{allTags{id name} findPerformers(filter:{per_page:-1}){performers{id name}} "
    "findStudios(filter:{per_page:-1}){studios{id name}}}"
)
COVER = png(640, 360, grey=120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of the server under test, and a folder of its library of our own."""
    mark = f"undo-{uuid.uuid4().hex[:8]}"
    if url := os.environ.get("STASHHOG_TEST_STASH_URL"):
        folder = Path(os.environ["STASHHOG_TEST_STASH_LIBRARY"]) / mark
        folder.mkdir()
        yield url, folder
        shutil.rmtree(folder)
        return
    from sandbox.stash.server import StandIn

    folder = tmp_path / "library" / mark
    folder.mkdir(parents=True)
    with StandIn(home=tmp_path / "home", library=folder.parent) as stand_in:
        stand_in.faults.item_seconds = 0
        yield stand_in.url, folder


def _scanned(ask: Ask, folder: Path) -> dict[str, Any]:
    """Return the scene of a new video, with its cover and its hashes."""
    write_video(folder / "film.mp4", seconds=6, seed=uuid.uuid4().int % 2**31)
    given = {"paths": [str(folder)], "scanGeneratePhashes": True}
    started = ask(SCAN, i={**given, "scanGenerateCovers": True})
    job = started["data"]["metadataScan"]
    wait_until(
        lambda: ask(FIND_JOB, id=job)["data"]["findJob"]["status"] == "FINISHED",
        "the end of the scan",
    )
    scenes = ask(FILES)["data"]["findScenes"]["scenes"]
    (found,) = [one for one in scenes if str(folder) in str(one["files"])]
    return dict(found)


def _known(found: dict[str, Any], mark: str, box: StashBox) -> dict[str, Any]:
    hashes = {f["type"]: f["value"] for f in found["files"][0]["fingerprints"]}
    return scene(
        "Remote title",
        fingerprints=[(kind.upper(), value, 6) for kind, value in hashes.items()],
        duration=6,
        code="C-1",
        date="2023-05",
        details="Text.",
        director="Dora Example",
        urls=["https://films.example/1"],
        images=[f"{box.url}/cover"],
        tags=[named(f"Tag {mark}")],
        performers=[named(f"Ann {mark}")],
        studio=named(f"Films {mark}", parent=None),
    )


def test_undo_restores_the_library_exactly(
    server: tuple[str, Path], database: Database
) -> None:
    """Every field, the cover, and what was created; nothing else was touched."""
    url, folder = server
    with (
        asking(url) as ask,
        StashClient(StashSettings(url=url)) as client,
        StashBox() as box,
    ):
        given = {"endpoint": box.endpoint, "api_key": box.api_key, "name": "box"}
        ask(BOXES, boxes=[given])
        found = _scanned(ask, folder)
        scene_id = int(found["id"])
        box.pictures["/cover"] = Picture(COVER)
        box.scenes = [_known(found, folder.name, box)]
        sync(client, database, SyncParams(), Progress(), trigger="test")
        before = ask(SCENE, id=scene_id), ask(NAMES), client.cover(scene_id)
        assert before[2] is not None

        result = analyze(
            Settings(
                stash_box=StashBoxSettings(
                    strategies={"cover": "overwrite"},
                    create_missing=("performers", "studio", "tags"),
                )
            ),
            client,
            database,
            AnalysisParams(
                scene_ids=(scene_id,),
                detect_video_tags=False,
                detect_tags=False,
                detect_fingerprints=True,
            ),
            Progress(),
            run_id="run",
        )
        assert result.plan_id is not None
        with database.transaction() as session:
            changes = plan_changes(session, result.plan_id)
        applied = apply_plan(
            client,
            database,
            ApplyPlanParams(plan_id=result.plan_id, auto_approve=True),
            Progress(),
            create_missing_tags=True,
        )
        now = ask(SCENE, id=scene_id)["data"]["findScene"]
        cover = client.cover(scene_id)
        undone = undo(client, database, UndoParams(plan_id=result.plan_id), Progress())
        after = ask(SCENE, id=scene_id), ask(NAMES), client.cover(scene_id)
        ask(BOXES, boxes=[])

    # Nothing is submitted to a stash-box.
    asked = {operation for operation, _ in box.requests}
    assert asked == {"FindScenesBySceneFingerprints"}
    assert {change.confidence for change in changes} == {0.97}
    assert (applied.applied, applied.errors) == (11, ())
    assert (now["title"], now["date"], cover) == ("Remote title", "2023-05", COVER)
    assert (len(now["tags"]), len(now["performers"])) == (1, 1)
    assert (undone.undone, undone.conflicts, undone.failed) == (11, 0, 0)
    assert after == before
