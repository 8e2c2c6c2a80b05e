"""The job `analysis` on real PostgreSQL, with a video reader held in the hand."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update

from stashhog_core.db.models import (
    AnalysisPlan,
    DetectorMark,
    Performer,
    PlanChange,
    ReviewMemory,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
    Tag,
    TaggerResult,
)
from stashhog_core.db.session import Database, driver_connection
from stashhog_core.detection import ai_client
from stashhog_core.detection.job import chosen_scene_ids
from stashhog_core.detection.ocr import load_ocr
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.errors import (
    ConfigurationError,
    Deferred,
    ItemError,
    JobCancelled,
    TransientError,
)
from stashhog_core.params import AnalysisParams, ApplyPlanParams
from stashhog_core.paths import PathMap
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import plan_changes, plan_lock
from stashhog_core.plans.records import applicable_plans
from stashhog_core.plans.summaries import list_plans
from stashhog_core.progress import Progress
from stashhog_core.settings import AiServerSettings, Settings, StashSettings
from tests.support.fake_stash import FakeStash
from tests.support.media import write_cards
from tests.support.plans import (
    NOW,
    VIDEO_ONLY,
    Reader,
    add_scenes,
    changes,
    count,
    run,
    unanalyzed,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def scenes(database: Database) -> Database:
    add_scenes(database)
    return database


def test_newest_scenes_come_first(scenes: Database) -> None:
    """Scenes analyzed already, or missing in Stash, are left out."""
    with scenes.transaction() as session:
        session.execute(update(Scene).where(Scene.id == 4).values(video_analyzed=True))
        session.execute(update(Scene).where(Scene.id == 2).values(missing_since=NOW))

    assert unanalyzed(scenes) == [5, 3, 1]


def test_plan_holds_what_was_read(scenes: Database) -> None:
    """A finished plan is a draft with counts, detectors and seconds."""
    reader = Reader({5: ["Outdoor"], 3: ["Outdoor", "Fire"]})

    result = run(scenes, reader, plan_name="My plan", **VIDEO_ONLY)

    assert result.status == "completed"
    assert (result.scenes_analyzed, result.changes_proposed) == (5, 3)
    assert changes(scenes) == [
        (3, "fire", "pending"),
        (3, "outdoor", "pending"),
        (5, "outdoor", "pending"),
    ]
    with scenes.transaction() as session:
        (plan,) = list_plans(driver_connection(session))
        row = plan_changes(session, plan.id)[0]
    assert (plan.name, plan.state, plan.changes) == ("My plan", "draft", 3)
    assert plan.detectors == {"reader": "1"}
    assert plan.facts["scenes_analyzed"] == 5
    assert plan.facts["changes"] == {"tags": 3}
    assert plan.facts["seconds"] >= 0
    assert row.in_words == "add tag Outdoor"
    assert reader.has_read == [5, 4, 3, 2, 1]


def test_nothing_to_change_makes_no_plan(scenes: Database) -> None:
    """The scenes are marked all the same."""
    result = run(scenes, Reader({}), **VIDEO_ONLY)

    assert (result.plan_id, result.changes_proposed) == (None, 0)
    assert count(scenes, AnalysisPlan) == 0
    assert unanalyzed(scenes) == []


def test_automatic_approval_is_recorded_as_such(scenes: Database) -> None:
    """The workflow approves everything, and that stays visible."""
    result = run(scenes, Reader({1: ["Outdoor"]}), auto_approve=True, **VIDEO_ONLY)

    assert result.changes_approved == 1
    with scenes.transaction() as session:
        (change,) = session.scalars(select(PlanChange))
    assert (change.state, change.approved_by) == ("approved", "auto")


def test_names_that_differ_only_by_folding_wait_for_a_person(
    scenes: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Automatic approval chooses neither, before applying too, and the log says so."""
    with scenes.transaction() as session:
        session.add_all(
            [Performer(id=2, name="Inés Vidal"), Performer(id=3, name="Ines Vidal")]
        )
        session.execute(
            update(SceneFile)
            .where(SceneFile.scene_id == 1)
            .values(path="/data/Ines Vidal & Jade Kush.mp4")
        )
    stash = FakeStash(scenes=(1,))
    stash.add_performer("Jade Kush", id=1)
    result = run(
        scenes,
        stash=stash,
        scene_ids=(1,),
        detect_video_tags=False,
        detect_performers=True,
        detect_tags=False,
        auto_approve=True,
    )
    assert result.plan_id is not None
    applied = apply_plan(
        stash,
        scenes,
        ApplyPlanParams(plan_id=result.plan_id, auto_approve=True),
        Progress(),
        create_missing_tags=False,
    )

    assert (result.changes_proposed, result.changes_approved) == (3, 1)
    assert applied.applied == 1
    assert changes(scenes) == [
        (1, "ines vidal", "pending"),
        (1, "inés vidal", "pending"),
        (1, "jade kush", "applied"),
    ]
    with scenes.transaction() as session:
        assert applicable_plans(session, [], with_pending=True) == []
        evidence = {
            row.proposed["name"]: row.evidence.get("rivals")
            for row in session.scalars(select(PlanChange))
        }
    assert evidence == {
        "Inés Vidal": ["Ines Vidal"],
        "Ines Vidal": ["Inés Vidal"],
        "Jade Kush": None,
    }
    assert "keeps 2 of 3 changes open for a person to decide on" in caplog.text


