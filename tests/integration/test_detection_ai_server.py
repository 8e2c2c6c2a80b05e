"""Analysis by an AI server, over HTTP against a stand-in that keeps its traps."""

import logging
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from sandbox.ai_server import AiStandIn
from stashhog_core.db.models import SceneTag, Tag
from stashhog_core.db.session import Database
from stashhog_core.detection import ai_client
from stashhog_core.detection.job import AnalysisDeferred
from stashhog_core.errors import Deferred
from stashhog_core.plans.plans import plan_changes, read_plan
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import AiServerSettings, Settings
from tests.support.http import loopback
from tests.support.plans import VIDEO_ONLY, add_scenes, run, unanalyzed
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

SEEN = {
    "actions": {
        "Dancing": [(0.0, 20.0, 0.8), (23.0, 30.0, 0.9)],
        "Waving": [(50.0, None, 0.5)],
    },
    "places": {"Beach": [(0.0, 60.0, 0.95)]},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(ai_client, "RETRY_DELAYS_SECONDS", (0.0,))


@pytest.fixture
def ai() -> Iterator[AiStandIn]:
    with AiStandIn(capacity=4) as server:
        server.videos = {f"/ai/{number}.mp4": SEEN for number in range(1, 6)}
        yield server


@pytest.fixture
def scenes(database: Database) -> Database:
    add_scenes(database)
    return database


def analyze(
    ai: AiStandIn, database: Database, run_id: str = "run", **given: Any
) -> AnalysisResult:
    params = {name: given.pop(name) for name in ("scene_ids", "tag") if name in given}
    settings = AiServerSettings(
        url=ai.url, path_map={"/data": "/ai"}, **{"parallel_requests": 2, **given}
    )
    return run(
        database,
        settings=Settings(ai_server=settings),
        run_id=run_id,
        **params,
        **VIDEO_ONLY,
    )


def proposed(database: Database, result: AnalysisResult) -> list[tuple[str, float]]:
    assert result.plan_id is not None
    with database.transaction() as session:
        changes = plan_changes(session, result.plan_id)
    first = [c for c in changes if c.scene_id == changes[0].scene_id]
    return [(c.in_words, c.confidence) for c in first]


def test_interface_1(ai: AiStandIn, scenes: Database) -> None:
    """Tags that the server judged long enough; markers from merged spans, from 0 on."""
    result = analyze(ai, scenes)

    assert (result.status, result.scenes_analyzed) == ("completed", 5)
    assert unanalyzed(scenes) == []
    assert proposed(scenes, result) == [
        ("add tag Dancing", pytest.approx(0.9 + 0.1 * 27 / 120, abs=0.001)),
        ("add tag Beach", pytest.approx(0.95 + 0.05 / 2)),
        (
            "add marker Dancing at 0 s",
            pytest.approx((20 * 0.8 + 7 * 0.9) / 27, abs=0.001),
        ),
        ("add marker Beach at 0 s", 0.95),
    ]
    body = ai.requests[0]
    assert {body["path"] for body in ai.requests} == set(ai.videos)
    assert (body["frame_interval"], body["threshold"]) == (2.0, 0.3)
    assert body["return_confidence"] is True


def test_interface_3(ai: AiStandIn, scenes: Database) -> None:
    """No confidence and no judging there: lengths are judged here."""
    result = analyze(ai, scenes, interface="v3", required_tag_seconds=60, markers=False)

    assert [words for words, _ in proposed(scenes, result)] == ["add tag Beach"]
    assert "categories_to_skip" not in ai.requests[0]


@pytest.mark.parametrize("interface", ["v1", "v3"])
def test_only_new_categories_are_asked_again(
    ai: AiStandIn, scenes: Database, interface: str
) -> None:
    """Nothing is inferred twice, whatever is made of it; a new model looks alone."""
    analyze(ai, scenes, interface=interface)
    inferred = len(ai.inferred)
    again = analyze(
        ai,
        scenes,
        "2",
        interface=interface,
        scene_ids=(1, 2),
        merge_gap_seconds=0,
        tag_suffix="_AI",
        required_tag_seconds=1,
    )
    assert len(ai.inferred) == inferred == 10
    assert "add tag Dancing_AI" in [words for words, _ in proposed(scenes, again)]

    ai.categories["faces"] = 2.0
    ai.videos["/ai/1.mp4"] = {**SEEN, "faces": {"Smiling": [(0.0, 90.0, 0.9)]}}
    third = analyze(ai, scenes, "3", interface=interface, scene_ids=(1,))

    assert ai.inferred[inferred:] == [("/ai/1.mp4", "faces")]
    words = [words for words, _ in proposed(scenes, third)]
    assert {"add tag Smiling", "add tag Beach"} - {"add tag Beach"} <= set(words)
    assert "add tag Dancing" in words


def test_replaced_model_examines_again(ai: AiStandIn, scenes: Database) -> None:
    """A newer version of one model is asked alone, and what it sees now counts."""
    analyze(ai, scenes, interface="v3", scene_ids=(1,), required_tag_seconds=1)
    inferred = len(ai.inferred)

    ai.categories["places"] = 2.0
    ai.videos["/ai/1.mp4"] = {**SEEN, "places": {"Outdoor": [(0.0, 60.0, 0.9)]}}
    result = analyze(
        ai, scenes, "2", interface="v3", scene_ids=(1,), required_tag_seconds=1
    )

    assert ai.inferred[inferred:] == [("/ai/1.mp4", "places")]
    words = [words for words, _ in proposed(scenes, result)]
    assert "add tag Outdoor" in words
    assert "add tag Beach" not in words
    assert "add tag Dancing" in words


def test_videos_are_sent_as_the_server_can_take_them(
    ai: AiStandIn, scenes: Database
) -> None:
    """So many at a time as set; fewer while it says that others keep it busy."""
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS)
    ai.on_video = lambda path: together.wait() if len(ai.at_once) <= 3 else None
    analyze(ai, scenes, parallel_requests=3)
    assert max(ai.at_once) == 3

    ai.at_once.clear()
    ai.on_video = lambda path: None
    ai.others = 9
    analyze(
        ai, scenes, "2", scene_ids=(1, 2, 3, 4, 5), threshold=0.4, parallel_requests=4
    )
    # It is known from the first answer on.
    assert ai.at_once[4:] == [1]


