"""The parameters of the jobs that the Stash server does.

Parameters that go to Stash as they are have Stash's own names.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from stashhog_core.params.base import (
    CONFIRM_REMOVALS,
    SERVER,
    Hours,
    JobParams,
    SceneIds,
    Text,
    switch,
)
from stashhog_core.settings.stash_box import Endpoint, SceneField
from stashhog_core.text_patterns import Written

PreviewPreset = Literal[
    "ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow"
]

LeftOut = Annotated[
    str, Written(r"^\d+(\.\d+)?%?$", "seconds or per cent, such as 2.5 or 2%")
]


class StashJobParams(JobParams):
    """Base of the parameters that go to Stash as they are, named as Stash does."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class StashScanParams(StashJobParams):
    """Parameters of `stash_scan`."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Paths on the Stash server to scan. If empty, "
        'STASHHOG_STASH__SCAN_PATHS applies ("/data" by default).',
    )
    rescan: bool = switch(False, "Also scan files that Stash already knows.")
    scan_generate_covers: bool = switch(True, "Generate covers.")
    scan_generate_previews: bool = switch(True, "Generate preview videos.")
    scan_generate_image_previews: bool = switch(
        False, "Generate animated image previews."
    )
    scan_generate_sprites: bool = switch(True, "Generate timeline sprites.")
    scan_generate_phashes: bool = switch(True, "Generate perceptual hashes.")
    scan_generate_thumbnails: bool = switch(False, "Generate thumbnails of images.")
    scan_generate_clip_previews: bool = switch(
        False, "Generate previews of image clips."
    )
    min_mod_time: AwareDatetime | None = Field(
        default=None,
        description="Scan only files that were modified after this time (Stash's "
        "filter.minModTime), such as 2026-11-21T04:00:00Z. If empty, the age of a "
        "file does not matter.",
    )
    server: Text | None = SERVER


_PATHS: Any = Field(
    default=None,
    description="Folders on the Stash server that the job is limited to. If empty, "
    'STASHHOG_STASH__SCAN_PATHS applies ("/data" by default).',
)
_Paths = Annotated[tuple[Text, ...], Field(min_length=1)]


class StashAutoTagParams(StashJobParams):
    """Parameters of `stash_auto_tag`."""

    paths: _Paths | None = _PATHS
    performers: bool = switch(True, "Look for the names of performers.")
    studios: bool = switch(True, "Look for the names and aliases of studios.")
    tags: bool = switch(True, "Look for the names and aliases of tags.")
    server: Text | None = SERVER

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        # Stash would walk through all files and tag nothing.
        if not (self.performers or self.studios or self.tags):
            raise ValueError("switch on performers, studios or tags")
        return self


class StashIdentifyParams(StashJobParams):
    """Parameters of `stash_identify`."""

    scene_ids: SceneIds | None = Field(
        default=None,
        alias="sceneIDs",
        description="Ids of the scenes to identify, also if Stash has marked the "
        "scenes as organized. If empty, Stash identifies all scenes below `paths` that "
        "are not organized.",
    )
    paths: _Paths | None = _PATHS
    endpoints: tuple[Endpoint, ...] = Field(
        default=(),
        description="Addresses of the stash-boxes to ask, in this order. Stash takes "
        "the answer of the first stash-box that knows a scene. If empty, Stash asks "
        "all its stash-boxes in its own order.",
    )
    overwrite: tuple[SceneField, ...] = Field(
        default=(),
        description="Fields whose values Stash replaces: title, code, date, details, "
        "director, urls, studio, performers, tags and stash_ids. If empty, Stash sets "
        "only what is missing.",
    )
    ignore: tuple[SceneField, ...] = Field(
        default=(), description="Fields that Stash leaves alone. If empty, none."
    )
    create_missing: tuple[Literal["performers", "studio", "tags"], ...] = Field(
        default=(),
        description="What Stash creates if it does not have it: performers, studio, "
        "tags. If empty, Stash creates nothing.",
    )
    set_cover_image: bool = switch(
        False,
        "Replace the cover of each identified scene. Stash takes whatever the server "
        "of the images answers, also a page with an error, and keeps no earlier cover.",
    )
    set_organized: bool = switch(False, "Mark each identified scene as organized.")
    include_male_performers: bool = switch(True, "Also set male performers.")
    skip_multiple_matches: bool = switch(
        True,
        "Leave out scenes for which a stash-box answers several scenes. If off, Stash "
        "writes the first of these scenes.",
    )
    skip_single_name_performers: bool = switch(
        True, "Create no performer whose name is a single word."
    )
    server: Text | None = SERVER


class StashCleanParams(StashJobParams):
    """Parameters of `stash_clean`."""

    paths: _Paths | None = _PATHS
    dry_run: bool | None = Field(
        default=None,
        description="List the files that are gone from the disk, but remove nothing. "
        "If empty, STASHHOG_STASH__CLEAN_DRY_RUN applies (on by default).",
    )
    confirm_removals: bool = CONFIRM_REMOVALS
    server: Text | None = SERVER


class StashOptimiseParams(StashJobParams):
    """Parameters of `stash_optimise`."""

    server: Text | None = SERVER


class StashBackupParams(StashJobParams):
    """Parameters of `stash_backup`."""

    server: Text | None = SERVER


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
    covers: bool = switch(True, "Generate scene covers.")
    sprites: bool = switch(True, "Generate timeline sprites with their VTT file.")
    previews: bool = switch(True, "Generate preview videos.")
    image_previews: bool = switch(False, "Generate animated previews (WebP).")
    markers: bool = switch(True, "Generate marker videos.")
    marker_image_previews: bool = switch(
        False, "Generate animated marker previews (WebP)."
    )
    marker_screenshots: bool = switch(True, "Generate marker screenshots.")
    transcodes: bool = switch(False, "Transcode videos that browsers cannot play.")
    force_transcodes: bool = switch(
        False, "Also transcode videos that browsers can play."
    )
    phashes: bool = switch(True, "Generate perceptual hashes.")
    interactive_heatmaps_speeds: bool = switch(
        False, "Generate heatmaps of interactive scenes."
    )
    clip_previews: bool = switch(True, "Generate previews of image clips.")
    image_thumbnails: bool = switch(True, "Generate thumbnails of images.")
    overwrite: bool = switch(
        False,
        "Replace existing media. This option is also needed to make a cover again "
        "whose file was removed from Stash's disk.",
    )
    incremental: bool = switch(
        False,
        "Check every scene after each Stash job, and mark the complete scenes at "
        "once. If off, scenes are marked once all Stash jobs of the run have "
        "succeeded.",
    )
    retry_unmakeable: bool = switch(
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
    preview_exclude_start: LeftOut = Field(
        default="0",
        description="Part to leave out of previews at the start of the video, in "
        "seconds or per cent, such as 2%. Default: 0.",
    )
    preview_exclude_end: LeftOut = Field(
        default="0",
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
    only_missing: bool = switch(
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
    when_idle: bool = switch(
        False, "Start each Stash job only when Stash has no other job."
    )
    allowed_hours: Hours | None = Field(
        default=None,
        description="Hours of this machine's clock in which Stash jobs may start, "
        "such as 22:00-06:30. A running Stash job continues after these hours. If "
        "empty, Stash jobs may start at any time.",
    )
    server: Text | None = SERVER


class CheckStashGenerateParams(StashJobParams):
    """Parameters of `check_stash_generate`."""

    scene_ids: SceneIds | None = Field(
        default=None,
        alias="sceneIDs",
        description="Ids of the scenes to check. If empty, all scenes in Stash are "
        "checked.",
    )
    covers: bool = switch(True, "Check scene covers.")
    sprites: bool = switch(True, "Check timeline sprites with their VTT file.")
    previews: bool = switch(True, "Check preview videos.")
    image_previews: bool = switch(False, "Check animated previews (WebP).")
    markers: bool = switch(True, "Check marker videos.")
    marker_image_previews: bool = switch(
        False, "Check animated marker previews (WebP)."
    )
    marker_screenshots: bool = switch(True, "Check marker screenshots.")
    phashes: bool = switch(True, "Check perceptual hashes.")
    recheck: bool = switch(
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
