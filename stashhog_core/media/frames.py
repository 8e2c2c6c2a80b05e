"""Still pictures of a video: keyframes of its ends, or of the whole at a distance."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from stashhog_core.errors import ItemError
from stashhog_core.media.headers import (
    MOST_PIXELS,
    header_duration,
    open_video,
    picture_decoder,
    picture_stream,
    reason,
)

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
# Keyframes that an encoder set every two seconds lie a little less apart now and then.
_EARLY_SHARE = 0.05


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
    with _opened(path) as (container, stream):
        return list(_stills(container, stream, path))


def spaced_stills(
    path: Path,
    interval_seconds: float,
    size: tuple[int, int],
    *,
    keep_shape: bool = False,
) -> Iterator[Still]:
    """Yield keyframes of the whole video, at least so far apart, in one pass.

    Args:
        path: The video. One that breaks off yields what could be read.
        interval_seconds: Least time between two pictures.
        size: Width and height in pixels that pictures are brought to.
        keep_shape: Bring only one side to it, and leave the other one shorter.

    Raises:
        ItemError: Nothing could be decoded, as with `end_stills`.
    """
    with _opened(path) as (container, stream):
        upright = Upright(_into(size, keep_shape))
        next_second = 0.0
        decoded = False
        for second, frame in _keyframes(container, stream, 0.0, float("inf")):
            decoded = True
            if second >= next_second:
                next_second = second + interval_seconds * (1 - _EARLY_SHARE)
                yield Still(second, upright(frame))
        if not decoded:
            raise _no_picture(path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video, set to decode keyframes only.

    Raises:
        ItemError: It cannot be read, or has no pictures.
    """
    try:
        with open_video(str(path)) as container:
            try:
                stream = picture_stream(container)
            except ItemError as error:
                raise ItemError("The file has no video stream", str(path)) from error
            try:
                codec = picture_decoder(stream)
            except ItemError as error:
                raise ItemError(
                    f"The video cannot be read ({error})", where=str(path)
                ) from error
            codec.options = {"max_pixels": str(MOST_PIXELS)}
            codec.skip_frame = "NONKEY"
            yield container, stream
    except (FFmpegError, OSError, ValueError) as error:
        raise ItemError(
            f"The video cannot be read ({reason(error)})", where=str(path)
        ) from error


def _no_picture(path: Path) -> ItemError:
    return ItemError("The video has no readable picture", where=str(path))


def _stills(
    container: InputContainer, stream: VideoStream, path: Path
) -> Iterator[Still]:
    thumbnail_of, upright = _Thumbnail(), Upright(_legible)
    decoded = 0
    last: Any = None
    for start, end in _windows(header_duration(container, stream)):
        taken = 0
        next_second = start
        for second, frame in _keyframes(container, stream, start, end):
            decoded += 1
            if second < next_second:
                continue
            thumbnail = thumbnail_of(frame)
            if _is_flat(thumbnail) or _is_same(thumbnail, last):
                continue
            last = thumbnail
            next_second = second + SPACING_SECONDS
            yield Still(second, upright(frame))
            taken += 1
            if taken == PICTURES_PER_WINDOW:
                break
    if not decoded:
        raise _no_picture(path)


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


class _Thumbnail:
    """Makes small gray pictures of frames, to compare them.

    A reformatter is kept for all frames: setting one up costs as much as using it.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Any:
        width, height = _THUMBNAIL
        small = self._reformatter.reformat(
            frame, width, height, "gray", interpolation="AREA"
        )
        return small.to_ndarray().astype("int16")


def _is_flat(thumbnail: Any) -> bool:
    return int(thumbnail.max()) - int(thumbnail.min()) < _FLAT_CELLS_DIFFER_BY


def _is_same(thumbnail: Any, other: Any) -> bool:
    # The largest difference, not the mean: small letters change few cells.
    return (
        other is not None and int(abs(thumbnail - other).max()) < _SAME_CELLS_DIFFER_BY
    )


Sizing = Callable[[int, int], tuple[int, int]]
"""Width and height of an upright frame to those of its picture."""


class Upright:
    """Makes pictures of frames, turned as they are to be seen.

    Args:
        sizing: Tells how large each picture is.
        pixels: Order of the colours, as FFmpeg names it.
        interpolation: How a frame is scaled; None: as FFmpeg does it by default.
    """

    def __init__(
        self, sizing: Sizing, pixels: str = "bgr24", interpolation: str | None = "AREA"
    ) -> None:
        self._sizing = sizing
        self._pixels = pixels
        self._interpolation = interpolation
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> "Picture":
        """Return the picture of a frame."""
        # Phones store portrait video lying down, with the angle beside it.
        quarter_turns = round(frame.rotation / 90) % 4
        lying = quarter_turns % 2 == 1
        shape = (frame.height, frame.width) if lying else (frame.width, frame.height)
        width, height = self._sizing(*shape)
        small = self._reformatter.reformat(
            frame,
            height if lying else width,
            width if lying else height,
            self._pixels,
            interpolation=self._interpolation,
        )
        picture: Any = small.to_ndarray()
        if quarter_turns:
            import numpy as np

            picture = np.ascontiguousarray(np.rot90(picture, quarter_turns))
        return picture  # type: ignore[no-any-return]


def _legible(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE_PIXELS / max(width, height))
    return max(2, round(width * scale)), max(2, round(height * scale))


def _into(size: tuple[int, int], keep_shape: bool) -> Sizing:
    def sizing(width: int, height: int) -> tuple[int, int]:
        if not keep_shape:
            return size
        scale = min(size[0] / width, size[1] / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    return sizing
