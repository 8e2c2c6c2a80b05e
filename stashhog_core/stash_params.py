"""What the jobs of the Stash server can be asked to do, by Stash's own names."""

from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel

MAX_ID = 2**63 - 1
"""What the database holds; Stash's ids are smaller."""

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
ServerName = Annotated[str, Field(min_length=1)]


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


class StashJobParams(JobParams):
    """Base of the parameters that go to Stash as they are, named as Stash does."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class StashScanParams(StashJobParams):
    """What `stash_scan` asks Stash to scan and to generate on the way."""

    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Paths on the Stash server to scan. If empty, "
        'STASHHOG_STASH__SCAN_PATHS applies ("/data" by default).',
    )
    rescan: bool = Field(
        default=False,
        description="Also scan files that Stash already knows. Default: off.",
    )
    scan_generate_covers: bool = Field(
        default=True, description="Generate covers. Default: on."
    )
    scan_generate_previews: bool = Field(
        default=True, description="Generate preview videos. Default: on."
    )
    scan_generate_image_previews: bool = Field(
        default=False, description="Generate animated image previews. Default: off."
    )
    scan_generate_sprites: bool = Field(
        default=True, description="Generate timeline sprites. Default: on."
    )
    scan_generate_phashes: bool = Field(
        default=True, description="Generate perceptual hashes. Default: on."
    )
    scan_generate_thumbnails: bool = Field(
        default=False, description="Generate thumbnails of images. Default: off."
    )
    scan_generate_clip_previews: bool = Field(
        default=False, description="Generate previews of image clips. Default: off."
    )
    min_mod_time: AwareDatetime | None = Field(
        default=None,
        description="Scan only files that were modified after this time (Stash's "
        "filter.minModTime), such as 2026-11-21T04:00:00Z.",
    )
    server: ServerName | None = Field(
        default=None,
        description="Name of an additional Stash server in STASHHOG_STASH__SERVERS. "
        "If empty, the job uses your main Stash server.",
    )


PreviewPreset = Literal[
    "ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow"
]


_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
HOURS = rf"^{_CLOCK}-{_CLOCK}$"
"""A span of the day; it may go past midnight."""


class StashGenerateParams(StashJobParams):
    """What `stash_generate` asks Stash to produce."""

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
    covers: bool = Field(
        default=True, description="Generate scene covers. Default: on."
    )
    sprites: bool = Field(
        default=True,
        description="Generate timeline sprites with their VTT file. Default: on.",
    )
    previews: bool = Field(
        default=True, description="Generate preview videos. Default: on."
    )
    image_previews: bool = Field(
        default=False, description="Generate animated previews (WebP). Default: off."
    )
    markers: bool = Field(
        default=True, description="Generate marker videos. Default: on."
    )
    marker_image_previews: bool = Field(
        default=False,
        description="Generate animated marker previews (WebP). Default: off.",
    )
    marker_screenshots: bool = Field(
        default=True, description="Generate marker screenshots. Default: on."
    )
    transcodes: bool = Field(
        default=False,
        description="Transcode videos that browsers cannot play. Default: off.",
    )
    force_transcodes: bool = Field(
        default=False,
        description="Also transcode videos that browsers can play. Default: off.",
    )
    phashes: bool = Field(
        default=True, description="Generate perceptual hashes. Default: on."
    )
    interactive_heatmaps_speeds: bool = Field(
        default=False,
        description="Generate heatmaps of interactive scenes. Default: off.",
    )
    clip_previews: bool = Field(
        default=True, description="Generate previews of image clips. Default: on."
    )
    image_thumbnails: bool = Field(
        default=True, description="Generate thumbnails of images. Default: on."
    )
    overwrite: bool = Field(
        default=False,
        description="Replace existing media. This option is also needed to make a "
        "cover again whose file was removed from Stash's disk. Default: off.",
    )
    incremental: bool = Field(
        default=False,
        description="Check every scene after each Stash job, and mark the complete "
        "scenes at once. If off, scenes are marked once all Stash jobs of the run "
        "have succeeded. Default: off.",
    )
    retry_unmakeable: bool = Field(
        default=False,
        description="Also ask again for media that Stash could not make of the same "
        "file before. Default: off.",
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
    profile: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Name of a parameter set: quick, full or one of "
        "STASHHOG_STASH__GENERATE_PROFILES. Parameters that you set here override the "
        "parameter set.",
    )
    only_missing: bool = Field(
        default=False,
        description="Generate for each scene only the media that check_stash_generate "
        "found missing. Default: off.",
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
    when_idle: bool = Field(
        default=False,
        description="Start each Stash job only when Stash has no other job. Default: "
        "off.",
    )
    allowed_hours: str | None = Field(
        default=None,
        pattern=HOURS,
        description="Hours of this machine's clock in which Stash jobs may start, "
        "such as 22:00-06:30. A running Stash job continues after these hours. If "
        "empty, Stash jobs may start at any time.",
    )
    server: ServerName | None = Field(
        default=None,
        description="Name of an additional Stash server in STASHHOG_STASH__SERVERS. "
        "If empty, the job uses your main Stash server.",
    )


class CheckStashGenerateParams(StashJobParams):
    """Which media `check_stash_generate` looks for, and of which scenes."""

    scene_ids: SceneIds | None = Field(
        default=None,
        alias="sceneIDs",
        description="Ids of the scenes to check. If empty, all scenes in Stash are "
        "checked.",
    )
    covers: bool = Field(default=True, description="Check scene covers. Default: on.")
    sprites: bool = Field(
        default=True,
        description="Check timeline sprites with their VTT file. Default: on.",
    )
    previews: bool = Field(
        default=True, description="Check preview videos. Default: on."
    )
    image_previews: bool = Field(
        default=False, description="Check animated previews (WebP). Default: off."
    )
    markers: bool = Field(default=True, description="Check marker videos. Default: on.")
    marker_image_previews: bool = Field(
        default=False,
        description="Check animated marker previews (WebP). Default: off.",
    )
    marker_screenshots: bool = Field(
        default=True, description="Check marker screenshots. Default: on."
    )
    phashes: bool = Field(
        default=True, description="Check perceptual hashes. Default: on."
    )
    recheck: bool = Field(
        default=False,
        description="Also check scenes that were complete at the last check and have "
        "not changed since. Default: off.",
    )
    server: ServerName | None = Field(
        default=None,
        description="Name of an additional Stash server in STASHHOG_STASH__SERVERS. "
        "Scenes of an additional server are checked, but not marked. If empty, the "
        "job uses your main Stash server.",
    )
