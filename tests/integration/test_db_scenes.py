"""Listing scenes with the names that belong to them."""

from datetime import UTC, datetime, timedelta

import pytest

from stashhog_core.db.jobs import save_report
from stashhog_core.db.merge import merge_rows
from stashhog_core.db.models import (
    Performer,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)
from stashhog_core.db.scenes import (
    SceneFilter,
    count_scenes,
    list_scenes,
    scene_titles,
)
from stashhog_core.db.session import Database

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def library(database: Database) -> Database:
    """Four scenes, the third without anything, the fourth missing in Stash."""
    with database.transaction() as session:
        merge_rows(session, Studio, ["id", "name"], [(1, "Alpha Films")])
        merge_rows(
            session,
            Tag,
            ["id", "name", "aliases"],
            [(1, "zoo", []), (2, "Bus", ["Coach"])],
        )
        merge_rows(session, Performer, ["id", "name"], [(1, "Ann"), (2, "Bea")])
        session.add_all(
            [
                Scene(id=1, title="One", studio_id=1, created_at=START, generated=True),
                Scene(
                    id=2,
                    title="100% Two",
                    created_at=START + timedelta(days=1),
                    video_analyzed=True,
                ),
                Scene(id=3, title="", created_at=START + timedelta(days=2)),
                Scene(id=4, title="Gone", created_at=START, missing_since=START),
            ]
        )
        session.flush()
        session.add_all(
            [
                SceneFile(scene_id=1, file_id=9, position=1, path="/data/copy.mp4"),
                SceneFile(scene_id=1, file_id=10, position=0, path="/data/one.mp4"),
                SceneTag(scene_id=1, tag_id=1),
                SceneTag(scene_id=1, tag_id=2),
                ScenePerformer(scene_id=1, performer_id=2),
                ScenePerformer(scene_id=1, performer_id=1),
                ScenePerformer(scene_id=2, performer_id=1),
            ]
        )
    return database


def test_scene_has_its_names_and_primary_path(library: Database) -> None:
    """A scene is listed with sorted names and the path of its primary file."""
    with library.transaction() as session:
        third, second, first = list_scenes(session)

    assert (first.path, first.studio) == ("/data/one.mp4", "Alpha Films")
    assert (first.tags, first.performers) == (["Bus", "zoo"], ["Ann", "Bea"])
    assert second.performers == ["Ann"]
    assert (third.path, third.studio, third.tags) == (None, None, [])


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        pytest.param(SceneFilter(), [3, 2, 1], id="all, newest first"),
        pytest.param(SceneFilter(missing=True), [3, 2, 4, 1], id="missing too"),
        pytest.param(SceneFilter(generated=True), [1], id="generated"),
        pytest.param(SceneFilter(generated=False), [3, 2], id="not generated"),
        pytest.param(SceneFilter(video_analyzed=True), [2], id="analyzed"),
        pytest.param(SceneFilter(tag="ZOO"), [1], id="tag in any case"),
        pytest.param(SceneFilter(tag="coach"), [1], id="tag by alias"),
        pytest.param(SceneFilter(tag="bu"), [], id="part of a tag"),
        pytest.param(SceneFilter(performer="ann"), [2, 1], id="performer"),
        pytest.param(
            SceneFilter(performer="ann", generated=True), [1], id="both at once"
        ),
        pytest.param(SceneFilter(studio="alpha films"), [1], id="studio"),
        pytest.param(SceneFilter(text="COPY"), [1], id="path"),
        pytest.param(SceneFilter(text="0%"), [2], id="percent sign is no wildcard"),
    ],
)
def test_filters(library: Database, which: SceneFilter, expected: list[int]) -> None:
    """Each filter keeps the scenes it names, and the count agrees."""
    with library.transaction() as session:
        ids = [scene.id for scene in list_scenes(session, which)]
        count = count_scenes(session, which)

    assert ids == expected
    assert count == len(expected)


def test_limit_keeps_the_newest(library: Database) -> None:
    """A limit cuts the oldest off."""
    with library.transaction() as session:
        assert [scene.id for scene in list_scenes(session, limit=1)] == [3]


@pytest.mark.parametrize(
    ("run_id", "expected"),
    [
        pytest.param("alone", [3, 1], id="generate-run"),
        pytest.param("workflow", [2], id="step-of-the-main-job"),
        pytest.param("sync", [], id="run-that-generates-nothing"),
        pytest.param("unknown", [], id="unknown-run"),
    ],
)
def test_impacted_by_a_run(library: Database, run_id: str, expected: list[int]) -> None:
    """The scenes that a run had media generated for, alone or as a step."""
    result = {"scenes_updated": ["2"]}
    reports = {
        "alone": {"scenes_updated": ["1", "3"]},
        "workflow": {"steps": {"stash_generate": {"result": result}}},
        "sync": {"steps": {"stash_generate": None}},
    }
    with library.transaction() as session:
        for name, report in reports.items():
            save_report(
                session,
                run_id=name,
                job="any",
                status="completed",
                started_at=datetime.now(UTC),
                report=report,
            )

    with library.transaction() as session:
        found = list(list_scenes(session, SceneFilter(impacted_by=run_id)))

    assert [scene.id for scene in found] == expected


def test_titles(library: Database) -> None:
    """A scene without a title is called by its file."""
    with library.transaction() as session:
        titles = scene_titles(session, [1, 2, 3, 99])

    assert titles == {1: "One", 2: "100% Two", 3: ""}
