"""Small pictures of a video: a thumbnail that shows something, a sheet of sprites."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from stashhog_core.errors import ItemError
from stashhog_core.media.opening import MOST_PIXELS, picture_decoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

THUMBNAIL_WIDTH = 320
SPRITE_WIDTH = 160
SPRITES = 81

_FIRST_CHOICE = 0.1
_OTHER_CHOICES = (0.0, 0.3, 0.5, 0.7, 0.9)
_END_MARGIN_SECONDS = 0.5
_DARK = 20
_FLAT = 12
_JPEG = "yuvj420p"
_UNKNOWN_RANGE, _FULL_RANGE = 0, 2


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG, upright and with square pixels, and the rotation it was turned by."""

    jpeg: bytes
    rotation: int


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Set the stream's decoder up for a few pictures of a file nobody vouches for.

    Raises:
        ItemError: There is none here, or its pictures are too large to be decoded.
    """
    codec = picture_decoder(stream)
    if codec.is_open:
        return codec
    # Starting threads costs more than they save on a picture or two; files are
    # decoded side by side instead.
    codec.thread_count = 1
    codec.options = {"max_pixels": str(MOST_PIXELS)}
    return codec


def thumbnail(
    container: InputContainer, stream: VideoStream, duration_seconds: float | None
) -> Thumbnail:
    """Return a picture at a tenth of the video; another when that is black or flat.

    Raises:
        ItemError: No picture can be decoded.
    """
    decoder_of(stream)
    best: tuple[float, VideoFrame, int] | None = None
    reformatter = VideoReformatter()
    aspect = float(stream.sample_aspect_ratio or 1)
    for second in _choices(duration_seconds):
        frame = _next_keyframe(container, stream, second)
        if frame is None:
            continue
        small = _scaled(reformatter, frame, aspect)
        brightness, contrast = _light(small)
        if best is None or contrast > best[0]:
            best = (contrast, small, round(frame.rotation) % 360)
        if brightness > _DARK and contrast > _FLAT:
            break
    if best is None:
        raise ItemError("no picture can be decoded")
    _, small, rotation = best
    if rotation % 360:
        small = _turned(small, rotation)
    return Thumbnail(to_jpeg(small), rotation)


def rotation_of(container: InputContainer, stream: VideoStream) -> int | None:
    """Return by how many degrees pictures are turned to stand upright.

    Headers tell the decoder only: a picture must be decoded. None: none can be.

    Raises:
        ItemError: Its pictures cannot be decoded here, or are too large for it.
    """
    decoder_of(stream)
    frame = _next_keyframe(container, stream, 0.0)
    return None if frame is None else round(frame.rotation) % 360


def _choices(duration_seconds: float | None) -> Iterator[float]:
    if not duration_seconds or not math.isfinite(duration_seconds):
        yield 0.0
        return
    last = max(0.0, duration_seconds - _END_MARGIN_SECONDS)
    yield min(_FIRST_CHOICE * duration_seconds, last)
    for share in _OTHER_CHOICES:
        yield min(share * duration_seconds, last)


def _next_keyframe(
    container: InputContainer, stream: VideoStream, second: float
) -> VideoFrame | None:
    """Return the keyframe at or after `second`, else the one before; None if none."""
    for backward in (False, True):
        if not seek(container, second, backward=backward):
            continue
        try:
            return next(container.decode(stream), None)
        except (FFmpegError, ValueError):
            continue
    return None


def seek(container: InputContainer, second: float, *, backward: bool) -> bool:
    """Go to a keyframe near `second`, counted from the start; tell whether it went."""
    start = container.start_time or 0
    try:
        container.seek(int(second * av.time_base) + start, backward=backward)
    except (FFmpegError, OverflowError):
        # The start can always be decoded, without any index.
        return second == 0.0
    return True


def _scaled(
    reformatter: VideoReformatter, frame: VideoFrame, aspect: float
) -> VideoFrame:
    width, height = frame.width * aspect, frame.height
    if round(frame.rotation / 90) % 2:
        scale = min(1.0, THUMBNAIL_WIDTH / height)
    else:
        scale = min(1.0, THUMBNAIL_WIDTH / width)
    return reformatter.reformat(
        frame,
        width=_even(width * scale),
        height=_even(height * scale),
        format=_JPEG,
        dst_color_range=_FULL_RANGE,
    )


def _even(length: float) -> int:
    return max(16, min(4096, round(length / 2) * 2))


def _light(picture: VideoFrame) -> tuple[float, float]:
    """Return brightness (mean) and contrast (spread of the middle nine tenths)."""
    luma = sorted(bytes(picture.planes[0])[::41])
    edge = len(luma) // 20
    return sum(luma) / len(luma), float(luma[-1 - edge] - luma[edge])


def _turned(picture: VideoFrame, degrees: int) -> VideoFrame:
    import numpy as np

    turned = np.rot90(picture.to_ndarray(format="rgb24"), round(degrees / 90) % 4)
    return from_picture(np.ascontiguousarray(turned))


def from_picture(picture: "Picture") -> VideoFrame:
    """Return rows of (red, green, blue) as a frame that JPEG can hold."""
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(format=_JPEG, dst_color_range=_FULL_RANGE)


def to_jpeg(picture: VideoFrame) -> bytes:
    """Encode a frame of `from_picture` or of a reformat to full-range YUV 4:2:0."""
    encoder = cast(Any, av.CodecContext.create("mjpeg", "w"))
    encoder.width, encoder.height = picture.width, picture.height
    encoder.pix_fmt = _JPEG
    encoder.time_base = Fraction(1, 25)
    encoder.color_range = _FULL_RANGE
    encoder.qmin = encoder.qmax = 4
    picture.pts = 0
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
