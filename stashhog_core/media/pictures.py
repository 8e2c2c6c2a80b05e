"""Small pictures of a video: a thumbnail that shows something, and a sheet of sprites.

A WebVTT says which part of the sheet shows which moment.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from stashhog_core.errors import ItemError
from stashhog_core.media.sampler import Sampler
from stashhog_core.media.upright import Orientation, Picture, Upright

_THUMBNAIL_WIDTH = 320
_SPRITE_WIDTH = 160
_SPRITE_COLUMNS = 9
_MOST_SPRITES = _SPRITE_COLUMNS * _SPRITE_COLUMNS
_LEAST_STEP_SECONDS = 0.5

_FIRST_CHOICE = 0.1
_OTHER_CHOICES = (0.0, 0.3, 0.5, 0.7, 0.9)
_END_MARGIN_SECONDS = 0.5
_DARK = 20
_FLAT = 12
_JPEG = "yuvj420p"
_FULL_RANGE = 2


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG, upright and with square pixels, and the rotation it was turned by."""

    jpeg: bytes
    rotation: int


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
            row, column = divmod(index, _SPRITE_COLUMNS)
            start, end = index * self.step_seconds, (index + 1) * self.step_seconds
            lines += [
                f"{_moment(start)} --> {_moment(end)}",
                f"{picture}#xywh={column * self.width},{row * self.height},"
                f"{self.width},{self.height}",
                "",
            ]
        return "\n".join(lines)


def thumbnail(sampler: Sampler, duration_seconds: float | None) -> Thumbnail:
    """Return a picture at a tenth of the video; another when that is black or flat.

    Raises:
        ItemError: No picture can be decoded.
    """
    best: tuple[float, VideoFrame, VideoFrame] | None = None
    reformatter = VideoReformatter()
    aspect = _pixel_aspect(sampler)
    for second in _choices(sampler.shown_seconds(duration_seconds)):
        found = sampler.near(second)
        if found is None:
            continue
        _, frame = found
        small = _scaled(reformatter, frame, aspect)
        brightness, contrast = _light(small)
        if best is None or contrast > best[0]:
            best = (contrast, small, frame)
        if brightness > _DARK and contrast > _FLAT:
            break
    if best is None:
        raise ItemError("no picture can be decoded")
    _, small, frame = best
    return Thumbnail(_upright_jpeg(small, frame), round(frame.rotation) % 360)


def still(path: Path, second: float) -> bytes | None:
    """Return the picture nearest to a second, as a JPEG of the size of a thumbnail.

    None: no picture can be decoded there.

    Raises:
        ItemError: There is no picture in the file, or no decoder for the pictures here.
        FFmpegError, OSError, ValueError: The file cannot be opened.
    """
    with Sampler(str(path)) as sampler:
        found = sampler.near(second)
        if found is None:
            return None
        aspect = _pixel_aspect(sampler)
        return _upright_jpeg(_scaled(VideoReformatter(), found[1], aspect), found[1])


def rotation_of(sampler: Sampler) -> int | None:
    """Return by how many degrees pictures are turned to stand upright.

    Headers tell the decoder only: a picture must be decoded. None: none can be.

    Raises:
        ItemError: Its pictures cannot be decoded here, or are too large for it.
    """
    found = sampler.near(0.0)
    return None if found is None else round(found[1].rotation) % 360


