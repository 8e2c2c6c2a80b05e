"""Analysis by a text model, over HTTP against a stand-in of OpenAI's interface."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from sandbox.text_model import TextStandIn, completion
from stashhog_core.db.models import (
    Performer,
    PlanChange,
    SceneFile,
    Studio,
    Tag,
    TaggerResult,
)
from stashhog_core.db.session import Database
from stashhog_core.detection.job import AnalysisDeferred
from stashhog_core.errors import ConfigurationError, ItemError
from stashhog_core.plans.plans import plan_changes, read_plan
from stashhog_core.results import AnalysisResult
from stashhog_core.settings import Settings, TextModelSettings
from tests.support.plans import Reader, add_scenes, changes, run, unanalyzed

pytestmark = pytest.mark.slow

ALL_NAMES = {"detect_performers": True, "detect_studios": True}


@pytest.fixture
def ai() -> Iterator[TextStandIn]:
    with TextStandIn() as server:
        yield server


@pytest.fixture
def scenes(database: Database) -> Database:
    """Scene 1 is called after everybody; the others after nobody."""
    add_scenes(database)
    with database.transaction() as session:
        session.add_all(
            [
                Performer(id=2, name="Ann Lee", aliases=["Annie"]),
                Studio(id=2, name="Lee Pictures"),
                Tag(id=3, name="Sunset Beach"),
                Tag(id=4, name="720p"),
            ]
        )
        session.execute(
            update(SceneFile)
            .where(SceneFile.scene_id == 1)
            .values(path="/data/Golden Hour/jade at the beach.mp4")
        )
    return database


def analyze(
    ai: TextStandIn,
    database: Database,
    run_id: str = "run",
    video: Reader | None = None,
    **given: Any,
) -> AnalysisResult:
    params = {
        name: given.pop(name)
        for name in ("scene_ids", "detect_tags", "confidence_threshold")
        if name in given
    }
    settings = TextModelSettings(
        **{"base_url": ai.url, "model": "small", "retries": 0, **given}
    )
    return run(
        database,
        video or Reader({}),
        settings=Settings(text_model=settings),
        run_id=run_id,
        **{"scene_ids": (1,), **ALL_NAMES, **params},
    )


def said(*found: tuple[str, str, str, float]) -> Callable[[dict[str, Any]], str]:
    """Return an answer of (kind, name, quote, confidence)."""
    answer: dict[str, list[dict[str, Any]]] = {}
    for kind, name, quote, confidence in found:
        item = {"name": name, "quote": quote, "confidence": confidence}
        answer.setdefault(kind, []).append(item)
    return lambda question: json.dumps(answer)


def by_text_model(database: Database, result: AnalysisResult) -> list[tuple[str, Any]]:
    assert result.plan_id is not None
    with database.transaction() as session:
        found = plan_changes(session, result.plan_id)
    return [(c.in_words, c.confidence) for c in found if c.detector == "text_model"]


def test_only_names_of_the_library_are_offered(
    ai: TextStandIn, scenes: Database
) -> None:
    """Those that share a word with the texts, the likeliest first, and given tags."""
    analyze(ai, scenes, tags=("Outdoor", "Nowhere"))

    (body,) = ai.requests
    question = json.loads(body["messages"][-1]["content"])
    assert question["offered"] == {
        "performers": ["Jade Kush"],
        "studio": ["Golden Hour"],
        "tags": ["Outdoor", "Beach", "Sunset Beach"],
    }
    assert question["texts"] == {
        "file name": "jade at the beach",
        "folder": "Golden Hour",
    }
    schema = body["response_format"]["json_schema"]["schema"]
    tags = schema["properties"]["tags"]["items"]["properties"]
    assert tags["name"]["enum"] == ["Outdoor", "Beach", "Sunset Beach"]
    assert schema["additionalProperties"] is False


def test_what_it_says_is_proposed_with_its_words(
    ai: TextStandIn, scenes: Database
) -> None:
    """Its confidence holds for what it quotes rightly; the rest is unsure."""
    ai.says = said(
        ("performers", "Jade Kush", "JADE", 0.99),
        ("studio", "golden hour", "Golden Hour", 0.8),
        ("tags", "Sunset Beach", "at sunset", 1.0),
    )

    result = analyze(ai, scenes, confidence_threshold=0.5, input_price=2)

    assert by_text_model(scenes, result) == [
        ("add performer Jade Kush", 0.95),
        ("add tag Sunset Beach", 0.6),
    ]
    with scenes.transaction() as session:
        jade, studio = session.scalars(
            select(PlanChange)
            .where(PlanChange.field.in_(["performers", "studio"]))
            .order_by(PlanChange.field, PlanChange.id)
        )
    assert jade.evidence["text"] == "jade at the beach"
    assert jade.evidence["span"] == [0, 4]
    assert jade.evidence["model"] == "stand-in"
    assert jade.evidence["price"].endswith(" USD")
    # The file's own words were surer; what the model said stands beside them.
    assert studio.detector == "names"
    assert studio.evidence["also"][0]["detector"] == "text_model"


def test_unknown_names_are_never_proposed(ai: TextStandIn, scenes: Database) -> None:
    """Also if they are in the library, but were not offered; the answer keeps them."""
    ai.says = said(
        ("performers", "Jade Nobody", "jade", 1.0),
        ("performers", "Ann Lee", "jade", 1.0),
        ("galleries", "Beach", "beach", 1.0),
    )

    result = analyze(ai, scenes)

    assert all(key != "ann lee" for _, key, _ in changes(scenes))
    assert by_text_model(scenes, result) == []
    with scenes.transaction() as session:
        kept = session.scalars(
            select(TaggerResult.output).where(TaggerResult.tagger == "text_model")
        ).one()
    assert kept["unknown"] == ["Jade Nobody", "Ann Lee", "Beach"]


def test_cost_is_kept_with_the_plan(ai: TextStandIn, scenes: Database) -> None:
    """Seconds, tokens and money; asking the same again costs nothing."""
    first = analyze(
        ai, scenes, scene_ids=(1, 2), input_price=2, output_price=10, currency="EUR"
    )
    again = analyze(ai, scenes, "2", scene_ids=(1, 2), input_price=2)

    assert len(ai.requests) == 1
    assert first.plan_id is not None
    assert again.plan_id is not None
    with scenes.transaction() as session:
        costs = read_plan(session, first.plan_id).facts["costs"]["text_model"]
        assert "text_model" not in read_plan(session, again.plan_id).facts["costs"]
    assert (costs["looks"], costs["requests"], costs["currency"]) == (2, 1, "EUR")
    assert costs["tokens_in"] > costs["tokens_out"] > 0
    price = (2 * costs["tokens_in"] + 10 * costs["tokens_out"]) / 1_000_000
    assert costs["money"] == pytest.approx(price)
    assert costs["seconds"] >= 0
    assert first.costs["text_model"] == costs


def test_changed_text_is_another_question(ai: TextStandIn, scenes: Database) -> None:
    """A new name of the file, or of a tag, is asked about; a mere re-run is not."""
    analyze(ai, scenes)
    with scenes.transaction() as session:
        session.add(Tag(id=9, name="Beach Ball"))
    analyze(ai, scenes, "2")
    analyze(ai, scenes, "3")

    assert len(ai.requests) == 2


def test_it_is_asked_only_for_names(ai: TextStandIn, scenes: Database) -> None:
    """With no kind of name asked for, or none that could be meant, nothing is sent."""
    nothing = {"detect_performers": False, "detect_studios": False}
    run(
        scenes,
        Reader({}),
        settings=Settings(text_model=TextModelSettings(base_url=ai.url, model="small")),
        scene_ids=(1,),
        detect_tags=False,
        **nothing,
    )
    result = analyze(ai, scenes, scene_ids=(2,))

    assert ai.requests == []
    assert result.status == "completed"
    assert 2 not in unanalyzed(scenes)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(
            completion(None, refusal="I cannot"), "refused: I cannot", id="no"
        ),
        pytest.param(completion('{"tags": [{"na'), "cannot be read", id="half-json"),
        pytest.param(completion('{"tags": "Beach"}'), "cannot be read", id="form"),
        pytest.param(completion("Beach, surely!"), "cannot be read", id="prose"),
        pytest.param(completion("[" * 100_000), "cannot be read", id="nested"),
        pytest.param(
            completion('{"tags": [{"name": "\\u0000", "quote": "", "confidence": 1}]}'),
            "cannot be stored",
            id="character 0",
        ),
        pytest.param(
            completion('{"tags": []}', finish_reason="length"), "cut off", id="length"
        ),
        pytest.param(
            completion("", finish_reason="content_filter"), "cut off", id="filter"
        ),
        pytest.param(completion(""), "empty answer", id="empty"),
        pytest.param({"choices": []}, "is no text model", id="no-choice"),
        pytest.param({}, "is no text model", id="another-body"),
    ],
)
def test_bad_answer_is_that_scenes_error(
    ai: TextStandIn, scenes: Database, answer: dict[str, Any], reason: str
) -> None:
    """The others go on; this scene keeps what else was found, and stays unanalyzed."""
    ai.fault = lambda: JSONResponse(answer)

    result = analyze(ai, scenes, scene_ids=(1, 2))

    assert [error.item for error in result.errors] == ["scene 1"]
    assert reason in result.errors[0].reason
    assert result.scenes_analyzed == 1
    assert 1 in unanalyzed(scenes)
    assert (1, "golden hour", "pending") in changes(scenes)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(HTMLResponse("<html>portal</html>"), "portal", id="html"),
        pytest.param(
            PlainTextResponse('{"choices": [{"mess', media_type="application/json"),
            "cannot be read",
            id="half-body",
        ),
        pytest.param(
            Response(b'{"choices": "\xff"}', media_type="application/json"),
            "cannot be read",
            id="no-utf-8",
        ),
        pytest.param(
            JSONResponse({"error": {"message": "too long"}}, 400), "too long", id="400"
        ),
        pytest.param(
            JSONResponse({"error": {"message": "no schema"}}, 422),
            "no schema",
            id="422",
        ),
    ],
)
def test_answer_of_something_else_is_that_scenes_error(
    ai: TextStandIn, scenes: Database, answer: Response, reason: str
) -> None:
    """The answer is shown; the scene stays unmarked."""
    ai.fault = lambda: answer

    result = analyze(ai, scenes)

    assert reason in result.errors[0].reason
    assert 1 in unanalyzed(scenes)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_overloaded_endpoint_defers(
    ai: TextStandIn, scenes: Database, status: int
) -> None:
    """Nothing is marked; the output of a video that was read is stored."""
    ai.fault = lambda: JSONResponse({"error": {"message": "busy"}}, status)
    video = Reader({1: ["Outdoor"]})

    with pytest.raises(AnalysisDeferred, match=r"busy.*TEXT_MODEL__BASE_URL") as caught:
        analyze(ai, scenes, video=video)

    assert caught.value.result.scenes_deferred == 1
    assert 1 in unanalyzed(scenes)


def test_short_overload_is_ridden_out(ai: TextStandIn, scenes: Database) -> None:
    """It is asked again when it says so."""
    busy = JSONResponse({"error": {}}, 429, {"retry-after-ms": "1"})

    def once() -> Response:
        ai.fault = None
        return busy

    ai.fault = once

    assert analyze(ai, scenes, retries=1).scenes_analyzed == 1
    assert len(ai.requests) == 2


def test_unreachable_or_slow_endpoint_defers(ai: TextStandIn, scenes: Database) -> None:
    """No answer in time, or no connection, is an outage."""
    ai.seconds = 1
    with pytest.raises(AnalysisDeferred, match=r"no answer in 0\.2 s"):
        analyze(ai, scenes, timeout_seconds=0.2)
    ai.stop()
    with pytest.raises(AnalysisDeferred, match="Connection"):
        analyze(ai, scenes, "2")
    ai.start()

    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("fault", "given", "words"),
    [
        pytest.param(None, {"api_key": "wrong"}, "TEXT_MODEL__API_KEY", id="401"),
        pytest.param(403, {"api_key": "right"}, "TEXT_MODEL__API_KEY", id="403"),
        pytest.param(404, {"api_key": "right"}, "TEXT_MODEL__MODEL", id="404"),
        pytest.param(None, {"model": ""}, "TEXT_MODEL__MODEL", id="no-model"),
    ],
)
def test_wrong_setting_ends_the_run(
    ai: TextStandIn,
    scenes: Database,
    fault: int | None,
    given: dict[str, Any],
    words: str,
) -> None:
    """One sentence names the setting, and never the key; nothing is marked."""
    ai.key = "right"
    if fault is not None:
        ai.fault = lambda: JSONResponse({"error": {"message": "no"}}, fault)

    with pytest.raises(ConfigurationError, match=words) as caught:
        analyze(ai, scenes, **given)

    assert "wrong" not in str(caught.value)
    assert unanalyzed(scenes) == [5, 4, 3, 2, 1]


def test_key_of_the_environment_is_for_somebody_else(
    ai: TextStandIn, scenes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package would send it to any address; and proxies do not know this one."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret of the environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org of the environment")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    analyze(ai, scenes)
    analyze(ai, scenes, "2", api_key="mine", model="other")

    sent = [headers.get("authorization") for headers in ai.headers]
    assert sent == ["Bearer none", "Bearer mine"]
    assert "environment" not in str(ai.headers)


def test_endpoint_learns_nothing_of_this_machine(
    ai: TextStandIn, scenes: Database
) -> None:
    """The package's headers about system and interpreter are left out."""
    analyze(ai, scenes)

    (headers,) = ai.headers
    header_names = {name for name in headers if name.startswith("x-stainless-")}
    assert header_names <= {
        "x-stainless-async",
        "x-stainless-retry-count",
        "x-stainless-read-timeout",
    }


def test_missing_package_is_one_sentence(
    ai: TextStandIn, scenes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing needs it where no address is set."""
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openai" else object()
    )

    with pytest.raises(ConfigurationError, match="openai is not installed"):
        analyze(ai, scenes)
    assert run(scenes, Reader({}), scene_ids=(2,)).scenes_analyzed == 1


def test_both_readers_must_have_read_a_scene(ai: TextStandIn, scenes: Database) -> None:
    """A broken video is named with its reason, though its texts were understood."""
    video = Reader({1: ItemError("The video is broken")})

    result = analyze(ai, scenes, video=video)

    assert result.errors[0].reason == "The video is broken"
    assert 1 in unanalyzed(scenes)
    assert (1, "beach", "pending") in changes(scenes)
