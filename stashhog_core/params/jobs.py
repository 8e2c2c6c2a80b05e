"""The parameters of the jobs that StashHog does itself."""

from typing import Annotated, Literal

from pydantic import Field

from stashhog_core.params.base import (
    CONFIRM_REMOVALS,
    EXCLUDE_SMALL_VIDS,
    MAX_MINUTES,
    Confidence,
    Id,
    Ids,
    JobParams,
    Minutes,
    SceneIds,
    Text,
    switch,
)
from stashhog_core.results import Step
from stashhog_core.text_patterns import Written


class ProcessNewScenesParams(JobParams):
    """Parameters of `process_new_scenes`."""

    exclude_small_vids: bool = EXCLUDE_SMALL_VIDS
    batch_size: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Number of scenes in one analysis batch, 1 to 1000. If empty, "
        "STASHHOG_ANALYSIS__BATCH_SIZE applies (100 by default).",
    )
    parallel_batches: Annotated[int, Field(ge=1, le=32)] | None = Field(
        default=None,
        description="Number of analysis batches that run in parallel, 1 to 32. If "
        "empty, STASHHOG_ANALYSIS__PARALLEL_BATCHES applies (2 by default).",
    )
    auto_approve: bool | None = Field(
        default=None,
        description="Approve and apply every proposed change; if off, the plans wait "
        "for your review. If empty, STASHHOG_ANALYSIS__AUTO_APPROVE applies (on by "
        "default).",
    )
    max_minutes: Minutes | None = MAX_MINUTES
    steps: Annotated[tuple[Step, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Names of the steps to run. If empty, all steps run, except those "
        "of Stash's own tasks (stash_backup, stash_clean, stash_identify, "
        "stash_auto_tag and stash_optimise), which run only if they are named here.",
    )
    step_retries: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Number of additional tries for a failed step, 0 to 10; default 0.",
    )


class ProcessDownloadsParams(JobParams):
    """Parameters of `process_downloads`."""

    exclude_small_vids: bool = EXCLUDE_SMALL_VIDS
    dry_run: bool = switch(
        False, "Report what the run would do, but place and remove nothing."
    )


class SyncParams(JobParams):
    """Parameters of `sync`."""

    force: bool = switch(
        False, "Fetch every scene, whether it has changed or not (full sync)."
    )
    scene_ids: SceneIds | None = Field(
        default=None,
        description="Ids of the scenes to sync. The next incremental sync is not "
        "affected. If empty, the whole library is synced.",
    )
    confirm_removals: bool = CONFIRM_REMOVALS
    deep: bool = switch(
        False,
        "Compare every field of every scene, even if Stash's time of change has not "
        "moved. With `force`, every row is compared and repaired.",
    )


class SyncScenesParams(JobParams):
    """Parameters of `sync_scenes`."""

    scene_ids: SceneIds = Field(
        description="Ids of the scenes to sync, whether the scenes have changed or "
        "not. The next incremental sync is not affected."
    )


class VerifyMirrorParams(JobParams):
    """Parameters of `verify_mirror`."""

    scenes: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=500,
        description="Number of randomly chosen scenes to compare field by field, 1 to "
        "1000000; default 500.",
    )


class RemoveOrphansParams(JobParams):
    """Parameters of `remove_orphans`."""

    remove_scenes: bool = switch(True, "Remove scenes that Stash no longer has.")
    remove_performers: bool = switch(
        True, "Remove performers that Stash no longer has."
    )
    remove_tags: bool = switch(True, "Remove tags that Stash no longer has.")
    remove_studios: bool = switch(True, "Remove studios that Stash no longer has.")
    dry_run: bool = switch(False, "List what is gone from Stash, but change nothing.")
    confirm_removals: bool = CONFIRM_REMOVALS


