"""The AI server's client against answers of the real server's HTTP layer (3.2.1).

They come from its own routes and post-processing, with made-up models in place of those
that are not to be had; its tables said: Dancing is renamed to Dancing_AI, Unlisted is
not listed. To record them anew, delete the cassette, run such a server whose only video
is /videos/dance.mp4, and set STASHHOG_TEST_RECORD_AI_URL.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from stashhog_core.detection.ai_client import RequestGate
from stashhog_core.detection.ai_server import AiServer
from stashhog_core.detection.name_finder import NameFinder
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.errors import ItemError
from stashhog_core.settings import AiServerSettings
from tests.support.cassettes import recorder

ADDRESS = "http://127.0.0.1:8000"
KEPT_HEADERS = {"content-type", "location", "x-outstanding-requests"}
recording_url = os.environ.get("STASHHOG_TEST_RECORD_AI_URL")
RECORDER = recorder(ADDRESS, KEPT_HEADERS, recording_url)


def scene(path: str) -> SceneFacts:
    return SceneFacts(
        id=1, file=PrimaryFile(path, 60.0, 640, 360, 25.0, "h264", "", None)
    )


DANCE = scene("/videos/dance.mp4")
NOWHERE = StashNames(NameFinder([]), lambda name: None, create_missing_tags=True)


@pytest.fixture(params=["v1", "v3"])
def ai(request: pytest.FixtureRequest) -> Iterator[AiServer]:
    settings = AiServerSettings(
        url=recording_url or ADDRESS, interface=request.param, required_tag_seconds=20
    )
    with (
        RECORDER.use_cassette(f"{request.node.originalname}_{request.param}"),
        AiServer(settings, gate=RequestGate(1), retry_delays_seconds=()) as server,
    ):
        yield server


def proposed(ai: AiServer, output: Any) -> dict[str, float]:
    """Return tags and markers with their confidence."""
    return {
        p.proposed.as_text
        + (f"@{p.proposed.seconds:g}" if p.field == "markers" else ""): p.confidence
        for p in ai.propose(DANCE, output, NOWHERE)
    }


def test_ai_read(ai: AiServer) -> None:
    """Tags that are visible long enough, and a marker per span with its confidence."""
    output = ai.read(DANCE)

    sure = proposed(ai, output)
    if ai.configuration.startswith("v1"):
        # 20 s of 0.8 and 12 s of 0.6, though the server says 35.2 in all.
        mean = (20 * 0.8 + 12 * 0.6) / 32
        assert sure == {
            "Dancing_AI": pytest.approx(mean + (1 - mean) * 30 / 60, abs=0.001),
            "Beach": pytest.approx(0.95 + 0.05 * 40 / 60, abs=0.001),
            "Dancing_AI@0": pytest.approx(mean, abs=0.001),
            "Waving@50": 0.55,
            "Beach@0": 0.95,
        }
    else:
        assert set(sure) == {
            *("Dancing", "Beach"),
            *("Dancing@0", "Waving@50", "Unlisted@50", "Beach@0"),
        }


def test_ai_read_again(ai: AiServer) -> None:
    """Nothing is left to be detected, and the earlier output stays."""
    output = ai.read(DANCE)

    assert ai.is_complete(output)
    assert ai.complete(DANCE, output) == output


def test_ai_missing_file(ai: AiServer) -> None:
    """A path that the server does not have is that scene's error."""
    with pytest.raises(ItemError, match=r"No such file.*AI_SERVER__PATH_MAP"):
        ai.read(scene("/videos/gone.mp4"))


def test_ai_models(ai: AiServer) -> None:
    """What is kept depends on the models and their versions, by name."""
    assert ai.model_set() == "dummy_actions:2.0,dummy_places:1.0"
