"""Parameters: the wire names and defaults of the seeds, bad input refused."""

import pytest
from pydantic import ValidationError

from stashhog_core.params import (
    AnalysisParams,
    JobParams,
    StashGenerateParams,
    StashScanParams,
    SyncParams,
    UndoParams,
)


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
