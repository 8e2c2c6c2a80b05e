"""Everything the headers of a video file say of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from stashhog_core.media.opening import (
    codec_name,
    has_decoder,
    header_duration,
    measured_duration,
)

_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_DOLBY_TAGS = ("dvh1", "dvhe", "dva1", "dvav", "dav1")
_MOST_LISTED = 200
"""Streams and chapters beyond it are left out: a hostile file may claim millions."""

_LONGEST_TEXT = 500


@dataclass(frozen=True)
class VideoFacts:
    """Facts of a video file; None where it does not say, or no decoder here knows it.

    Width and height are those of the stored picture, before rotation; `pixel_aspect`
    is the width of a pixel for a height of 1. `streams` are all of them, cover art
    included, `subtitles` and `chapters` repeat what concerns them.
    """

    container: str
    duration_seconds: float | None
    bit_rate: int | None
    video_codec: str | None
    profile: str | None
    width: int | None
    height: int | None
    pixel_aspect: float | None
    frame_rate: float | None
    real_frame_rate: float | None
    hdr: str | None
    audio_codec: str | None
    audio_channels: int | None
    created: datetime | None
    streams: tuple[dict[str, Any], ...]
    subtitles: tuple[str, ...]
    chapters: tuple[dict[str, Any], ...]


def read_facts(
    container: InputContainer, stream: VideoStream, size_bytes: int
) -> VideoFacts:
    """Read the facts; only a file whose headers give no length is read through."""
    duration = header_duration(container, stream)
    if duration is None:
        duration = measured_duration(container, stream)
    codec = stream.codec_context if has_decoder(stream) else None
    sounds = container.streams.audio
    sound = sounds[0] if sounds else None
    bit_rate = container.bit_rate or None
    if bit_rate is None and duration:
        bit_rate = int(size_bytes * 8 / duration)
    return VideoFacts(
        container=container.format.name,
        duration_seconds=duration if duration and math.isfinite(duration) else None,
        bit_rate=bit_rate if bit_rate and 0 < bit_rate < 2**62 else None,
        video_codec=codec_name(stream),
        profile=_text(stream.profile),
        width=(codec.width or None) if codec else None,
        height=(codec.height or None) if codec else None,
        pixel_aspect=_ratio(stream.sample_aspect_ratio),
        frame_rate=_ratio(stream.average_rate),
        real_frame_rate=_ratio(stream.base_rate),
        hdr=_hdr(stream),
        audio_codec=codec_name(sound) if sound else None,
        audio_channels=sound.channels if sound and has_decoder(sound) else None,
        created=_created(container.metadata),
        streams=tuple(_streams(container)),
        subtitles=tuple(
            _text(s.language) or "und" for s in container.streams.subtitles
        )[:_MOST_LISTED],
        chapters=tuple(_chapters(container)),
    )


def _ratio(value: Fraction | None) -> float | None:
    # 0/0 and 1/0 come as None or as zero: unknown.
    return float(value) if value else None


def _text(value: object) -> str | None:
    """Return a text that the database takes: no NUL, no lone surrogate, not endless."""
    if not value:
        return None
    text = str(value).replace("\x00", "")[:_LONGEST_TEXT]
    return text.encode("utf-8", "replace").decode() or None


def _hdr(stream: VideoStream) -> str | None:
    if not has_decoder(stream):
        return None
    codec = stream.codec_context
    if str(codec.codec_tag).lower() in _DOLBY_TAGS:
        return "Dolby Vision"
    return _HDR_TRANSFERS.get(int(codec.color_trc or 0))


def _streams(container: InputContainer) -> Iterator[dict[str, Any]]:
    for stream in list(container.streams)[:_MOST_LISTED]:
        codec: Any = stream.codec_context if has_decoder(stream) else None
        facts: dict[str, Any] = {
            "index": stream.index,
            "type": stream.type,
            "codec": codec_name(stream),
            "language": _text(stream.language),
            "title": _text(stream.metadata.get("title")),
            "default": bool(stream.disposition & Disposition.default),
            "forced": bool(stream.disposition & Disposition.forced),
            "cover": bool(stream.disposition & Disposition.attached_pic),
        }
        if stream.type == "video" and codec:
            facts |= {"width": codec.width, "height": codec.height}
        if stream.type == "audio" and codec:
            facts |= {"channels": codec.channels, "sample_rate": codec.sample_rate}
        yield {name: value for name, value in facts.items() if value is not None}


def _chapters(container: InputContainer) -> Iterator[dict[str, Any]]:
    for chapter in container.chapters()[:_MOST_LISTED]:
        base = chapter["time_base"]
        if not base:
            continue
        yield {
            "start": float(chapter["start"] * base),
            "end": float(chapter["end"] * base),
            "title": _text(chapter["metadata"].get("title")) or "",
        }


def _created(metadata: dict[str, str]) -> datetime | None:
    text = metadata.get("creation_time", "").replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Cameras without a clock write the start of an epoch.
    return moment if moment.year > 1970 else None