class AnalysisParams(JobParams):
    """Parameters of `analysis`."""

    scene_ids: SceneIds | None = Field(
        default=None,
        description="Ids of the scenes to analyze. If empty, all scenes whose video "
        "has not been analyzed are selected.",
    )
    query: Text | None = Field(
        default=None,
        description="Select only scenes that have these words in their title or path.",
    )
    tag: Text | None = Field(
        default=None, description="Select only scenes with this tag, such as AI_TagMe."
    )
    performer: Text | None = Field(
        default=None, description="Select only scenes with this performer."
    )
    studio: Text | None = Field(
        default=None, description="Select only scenes of this studio."
    )
    include_analyzed: bool = switch(
        False, "Also select scenes whose video has already been analyzed."
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Maximum number of scenes, at least 1; the newest scenes are "
        "taken. If empty, there is no limit.",
    )
    max_minutes: Minutes | None = MAX_MINUTES
    detect_video_tags: bool = switch(
        True,
        "Propose tags and markers for what the video shows. Without an AI server and a "
        "model of yours, title cards are read, and also show performers and studios if "
        "these are requested.",
    )
    detect_performers: bool = switch(False, "Propose performers.")
    detect_studios: bool = switch(
        False, "Propose the studio, the studio's code and the date."
    )
    detect_tags: bool = switch(
        True, "Propose tags from names, and from technical facts of the file."
    )
    detect_details: bool = switch(False, "Propose cleaned-up details.")
    detect_fingerprints: bool = switch(
        False,
        "Identify scenes at the stash-boxes that Stash knows, by their perceptual "
        "hashes, and propose what the stash-boxes know about the scenes.",
    )
    confidence_threshold: Confidence | None = Field(
        default=None,
        description="Minimum confidence of a proposed change, 0 to 1. If empty, "
        "STASHHOG_ANALYSIS__CONFIDENCE_THRESHOLD applies (0.7 by default).",
    )
    plan_name: str | None = Field(
        default=None,
        description="Name of the plan. If empty, the plan is named automatically.",
    )
    auto_approve: bool = switch(
        False,
        "Approve every proposed change without a review, except where several values "
        "are possible; the plan records these approvals as automatic.",
    )


class AutoVideoAnalysisParams(JobParams):
    """Parameters of `auto_video_analysis`."""

    batch_size: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="Maximum number of scenes that one run analyzes, newest first, 1 "
        "to 1000; default 50.",
    )


ChangeField = Literal[
    "tags",
    "performers",
    "studio",
    "title",
    "details",
    "date",
    "code",
    "director",
    "urls",
    "stash_ids",
    "cover",
    "markers",
]
"""The fields of a scene that a plan may change."""


class ReviewPlanParams(JobParams):
    """Parameters of `review_plan`. Without a selection, all changes are selected."""

    plan_id: Id = Field(description="Id of the plan.")
    decision: Literal["show", "accept", "reject", "cancel"] = Field(
        default="show",
        description="What to do with the selected changes: show (list the changes "
        "with their evidence), accept, reject, or cancel (cancel the whole plan). "
        "Default: show.",
    )
    change_ids: Ids | None = Field(
        default=None, description="Select only the changes with these ids."
    )
    scene_ids: SceneIds | None = Field(
        default=None, description="Select only changes of the scenes with these ids."
    )
    field: ChangeField | None = Field(
        default=None, description="Select only changes of this field."
    )
    value: Text | None = Field(
        default=None,
        description="Select only changes of this tag, performer or studio.",
    )
    detector: Text | None = Field(
        default=None, description="Select only changes that this detector proposed."
    )
    confidence_from: Confidence | None = Field(
        default=None,
        description="Select only changes with at least this confidence, 0 to 1.",
    )
    confidence_below: Confidence | None = Field(
        default=None,
        description="Select only changes with a lower confidence than this, 0 to 1.",
    )
    replace_by: Text | None = Field(
        default=None,
        description="Name of an existing tag, performer or studio that replaces "
        "`value` in the selected changes before the decision. If empty, the changes "
        "keep their values.",
    )
    over: str | None = Field(
        default=None,
        description="Accept only the selected changes in conflict in which Stash has "
        "this value, and overwrite the value. An empty text means that the field is "
        "empty in Stash. If not given, changes in conflict cannot be accepted.",
    )
    again: bool = switch(
        False,
        "Also decide on selected changes that were decided before. If off, the "
        "decision changes only open changes and the changes named in change_ids.",
    )
    apply: bool = switch(
        False, "Apply the approved changes of the plan to Stash after the decision."
    )


