"""Videos and answers nobody vouches for: each is its scene's error, with the reason."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from sandbox.ai_server import AiStandIn
from stashhog_core.db.models import DetectorMark, PlanChange
from stashhog_core.db.session import Database
from stashhog_core.detection.onnx_tagger import OnnxTagger
from stashhog_core.detection.readers import SceneReader
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.errors import JobCancelled
from stashhog_core.paths import PathMap
from stashhog_core.progress import Progress
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import AiServerSettings, OnnxSettings, Settings
from tests.support.media import write_colours, write_mean_colour_model, write_song
from tests.support.plans import (
    VIDEO_ONLY,
    add_scenes,
    changes,
    run,
    unanalyzed,
)
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

GOOD = 5
BLUE = (0, 0, 230)


@pytest.fixture
def scenes(database: Database) -> Database:
    add_scenes(database)
    return database


def no_text(pictures: Any) -> list[Any]:
    return [[] for _ in pictures]


def title_cards(folder: Path) -> SceneReader:
    return TitleCards(no_text, PathMap({"/data": str(folder)}))


def onnx_tagger(folder: Path) -> SceneReader:
    model = write_mean_colour_model(folder / "model.onnx", ("n", 3, 8, 8))
    (folder / "labels.txt").write_text("Beach\nFire\nSea")
    settings = OnnxSettings(model=model, labels=folder / "labels.txt")
    return OnnxTagger(settings, PathMap({"/data": str(folder)}), Progress().checkpoint)


READERS = [
    pytest.param(title_cards, id="cards"),
    pytest.param(onnx_tagger, id="onnx"),
]


def cut_short(path: Path) -> None:
    whole = write_colours(path, [(20.0, BLUE)])
    whole.write_bytes(whole.read_bytes()[:300])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        pytest.param(lambda p: p.write_bytes(b"x" * 999), "cannot be read", id="text"),
        pytest.param(lambda p: p.write_bytes(b""), "cannot be read", id="empty"),
        pytest.param(cut_short, "cannot be read", id="cut-short"),
        pytest.param(lambda p: p.mkdir(), "has no file", id="folder"),
        pytest.param(lambda p: None, "STASH__PATH_MAP", id="missing"),
        pytest.param(
            lambda p: write_song(p, cover=False), "has no picture", id="sound"
        ),
        pytest.param(
            lambda p: write_song(p, cover=True), "has no picture", id="cover-art"
        ),
        pytest.param(lambda p: write_colours(p, []), "has no picture", id="no-picture"),
    ],
)
def test_bad_video_is_its_scenes_error(
    scenes: Database,
    tmp_path: Path,
    reader: Callable[[Path], SceneReader],
    write: Callable[[Path], object],
    reason: str,
) -> None:
    """The batch goes on with the next one; the bad one stays unanalyzed, unmarked."""
    write(tmp_path / "4.mp4")
    write_colours(tmp_path / f"{GOOD}.mp4", [(3.0, BLUE)])

    result = run(scenes, reader(tmp_path), scene_ids=(4, GOOD), **VIDEO_ONLY)

    assert [error.item for error in result.errors] == ["scene 4"]
    assert reason in result.errors[0].reason
    assert unanalyzed(scenes) == [4, 3, 2, 1]
    with scenes.transaction() as session:
        assert set(session.scalars(select(DetectorMark.content_hash))) == {"h5"}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(
            lambda p: write_colours(p, [(36_000.0, BLUE)], picture_seconds=900),
            id="ten-hours",
        ),
        pytest.param(lambda p: write_colours(p, [(1.0, BLUE)]), id="one-picture"),
    ],
)
def test_odd_lengths_are_no_error(
    scenes: Database,
    tmp_path: Path,
    reader: Callable[[Path], SceneReader],
    write: Callable[[Path], object],
) -> None:
    """Ten hours with few pictures, or no length at all, are read like any other."""
    write(tmp_path / "5.mp4")

    result = run(scenes, reader(tmp_path), scene_ids=(5,), **VIDEO_ONLY)

    assert (result.status, result.scenes_analyzed) == ("completed", 1)
    assert 5 not in unanalyzed(scenes)


@pytest.fixture
def ai() -> Iterator[AiStandIn]:
    with AiStandIn() as server:
        server.videos = {f"/data/{number}.mp4": {} for number in range(1, 6)}
        yield server


def by_server(
    ai: AiStandIn, database: Database, progress: Progress | None = None, **given: Any
) -> AnalysisResult:
    create = given.pop("create_missing_tags", True)
    settings = Settings(ai_server=AiServerSettings(url=ai.url, **given))
    analysis = settings.analysis.model_copy(update={"create_missing_tags": create})
    return run(
        database,
        progress=progress,
        settings=settings.model_copy(update={"analysis": analysis}),
        scene_ids=(5,),
        **VIDEO_ONLY,
    )


def answer_1(spans: dict[str, Any], tags: dict[str, list[str]]) -> Response:
    info = {"video_duration": 60.0, "video_tags": tags, "tag_timespans": spans}
    body = {"json_result": json.dumps({"timespans": {}}), "video_tag_info": info}
    return JSONResponse({"result": body})


def answer_3(spans: dict[str, Any]) -> Response:
    return JSONResponse({"result": {"timespans": spans, "duration": 60.0}})


def test_unknown_categories_are_as_good_as_any(ai: AiStandIn, scenes: Database) -> None:
    """A category that no model names, and a tag that Stash lacks and may not get."""
    spans = {"unheard of": {"Beach": [{"start": 0, "end": 50}], "Odd": [{"start": 1}]}}
    ai.fault = lambda: answer_3(spans)

    result = by_server(ai, scenes, interface="v3", create_missing_tags=False)

    assert (result.status, result.scenes_analyzed) == ("completed", 1)
    assert changes(scenes) == [(5, "beach", "pending"), (5, "beach@0.00", "pending")]


def test_tag_without_spans_and_spans_without_tag(
    ai: AiStandIn, scenes: Database
) -> None:
    """Interface 1 may name a tag in one of its lists only: each list is believed."""
    ai.fault = lambda: answer_1(
        {"places": {"Outdoor": [{"start": 3.0, "end": None}]}}, {"actions": ["Beach"]}
    )

    by_server(ai, scenes)

    assert changes(scenes) == [(5, "beach", "pending"), (5, "outdoor@3.00", "pending")]


def test_span_without_end_is_one_frame(ai: AiStandIn, scenes: Database) -> None:
    """It counts as long as the interval between frames, and its marker has no end."""
    spans = {"places": {"Beach": [{"start": s} for s in (0, 20, 40)]}}
    ai.fault = lambda: answer_3(spans)

    by_server(ai, scenes, interface="v3", required_tag_seconds=6)

    with scenes.transaction() as session:
        rows = session.scalars(select(PlanChange).order_by(PlanChange.id)).all()
        assert [row.evidence.get("seconds") for row in rows] == [6, None, None, None]
        assert {row.proposed["end_seconds"] for row in rows[1:]} == {None}


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param({"a": {"b": [{"start": None}]}}, id="no-start"),
        pytest.param({"a": {"b": [{"start": "0"}]}}, id="words"),
        pytest.param({"a": {"b": {"start": 0}}}, id="no-list"),
        pytest.param({"a": ["b"]}, id="tags-without-spans"),
        pytest.param(None, id="null"),
    ],
)
def test_answer_of_another_form_is_the_scenes_error(
    ai: AiStandIn, scenes: Database, spans: Any
) -> None:
    """The error is shown; the scene stays unmarked."""
    ai.fault = lambda: answer_3(spans)

    result = by_server(ai, scenes, interface="v3")

    assert "cannot be read" in result.errors[0].reason
    assert 5 in unanalyzed(scenes)


def test_stop_is_heard_while_the_server_works(ai: AiStandIn, scenes: Database) -> None:
    """A request may take an hour: it is left behind, also if it is the only one."""
    stop, left = threading.Event(), threading.Event()

    def stop_and_go_on_working(path: str) -> None:
        stop.set()
        assert left.wait(PATIENCE_SECONDS)

    ai.on_video = stop_and_go_on_working

    with pytest.raises(JobCancelled):
        by_server(ai, scenes, Progress(stop=stop), parallel_requests=1)

    left.set()
    assert 5 in unanalyzed(scenes)
