"""Parameters: the wire names and defaults of the seeds, bad input refused."""

import re
from operator import attrgetter
from typing import Any

import pytest
from pydantic import ValidationError

from flows.jobs import stash_generate, stash_scan
from stashhog_core.params import (
    JOB_PARAMS,
    AnalysisParams,
    JobParams,
    StashGenerateParams,
    StashScanParams,
    SyncParams,
    UndoParams,
    or_setting,
    removal_limit,
)
from stashhog_core.server_jobs.generate_request import generate_input
from stashhog_core.server_jobs.scan import scan_input
from stashhog_core.settings import Settings

SCAN_FLAGS = {
    "rescan": False,
    "scanGenerateCovers": True,
    "scanGeneratePreviews": True,
    "scanGenerateImagePreviews": False,
    "scanGenerateSprites": True,
    "scanGeneratePhashes": True,
    "scanGenerateThumbnails": False,
    "scanGenerateClipPreviews": False,
}
GENERATE_FLAGS = {
    "covers": True,
    "sprites": True,
    "previews": True,
    "imagePreviews": False,
    "markers": True,
    "markerImagePreviews": False,
    "markerScreenshots": True,
    "transcodes": False,
    "forceTranscodes": False,
    "phashes": True,
    "interactiveHeatmapsSpeeds": False,
    "clipPreviews": True,
    "imageThumbnails": True,
    "overwrite": False,
}
PREVIEW_OPTIONS = [
    ("previewSegments", 12, 3),
    ("previewSegmentDuration", 0.75, 1.5),
    ("previewExcludeStart", "0", "2%"),
    ("previewExcludeEnd", "0", "5"),
    ("previewPreset", "slow", "ultrafast"),
]
PRESETS = ["ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow"]


def test_scan_has_the_seeds_names_and_defaults() -> None:
    """The table of the metadata scan, as Stash takes it."""
    ours = {"paths", "min_mod_time", "server"}
    assert StashScanParams().model_dump(by_alias=True, exclude=ours) == {
        "rescan": False,
        "scanGenerateCovers": True,
        "scanGeneratePreviews": True,
        "scanGenerateImagePreviews": False,
        "scanGenerateSprites": True,
        "scanGeneratePhashes": True,
        "scanGenerateThumbnails": False,
        "scanGenerateClipPreviews": False,
    }


def test_generate_has_the_seeds_names_and_defaults() -> None:
    """The two tables of generate, as Stash takes them."""
    ours = {
        "marker_ids",
        "incremental",
        "profile",
        "only_missing",
        "retry_unmakeable",
        "chunk_size",
        "order",
        "when_idle",
        "allowed_hours",
        "server",
    }
    assert StashGenerateParams().model_dump(by_alias=True, exclude=ours) == {
        "sceneIDs": None,
        "covers": True,
        "sprites": True,
        "previews": True,
        "imagePreviews": False,
        "markers": True,
        "markerImagePreviews": False,
        "markerScreenshots": True,
        "transcodes": False,
        "forceTranscodes": False,
        "phashes": True,
        "interactiveHeatmapsSpeeds": False,
        "clipPreviews": True,
        "imageThumbnails": True,
        "overwrite": False,
        "previewSegments": 12,
        "previewSegmentDuration": 0.75,
        "previewExcludeStart": "0",
        "previewExcludeEnd": "0",
        "previewPreset": "slow",
    }


