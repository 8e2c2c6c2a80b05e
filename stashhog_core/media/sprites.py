"""A sheet of small pictures along a video, and the VTT that says which is when."""

from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from stashhog_core.errors import ItemError
from stashhog_core.media.pictures import (
    decoder_of,
    from_picture,
    seek,
    to_jpeg,
)

WIDTH = 160
COLUMNS = 9
_MOST = COLUMNS * COLUMNS
_LEAST_STEP_SECONDS = 0.5


@dataclass(frozen=True)
class SpriteSheet:
    """A JPEG of pictures, row by row from the left, each `step_seconds` long."""

    jpeg: bytes
    count: int
    width: int
    height: int
    step_seconds: float

    def vtt(self, picture: str) -> str:
        """Return the WebVTT that names the parts of `picture`."""
        lines = ["WEBVTT", ""]
        for index in range(self.count):
            row, column = divmod(index, COLUMNS)
            start, end = index * self.step_seconds, (index + 1) * self.step_seconds
            lines += [
                f"{_moment(start)} --> {_moment(end)}",
                f"{picture}#xywh={column * self.width},{row * self.height},"
                f"{self.width},{self.height}",
                "",
            ]
        return "\n".join(lines)


def sprite_sheet(
    container: InputContainer, stream: VideoStream, duration_seconds: float | None
) -> SpriteSheet:
    """Return a sheet of up to 81 keyframes, evenly spread.

    Raises:
        ItemError: The length is not known, or nothing can be decoded.
    """
    if not duration_seconds:
        raise ItemError("a video of unknown length has no sprites")
    decoder_of(stream)
    count = max(1, min(_MOST, int(duration_seconds / _LEAST_STEP_SECONDS)))
    step = duration_seconds / count
    reformatter = VideoReformatter()
    sheet: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None = None
    height = 0
    for index in range(count):
        frame = _keyframe(container, stream, index * step)
        if frame is None:
            continue
        picture = _small(reformatter, frame)
        if sheet is None:
            height = picture.shape[0]
            rows = -(-count // COLUMNS)
            columns = min(COLUMNS, count)
            sheet = np.zeros((height * rows, WIDTH * columns, 3), np.uint8)
        row, column = divmod(index, COLUMNS)
        part = picture[:height, :WIDTH]
        top, left = row * height, column * WIDTH
        sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
    if sheet is None:
        raise ItemError("no picture can be decoded")
    return SpriteSheet(to_jpeg(from_picture(sheet)), count, WIDTH, height, step)


def _keyframe(
    container: InputContainer, stream: VideoStream, second: float
) -> VideoFrame | None:
    if not seek(container, second, backward=True):
        return None
    try:
        return next(container.decode(stream), None)
    except (FFmpegError, ValueError):
        # One broken part leaves one gap.
        return None


def _small(
    reformatter: VideoReformatter, frame: VideoFrame
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    turns = round(frame.rotation / 90) % 4
    wide, high = (
        (frame.height, frame.width)
        if turns % 2
        else (
            frame.width,
            frame.height,
        )
    )
    height = max(2, min(640, round(WIDTH * high / wide / 2) * 2))
    size = (height, WIDTH) if turns % 2 else (WIDTH, height)
    picture = reformatter.reformat(
        frame, width=size[0], height=size[1], format="rgb24"
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, turns))


def _moment(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02}:{minutes:02}:{rest:06.3f}"