def test_unavailable_server_defers_loudly(
    ai: AiStandIn, scenes: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenes stay unanalyzed; the next batch does not even ask; then it goes on."""
    ai.stop()
    with caplog.at_level(logging.ERROR), pytest.raises(Deferred, match="unanalyzed"):
        analyze(ai, scenes)
    assert "deferred" in caplog.text
    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]

    ai.start()
    with pytest.raises(Deferred):
        analyze(ai, scenes, "2")
    assert ai.requests == []

    # Another number of places is another gate.
    assert analyze(ai, scenes, "3", parallel_requests=1).scenes_analyzed == 5


def test_server_that_loads_its_models_defers(ai: AiStandIn, scenes: Database) -> None:
    """`/ready` is asked before anything else."""
    ai.ready = False

    with pytest.raises(Deferred, match="503"):
        analyze(ai, scenes)

    assert ai.requests == []


def test_outage_in_the_middle_keeps_what_was_done(
    ai: AiStandIn, scenes: Database
) -> None:
    """Finished scenes are marked, the others are not, and the error counts both."""

    def go_away_at_the_second(path: str) -> None:
        if len(ai.requests) >= 2:
            ai.fault = lambda: PlainTextResponse("down", 503)

    ai.on_video = go_away_at_the_second
    with pytest.raises(AnalysisDeferred) as caught:
        analyze(ai, scenes, parallel_requests=1)

    assert unanalyzed(scenes) == [3, 2, 1]
    result = pickle.loads(pickle.dumps(caught.value)).result  # noqa: S301 - our own
    assert (result.scenes_analyzed, result.scenes_deferred) == (2, 3)
    assert result.scenes_left == 0
    assert "503" in result.deferred
    with scenes.transaction() as session:
        plan = read_plan(session, result.plan_id)
    assert (plan.state, plan.facts["deferred"]) == ("draft", result.deferred)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(PlainTextResponse("bad pipeline", 400), "bad pipeline", id="400"),
        pytest.param(JSONResponse({"detail": []}, 422), "422", id="422"),
        pytest.param(HTMLResponse("<html>proxy</html>"), "proxy", id="html"),
        pytest.param(PlainTextResponse('{"result": {"json_re'), "cannot be", id="half"),
        pytest.param(
            JSONResponse({"result": {"json_result": None, "video_tag_info": None}}),
            "without a result",
            id="null",
        ),
        pytest.param(
            PlainTextResponse('{"result":{"video_tag_info":{"video_duration":NaN}}}'),
            "cannot be",
            id="nan",
        ),
        pytest.param(Response(b'{"result":"\xff"}'), "cannot be read", id="no utf-8"),
        pytest.param(
            JSONResponse(
                {
                    "result": {
                        "json_result": '{"timespans":{"\\u0000":{}}}',
                        "video_tag_info": {},
                    }
                }
            ),
            "cannot be stored",
            id="character 0",
        ),
        pytest.param(PlainTextResponse("no\0thing", 400), "no\ufffdthing", id="words"),
    ],
)
def test_bad_answer_is_the_scenes_error(
    ai: AiStandIn, scenes: Database, answer: Response, reason: str
) -> None:
    """The batch continues; the scene gets its reason, no mark and no status tag."""
    ai.fault = lambda: answer

    result = analyze(ai, scenes)

    assert result.status == "completed_with_errors"
    assert len(result.errors) == 5
    assert all(reason in error.reason for error in result.errors)
    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]
    assert result.plan_id is None


def test_status_tags(ai: AiStandIn, scenes: Database) -> None:
    """AI_TagMe goes, AI_Tagged or AI_Errored comes; a later success mends the error."""
    with scenes.transaction() as session:
        session.add_all([Tag(id=10, name="AI_TagMe"), Tag(id=11, name="AI_Errored")])
        session.flush()
        session.add_all(
            [
                SceneTag(scene_id=5, tag_id=10),
                SceneTag(scene_id=5, tag_id=11),
                SceneTag(scene_id=4, tag_id=10),
            ]
        )
    del ai.videos["/ai/4.mp4"]

    result = analyze(ai, scenes, status_tags=True, tag="AI_TagMe", markers=False)

    assert len(result.errors) == 1
    assert result.plan_id is not None
    with scenes.transaction() as session:
        found = {
            number: [
                c.in_words
                for c in plan_changes(session, result.plan_id)
                if c.scene_id == number and "AI_" in c.in_words
            ]
            for number in (4, 5)
        }
    assert found == {
        4: ["add tag AI_Errored", "remove tag AI_TagMe"],
        5: ["add tag AI_Tagged", "remove tag AI_TagMe", "remove tag AI_Errored"],
    }
    assert unanalyzed(scenes) == [4, 3, 2, 1]


def test_stand_in_keeps_the_traps(ai: AiStandIn) -> None:
    """No slash is a redirect, what is not set fails after the work, and so on."""
    body = {"path": "/ai/1.mp4", "frame_interval": 2.0, "threshold": 0.3}

    redirect = loopback.post(f"{ai.url}/process_video", json=body)
    unset = loopback.post(f"{ai.url}/process_video/", json={"path": "/ai/1.mp4"})
    plain = loopback.post(f"{ai.url}/process_video/", json=body).json()
    shape = loopback.post(f"{ai.url}/process_video/", json={"file": "/ai/1.mp4"})
    null = loopback.post(
        f"{ai.url}/process_video/", json={**body, "pipeline_name": None}
    )
    missing = loopback.post(f"{ai.url}/process_video/", json={**body, "path": "/x"})

    assert (redirect.status_code, unset.status_code) == (307, 400)
    assert ai.inferred[:2] == [("/ai/1.mp4", "actions"), ("/ai/1.mp4", "places")]
    assert plain["result"]["video_tag_info"]["tag_timespans"] == {}
    assert isinstance(plain["result"]["json_result"], str)
    assert (shape.status_code, null.status_code) == (422, 422)
    assert missing.status_code == 400
    assert missing.json()["detail"].startswith("400: ")


def test_cached_output_needs_no_server(ai: AiStandIn, scenes: Database) -> None:
    """Other names make another plan also while the server is away."""
    analyze(ai, scenes)
    ai.stop()

    result = analyze(ai, scenes, "2", scene_ids=(1,), tag_suffix="_AI")

    ai.start()
    assert result.scenes_analyzed == 1
    assert "add tag Beach_AI" in [words for words, _ in proposed(scenes, result)]
