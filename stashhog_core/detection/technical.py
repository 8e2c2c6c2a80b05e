"""Detector `technical`: tags for properties of the file, such as its resolution."""

import re
from collections.abc import Callable, Iterator, Mapping

from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.plans.proposals import Proposal, add_member

NAME = "technical"
VERSION = "3"

TAG_NAMES: Mapping[str, tuple[str, ...]] = {
    "480p": ("480p", "SD"),
    "720p": ("720p", "HD"),
    "1080p": ("1080p", "Full HD", "FHD"),
    "1440p": ("1440p", "QHD"),
    "4k": ("4K", "2160p", "UHD", "4K Available"),
    "8k": ("8K", "4320p"),
    "portrait": ("Portrait", "Vertical Video", "Vertical"),
    "square": ("Square", "Square Video"),
    "60fps": ("60 fps", "60fps", "High Frame Rate"),
    "short": ("Short", "Short Video"),
    "long": ("Long", "Long Video"),
    "silent": ("Silent", "No Sound", "No Audio"),
    "hdr": ("HDR", "HDR10", "High Dynamic Range"),
    "hevc": ("HEVC", "H.265", "H265", "x265"),
    "av1": ("AV1",),
    "vp9": ("VP9",),
    "vr": ("VR", "Virtual Reality", "VR180", "180 VR"),
}
"""Class of file → tag names for the class. The first name that Stash has is used. If
Stash has none of the names, the first name is proposed, if tags may be created."""

_NEVER_CREATED = frozenset({"hdr", "hevc", "av1", "vp9", "vr"})
"""Few users want these tags: they are proposed only if Stash has the tag or the user
has chosen a name."""

# The marks that makers and players of VR videos use in file names.
_VR_NAME = re.compile(
    r"(?<![a-z0-9])(?:vr(?:180|360)?|(?:180|360)[ _.-]?(?:vr|sbs|lr|tb|3dh|3dv|mono)"
    r"|(?:sbs|lr|tb|3dh|3dv)[ _.-]?(?:180|360)|180x180|mkx2[02]0|fisheye(?:190|200)?"
    r"|rf52|vrca220|oculus|gearvr)(?![a-z0-9])",
    re.IGNORECASE,
)

_LEAST_LINES = (
    ("8k", 4320),
    ("4k", 2160),
    ("1440p", 1440),
    ("1080p", 1080),
    ("720p", 720),
    ("480p", 480),
)
# Encoders crop a few lines to match their block size.
_LINES_TOLERANCE = 0.98
_SQUARE_TOLERANCE = 0.05
_LEAST_HIGH_FRAME_RATE = 55
# Short Matroska files give averages up to 1000: no camera, but a rounding error.
_MOST_FRAME_RATE = 240
SHORT_SECONDS = 5 * 60
LONG_SECONDS = 40 * 60

FindTag = Callable[[str], tuple[int, str] | None]
"""Returns id and main name of the tag with a name or alias; None: no tag has it."""


def propose(
    scene: SceneFacts,
    find_tag: FindTag,
    create_missing: bool,
    names: Mapping[str, str] | None = None,
) -> list[Proposal]:
    """Return the technical tags that the scene lacks.

    Args:
        scene: The scene; a scene without a file gets no tags.
        find_tag: Finds a tag of Stash by its name.
        create_missing: Whether a tag that Stash lacks may be proposed.
        names: The user's tag name per class; a class with an empty name is never
            proposed.
    """
    if scene.file is None:
        return []
    proposals = []
    for kind, evidence in classify(scene.file, scene.file_name):
        own = (names or {}).get(kind)
        candidates = TAG_NAMES[kind] if own is None else (own,) if own else ()
        found = next(filter(None, map(find_tag, candidates)), None)
        if found is not None and found[0] in scene.tag_ids:
            continue
        may_create = create_missing and bool(candidates)
        if kind in _NEVER_CREATED:
            may_create = may_create and bool(own)
        if found is None and not may_create:
            continue
        tag_id, name = found or (None, candidates[0])
        proposals.append(
            add_member(
                "tags", tag_id, name, 0.99, NAME, {"rule": "file facts", **evidence}
            )
        )
    return proposals


def classify(
    file: PrimaryFile, name: str = ""
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each class of a file with the facts that support the class.

    Facts that Stash does not know (0 or None) support no class.
    """
    width, height = file.width or 0, file.height or 0
    if width and height:
        size: dict[str, object] = {"width": width, "height": height}
        # A wide film of 1920 by 800 counts as 1080p without its black bars.
        lines = max(min(width, height), max(width, height) * 9 / 16)
        for kind, least in _LEAST_LINES:
            if lines >= least * _LINES_TOLERANCE:
                yield kind, size
                break
        if abs(width - height) <= _SQUARE_TOLERANCE * max(width, height):
            yield "square", size
        elif height > width:
            yield "portrait", size
        # Without a picture size Stash has not probed the file: do not infer silence.
        if not file.audio_codec:
            yield "silent", {"audio_codec": ""}
    if _LEAST_HIGH_FRAME_RATE <= (file.frame_rate or 0) <= _MOST_FRAME_RATE:
        yield "60fps", {"frame_rate": file.frame_rate}
    duration = file.duration_seconds or 0
    if 0 < duration < SHORT_SECONDS:
        yield "short", {"duration_seconds": round(duration, 1)}
    elif duration >= LONG_SECONDS:
        yield "long", {"duration_seconds": round(duration, 1)}
    if file.video_codec.lower() in ("hevc", "h265", "av1", "vp9"):
        codec = file.video_codec.lower().replace("h265", "hevc")
        yield codec, {"video_codec": file.video_codec}
    if file.hdr:
        yield "hdr", {"hdr": file.hdr}
    if found := _VR_NAME.search(name):
        yield "vr", {"text": name, "span": list(found.span())}
