"""What the jobs of the Stash server can be asked to do, by Stash's own names."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

MAX_ID = 2**63 - 1
"""What the database holds; Stash's ids are smaller."""

Id = Annotated[int, Field(gt=0, le=MAX_ID)]
SceneIds = Annotated[
    tuple[Id, ...],
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
    min_mod_time: AwareDatetime | None = Field(
        default=None,
        description="Only files changed since then (Stash's filter.minModTime), such "
        "as 2026-11-21T04:00:00Z.",
    )
    server: ServerName | None = Field(
        default=None,
        description="A further Stash server, by its name in STASHHOG_STASH__SERVERS.",
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
        description="Scenes; none: all scenes without generated media.",
    )
    marker_ids: SceneIds | None = Field(
        default=None,
        alias="markerIDs",
        description="Markers; with no scenes named, nothing but these.",
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
    overwrite: bool = Field(
        default=False,
        description="Replace existing media. A cover whose file was removed from "
        "Stash's disk is only made again with this option.",
    )
    incremental: bool = Field(
        default=False,
        description="Check every scene, and mark the complete ones, after each Stash "
        "job. Otherwise scenes are marked once all Stash jobs of the run have ended "
        "well.",
    )
    retry_unmakeable: bool = Field(
        default=False,
        description="Also ask again for media that Stash could not make of the same "
        "file before.",
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
    profile: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Named parameter set: quick, full or one of "
        "STASHHOG_STASH__GENERATE_PROFILES; what is set here goes before it.",
    )
    only_missing: bool = Field(
        default=False,
        description="Make for each scene only what check_stash_generate found missing.",
    )
    chunk_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Scenes per Stash job, one job after the other; none: one job for "
        "all.",
    )
    order: Literal["id", "newest", "given"] = Field(
        default="id",
        description="Which scenes come first in a chunked run: by id, the newest, or "
        "as they are named.",
    )
    when_idle: bool = Field(
        default=False,
        description="Start each Stash job only when Stash has nothing else to do.",
    )
    allowed_hours: str | None = Field(
        default=None,
        pattern=HOURS,
        description="Start Stash jobs only at these hours of this machine's clock, "
        "such as 22:00-06:30; a job under way goes on.",
    )
    server: ServerName | None = Field(
        default=None,
        description="A further Stash server, by its name in STASHHOG_STASH__SERVERS.",
    )


class CheckStashGenerateParams(StashJobParams):
    """Which media `check_stash_generate` looks for, and of which scenes."""

    scene_ids: SceneIds | None = Field(
        default=None, alias="sceneIDs", description="Scenes; none: all in Stash."
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
    phashes: bool = Field(default=True, description="Perceptual hashes.")
    recheck: bool = Field(
        default=False,
        description="Also scenes that were complete and have not changed since.",
    )
    server: ServerName | None = Field(
        default=None,
        description="A further Stash server, by its name in STASHHOG_STASH__SERVERS: "
        "it is only looked at, nothing is marked.",
    )
