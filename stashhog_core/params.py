"""The parameters of each job, for its form, the terminal and the API.

Parameters that go to Stash as they are have Stash's own names.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel

from stashhog_core.ids import MAX_ID
from stashhog_core.results import Step

Id = Annotated[int, Field(gt=0, le=MAX_ID)]
_IdOrText = Annotated[
    Id,
    # Results and Stash itself give ids as texts, and Prefect's API checks a new run by
    # this schema, which would refuse a text for an integer.
    WithJsonSchema(
        {
            "title": "Id",
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0, "maximum": MAX_ID},
                {"type": "string", "pattern": r"^[0-9]{1,19}$"},
            ],
        },
        mode="validation",
    ),
]
SceneIds = Annotated[
    tuple[_IdOrText, ...],
    # Stash takes an empty list as "everything": it is refused at the door.
    Field(min_length=1),
]
Ids = Annotated[tuple[Id, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Minutes = Annotated[float, Field(gt=0)]
Confidence = Annotated[float, Field(ge=0, le=1)]

PreviewPreset = Literal[
    "ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow"
]

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
HOURS = rf"^{_CLOCK}-{_CLOCK}$"
"""A span of the day; it may go past midnight."""


def _switch(default: bool, description: str) -> Any:
    """Return a field that is on or off, and whose description says the default."""
    state = "on" if default else "off"
    return Field(default=default, description=f"{description} Default: {state}.")


# What several forms ask for.
_EXCLUDE_SMALL_VIDS = _switch(False, "Leave out videos shorter than 30 seconds.")
_CONFIRM_REMOVALS = _switch(
    False, "Allow a run whose removals exceed the removal limit."
)
_MAX_MINUTES: Any = Field(
    default=None,
    description="Number of minutes after which the run starts no further scene, more "
    "than 0. The next run continues with the remaining scenes. If empty, there is no "
    "limit.",
)
_SERVER: Any = Field(
    default=None,
    description="Name of an additional Stash server in STASHHOG_STASH__SERVERS. If "
    "empty, the job uses your main Stash server.",
)


class JobParams(BaseModel):
    """Base of all job parameters: frozen, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _is_storable(cls, value: Any) -> Any:
        if _holds_zero(value):
            raise ValueError("a text cannot hold the character 0")
        return value


def _holds_zero(value: Any) -> bool:
    """Tell whether a text, or one in a list, holds what the database refuses."""
    if isinstance(value, str):
        return "\0" in value
    return isinstance(value, list | tuple) and any(map(_holds_zero, value))


def removal_limit(rows: int) -> int:
    """Return how many of so many rows one run removes without `confirm_removals`."""
    return max(20, rows * 5 // 100)


T = TypeVar("T")


def or_setting(parameter: T | None, setting: T) -> T:
    """Return a parameter, or the setting that applies if the parameter is empty."""
    return setting if parameter is None else parameter


class StashJobParams(JobParams):
    """Base of the parameters that go to Stash as they are, named as Stash does."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ProcessNewScenesParams(JobParams):
    """Parameters of `process_new_scenes`."""

    exclude_small_vids: bool = _EXCLUDE_SMALL_VIDS
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
    max_minutes: Minutes | None = _MAX_MINUTES
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
    """Parameters of `process_downloads`."""

    exclude_small_vids: bool = _EXCLUDE_SMALL_VIDS
    dry_run: bool = _switch(
        False, "Report what the run would do, but place and remove nothing."
    )


class StashScanParams(StashJobParams):
    """Parameters of `stash_scan`."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Paths on the Stash server to scan. If empty, "
        'STASHHOG_STASH__SCAN_PATHS applies ("/data" by default).',
    )
    rescan: bool = _switch(False, "Also scan files that Stash already knows.")
    scan_generate_covers: bool = _switch(True, "Generate covers.")
    scan_generate_previews: bool = _switch(True, "Generate preview videos.")
    scan_generate_image_previews: bool = _switch(
        False, "Generate animated image previews."
    )
    scan_generate_sprites: bool = _switch(True, "Generate timeline sprites.")
    scan_generate_phashes: bool = _switch(True, "Generate perceptual hashes.")
    scan_generate_thumbnails: bool = _switch(False, "Generate thumbnails of images.")
    scan_generate_clip_previews: bool = _switch(
        False, "Generate previews of image clips."
    )
    min_mod_time: AwareDatetime | None = Field(
        default=None,
        description="Scan only files that were modified after this time (Stash's "
        "filter.minModTime), such as 2026-11-21T04:00:00Z. If empty, the age of a "
        "file does not matter.",
    )
    server: Text | None = _SERVER