@pytest.mark.parametrize(
    ("model", "values"),
    [
        pytest.param(StashGenerateParams, {"sceneIDs": []}, id="empty-ids-mean-all"),
        pytest.param(StashScanParams, {"paths": []}, id="empty-paths-mean-all"),
        pytest.param(SyncParams, {"scene_ids": []}, id="sync-of-nothing"),
        pytest.param(AnalysisParams, {"scene_ids": ["x"]}, id="id-that-is-no-number"),
        pytest.param(SyncParams, {"scene_ids": [2**63]}, id="id-no-database-holds"),
        pytest.param(UndoParams, {"change_ids": [0]}, id="change-of-no-id"),
        pytest.param(SyncParams, {"scene_ids": [True]}, id="id-that-is-a-switch"),
        pytest.param(AnalysisParams, {"limit": True}, id="number-that-is-a-switch"),
        pytest.param(StashGenerateParams, {"previewSegments": 0}, id="no-segments"),
        pytest.param(StashGenerateParams, {"previewPreset": "nope"}, id="preset"),
        pytest.param(StashGenerateParams, {"previewExcludeEnd": "abc"}, id="exclude"),
        pytest.param(StashGenerateParams, {"preview": True}, id="unknown-name"),
        pytest.param(StashGenerateParams, {"markerIDs": []}, id="no-markers"),
        pytest.param(StashGenerateParams, {"allowedHours": "22-6"}, id="hours"),
        pytest.param(StashGenerateParams, {"chunkSize": 0}, id="empty-chunks"),
        pytest.param(
            StashScanParams, {"minModTime": "2026-11-21T04:00:00"}, id="time-of-no-zone"
        ),
    ],
)
def test_bad_input_is_refused(model: type, values: dict[str, object]) -> None:
    """What Stash would take silently and wrongly never reaches it."""
    with pytest.raises(ValidationError):
        model(**values)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (AnalysisParams, {"query": "a\0b"}),
        (AnalysisParams, {"plan_name": "\0"}),
        (StashScanParams, {"paths": ("/data", "/da\0ta")}),
        (UndoParams, {"detector": "\0"}),
    ],
)
def test_text_that_no_database_holds_is_refused(
    model: type[JobParams], values: dict[str, object]
) -> None:
    """In every parameter of every job: at the door, not in the middle of a run."""
    with pytest.raises(ValidationError, match="cannot hold the character 0"):
        model(**values)


def scan_wire(**values: Any) -> dict[str, Any]:
    return scan_input(StashScanParams(**values), ["/data"])


def generate_wire(**values: Any) -> dict[str, Any]:
    return generate_input(StashGenerateParams(**values), [1])


@pytest.mark.parametrize(("name", "default"), SCAN_FLAGS.items())
def test_scan_flag(name: str, default: bool) -> None:
    """It goes to Stash by its name, alone of all, and stands in the form."""
    changed = scan_wire(**{name: not default})

    assert scan_wire()[name] is default
    assert changed == scan_wire() | {name: not default}
    assert stash_scan.parameters.properties[name]["default"] is default
    assert stash_scan.parameters.properties[name]["type"] == "boolean"
    with pytest.raises(ValidationError):
        StashScanParams(**{name: "perhaps"})


@pytest.mark.parametrize(("name", "default"), GENERATE_FLAGS.items())
def test_generate_flag(name: str, default: bool) -> None:
    """It goes to Stash by its name, alone of all, and stands in the form."""
    changed = generate_wire(**{name: not default})

    assert generate_wire()[name] is default
    assert changed == generate_wire() | {name: not default}
    assert stash_generate.parameters.properties[name]["default"] is default
    assert stash_generate.parameters.properties[name]["type"] == "boolean"
    with pytest.raises(ValidationError):
        StashGenerateParams(**{name: "perhaps"})


@pytest.mark.parametrize(("name", "default", "other"), PREVIEW_OPTIONS)
def test_preview_option(name: str, default: object, other: object) -> None:
    """It goes to Stash among the preview options, and stands in the form."""
    options = generate_wire()["previewOptions"]
    changed = generate_wire(**{name: other})["previewOptions"]

    assert options[name] == default
    assert changed == options | {name: other}
    assert stash_generate.parameters.properties[name]["default"] == default


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_stash_is_taken(preset: str) -> None:
    """All seven."""
    wire = generate_wire(previewPreset=preset)

    assert wire["previewOptions"]["previewPreset"] == preset


