"""What each job can be asked to do."""

from typing import Annotated, Literal

from pydantic import Field

from stashhog_core.auto_params import AutoPlanApplyParams as AutoPlanApplyParams
from stashhog_core.auto_params import (
    AutoVideoAnalysisParams as AutoVideoAnalysisParams,
)
from stashhog_core.auto_params import CleanupParams as CleanupParams
from stashhog_core.auto_params import RemoveOrphansParams as RemoveOrphansParams
from stashhog_core.auto_params import SyncScenesParams as SyncScenesParams
from stashhog_core.results import Step
from stashhog_core.stash_params import (
    CheckStashGenerateParams as CheckStashGenerateParams,
)
from stashhog_core.stash_params import Id
from stashhog_core.stash_params import JobParams as JobParams
from stashhog_core.stash_params import SceneIds as SceneIds
from stashhog_core.stash_params import StashGenerateParams as StashGenerateParams
from stashhog_core.stash_params import StashJobParams as StashJobParams
from stashhog_core.stash_params import StashScanParams as StashScanParams


class ProcessNewScenesParams(JobParams):
    """How `process_new_scenes` works through its steps."""

    exclude_small_vids: bool = Field(
        default=False,
        description="Leave out videos shorter than 30 seconds. Default: off.",
    )
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
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Number of minutes after which the run starts no further scene. "
        "The next run continues with the remaining scenes. If empty, there is no "
        "limit.",
    )
    steps: Annotated[tuple[Step, ...], Field(min_length=1)] | None = Field(
        default=None, description="Names of the steps to run. If empty, all steps run."
    )
    step_retries: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Number of additional tries for a failed step, 0 to 10; default 0.",
    )


class ProcessDownloadsParams(JobParams):
    """What `process_downloads` takes and leaves."""

    exclude_small_vids: bool = Field(
        default=False,
        description="Leave out videos shorter than 30 seconds. Default: off.",
    )
    dry_run: bool = Field(
        default=False,
        description="Report what the run would do, but place and remove nothing. "
        "Default: off.",
    )


class SyncParams(JobParams):
    """Which part of Stash's library `sync` mirrors."""

    force: bool = Field(
        default=False,
        description="Fetch every scene, whether it has changed or not (full sync). "
        "Default: off.",
    )
    scene_ids: SceneIds | None = Field(
        default=None,
        description="Ids of the scenes to sync. The next incremental sync is not "
        "affected. If empty, the whole library is synced.",
    )
    confirm_removals: bool = Field(
        default=False,
        description="Allow a run whose removals exceed the removal limit. Default: "
        "off.",
    )
    deep: bool = Field(
        default=False,
        description="Compare every field of every scene, even if Stash's time of "
        "change has not moved. With `force`, every row is compared and repaired. "
        "Default: off.",
    )


class VerifyMirrorParams(JobParams):
    """How much of the mirror `verify_mirror` compares with Stash."""

    scenes: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=500,
        description="Number of randomly chosen scenes to compare field by field, 1 to "
        "1000000; default 500.",
    )


class AnalysisParams(JobParams):
    """Which scenes `analysis` looks at, and for what."""

    scene_ids: SceneIds | None = Field(
        default=None,
        description="Ids of the scenes to analyze. If empty, all scenes whose video "
        "has not been analyzed are selected.",
    )
    query: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Select only scenes that have these words in their title or path.",
    )
    tag: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Select only scenes with this tag, such as AI_TagMe."
    )
    performer: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Select only scenes with this performer."
    )
    studio: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Select only scenes of this studio."
    )
    include_analyzed: bool = Field(
        default=False,
        description="Also select scenes whose video has already been analyzed. "
        "Default: off.",
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Maximum number of scenes, at least 1; the newest scenes are "
        "taken. If empty, there is no limit.",
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Number of minutes after which the run starts no further scene. "
        "The next run continues with the remaining scenes. If empty, there is no "
        "limit.",
    )
    detect_video_tags: bool = Field(
        default=True,
        description="Propose tags and markers for what the video shows. Default: on.",
    )
    detect_performers: bool = Field(
        default=False, description="Propose performers. Default: off."
    )
    detect_studios: bool = Field(
        default=False,
        description="Propose the studio, the studio's code and the date. Default: off.",
    )
    detect_tags: bool = Field(
        default=True,
        description="Propose tags from names, and from technical facts of the file. "
        "Default: on.",
    )
    detect_details: bool = Field(
        default=False, description="Propose cleaned-up details. Default: off."
    )
    confidence_threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Minimum confidence of a proposed change, 0 to 1. If empty, "
        "STASHHOG_ANALYSIS__CONFIDENCE_THRESHOLD applies (0.7 by default).",
    )
    plan_name: str | None = Field(
        default=None,
        description="Name of the plan. If empty, the plan is named automatically.",
    )
    auto_approve: bool = Field(
        default=False,
        description="Approve every proposed change without a review; the plan records "
        "these approvals as automatic. Default: off.",
    )


