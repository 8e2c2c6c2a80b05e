"""Which detectors the options select."""

from pathlib import Path
from typing import Any

import pytest

from stashhog_core.detection.ai_server import AiServer
from stashhog_core.detection.name_finder import NameFinder
from stashhog_core.detection.onnx_tagger import OnnxTagger
from stashhog_core.detection.registry import Detectors, text_models, video_reader
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.params import AnalysisParams
from stashhog_core.progress import Progress
from stashhog_core.settings import (
    AiServerSettings,
    OnnxSettings,
    Settings,
    TextModelSettings,
)
from tests.support.fake_stash import FakeStash
from tests.support.media import write_mean_colour_model

NOTHING = {
    "detect_video_tags": False,
    "detect_performers": False,
    "detect_studios": False,
    "detect_tags": False,
    "detect_details": False,
    "detect_fingerprints": False,
}


def test_defaults_are_those_of_the_workflow() -> None:
    """Video tags and tags; no performers, studios, details or fingerprints."""
    params = AnalysisParams()

    chosen = {name: getattr(params, name) for name in NOTHING}
    assert chosen == {**NOTHING, "detect_video_tags": True, "detect_tags": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["detect_tags"], {"names", "technical"}),
        (["detect_performers"], {"names"}),
        (["detect_studios"], {"names", "release"}),
        (["detect_details"], {"details"}),
        ([], set()),
    ],
)
def test_option_means_its_detectors(options: list[str], expected: set[str]) -> None:
    """Each option alone, without any reader."""
    params = AnalysisParams(**{**NOTHING, **dict.fromkeys(options, True)})

    finder = NameFinder([])
    detectors = Detectors(Settings(), params, [], finder, FakeStash())

    assert set(detectors.versions) == expected


@pytest.mark.parametrize(
    ("server", "model", "expected"),
    [
        (True, True, AiServer),
        (True, False, AiServer),
        (False, True, OnnxTagger),
        (False, False, TitleCards),
    ],
)
def test_first_reader_that_is_set_reads_videos(
    tmp_path: Path, server: bool, model: bool, expected: type
) -> None:
    """An AI server, else an ONNX model, else title cards."""
    given: dict[str, Any] = {}
    if server:
        given["ai_server"] = AiServerSettings(url="http://127.0.0.1:9")
    if model:
        file = write_mean_colour_model(tmp_path / "m.onnx", ("n", 3, 8, 8))
        (tmp_path / "l.txt").write_text("a\nb\nc")
        given["onnx"] = OnnxSettings(model=file, labels=tmp_path / "l.txt")

    checkpoint = Progress().checkpoint
    with video_reader(Settings(**given), AnalysisParams(), checkpoint) as reader:
        assert type(reader) is expected


@pytest.mark.parametrize(
    ("address", "options", "asked"),
    [
        ("http://127.0.0.1:9/v1", ["detect_performers"], True),
        ("http://127.0.0.1:9/v1", ["detect_tags"], True),
        ("http://127.0.0.1:9/v1", ["detect_details"], False),
        (None, ["detect_performers"], False),
    ],
)
def test_text_model_is_asked_for_names_if_one_is_set(
    address: str | None, options: list[str], asked: bool
) -> None:
    """It is an extra: without an address nobody misses it."""
    settings = Settings(text_model=TextModelSettings(base_url=address, model="m"))
    params = AnalysisParams(**{**NOTHING, **dict.fromkeys(options, True)})

    with text_models(settings, params, NameFinder([])) as readers:
        assert [reader.name for reader in readers] == ["text_model"] * asked
