"""Still pictures of a video: the keyframes of its first and last minute."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from stashhog_core.errors import ItemError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

WINDOW_SECONDS = 60.0
"""Length of the part at either end that is looked at."""

LONG_SIDE_PIXELS = 960
"""Larger frames are scaled down: letters of a title are still 20 pixels high."""

PICTURES_PER_WINDOW = 24
"""Most pictures of either end; more would cost minutes on an all-intra file."""

SPACING_SECONDS = 1.0
"""Least time between two pictures; a title stands longer."""

_THUMBNAIL = (64, 36)
_SAME_CELLS_DIFFER_BY = 12
_FLAT_CELLS_DIFFER_BY = 10


@dataclass(frozen=True)
class Still:
    """One picture, upright: rows of pixels of (blue, green, red)."""

    second: float
    picture: "Picture"


def end_stills(path: Path) -> list[Still]:
    """Return the keyframes of the first and last minute that differ, in order.

    Flat pictures (black leaders) and repeats of the picture before are left out. Only
    keyframes are decoded, so a two-hour file costs hardly more than a short one. A file
    that breaks off in the middle yields what could be read.

    Raises:
        ItemError: Nothing could be decoded: no such file, not a video, no video
            stream, only cover art, or every keyframe is broken.
    """
    try:
        with av.open(str(path), mode="r", metadata_errors="replace") as container:
            stream = _picture_stream(container, path)
            stream.codec_context.skip_frame = "NONKEY"
            stills = list(_stills(container, stream, path))
    except (FFmpegError, ValueError) as error:
        raise ItemError(
            f"The video cannot be read ({_reason(error)})", where=str(path)
        ) from error
    return stills


def _picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream that is not the cover art."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise ItemError("The file has no video stream", where=str(path))


def _stills(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[Still]:
    duration = _duration_seconds(container, stream)
    decoded = 0
    last: Any = None
    for start, end in _windows(duration):
        taken = 0
        next_second = start
        for second, frame in _keyframes(container, stream, start, end):
            decoded += 1
            if second < next_second:
                continue
            thumbnail = _thumbnail(frame)
            if _is_flat(thumbnail) or _is_same(thumbnail, last):
                continue
            last = thumbnail
            next_second = second + SPACING_SECONDS
            yield Still(second, _upright(frame))
            taken += 1
            if taken == PICTURES_PER_WINDOW:
                break
    if not decoded:
        raise ItemError("The video has no readable picture", where=str(path))


def _duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if container.duration:
        return container.duration / av.time_base
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None


def _windows(duration_seconds: float | None) -> list[tuple[float, float]]:
    """Return the parts to look at; the whole of a short video is one part."""
    if duration_seconds is None:
        return [(0.0, WINDOW_SECONDS)]
    if duration_seconds <= 2 * WINDOW_SECONDS:
        return [(0.0, float("inf"))]
    return [
        (0.0, WINDOW_SECONDS),
        (duration_seconds - WINDOW_SECONDS, float("inf")),
    ]


def _keyframes(
    container: InputContainer, stream: VideoStream, start: float, end: float
) -> Iterator[tuple[float, Any]]:
    """Yield (second, frame) between `start` and `end`; stop where the file breaks."""
    offset = (container.start_time or 0) / av.time_base
    if start:
        try:
            container.seek(int((start + offset) * av.time_base))
        except FFmpegError:
            # A broken or missing index: the first minute has to do.
            return
    try:
        for frame in container.decode(stream):
            second = max(0.0, (frame.time or 0.0) - offset)
            if second >= end:
                return
            yield second, frame
    except FFmpegError:
        # What was decoded before the break counts; the caller fails on none at all.
        return


def _thumbnail(frame: Any) -> Any:
    width, height = _THUMBNAIL
    return (
        frame.reformat(width=width, height=height, format="gray")
        .to_ndarray()
        .astype("int16")
    )


def _is_flat(thumbnail: Any) -> bool:
    return int(thumbnail.max()) - int(thumbnail.min()) < _FLAT_CELLS_DIFFER_BY


def _is_same(thumbnail: Any, other: Any) -> bool:
    # The largest difference, not the mean: small letters change few cells.
    return (
        other is not None and int(abs(thumbnail - other).max()) < _SAME_CELLS_DIFFER_BY
    )


def _upright(frame: Any) -> "Picture":
    scale = min(1.0, LONG_SIDE_PIXELS / max(frame.width, frame.height))
    picture = frame.reformat(
        width=max(2, round(frame.width * scale)),
        height=max(2, round(frame.height * scale)),
        format="bgr24",
    ).to_ndarray()
    quarter_turns = round(frame.rotation / 90) % 4
    if quarter_turns:
        import numpy as np

        # Phones store portrait video lying down, with the angle beside it.
        picture = np.ascontiguousarray(np.rot90(picture, quarter_turns))
    return picture  # type: ignore[no-any-return]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
