"""What each job can be asked to do."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

SceneIds = Annotated[
    tuple[Annotated[int, Field(gt=0)], ...],
    # Stash takes an empty list as "everything": it is refused at the door.
    Field(min_length=1),
]


class JobParams(BaseModel):
    """Base of all job parameters: frozen, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StashJobParams(JobParams):
    """Base of the parameters that go to Stash as they are, named as Stash does."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


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


class ProcessDownloadsParams(JobParams):
    """What `process_downloads` takes and leaves."""

    exclude_small_vids: bool = Field(
        default=False, description="Leave out videos shorter than 30 seconds."
    )
    dry_run: bool = Field(
        default=False, description="Report what would be done; change nothing."
    )


class StashScanParams(StashJobParams):
    """What `stash_scan` asks Stash to scan and to generate on the way."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Paths on the Stash server; none: STASHHOG_STASH__SCAN_PATHS, "
        'which is ["/data"] by default.',
    )
    rescan: bool = Field(default=False, description="Also files already known.")
    scan_generate_covers: bool = Field(default=True, description="Covers.")
    scan_generate_previews: bool = Field(default=True, description="Preview videos.")
    scan_generate_image_previews: bool = Field(
        default=False, description="Animated image previews."
    )
    scan_generate_sprites: bool = Field(default=True, description="Timeline sprites.")
    scan_generate_phashes: bool = Field(default=True, description="Perceptual hashes.")
    scan_generate_thumbnails: bool = Field(
        default=False, description="Thumbnails of images."
    )
    scan_generate_clip_previews: bool = Field(
        default=False, description="Previews of image clips."
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


class AnalysisParams(JobParams):
    """Which scenes `analysis` looks at, and for what."""

    scene_ids: SceneIds | None = Field(
        default=None, description="Scenes; none: all not yet video-analysed."
    )
    detect_video_tags: bool = Field(default=True, description="What the video shows.")
    detect_performers: bool = Field(default=False, description="Names of performers.")
    detect_studios: bool = Field(default=False, description="The studio.")
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

    plan_id: int = Field(gt=0, description="The plan.")
    change_ids: Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        default=None, description="Only these approved changes; none: all approved."
    )
    auto_approve: bool = Field(
        default=False, description="First approve every pending change of the plan."
    )


PreviewPreset = Literal[
    "ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow"
]


class StashGenerateParams(StashJobParams):
    """What `stash_generate` asks Stash to produce."""

    # The wire name is Stash's own, with a capital D.
    scene_ids: SceneIds | None = Field(
        default=None,
        alias="sceneIDs",
        description="Scenes; none: all scenes without generated media.",
    )
    covers: bool = Field(default=True, description="Scene covers.")
    sprites: bool = Field(default=True, description="Timeline sprites and VTT.")
    previews: bool = Field(default=True, description="Preview videos.")
    image_previews: bool = Field(default=False, description="Animated previews (WebP).")
    markers: bool = Field(default=True, description="Marker videos.")
    marker_image_previews: bool = Field(
        default=False, description="Animated marker previews (WebP)."
    )
    marker_screenshots: bool = Field(default=True, description="Marker screenshots.")
    transcodes: bool = Field(default=False, description="Transcode for browsers.")
    force_transcodes: bool = Field(
        default=False, description="Transcode even what browsers can play."
    )
    phashes: bool = Field(default=True, description="Perceptual hashes.")
    interactive_heatmaps_speeds: bool = Field(
        default=False, description="Heatmaps of interactive scenes."
    )
    clip_previews: bool = Field(default=True, description="Previews of image clips.")
    image_thumbnails: bool = Field(default=True, description="Thumbnails of images.")
    overwrite: bool = Field(default=False, description="Replace existing media.")
    incremental: bool = Field(
        default=False,
        description="Mark the scenes proven complete, though others lack media; "
        "otherwise all are marked or none.",
    )
    preview_segments: int = Field(default=12, ge=1, description="Preview segments.")
    preview_segment_duration: float = Field(
        default=0.75, gt=0, description="Seconds per preview segment."
    )
    preview_exclude_start: str = Field(
        default="0",
        pattern=r"^\d+(\.\d+)?%?$",
        description="Left out at the start: seconds, or per cent as in 2%.",
    )
    preview_exclude_end: str = Field(
        default="0",
        pattern=r"^\d+(\.\d+)?%?$",
        description="Left out at the end: seconds, or per cent as in 2%.",
    )
    preview_preset: PreviewPreset = Field(
        default="slow", description="Encoding preset of previews."
    )


JOB_PARAMS: dict[str, type[JobParams]] = {
    "process_new_scenes": ProcessNewScenesParams,
    "process_downloads": ProcessDownloadsParams,
    "stash_scan": StashScanParams,
    "sync": SyncParams,
    "analysis": AnalysisParams,
    "apply_plan": ApplyPlanParams,
    "stash_generate": StashGenerateParams,
}
"""The jobs, by the name of their flow, and what each can be asked."""