def test_embedded_detectors_work_together(scenes: Database) -> None:
    """Tags from the name and the facts, one row per value, with what Stash has."""
    with scenes.transaction() as session:
        session.execute(
            update(SceneFile)
            .where(SceneFile.scene_id == 1)
            .values(path="/data/Golden Hour/Jade Kush open air.mp4")
        )
    run(
        scenes,
        stash=FakeStash(tags={70: "HD"}),
        scene_ids=(1,),
        detect_video_tags=False,
        detect_performers=True,
        detect_studios=True,
    )

    with scenes.transaction() as session:
        rows = session.scalars(
            select(PlanChange).order_by(PlanChange.field, PlanChange.id)
        )
        found = [(row.field, row.proposed) for row in rows]
    assert found == [
        ("performers", {"id": 1, "name": "Jade Kush"}),
        ("studio", {"id": 1, "name": "Golden Hour"}),
        ("tags", {"id": 1, "name": "Outdoor"}),
        ("tags", {"id": 70, "name": "HD"}),
    ]


def test_video_mark_needs_the_video_detector(scenes: Database) -> None:
    """Analyzing names alone leaves the videos to be analyzed."""
    run(scenes, detect_video_tags=False)

    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]
    with scenes.transaction() as session:
        assert set(session.scalars(select(Scene.analyzed))) == {True}


def test_scene_that_fails_stops_nothing_and_stays_unmarked(scenes: Database) -> None:
    """The reason is reported; the scene is tried again next time."""
    reader = Reader({5: ["Outdoor"], 3: ItemError("The video is broken"), 1: ["Beach"]})

    result = run(scenes, reader, **VIDEO_ONLY)

    assert result.status == "completed_with_errors"
    assert result.scenes_analyzed == 4
    assert [(e.item, e.reason) for e in result.errors] == [
        ("scene 3", "The video is broken")
    ]
    assert unanalyzed(scenes) == [3]
    assert [scene for scene, _, _ in changes(scenes)] == [1, 5]
    with scenes.transaction() as session:
        marked = set(session.scalars(select(DetectorMark.content_hash)))
    assert marked == {"h1", "h2", "h4", "h5"}


def test_failed_video_keeps_what_the_other_detectors_found(scenes: Database) -> None:
    """A broken video still has a resolution."""
    run(scenes, Reader({1: ItemError("broken")}), scene_ids=(1,))

    assert changes(scenes) == [(1, "720p", "pending")]
    assert 1 in unanalyzed(scenes)


def test_unavailable_server_stops_the_run_and_marks_nothing(scenes: Database) -> None:
    """An outage is never "nothing to do"; what was finished before it stays."""
    reader = Reader({5: ["Outdoor"], 4: TransientError("The AI server is away")})

    with pytest.raises(TransientError):
        run(scenes, reader, **VIDEO_ONLY)

    assert unanalyzed(scenes) == [4, 3, 2, 1]
    assert changes(scenes) == [(5, "outdoor", "pending")]
    with scenes.transaction() as session:
        assert [plan.state for plan in list_plans(driver_connection(session))] == [
            "draft"
        ]


def test_stop_keeps_finished_scenes_and_closes_the_plan(scenes: Database) -> None:
    """The third scene is not begun once a stop was asked for."""
    stop = threading.Event()
    messages: list[str] = []

    def sink(fraction: float | None, message: str) -> None:
        messages.append(message)
        if len(messages) == 3:
            stop.set()

    reader = Reader({number: ["Outdoor"] for number in range(1, 6)})

    with pytest.raises(JobCancelled):
        run(scenes, reader, Progress(sink, stop), **VIDEO_ONLY)

    assert messages[:2] == ["Analyzed 0/5 scenes", "Analyzed 1/5 scenes"]
    assert reader.has_read == [5, 4]
    assert [scene for scene, _, _ in changes(scenes)] == [4, 5]
    assert unanalyzed(scenes) == [3, 2, 1]
    with scenes.transaction() as session:
        assert [plan.state for plan in list_plans(driver_connection(session))] == [
            "draft"
        ]


