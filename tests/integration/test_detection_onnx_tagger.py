"""Analysis by an ONNX model of one's own: real videos, a real model, PostgreSQL."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from stashhog_core.db.models import Scene, SceneFile, TaggerResult
from stashhog_core.db.session import Database
from stashhog_core.detection import onnx_tagger
from stashhog_core.errors import ConfigurationError, JobCancelled
from stashhog_core.plans.plans import plan_changes, read_plan
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import (
    AiServerSettings,
    OnnxSettings,
    Settings,
    StashSettings,
)
from tests.support.media import write_colours, write_mean_colour_model
from tests.support.plans import VIDEO_ONLY, add_scenes, run, unanalyzed

pytestmark = pytest.mark.slow

RED, GREEN, BLUE = (230, 0, 0), (0, 230, 0), (0, 0, 230)


@pytest.fixture
def scenes(database: Database) -> Database:
    add_scenes(database)
    return database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scene 1 is red, then blue, then red; scene 2 is green; scene 3 is no video."""
    write_colours(tmp_path / "1.mp4", [(40.0, RED), (10.0, BLUE), (30.0, RED)])
    write_colours(tmp_path / "2.mp4", [(60.0, GREEN)])
    (tmp_path / "3.mp4").write_bytes(b"broken")
    write_mean_colour_model(tmp_path / "model.onnx", ("n", 3, 8, 8))
    (tmp_path / "labels.csv").write_text(
        "name,category\nbeach,0\nopen_air,0\nopen_water,places\n"
    )
    return tmp_path


def analyze(
    folder: Path, database: Database, run_id: str = "run", **given: Any
) -> AnalysisResult:
    params = {name: given.pop(name) for name in ("scene_ids",) if name in given}
    progress = given.pop("progress", None)
    settings = Settings(
        stash=StashSettings(path_map={"/data": str(folder)}),
        ai_server=given.pop("ai_server", AiServerSettings()),
        onnx=OnnxSettings(
            model=folder / "model.onnx",
            labels=folder / "labels.csv",
            **{"pixels": "unit", "fit": "stretch", "required_tag_seconds": 8, **given},
        ),
    )
    return run(
        database,
        progress=progress,
        settings=settings,
        run_id=run_id,
        **{"scene_ids": (1, 2), **params},
        **VIDEO_ONLY,
    )


def proposed(database: Database, result: AnalysisResult) -> list[tuple[int, str]]:
    assert result.plan_id is not None
    with database.transaction() as session:
        changes = plan_changes(session, result.plan_id)
    return [(change.scene_id, change.in_words) for change in changes]


def test_colours_become_tags_and_markers(folder: Path, scenes: Database) -> None:
    """What the model is sure of, where, and how sure; Stash's own names are taken."""
    result = analyze(folder, scenes)

    assert (result.status, result.scenes_analyzed) == ("completed", 2)
    assert proposed(scenes, result) == [
        (1, "add tag Beach"),
        (1, "add tag open water"),
        (1, "add marker Beach at 0 s"),
        (1, "add marker Beach at 50 s"),
        (1, "add marker open water at 40 s"),
        (2, "add tag Outdoor"),
        (2, "add marker Outdoor at 0 s"),
    ]
    assert result.plan_id is not None
    with scenes.transaction() as session:
        assert read_plan(session, result.plan_id).detectors == {"onnx_tagger": "1"}
        beach, *_ = plan_changes(session, result.plan_id)
    assert beach.evidence["rule"] == "seen by your ONNX model"
    # 20 and 15 pictures, two seconds apart, of a video of 900 s by Stash.
    assert beach.evidence["seconds"] == 38 + 28
    assert beach.evidence["mean_confidence"] == pytest.approx(0.9, abs=0.05)
    assert 3 in unanalyzed(scenes)


