"""From scanned files to tagged scenes, over HTTP against the stand-in Stash."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.samples import Sample, make_samples, seed_library
from sandbox.stash.server import StandIn
from stashhog_core.db.models import Scene, SceneTag
from stashhog_core.db.session import Database
from stashhog_core.detection.job import analyze, unanalyzed_scene_ids
from stashhog_core.params import AnalysisParams, ApplyPlanParams, SyncParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import read_plan
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings, StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync
from tests.support.creating import all_scenes
from tests.support.stand_in import a_plan, new_scene

pytestmark = pytest.mark.slow

ALL_NAMES: Any = {"detect_performers": True, "detect_studios": True}


@dataclass(frozen=True)
class Library:
    """A Stash with the samples in it, and a mirror of it."""

    stash: StashClient
    database: Database
    settings: Settings
    samples: list[Sample]


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[StashClient]:
    with StashClient(StashSettings(url=stand_in.url)) as stash:
        yield stash


@pytest.fixture
def library(
    stand_in: StandIn,
    client: StashClient,
    database: Database,
    sample_videos: tuple[Path, list[Sample]],
) -> Library:
    shutil.copytree(sample_videos[0], stand_in.library, dirs_exist_ok=True)
    samples = make_samples(stand_in.library)
    seed_library(stand_in.store)
    client.start_job("scan", {"paths": [str(stand_in.library)]})
    stand_in.jobs.wait()
    mirror(client, database)
    settings = Settings(
        stash=StashSettings(url=stand_in.url, scan_paths=(str(stand_in.library),))
    )
    return Library(client, database, settings, samples)


def mirror(stash: StashClient, database: Database) -> None:
    sync(stash, database, SyncParams(), Progress(), trigger="test", stabilize_seconds=0)


def names_in_stash(stash: StashClient, path: Path) -> dict[str, set[str]]:
    """Return the studio, performers and tags of the scene of a file, by name."""
    known = {
        "studio": {s.id: s.name for s in stash.studios()},
        "performers": {p.id: p.name for p in stash.performers()},
        "tags": {t.id: t.name for t in stash.tags()},
    }
    for scene in all_scenes(stash):
        if scene.files and scene.files[0].path == str(path):
            return {
                "studio": {known["studio"][scene.studio.id]} if scene.studio else set(),
                "performers": {known["performers"][p.id] for p in scene.performers},
                "tags": {known["tags"][t.id] for t in scene.tags},
            }
    raise AssertionError(f"Stash has no scene of {path}")


def test_samples_get_what_their_cards_and_names_say(library: Library) -> None:
    """With the sandbox's options; nobody is invented, and a second look is quiet."""
    stash, database = library.stash, library.database

    result = analyze(
        library.settings,
        stash,
        database,
        AnalysisParams(plan_name="Batch 1", auto_approve=True, **ALL_NAMES),
        Progress(),
        run_id="run",
    )
    assert result.plan_id is not None
    applied = apply_plan(
        stash,
        database,
        ApplyPlanParams(plan_id=result.plan_id),
        Progress(),
        create_missing_tags=True,
    )

    assert (result.status, result.errors) == ("completed", ())
    assert (applied.status, applied.applied) == ("completed", result.changes_approved)
    people = {performer.name for performer in stash.performers()}
    for sample in library.samples:
        if sample.is_corrupt:
            continue
        found = names_in_stash(stash, sample.path)
        assert found["studio"] == ({sample.studio} if sample.studio else set())
        assert found["performers"] == set(sample.performers)
        assert found["tags"] >= {*sample.tags, *sample.technical_tags}
    assert {performer.name for performer in stash.performers()} == people
    with database.transaction() as session:
        assert unanalyzed_scene_ids(session) == []
        assert read_plan(session, result.plan_id).state == "applied"
        ids = tuple(session.scalars(select(Scene.id)))
    again = analyze(
        library.settings,
        stash,
        database,
        AnalysisParams(scene_ids=ids, **ALL_NAMES),
        Progress(),
        run_id="again",
    )
    assert again.plan_id is None


def test_sync_finds_what_the_mirror_has_already(
    stand_in: StandIn, client: StashClient, database: Database
) -> None:
    """After applying, the next sync changes nothing of ours in the mirror."""
    ids = [new_scene(stand_in, f"Scene {number}") for number in range(4)]
    mirror(client, database)
    apply_plan(
        client,
        database,
        ApplyPlanParams(plan_id=a_plan(database, ids)),
        Progress(),
        create_missing_tags=True,
    )
    before = tags_of_mirror(database)

    mirror(client, database)

    assert len(before) == 8
    assert tags_of_mirror(database) == before


def tags_of_mirror(database: Database) -> set[tuple[int, int]]:
    with database.transaction() as session:
        rows = session.execute(select(SceneTag.scene_id, SceneTag.tag_id))
        return {(row[0], row[1]) for row in rows}
