"""The client of the AI server, against answers of its version 1 interface."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from stashhog_core.detection.ai_client import RequestGate
from stashhog_core.detection.ai_server import AiServer
from stashhog_core.detection.name_finder import KnownName, NameFinder
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import MarkerFacts, PrimaryFile, SceneFacts
from stashhog_core.errors import Deferred, ItemError
from stashhog_core.settings import AiServerSettings

SETTINGS = AiServerSettings(url="http://ai:8000")
SCENE = SceneFacts(
    id=1, file=PrimaryFile("/data/1.mp4", 100.0, 640, 360, 25, "h264", "aac", None)
)
KNOWN = {"dancing": (4, "Dancing"), "swimming": (5, "Swimming")}
JSON_RESULT = {"schema_version": 1, "metadata": {"duration": 100.0}, "timespans": {}}


def stash_names(create_missing: bool = True) -> StashNames:
    finder = NameFinder([KnownName("tags", i, n, n) for i, n in KNOWN.values()])
    return StashNames(finder, lambda name: KNOWN.get(name.lower()), create_missing)


def answer(info: dict[str, Any]) -> dict[str, Any]:
    return {"result": {"json_result": json.dumps(JSON_RESULT), "video_tag_info": info}}


def server(
    response: httpx.Response, asked: list[httpx.Request] | None = None
) -> AiServer:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        if asked is not None:
            asked.append(request)
        return response

    return ai_server(handle)


def ai_server(
    handle: Callable[[httpx.Request], httpx.Response], **settings: Any
) -> AiServer:
    return AiServer(
        SETTINGS.model_copy(update=settings),
        httpx.MockTransport(handle),
        RequestGate(1),
        retry_delays_seconds=(0.0,),
    )


INFO = {
    "video_duration": 100.0,
    "video_tags": {"actions": ["Dancing", "Juggling"]},
    "tag_totals": {"actions": {"dance_v2": 30.0}},
    "tag_timespans": {
        "actions": {
            "Dancing": [
                {"start": 0.0, "end": 20.0, "totalConfidence": 0.6 * 22},
                {"start": 50.0, "end": 60.0, "totalConfidence": 0.8 * 12},
            ],
            "Juggling": [{"start": 70.0, "end": None, "totalConfidence": None}],
        }
    },
}


def test_request_is_what_the_server_needs() -> None:
    """The path ends in a slash, and what the server needs in fact is always sent."""
    asked: list[httpx.Request] = []

    server(httpx.Response(200, json=answer(INFO)), asked).read(SCENE)

    assert asked[0].url == "http://ai:8000/process_video/"
    assert json.loads(asked[0].content) == {
        "path": "/data/1.mp4",
        "returnTimestamps": True,
        "frame_interval": 2.0,
        "threshold": 0.3,
        "return_confidence": True,
        "vr_video": False,
    }


def test_tags_and_markers_are_proposed() -> None:
    """Confidence comes from the best span and the share of the video."""
    ai = server(httpx.Response(200, json=answer(INFO)))

    proposals = ai.propose(SCENE, ai.read(SCENE), stash_names())

    tags = {p.proposed.as_text: p for p in proposals if p.field == "tags"}
    assert tags["Dancing"].proposed.stored == {"id": 4, "name": "Dancing"}
    assert tags["Dancing"].confidence == pytest.approx(0.8 + 0.2 * 0.3)
    assert tags["Dancing"].evidence["second"] == 50.0
    assert tags["Juggling"].proposed.stored == {"id": None, "name": "Juggling"}
    assert tags["Juggling"].confidence == pytest.approx(0.7 + 0.3 * 0.02)
    markers = [p.proposed.stored for p in proposals if p.field == "markers"]
    assert [(m["title"], m["seconds"], m["end_seconds"]) for m in markers] == [
        ("Dancing", 0.0, 20.0),
        ("Dancing", 50.0, 60.0),
        ("Juggling", 70.0, None),
    ]


def test_what_the_scene_has_is_not_proposed() -> None:
    """A tag that is there and a marker nearby, user-made or not, are left out."""
    ai = server(httpx.Response(200, json=answer(INFO)))
    scene = SceneFacts(
        id=1,
        file=SCENE.file,
        tag_ids=frozenset([4]),
        markers=(MarkerFacts("dancing", "my dance", 0.4),),
    )

    proposals = ai.propose(scene, ai.read(scene), stash_names(create_missing=False))

    assert [(p.field, p.value_key) for p in proposals] == [("markers", "dancing@50.00")]


def test_raw_output_is_enough_to_propose_again() -> None:
    """What is kept in the cache as JSON gives the same proposals without a request."""
    ai = server(httpx.Response(200, json=answer(INFO)))
    output = ai.read(SCENE)

    kept = json.loads(json.dumps(output))

    assert ai.propose(SCENE, kept, stash_names()) == ai.propose(
        SCENE, output, stash_names()
    )
    assert kept["json_result"] == JSON_RESULT


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(httpx.Response(400, json={"detail": "400: no file"}), id="400"),
        pytest.param(httpx.Response(422, json={"detail": []}), id="422"),
        pytest.param(httpx.Response(307, headers={"location": "/x"}), id="redirect"),
        pytest.param(httpx.Response(200, text="<html>hello</html>"), id="html"),
        pytest.param(httpx.Response(200, text='{"result": {"json_re'), id="half"),
        pytest.param(
            httpx.Response(200, content=b'{"result":{"json_result":"\xff"}}'),
            id="no UTF-8",
        ),
        pytest.param(
            httpx.Response(200, content=b'{"result":' + b"[" * 100_000),
            id="nested deeply",
        ),
        pytest.param(httpx.Response(200, json={"result": None}), id="no result"),
        pytest.param(
            httpx.Response(
                200, json={"result": {"json_result": None, "video_tag_info": INFO}}
            ),
            id="null",
        ),
        pytest.param(
            httpx.Response(
                200,
                text=json.dumps(
                    answer({**INFO, "video_duration": float("nan")}), allow_nan=True
                ),
            ),
            id="nan",
        ),
        pytest.param(
            httpx.Response(200, json=answer({"tag_timespans": {"a": {"b": [{}]}}})),
            id="span without start",
        ),
    ],
)
def test_bad_answer_is_that_scenes_error(response: httpx.Response) -> None:
    """One video the server cannot do stops no other one."""
    with pytest.raises(ItemError, match="AI server"):
        server(response).read(SCENE)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"{"])
def test_health_that_cannot_be_read_says_nothing_of_the_models(content: bytes) -> None:
    """The server is there all the same, and is asked."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=content)
        return httpx.Response(200, json=answer(INFO))

    assert ai_server(handle).read(SCENE)["model_set"] == ""


