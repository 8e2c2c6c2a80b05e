"""Covers: whether bytes are a picture that can be a cover, and of what size.

What comes as a cover may be a page that says "not found", or a bomb of a few bytes that
unpacks to gigabytes. So the size is read from the header before anything is decoded.
"""

import base64
import binascii
import io
import struct
from dataclasses import dataclass

import av
from av.error import FFmpegError

MOST_BYTES = 10_000_000
"""Larger covers are refused."""

LEAST_SIDES, MOST_SIDE = (160, 90), 8_000
"""Width and height that a cover has at least, and the longest side it may have."""

_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WebP": "image/webp"}
_SHOWN = 40
# Start of a frame of a JPEG, but for tables (C4), an extension (C8), coding (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class NoCoverError(ValueError):
    """Bytes that cannot be a cover; the text says why."""


@dataclass(frozen=True)
class CoverFacts:
    """What a picture is: JPEG, PNG or WebP, and its sides in pixels."""

    kind: str
    width: int
    height: int


def as_data_url(content: bytes) -> str:
    """Return a picture as Stash takes it."""
    facts = _facts(content)
    kind = _TYPES[facts.kind] if facts else "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def cover_content(data_url: str) -> bytes:
    """Return the content of a cover that came as a data URL.

    Raises:
        NoCoverError: It is none, is no picture, or of a size that no cover has.
    """
    head, _, data = data_url.partition(",")
    if not head.startswith("data:image/"):
        kind = head.removeprefix("data:").partition(";")[0][:_SHOWN]
        raise NoCoverError(f"what came is no picture ({kind or 'of no type'})")
    if len(data) > MOST_BYTES * 4 / 3 + 4:
        size = len(data) * 3 / 4 / 1_000_000
        most = MOST_BYTES / 1_000_000
        raise NoCoverError(f"the picture has {size:.0f} MB, more than {most:.0f} MB")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise NoCoverError("what came cannot be read") from error


def read_cover(content: bytes) -> CoverFacts:
    """Return what a cover is.

    Raises:
        NoCoverError: It is no picture, or of a size that no cover has.
    """
    facts = _facts(content)
    if facts is None:
        raise NoCoverError("what came is no picture (neither JPEG, PNG nor WebP)")
    sides = facts.width, facts.height
    is_small = facts.width < LEAST_SIDES[0] or facts.height < LEAST_SIDES[1]
    if is_small or max(sides) > MOST_SIDE:
        raise NoCoverError(f"the picture has {facts.width}x{facts.height} pixels")
    try:
        with av.open(io.BytesIO(content), "r") as container:
            next(container.decode(video=0))
    except (FFmpegError, StopIteration, IndexError) as error:
        raise NoCoverError("the picture is damaged") from error
    return facts


def _facts(content: bytes) -> CoverFacts | None:
    """Return what the header says; None: it is none of the known kinds."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            return CoverFacts("PNG", *struct.unpack(">II", content[16:24]))
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
    except struct.error:
        return None
    return None


def _jpeg(content: bytes) -> CoverFacts | None:
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return CoverFacts("JPEG", width, height)
        if marker == 0xFF:
            at += 1
            continue
        at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return None


def _webp(content: bytes) -> CoverFacts | None:
    form = content[12:16]
    if form == b"VP8X":
        width, height = (int.from_bytes(content[a : a + 3], "little") for a in (24, 27))
        return CoverFacts("WebP", width + 1, height + 1)
    if form == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return CoverFacts("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", content[26:30])
        return CoverFacts("WebP", width & 0x3FFF, height & 0x3FFF)
    return None