def test_nothing_is_inferred_twice(
    folder: Path, scenes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other names and gaps use what is kept; another model or interval looks again."""
    opened: list[Path] = []
    sample = onnx_tagger.spaced_stills

    def counting(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(path)
        return sample(path, *args, **options)

    monkeypatch.setattr(onnx_tagger, "spaced_stills", counting)
    analyze(folder, scenes)
    with scenes.transaction() as session:
        session.execute(update(SceneFile).values(path="/data/renamed.mp4"))
        session.execute(update(Scene).values(video_analyzed=False))
    again = analyze(
        folder, scenes, "2", tag_suffix="_AI", merge_gap_seconds=30, markers=True
    )

    assert len(opened) == 2
    assert (1, "add tag beach_AI") in proposed(scenes, again)
    assert [
        w for s, w in proposed(scenes, again) if s == 1 and "marker beach" in w
    ] == ["add marker beach_AI at 0 s"]
    with scenes.transaction() as session:
        keys = session.execute(select(TaggerResult.content_hash, TaggerResult.tagger))
        assert set(map(tuple, keys)) == {("h1", "onnx_tagger"), ("h2", "onnx_tagger")}

    with scenes.transaction() as session:
        session.execute(update(SceneFile).values(path="/data/1.mp4"))
    analyze(folder, scenes, "3", frame_interval_seconds=5)
    assert len(opened) == 4
    write_mean_colour_model(folder / "model.onnx", ("n", 3, 8, 8), scale=0.9)
    analyze(folder, scenes, "4")
    assert len(opened) == 6


def test_unreadable_and_missing_videos_stop_nothing(
    folder: Path, scenes: Database
) -> None:
    """Each is its scene's error with the reason, and stays unanalyzed."""
    result = analyze(folder, scenes, scene_ids=(2, 3, 4))

    assert [error.item for error in result.errors] == ["scene 3", "scene 4"]
    assert "cannot be read" in result.errors[0].reason
    assert "STASHHOG_STASH__PATH_MAP" in result.errors[1].reason
    assert unanalyzed(scenes) == [5, 4, 3, 1]


def test_model_that_cannot_be_used_is_said_at_the_door(
    folder: Path, scenes: Database
) -> None:
    """Before any scene is read; nothing is marked."""
    (folder / "labels.csv").write_text("name\nonly one\n")

    with pytest.raises(ConfigurationError, match="STASHHOG_ONNX__LABELS"):
        analyze(folder, scenes)

    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]


def test_what_is_plain_in_one_part_is_not_lost(folder: Path, scenes: Database) -> None:
    """White bars make every colour likely all along; ten seconds make one sure."""
    result = analyze(folder, scenes, scene_ids=(1,), fit="pad", threshold=0.4)

    assert (1, "add tag open water") in proposed(scenes, result)


def test_rating_is_no_tag_unless_wanted(folder: Path, scenes: Database) -> None:
    """Taggers rate every picture; such categories are left out by setting."""
    labels = "name,category\nexplicit,9\nopen_air,0\nx,0\n"
    (folder / "labels.csv").write_text(labels)

    first = analyze(folder, scenes, scene_ids=(1,))
    second = analyze(folder, scenes, "2", scene_ids=(1,), skipped_categories=())

    words = [words for _, words in proposed(scenes, first)]
    assert "add tag explicit" not in words
    assert "add tag explicit" in [words for _, words in proposed(scenes, second)]


def test_stop_is_heard_within_a_video(folder: Path, scenes: Database) -> None:
    """Ten hours of pictures are left between two batches of them."""
    stop = threading.Event()
    write_colours(folder / "5.mkv", [(36_000.0, RED)], picture_seconds=60)
    with scenes.transaction() as session:
        session.execute(
            update(SceneFile).where(SceneFile.scene_id == 5).values(path="/data/5.mkv")
        )
    checks = 0

    class Stopping(Progress):
        def checkpoint(self) -> None:
            nonlocal checks
            checks += 1
            if checks == 6:
                stop.set()
            super().checkpoint()

    with pytest.raises(JobCancelled):
        analyze(folder, scenes, scene_ids=(5,), progress=Stopping(stop=stop))

    assert checks == 6
    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]


def test_ten_hours_of_sparse_pictures_are_single_frames(
    folder: Path, scenes: Database
) -> None:
    """Pictures ten minutes apart are no span of hours."""
    write_colours(folder / "5.mp4", [(36_000.0, RED)], picture_seconds=600)

    result = analyze(folder, scenes, scene_ids=(5,), required_tag_seconds=0)

    changes = proposed(scenes, result)
    assert (5, "add tag Beach") in changes
    assert sum("marker" in words for _, words in changes) == 60