@pytest.mark.parametrize("status", [429, 500, 503])
def test_server_in_trouble_is_deferred(status: int) -> None:
    """The scenes stay unanalyzed and are tried again."""
    with pytest.raises(Deferred, match=str(status)):
        server(httpx.Response(status)).read(SCENE)


def test_unavailable_server_is_deferred() -> None:
    """The error names the setting to check."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with (
        pytest.raises(Deferred, match="STASHHOG_AI_SERVER__URL"),
        ai_server(refuse) as ai,
    ):
        ai.read(SCENE)


def test_server_that_does_not_say_whether_it_is_ready_is_deferred() -> None:
    """Slow at that, it is not the video that is to blame."""

    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late")

    with pytest.raises(Deferred, match="did not answer /ready within 30 s"):
        ai_server(late).read(SCENE)


@pytest.mark.parametrize("trouble", ["500", "disconnect", "timeout", "unpacking"])
def test_video_that_the_server_dies_of_is_that_scenes_error(trouble: str) -> None:
    """Ready for others, it cannot do this one: that blocks nobody."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"ready": True})
        if trouble == "500":
            return httpx.Response(500)
        if trouble == "timeout":
            raise httpx.ReadTimeout("")
        if trouble == "unpacking":
            raise httpx.DecodingError("no gzip")
        raise httpx.RemoteProtocolError("Server disconnected")

    with pytest.raises(ItemError, match="AI server"):
        ai_server(handle).read(SCENE)


def test_unavailable_server_gets_no_requests_for_a_while() -> None:
    """For a minute nothing is asked; then it is tried again."""
    now = [0.0]
    gate = RequestGate(1, lambda: now[0])
    gate.mark_unavailable("The AI server is unavailable")

    with pytest.raises(Deferred, match="is unavailable"):
        gate.check()
    now[0] = 61
    gate.check()


@pytest.mark.parametrize(
    ("said", "allowed"),
    [("0", 4), ("3", 1), ("99", 1), ("2", 2), (None, 4), ("many", 4)],
)
def test_others_work_leaves_fewer_places(said: str | None, allowed: int) -> None:
    """What the server says counts, beyond our own; one request always goes."""
    gate = RequestGate(4)

    gate.note_outstanding(said)

    assert gate.allowed == allowed