def test_same_content_is_read_once(scenes: Database) -> None:
    """A renamed or re-imported file is not read again; another reader version is."""
    run(scenes, Reader({1: ["Outdoor"]}), **VIDEO_ONLY)
    with scenes.transaction() as session:
        session.execute(
            update(SceneFingerprint)
            .where(SceneFingerprint.scene_id == 2)
            .values(value="h1")
        )
        session.execute(update(Scene).values(video_analyzed=False))
    again, newer = Reader({}), Reader({})
    newer.version = "2"

    run(scenes, again, run_id="again", **VIDEO_ONLY)
    run(scenes, newer, run_id="newer", scene_ids=(1,), **VIDEO_ONLY)

    assert again.has_read == []
    assert newer.has_read == [1]
    assert [(s, v) for s, v, _ in changes(scenes)] == [
        (1, "outdoor"),
        (1, "outdoor"),
        (2, "outdoor"),
    ]
    assert count(scenes, TaggerResult) == 6


def test_changed_threshold_needs_no_second_reading(scenes: Database) -> None:
    """A new plan comes from the kept output."""
    reader = Reader({1: ["Outdoor"]})

    low = run(scenes, reader, scene_ids=(1,), confidence_threshold=0.95, **VIDEO_ONLY)
    high = run(
        scenes,
        reader,
        run_id="2",
        scene_ids=(1,),
        confidence_threshold=0.9,
        **VIDEO_ONLY,
    )

    assert (low.changes_proposed, high.changes_proposed) == (0, 1)
    assert reader.has_read == [1]


def test_existing_values_are_not_proposed(scenes: Database) -> None:
    """What the mirror says the scene has is left out."""
    with scenes.transaction() as session:
        session.add_all(
            [SceneTag(scene_id=1, tag_id=1), ScenePerformer(scene_id=1, performer_id=1)]
        )
        session.execute(
            update(SceneFile)
            .where(SceneFile.scene_id == 1)
            .values(path="/data/Jade Kush outdoor.mp4")
        )

    result = run(
        scenes, Reader({1: ["Outdoor"]}), scene_ids=(1,), detect_performers=True
    )

    assert changes(scenes) == [(1, "720p", "pending")]
    assert result.plan_id is not None


def test_scene_that_the_mirror_lacks_is_reported(scenes: Database) -> None:
    """The user learns that a sync is needed."""
    result = run(scenes, Reader({}), scene_ids=(1, 99), **VIDEO_ONLY)

    assert [(e.item, "sync" in e.reason) for e in result.errors] == [("scene 99", True)]
    assert result.scenes_analyzed == 1


def test_run_that_comes_again_goes_on_with_its_plan(scenes: Database) -> None:
    """A retry after an outage adds to the first plan, and its result counts all."""
    down = Reader({5: ["Outdoor"], 4: TransientError("away")})
    up = Reader({5: ["Outdoor"], 4: ["Beach"]})
    with pytest.raises(TransientError):
        run(scenes, down, plan_name="Batch 1", **VIDEO_ONLY)

    result = run(scenes, up, plan_name="Batch 1", scene_ids=(5, 4), **VIDEO_ONLY)

    assert result.changes_proposed == 2
    assert changes(scenes) == [(4, "beach", "pending"), (5, "outdoor", "pending")]
    assert count(scenes, AnalysisPlan) == 1
    assert up.has_read == [4]
    with scenes.transaction() as session:
        (plan,) = list_plans(driver_connection(session))
    # Both tries have cost.
    assert plan.facts["costs"]["reader"]["looks"] == 2


def test_plan_of_a_dead_run_becomes_a_draft(scenes: Database) -> None:
    """The next run closes what a killed run left pending; a living one's plan stays."""
    with scenes.transaction() as session:
        dead, living = AnalysisPlan(name="dead"), AnalysisPlan(name="living")
        session.add_all([dead, living])

    with plan_lock(scenes, living.id):
        run(scenes, Reader({}), **VIDEO_ONLY)

    with scenes.transaction() as session:
        states = {
            plan.name: plan.state for plan in list_plans(driver_connection(session))
        }
    assert states == {"dead": "draft", "living": "pending"}