@pytest.mark.parametrize("value", ["0", "2", "2.5", "2%", "12.5%"])
def test_seconds_and_per_cent_are_taken(value: str) -> None:
    """As Stash reads them, at either end."""
    wire = generate_wire(previewExcludeStart=value, previewExcludeEnd=value)

    assert wire["previewOptions"]["previewExcludeStart"] == value
    assert wire["previewOptions"]["previewExcludeEnd"] == value


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"previewSegments": 0}, id="no-segments"),
        pytest.param({"previewSegments": 1.5}, id="half-a-segment"),
        pytest.param({"previewSegmentDuration": 0}, id="no-duration"),
        pytest.param({"previewSegmentDuration": -1}, id="negative-duration"),
        pytest.param({"previewExcludeStart": ""}, id="nothing"),
        pytest.param({"previewExcludeStart": "-1"}, id="negative"),
        pytest.param({"previewExcludeStart": "2 %"}, id="blank"),
        pytest.param({"previewExcludeEnd": "%"}, id="per-cent-of-what"),
        pytest.param({"previewPreset": "placebo"}, id="preset-stash-lacks"),
        pytest.param({"previewPreset": "Slow"}, id="preset-in-other-case"),
        pytest.param({"sceneIDs": []}, id="no-scene"),
        pytest.param({"sceneIDs": [0]}, id="scene-zero"),
        pytest.param({"sceneIDs": ["one"]}, id="scene-in-words"),
        pytest.param({"sceneIds": [1]}, id="name-in-other-case"),
        pytest.param({"markerIDs": [-1]}, id="negative-marker"),
    ],
)
def test_what_stash_takes_wrongly_is_refused(values: dict[str, Any]) -> None:
    """By name, before anything is sent."""
    with pytest.raises(ValidationError):
        StashGenerateParams(**values)


def test_ids_may_be_written_as_stash_writes_them() -> None:
    """Decimal strings, in the order in which they are given."""
    params = StashGenerateParams.model_validate({"sceneIDs": ["2", 1]})

    assert params.scene_ids == (2, 1)
    assert generate_input(params, params.scene_ids)["sceneIDs"] == ["2", "1"]


@pytest.mark.parametrize("flow", [stash_scan, stash_generate])
def test_every_parameter_is_described_in_the_form(flow: Any) -> None:
    """Nobody has to guess."""
    properties = flow.parameters.properties

    assert [
        name for name, field in properties.items() if "description" not in field
    ] == []


def test_removal_limit_is_five_percent_but_at_least_twenty() -> None:
    """Small tables may lose 20 rows at once, large ones 5 %."""
    assert [removal_limit(rows) for rows in (0, 20, 400, 420, 20_000)] == [
        20,
        20,
        20,
        21,
        1000,
    ]


@pytest.mark.parametrize(
    ("parameter", "applies"), [(None, 0.7), (0.0, 0.0), (1.0, 1.0)]
)
def test_a_setting_applies_where_a_parameter_is_empty(
    parameter: float | None, applies: float
) -> None:
    """A parameter that was given is never empty, whatever its value."""
    assert or_setting(parameter, 0.7) == applies


def test_forms_name_the_defaults_of_the_settings_that_apply() -> None:
    """What a form says of an empty parameter is true."""
    named = [
        match
        for model in set(JOB_PARAMS.values())
        for field in model.model_fields.values()
        for match in re.findall(
            r"STASHHOG_(\w+) applies \((.+?) by default\)", field.description or ""
        )
    ]
    settings = Settings()

    assert len(named) >= 4
    for name, default in named:
        value = attrgetter(name.lower().replace("__", "."))(settings)
        words = [f'"{path}"' for path in value] if isinstance(value, tuple) else [value]
        words = ["on" if word is True else word for word in words]
        assert ", ".join(map(str, words)) == default, name