class ApplyPlanParams(JobParams):
    """Parameters of `apply_plan`."""

    plan_id: Id = Field(description="Id of the plan.")
    change_ids: Ids | None = Field(
        default=None,
        description="Ids of the approved changes to apply. If empty, all approved "
        "changes of the plan are applied.",
    )
    auto_approve: bool = switch(
        False,
        "Approve every open change of the plan before applying, except where several "
        "values are possible.",
    )
    retry: bool = switch(
        False,
        "Also try changes again that failed because Stash refused them in several "
        "runs.",
    )


class AutoPlanApplyParams(JobParams):
    """Parameters of `auto_plan_apply`."""

    plan_prefix_filter: tuple[Text, ...] = Field(
        default=(),
        description="Apply only plans whose name starts with one of these texts. If "
        "empty, all plans are applied.",
    )
    auto_approve_all_changes: bool = switch(
        False,
        "Approve every open change of these plans before applying, except where "
        "several values are possible; the plans record these approvals as automatic.",
    )


class UndoParams(JobParams):
    """Parameters of `undo_plan`. Each criterion narrows the selection."""

    plan_id: Id | None = Field(
        default=None, description="Undo only changes of the plan with this id."
    )
    scene_id: Id | None = Field(
        default=None, description="Undo only changes of the scene with this id."
    )
    change_ids: Ids | None = Field(
        default=None, description="Undo only the changes with these ids."
    )
    detector: Text | None = Field(
        default=None, description="Undo only changes that this detector proposed."
    )
    detector_version: Text | None = Field(
        default=None,
        description="Undo only changes that this version of the detector proposed.",
    )
    remember: bool = switch(
        False,
        "Remember the undone values as rejected, so that they are never proposed "
        "again.",
    )


class DirectoryScanParams(JobParams):
    """Parameters of `directory_scan`."""

    path: Annotated[str, Written(r"^/[^\x00]*$", "an absolute path")] = Field(
        description="Absolute path of the folder to scan. The folder must lie inside "
        "one of STASHHOG_LIBRARY__ALLOWED_SCAN_ROOTS.",
    )
    timeout_seconds: float = Field(
        default=300,
        gt=0,
        description="Maximum duration of the scan in seconds, more than 0; default "
        "300. The finished part stays in the index, and the next scan continues from "
        "there.",
    )
    file_timeout_seconds: float = Field(
        default=30,
        ge=6,
        le=3600,
        description="Maximum time for one file in seconds, 6 to 3600; default 30. If "
        "the time is too short for an option, the scan stores the facts of the file "
        "and a warning. A scan with a higher value tries the option again.",
    )
    thumbnails: bool = switch(True, "Make a thumbnail of each video.")
    sprites: bool = switch(
        False, "Make a sprite sheet with its VTT file of each video."
    )
    phashes: bool = switch(False, "Calculate perceptual hashes, equal to Stash's.")
    workers: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None,
        description="Number of processes that read files in each shard, 1 to 64. If "
        "empty, the scan uses one process per core.",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of parts that are scanned in parallel, 1 to 64; default "
        "1. STASHHOG_RUNNER__KIND decides where the parts run.",
    )
    confirm_removals: bool = CONFIRM_REMOVALS
    forget_unreachable: bool = switch(
        False,
        "Remove files from the index that were out of reach in an earlier scan and "
        "still are, such as those of a disk that never comes back. Files in a folder "
        "that cannot be read stay in the index.",
    )


class CleanupParams(JobParams):
    """Parameters of `cleanup`."""

    dry_run: bool = switch(False, "List what the run would remove, but change nothing.")
    confirm_removals: bool = CONFIRM_REMOVALS


class CheckParams(JobParams):
    """Parameters of `check`."""

    limit_seconds: float = Field(
        default=60,
        ge=1,
        le=600,
        description="Maximum duration of all checks in seconds, 1 to 600; default 60. "
        "A check that does not end in time is a failure.",
    )