class SyncParams(JobParams):
    """Parameters of `sync`."""

    force: bool = _switch(
        False, "Fetch every scene, whether it has changed or not (full sync)."
    )
    scene_ids: SceneIds | None = Field(
        default=None,
        description="Ids of the scenes to sync. The next incremental sync is not "
        "affected. If empty, the whole library is synced.",
    )
    confirm_removals: bool = _CONFIRM_REMOVALS
    deep: bool = _switch(
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

    remove_scenes: bool = _switch(True, "Remove scenes that Stash no longer has.")
    remove_performers: bool = _switch(
        True, "Remove performers that Stash no longer has."
    )
    remove_tags: bool = _switch(True, "Remove tags that Stash no longer has.")
    remove_studios: bool = _switch(True, "Remove studios that Stash no longer has.")
    dry_run: bool = _switch(False, "List what is gone from Stash, but change nothing.")
    confirm_removals: bool = _CONFIRM_REMOVALS


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
    include_analyzed: bool = _switch(
        False, "Also select scenes whose video has already been analyzed."
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Maximum number of scenes, at least 1; the newest scenes are "
        "taken. If empty, there is no limit.",
    )
    max_minutes: Minutes | None = _MAX_MINUTES
    detect_video_tags: bool = _switch(
        True,
        "Propose tags and markers for what the video shows. Without an AI server and a "
        "model of yours, title cards are read, and also show performers and studios if "
        "these are requested.",
    )
    detect_performers: bool = _switch(False, "Propose performers.")
    detect_studios: bool = _switch(
        False, "Propose the studio, the studio's code and the date."
    )
    detect_tags: bool = _switch(
        True, "Propose tags from names, and from technical facts of the file."
    )
    detect_details: bool = _switch(False, "Propose cleaned-up details.")
    confidence_threshold: Confidence | None = Field(
        default=None,
        description="Minimum confidence of a proposed change, 0 to 1. If empty, "
        "STASHHOG_ANALYSIS__CONFIDENCE_THRESHOLD applies (0.7 by default).",
    )
    plan_name: str | None = Field(
        default=None,
        description="Name of the plan. If empty, the plan is named automatically.",
    )
    auto_approve: bool = _switch(
        False,
        "Approve every proposed change without a review, except for names that other "
        "names are spelled almost like; the plan records these approvals as automatic.",
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
    again: bool = _switch(
        False,
        "Also decide on selected changes that were decided before. If off, the "
        "decision changes only open changes and the changes named in change_ids.",
    )
    apply: bool = _switch(
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
    auto_approve: bool = _switch(
        False,
        "Approve every open change of the plan before applying, except for names that "
        "other names are spelled almost like.",
    )
    retry: bool = _switch(
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
    auto_approve_all_changes: bool = _switch(
        False,
        "Approve every open change of these plans before applying, except for names "
        "that other names are spelled almost like; the plans record these approvals as "
        "automatic.",
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
    remember: bool = _switch(
        False,
        "Remember the undone values as rejected, so that they are never proposed "
        "again.",
    )


class StashGenerateParams(StashJobParams):
    """Parameters of `stash_generate`."""

    # The wire name is Stash's own, with a capital D.
    scene_ids: SceneIds | None = Field(
        default=None,
        alias="sceneIDs",
        description="Ids of the scenes to generate for. If empty, all scenes without "
        "generated media are selected.",
    )
    marker_ids: SceneIds | None = Field(
        default=None,
        alias="markerIDs",
        description="Ids of markers to generate for. If no scenes are named, only "
        "these markers are selected.",
    )
    covers: bool = _switch(True, "Generate scene covers.")
    sprites: bool = _switch(True, "Generate timeline sprites with their VTT file.")
    previews: bool = _switch(True, "Generate preview videos.")
    image_previews: bool = _switch(False, "Generate animated previews (WebP).")
    markers: bool = _switch(True, "Generate marker videos.")
    marker_image_previews: bool = _switch(
        False, "Generate animated marker previews (WebP)."
    )
    marker_screenshots: bool = _switch(True, "Generate marker screenshots.")
    transcodes: bool = _switch(False, "Transcode videos that browsers cannot play.")
    force_transcodes: bool = _switch(
        False, "Also transcode videos that browsers can play."
    )
    phashes: bool = _switch(True, "Generate perceptual hashes.")
    interactive_heatmaps_speeds: bool = _switch(
        False, "Generate heatmaps of interactive scenes."
    )
    clip_previews: bool = _switch(True, "Generate previews of image clips.")
    image_thumbnails: bool = _switch(True, "Generate thumbnails of images.")
    overwrite: bool = _switch(
        False,
        "Replace existing media. This option is also needed to make a cover again "
        "whose file was removed from Stash's disk.",
    )
    incremental: bool = _switch(
        False,
        "Check every scene after each Stash job, and mark the complete scenes at "
        "once. If off, scenes are marked once all Stash jobs of the run have "
        "succeeded.",
    )
    retry_unmakeable: bool = _switch(
        False,
        "Also ask again for media that Stash could not make of the same file before.",
    )
    preview_segments: int = Field(
        default=12,
        ge=1,
        description="Number of segments in a preview video, at least 1; default 12.",
    )
    preview_segment_duration: float = Field(
        default=0.75,
        gt=0,
        description="Length of each preview segment in seconds, more than 0; default "
        "0.75.",
    )
    preview_exclude_start: str = Field(
        default="0",
        pattern=r"^\d+(\.\d+)?%?$",
        description="Part to leave out of previews at the start of the video, in "
        "seconds or per cent, such as 2%. Default: 0.",
    )
    preview_exclude_end: str = Field(
        default="0",
        pattern=r"^\d+(\.\d+)?%?$",
        description="Part to leave out of previews at the end of the video, in "
        "seconds or per cent, such as 2%. Default: 0.",
    )
    preview_preset: PreviewPreset = Field(
        default="slow", description="Encoding preset of preview videos; default slow."
    )
    profile: Text | None = Field(
        default=None,
        description="Name of a parameter set: quick, full or one of "
        "STASHHOG_STASH__GENERATE_PROFILES. Parameters that you set here override the "
        "parameter set. If empty, the defaults of this form apply.",
    )
    only_missing: bool = _switch(
        False,
        "Generate for each scene only the media that check_stash_generate found "
        "missing.",
    )
    chunk_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Number of scenes per Stash job, at least 1; the jobs run one "
        "after the other. If empty, one Stash job generates for all scenes.",
    )
    order: Literal["id", "newest", "given"] = Field(
        default="id",
        description="Which scenes come first if chunkSize is set: id (lowest id), "
        "newest, or given (the order of sceneIDs). Default: id.",
    )
    when_idle: bool = _switch(
        False, "Start each Stash job only when Stash has no other job."
    )
    allowed_hours: str | None = Field(
        default=None,
        pattern=HOURS,
        description="Hours of this machine's clock in which Stash jobs may start, "
        "such as 22:00-06:30. A running Stash job continues after these hours. If "
        "empty, Stash jobs may start at any time.",
    )
    server: Text | None = _SERVER


class CheckStashGenerateParams(StashJobParams):
    """Parameters of `check_stash_generate`."""

    scene_ids: SceneIds | None = Field(
        default=None,
        alias="sceneIDs",
        description="Ids of the scenes to check. If empty, all scenes in Stash are "
        "checked.",
    )
    covers: bool = _switch(True, "Check scene covers.")
    sprites: bool = _switch(True, "Check timeline sprites with their VTT file.")
    previews: bool = _switch(True, "Check preview videos.")
    image_previews: bool = _switch(False, "Check animated previews (WebP).")
    markers: bool = _switch(True, "Check marker videos.")
    marker_image_previews: bool = _switch(
        False, "Check animated marker previews (WebP)."
    )
    marker_screenshots: bool = _switch(True, "Check marker screenshots.")
    phashes: bool = _switch(True, "Check perceptual hashes.")
    recheck: bool = _switch(
        False,
        "Also check scenes that were complete at the last check and have not changed "
        "since.",
    )
    server: Text | None = Field(
        default=None,
        description="Name of an additional Stash server in STASHHOG_STASH__SERVERS. "
        "Scenes of an additional server are checked, but not marked. If empty, the "
        "job uses your main Stash server.",
    )


class DirectoryScanParams(JobParams):
    """Parameters of `directory_scan`."""

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
    file_timeout_seconds: float = Field(
        default=30,
        ge=6,
        le=3600,
        description="Maximum time for one file in seconds, 6 to 3600; default 30. If "
        "the time is too short for an option, the scan stores the facts of the file "
        "and a warning. A scan with a higher value tries the option again.",
    )
    thumbnails: bool = _switch(True, "Make a thumbnail of each video.")
    sprites: bool = _switch(
        False, "Make a sprite sheet with its VTT file of each video."
    )
    phashes: bool = _switch(False, "Calculate perceptual hashes, equal to Stash's.")
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
    confirm_removals: bool = _CONFIRM_REMOVALS
    forget_unreachable: bool = _switch(
        False,
        "Remove files from the index that were out of reach in an earlier scan and "
        "still are, such as those of a disk that never comes back. Files in a folder "
        "that cannot be read stay in the index.",
    )


class CleanupParams(JobParams):
    """Parameters of `cleanup`."""

    dry_run: bool = _switch(
        False, "List what the run would remove, but change nothing."
    )
    confirm_removals: bool = _CONFIRM_REMOVALS


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
"""The name of each flow, and the parameters of its job."""
