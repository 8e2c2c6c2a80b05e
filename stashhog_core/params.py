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
        default=False, description="Leave out videos shorter than 30 seconds."
    )
    batch_size: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Scenes per analysis batch; none: STASHHOG_ANALYSIS__BATCH_SIZE.",
    )
    parallel_batches: Annotated[int, Field(ge=1, le=32)] | None = Field(
        default=None,
        description="Batches at a time; none: STASHHOG_ANALYSIS__PARALLEL_BATCHES.",
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Begin to analyse no scene after so long; the next run goes on "
        "from there.",
    )
    steps: Annotated[tuple[Step, ...], Field(min_length=1)] | None = Field(
        default=None, description="Only these steps; none: all."
    )
    step_retries: int = Field(
        default=0, ge=0, le=10, description="Further tries for a step that failed."
    )


class ProcessDownloadsParams(JobParams):
    """What `process_downloads` takes and leaves."""

    exclude_small_vids: bool = Field(
        default=False, description="Leave out videos shorter than 30 seconds."
    )
    dry_run: bool = Field(
        default=False, description="Report what would be done; change nothing."
    )


class SyncParams(JobParams):
    """Which part of Stash's library `sync` mirrors."""

    force: bool = Field(
        default=False, description="Fetch everything, changed or not (full sync)."
    )
    scene_ids: SceneIds | None = Field(
        default=None, description="Only these scenes; the baseline does not move."
    )
    confirm_removals: bool = Field(
        default=False, description="Allow a run that was held for too many removals."
    )
    deep: bool = Field(
        default=False,
        description="Compare what belongs to every scene, whatever its time of change "
        "says. With force, every row is compared and mended.",
    )


class VerifyMirrorParams(JobParams):
    """How much of the mirror `verify_mirror` compares with Stash."""

    scenes: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=500, description="Scenes, drawn by lot, to compare field by field."
    )


class AnalysisParams(JobParams):
    """Which scenes `analysis` looks at, and for what."""

    scene_ids: SceneIds | None = Field(
        default=None, description="Scenes; none: all not yet video-analysed."
    )
    query: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only scenes with these words in title or path."
    )
    tag: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only scenes with this tag, such as AI_TagMe."
    )
    performer: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only scenes with this performer."
    )
    studio: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only scenes of this studio."
    )
    include_analyzed: bool = Field(
        default=False, description="Also scenes that were video-analysed before."
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="At most so many scenes, the newest."
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Begin no scene after so long; the next run goes on from there.",
    )
    detect_video_tags: bool = Field(default=True, description="What the video shows.")
    detect_performers: bool = Field(default=False, description="Names of performers.")
    detect_studios: bool = Field(
        default=False, description="The studio, its code and the date."
    )
    detect_tags: bool = Field(default=True, description="Tags from names and facts.")
    detect_details: bool = Field(default=False, description="Clean up the details.")
    confidence_threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Changes below it are not proposed; none: "
        "STASHHOG_ANALYSIS__CONFIDENCE_THRESHOLD.",
    )
    plan_name: str | None = Field(default=None, description="Name of the plan.")
    auto_approve: bool = Field(
        default=False, description="Approve every change; recorded as automatic."
    )


class ApplyPlanParams(JobParams):
    """Which approved changes `apply_plan` brings to Stash."""

    plan_id: Id = Field(description="The plan.")
    change_ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = Field(
        default=None, description="Only these approved changes; none: all approved."
    )
    auto_approve: bool = Field(
        default=False, description="First approve every pending change of the plan."
    )
    retry: bool = Field(
        default=False,
        description="Try failed changes again, which Stash refused in several runs.",
    )


class UndoParams(JobParams):
    """Which applied changes `undo_plan` takes back; what is given narrows."""

    plan_id: Id | None = Field(default=None, description="Changes of this plan.")
    scene_id: Id | None = Field(default=None, description="Changes of this scene.")
    change_ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = Field(
        default=None, description="These changes."
    )
    detector: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Changes that this detector proposed."
    )
    detector_version: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only by this version of the detector."
    )
    remember: bool = Field(
        default=False, description="Remember them as rejected: never propose again."
    )


class ReviewPlanParams(JobParams):
    """What `review_plan` decides on; what is given narrows, nothing given means all."""

    plan_id: Id = Field(description="The plan.")
    decision: Literal["show", "accept", "reject", "cancel"] = Field(
        default="show",
        description="show only lists the changes with their evidence; cancel turns "
        "down the whole plan.",
    )
    change_ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = Field(
        default=None, description="Only these changes."
    )
    scene_ids: SceneIds | None = Field(
        default=None, description="Only changes of these scenes."
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
    ) = Field(default=None, description="Only this field.")
    value: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only this tag, performer or studio."
    )
    detector: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Only what this detector proposed."
    )
    confidence_from: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Only changes at least so sure."
    )
    confidence_below: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Only changes less sure than this."
    )
    replace_by: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Instead of `value`, propose this existing tag, performer or "
        "studio in the selected changes before deciding.",
    )
    again: bool = Field(
        default=False,
        description="Also decide anew on selected changes that were decided before. "
        "Without this option only open changes and those named in change_ids change.",
    )
    apply: bool = Field(
        default=False, description="Then bring what is approved to Stash."
    )


class DirectoryScanParams(JobParams):
    """Which folder `directory_scan` indexes, and what it makes of the files."""

    path: str = Field(
        min_length=1,
        pattern=r"^/[^\x00]*$",
        description="Folder, inside STASHHOG_LIBRARY__ALLOWED_SCAN_ROOTS.",
    )
    timeout_seconds: float = Field(
        default=300,
        gt=0,
        description="Longest duration; what is done by then stays, the next run goes "
        "on from there.",
    )
    thumbnails: bool = Field(default=True, description="A thumbnail of each video.")
    sprites: bool = Field(
        default=False, description="A sheet of sprites with VTT of each video."
    )
    phashes: bool = Field(
        default=False, description="Perceptual hashes, equal to Stash's."
    )
    workers: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None,
        description="Processes that read files, in each shard; none: one per core.",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Parts that run side by side, where STASHHOG_RUNNER__KIND says.",
    )
    confirm_removals: bool = Field(
        default=False, description="Allow a run that was held for too many removals."
    )
    forget_unreachable: bool = Field(
        default=False,
        description="Remove the files that are out of reach since an earlier scan: "
        "those of a disk that never comes back. Files in a folder that cannot be read "
        "stay in the index.",
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