def test_batch_is_written_set_wise(scenes: Database) -> None:
    """The number of statements does not grow with the scenes or their changes."""

    def statements(*scene_ids: int) -> int:
        executed: list[str] = []

        def note(*arguments: Any) -> None:
            executed.append(arguments[2])

        event.listen(scenes.engine, "before_cursor_execute", note)
        run(
            scenes,
            Reader({number: ["Outdoor", "Beach"] for number in range(1, 6)}),
            run_id=str(scene_ids),
            scene_ids=scene_ids,
        )
        event.remove(scenes.engine, "before_cursor_execute", note)
        written = ("INSERT", "UPDATE", "COPY", "DELETE")
        return sum(statement.startswith(written) for statement in executed)

    assert statements(1) == statements(2, 3, 4, 5) <= 10


def test_own_server_is_asked_when_it_is_set(
    scenes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an AI server no title card is read; a dead address is an outage."""
    settings = Settings(
        ai_server=AiServerSettings(url="http://127.0.0.1:9", timeout_seconds=1)
    )

    monkeypatch.setattr(ai_client, "RETRY_DELAYS_SECONDS", ())
    with pytest.raises(Deferred, match="AI server"):
        run(scenes, settings=settings, **VIDEO_ONLY)

    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]


def test_missing_extra_is_said_at_the_door(
    scenes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a reader of videos nothing is marked."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigurationError, match="rapidocr"):
        run(scenes)

    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]


@pytest.fixture
def card_library(scenes: Database, tmp_path: Path) -> Settings:
    """The file of scene 1 shows cards, that of scene 2 is broken."""
    cards = [(2.0, ["Golden Hour", "presents"]), (2.0, ["Jade Kush", "Open Air"])]
    write_cards(tmp_path / "1.mp4", cards)
    (tmp_path / "2.mp4").write_bytes(b"broken")
    return Settings(stash=StashSettings(path_map={"/data": str(tmp_path)}))


@pytest.mark.slow
@pytest.mark.parametrize("asked", [(), ("detect_performers", "detect_studios")])
def test_cards_propose_the_kinds_that_a_run_asks_for(
    scenes: Database, card_library: Settings, asked: tuple[str, ...]
) -> None:
    """With the workflow's options these are tags, whatever else the video says."""
    chosen: dict[str, Any] = dict.fromkeys(asked, True)
    result = run(
        scenes,
        settings=card_library,
        scene_ids=(1, 2, 3),
        auto_approve=True,
        **chosen,
    )

    with scenes.transaction() as session:
        rows = session.scalars(
            select(PlanChange)
            .where(PlanChange.scene_id == 1)
            .order_by(PlanChange.field, PlanChange.id)
        )
        found = [(row.field, row.proposed["name"], row.detector) for row in rows]
    names = [
        ("performers", "Jade Kush", "title_cards"),
        ("studio", "Golden Hour", "title_cards"),
    ]
    assert found == [
        *(names if asked else []),
        ("tags", "Outdoor", "title_cards"),
        ("tags", "720p", "technical"),
    ]
    assert [error.item for error in result.errors] == ["scene 2", "scene 3"]
    assert "cannot be read" in result.errors[0].reason
    assert "STASHHOG_STASH__PATH_MAP" in result.errors[1].reason
    assert unanalyzed(scenes) == [5, 4, 3, 2]


@pytest.mark.slow
def test_videos_in_the_cache_need_no_models(
    scenes: Database, card_library: Settings, tmp_path: Path
) -> None:
    """The models are loaded with the first picture: here damaged ones do no harm."""
    path_map = PathMap(card_library.stash.path_map)
    damaged = tmp_path / "models"
    damaged.mkdir()
    for name in ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"):
        (damaged / name).touch()
    run(scenes, TitleCards(load_ocr(), path_map), scene_ids=(1,), **VIDEO_ONLY)

    reader = TitleCards(load_ocr(damaged), path_map)
    again = run(scenes, reader, run_id="2", scene_ids=(1,), **VIDEO_ONLY)

    assert (again.scenes_analyzed, again.errors) == (1, ())


def test_scenes_are_chosen_by_filter(scenes: Database) -> None:
    """By tag, by words in the path, analyzed ones too, the newest few."""
    with scenes.transaction() as session:
        session.add(SceneTag(scene_id=2, tag_id=2))
    run(scenes, Reader({}), scene_ids=(5,), **VIDEO_ONLY)

    def chosen(**params: Any) -> list[int]:
        with scenes.transaction() as session:
            return chosen_scene_ids(session, AnalysisParams(**params))

    assert chosen() == [4, 3, 2, 1]
    assert chosen(tag="beach") == [2]
    assert chosen(query="/3.mp4") == [3]
    assert chosen(include_analyzed=True, limit=2) == [5, 4]
    assert chosen(scene_ids=(1, 5, 1)) == [1, 5]


def test_time_that_is_over_ends_cleanly(scenes: Database) -> None:
    """Whatever was begun is finished and kept; the next run goes on from there."""
    reader = Reader({number: ["Outdoor"] for number in range(1, 6)})

    first = run(scenes, reader, max_minutes=1e-9, **VIDEO_ONLY)

    assert (first.status, first.scenes_analyzed, first.scenes_left) == (
        "completed",
        1,
        4,
    )
    assert unanalyzed(scenes) == [4, 3, 2, 1]
    second = run(scenes, reader, run_id="2", **VIDEO_ONLY)
    assert (second.scenes_analyzed, second.scenes_left) == (4, 0)


def test_value_that_a_user_removed_is_not_proposed_again(scenes: Database) -> None:
    """A value gone from the scene after we applied it is a no; a lost tag is not."""
    reader = Reader({1: ["Outdoor", "Beach"]})
    first = run(scenes, reader, **VIDEO_ONLY)
    with scenes.transaction() as session:
        session.add(SceneTag(scene_id=1, tag_id=2))
        for change in session.scalars(select(PlanChange)):
            change.state = "applied"
            change.effect = {"id": change.proposed["id"], "present_before": False}
    assert first.plan_id is not None

    again = run(scenes, reader, run_id="2", scene_ids=(1,), **VIDEO_ONLY)

    assert again.plan_id is None
    with scenes.transaction() as session:
        assert session.scalars(select(ReviewMemory.value_key)).all() == ["outdoor"]
        session.execute(delete(ReviewMemory))
        session.get_one(Tag, 1).missing_since = NOW
    run(scenes, reader, run_id="3", scene_ids=(1,), **VIDEO_ONLY)
    assert count(scenes, ReviewMemory) == 0


@pytest.mark.parametrize(
    ("scene", "is_removed"),
    [
        pytest.param({"stash_updated_at": NOW + HOUR}, True, id="edited since"),
        pytest.param({"stash_updated_at": NOW - HOUR}, False, id="of a backup"),
        pytest.param({"stash_created_at": NOW + HOUR}, False, id="another scene"),
        pytest.param({"stash_created_at": NOW - HOUR}, True, id="the same scene"),
    ],
)
def test_value_that_stash_lost_is_proposed_again(
    scenes: Database, scene: dict[str, Any], is_removed: bool
) -> None:
    """A restored Stash has lost values that nobody removed, and gives ids again.

    It shows in the times: a person who removes a value changes the scene, and a scene
    that has the id of an earlier one was created later.
    """
    reader = Reader({1: ["Outdoor"]})
    created_at = {"stash_created_at": NOW - HOUR, "stash_updated_at": NOW + HOUR}
    with scenes.transaction() as session:
        session.execute(update(Scene).values(**created_at))
    run(scenes, reader, **VIDEO_ONLY)
    with scenes.transaction() as session:
        (change,) = session.scalars(select(PlanChange)).all()
        assert change.scene_created_at == NOW - HOUR
        change.state, change.applied_at = "applied", NOW
        change.effect = {"id": change.proposed["id"], "present_before": False}
        session.execute(update(Scene).values(**scene))

    again = run(scenes, reader, run_id="2", scene_ids=(1,), **VIDEO_ONLY)

    assert (again.plan_id is None) == is_removed
    assert count(scenes, ReviewMemory) == is_removed


@pytest.mark.parametrize("hours", [0, 1], ids=["the same tag", "another tag"])
def test_value_whose_id_another_one_has_was_not_removed(
    scenes: Database, hours: int
) -> None:
    """A restored Stash gives ids of tags again: the lost tag is proposed again."""
    reader = Reader({1: ["Outdoor"]})
    with scenes.transaction() as session:
        session.get_one(Tag, 1).stash_created_at = NOW - HOUR
    run(scenes, reader, **VIDEO_ONLY)
    with scenes.transaction() as session:
        (change,) = session.scalars(select(PlanChange)).all()
        assert change.object_created_at == NOW - HOUR
        change.state, change.applied_at = "applied", NOW
        change.effect = {"id": change.proposed["id"], "present_before": False}
        session.get_one(Tag, 1).stash_created_at = NOW - HOUR + hours * HOUR

    again = run(scenes, reader, run_id="2", scene_ids=(1,), **VIDEO_ONLY)

    assert (again.plan_id is None) == (hours == 0)
    assert count(scenes, ReviewMemory) == (hours == 0)