class ApplyPlanParams(JobParams):
    """Which approved changes `apply_plan` brings to Stash."""

    plan_id: Id = Field(description="Id of the plan.")
    change_ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Ids of the approved changes to apply. If empty, all approved "
        "changes of the plan are applied.",
    )
    auto_approve: bool = Field(
        default=False,
        description="Approve every open change of the plan before applying. Default: "
        "off.",
    )
    retry: bool = Field(
        default=False,
        description="Also try changes again that failed because Stash refused them in "
        "several runs. Default: off.",
    )


class UndoParams(JobParams):
    """Which applied changes `undo_plan` takes back; what is given narrows."""

    plan_id: Id | None = Field(
        default=None, description="Undo only changes of the plan with this id."
    )
    scene_id: Id | None = Field(
        default=None, description="Undo only changes of the scene with this id."
    )
    change_ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = Field(
        default=None, description="Undo only the changes with these ids."
    )
    detector: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Undo only changes that this detector proposed."
    )
    detector_version: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Undo only changes that this version of the detector proposed.",
    )
    remember: bool = Field(
        default=False,
        description="Remember the undone values as rejected, so that they are never "
        "proposed again. Default: off.",
    )


class ReviewPlanParams(JobParams):
    """What `review_plan` decides on; what is given narrows, nothing given means all."""

    plan_id: Id = Field(description="Id of the plan.")
    decision: Literal["show", "accept", "reject", "cancel"] = Field(
        default="show",
        description="What to do with the selected changes: show (list the changes "
        "with their evidence), accept or reject; cancel rejects the whole plan. "
        "Default: show.",
    )
    change_ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = Field(
        default=None, description="Select only the changes with these ids."
    )
    scene_ids: SceneIds | None = Field(
        default=None, description="Select only changes of the scenes with these ids."
    )
    field: (
        Literal[
            "tags",
            "performers",
            "studio",
            "title",
            "details",
            "date",
            "code",
            "markers",
        ]
        | None
    ) = Field(default=None, description="Select only changes of this field.")
    value: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Select only changes of this tag, performer or studio.",
    )
    detector: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Select only changes that this detector proposed."
    )
    confidence_from: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Select only changes with at least this confidence, 0 to 1.",
    )
    confidence_below: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Select only changes with a lower confidence than this, 0 to 1.",
    )
    replace_by: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Name of an existing tag, performer or studio that replaces "
        "`value` in the selected changes before the decision.",
    )
    again: bool = Field(
        default=False,
        description="Also decide on selected changes that were decided before. If "
        "off, the decision changes only open changes and the changes named in "
        "change_ids. Default: off.",
    )
    apply: bool = Field(
        default=False,
        description="Apply the approved changes of the plan to Stash after the "
        "decision. Default: off.",
    )


class DirectoryScanParams(JobParams):
    """Which folder `directory_scan` indexes, and what it makes of the files."""

    path: str = Field(
        min_length=1,
        pattern=r"^/[^\x00]*$",
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
    thumbnails: bool = Field(
        default=True, description="Make a thumbnail of each video. Default: on."
    )
    sprites: bool = Field(
        default=False,
        description="Make a sprite sheet with its VTT file of each video. Default: "
        "off.",
    )
    phashes: bool = Field(
        default=False,
        description="Calculate perceptual hashes, equal to Stash's. Default: off.",
    )
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
    confirm_removals: bool = Field(
        default=False,
        description="Allow a run whose removals exceed the removal limit. Default: "
        "off.",
    )
    forget_unreachable: bool = Field(
        default=False,
        description="Remove files from the index that were out of reach in an earlier "
        "scan and still are, such as those of a disk that never comes back. Files in "
        "a folder that cannot be read stay in the index. Default: off.",
    )


JOB_PARAMS: dict[str, type[JobParams]] = {
    "process_new_scenes": ProcessNewScenesParams,
    "process_downloads": ProcessDownloadsParams,
    "stash_scan": StashScanParams,
    "sync": SyncParams,
    "verify_mirror": VerifyMirrorParams,
    "analysis": AnalysisParams,
    "apply_plan": ApplyPlanParams,
    "undo_plan": UndoParams,
    "review_plan": ReviewPlanParams,
    "stash_generate": StashGenerateParams,
    "check_stash_generate": CheckStashGenerateParams,
    "sync_scenes": SyncScenesParams,
    "auto_video_analysis": AutoVideoAnalysisParams,
    "auto_plan_apply": AutoPlanApplyParams,
    "auto_stash_generate": StashGenerateParams,
    "cleanup": CleanupParams,
    "remove_orphans": RemoveOrphansParams,
    "directory_scan": DirectoryScanParams,
}
"""The jobs, by the name of their flow, and what each can be asked."""