def sprite_sheet(sampler: Sampler, duration_seconds: float | None) -> SpriteSheet:
    """Return a sheet of up to 81 keyframes, evenly spread.

    Raises:
        ItemError: The length is not known, or nothing can be decoded.
    """
    shown = sampler.shown_seconds(duration_seconds)
    if not shown:
        raise ItemError("a video of unknown length has no sprites")
    count = max(1, min(_MOST_SPRITES, int(shown / _LEAST_STEP_SECONDS)))
    step = shown / count
    upright = Upright(
        _sprite_size,
        "rgb24",
        interpolation=None,
        pixel_aspect=_pixel_aspect(sampler),
    )
    sheet: Picture | None = None
    height = 0
    seconds = [index * step for index in range(count)]
    for index, frame in enumerate(sampler.at_each(seconds)):
        if frame is None:
            # One broken part leaves one gap.
            continue
        picture = upright(frame)
        if sheet is None:
            height = picture.shape[0]
            rows = -(-count // _SPRITE_COLUMNS)
            columns = min(_SPRITE_COLUMNS, count)
            sheet = np.zeros((height * rows, _SPRITE_WIDTH * columns, 3), np.uint8)
        row, column = divmod(index, _SPRITE_COLUMNS)
        part = picture[:height, :_SPRITE_WIDTH]
        top, left = row * height, column * _SPRITE_WIDTH
        sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
    if sheet is None:
        raise ItemError("no picture can be decoded")
    return SpriteSheet(_to_jpeg(_from_array(sheet)), count, _SPRITE_WIDTH, height, step)


def _sprite_size(width: int, height: int) -> tuple[int, int]:
    even = round(_SPRITE_WIDTH * height / max(1, width) / 2) * 2
    return _SPRITE_WIDTH, max(2, min(640, even))


def _pixel_aspect(sampler: Sampler) -> float:
    return float(sampler.stream.sample_aspect_ratio or 1)


def _moment(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02}:{minutes:02}:{rest:06.3f}"


def _choices(duration_seconds: float | None) -> Iterator[float]:
    if not duration_seconds or not math.isfinite(duration_seconds):
        yield 0.0
        return
    last = max(0.0, duration_seconds - _END_MARGIN_SECONDS)
    yield min(_FIRST_CHOICE * duration_seconds, last)
    for share in _OTHER_CHOICES:
        yield min(share * duration_seconds, last)


def _scaled(
    reformatter: VideoReformatter, frame: VideoFrame, aspect: float
) -> VideoFrame:
    width, height = frame.width * aspect, frame.height
    if Orientation.of(frame).swaps_sides:
        scale = min(1.0, _THUMBNAIL_WIDTH / height)
    else:
        scale = min(1.0, _THUMBNAIL_WIDTH / width)
    return reformatter.reformat(
        frame,
        width=_even(width * scale),
        height=_even(height * scale),
        format=_JPEG,
        dst_color_range=_FULL_RANGE,
        threads=1,
    )


def _upright_jpeg(small: VideoFrame, frame: VideoFrame) -> bytes:
    """Encode a scaled frame, turned as the frame says that it was made from."""
    orientation = Orientation.of(frame)
    if any(orientation):
        small = _from_array(orientation.turned(small.to_ndarray(format="rgb24")))
    return _to_jpeg(small)


def _even(length: float) -> int:
    return max(16, min(4096, round(length / 2) * 2))


def _light(picture: VideoFrame) -> tuple[float, float]:
    """Return brightness (mean) and contrast (spread of the middle nine tenths)."""
    luma = sorted(bytes(picture.planes[0])[::41])
    edge = len(luma) // 20
    return sum(luma) / len(luma), float(luma[-1 - edge] - luma[edge])


def _from_array(picture: Picture) -> VideoFrame:
    """Return rows of (red, green, blue) as a frame that JPEG can hold."""
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(format=_JPEG, dst_color_range=_FULL_RANGE)


def _to_jpeg(picture: VideoFrame) -> bytes:
    """Encode a frame of `_from_array` or of a reformat to full-range YUV 4:2:0."""
    encoder = cast(Any, av.CodecContext.create("mjpeg", "w"))
    encoder.width, encoder.height = picture.width, picture.height
    encoder.pix_fmt = _JPEG
    encoder.time_base = Fraction(1, 25)
    encoder.color_range = _FULL_RANGE
    encoder.qmin = encoder.qmax = 4
    picture.pts = 0
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
