"""Stash's perceptual hash of a video: 25 pictures on one sheet, and its low notes.

The steps follow Stash's to the rounding: a hash that differs in a few bits would still
be found, but equal ones are found by an index.
"""

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stashhog_core.errors import ItemError
from stashhog_core.media.sampler import Sampler
from stashhog_core.media.upright import Picture, Upright

COLUMNS = ROWS = 5
_PICTURE_WIDTH = 160
_LONGEST_READ_SECONDS = 3.0
"""Up to such a step, reading on is cheaper than going back to a keyframe."""

_LEFT_OUT_AT_EITHER_END = 0.05
_HIGHEST_PICTURE = 25 * _PICTURE_WIDTH
_SIDE = 64
_KEPT = 8


def phash(sampler: Sampler, duration_seconds: float | None) -> int:
    """Return the hash as Stash computes it; 64 bits, never negative.

    Raises:
        ItemError: The length is not known, a picture cannot be decoded, or pictures are
            so narrow that they would fill the memory at Stash's width.
    """
    if not duration_seconds:
        raise ItemError("a video of unknown length has no perceptual hash")
    pictures = list(_pictures(sampler, math.floor(duration_seconds * 100 + 0.5) / 100))
    height, width, _ = pictures[0].shape
    sheet = np.zeros((height * ROWS, width * COLUMNS, 3), np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, COLUMNS)
        top, left = row * height, column * width
        part = picture[:height, :width]
        sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
    return hash_of(sheet)


def hash_of(sheet: Picture) -> int:
    """Return the hash of a picture of (red, green, blue)."""
    small = _shrink(_shrink(sheet)).astype(np.float64)
    # The last divisor is the original's own slip; it decides bits at the edge.
    wide = small * 257
    grey = (
        0.299 * (wide[..., 0] // 257)
        + 0.587 * (wide[..., 1] // 257)
        + 0.114 * (wide[..., 2] // 256)
    )
    cosines = _cosines()
    notes = (cosines @ grey @ cosines.T).ravel()
    in_order = np.sort(notes)
    median = in_order[31] / 2 + in_order[32] / 2
    bits = 0
    for note in notes:
        bits = bits << 1 | int(note > median)
    return bits


def _pictures(sampler: Sampler, duration_seconds: float) -> Iterator[Picture]:
    count = COLUMNS * ROWS
    offset = _LEFT_OUT_AT_EITHER_END * duration_seconds
    step = (1 - 2 * _LEFT_OUT_AT_EITHER_END) * duration_seconds / count
    seconds = [offset + index * step for index in range(count)]
    upright = Upright(_reduced_size, interpolation="BICUBIC")
    # In these formats ffmpeg finds other pictures by seeking than by reading on.
    by_seeking = sampler.container.format.name in ("mpegts", "mpeg")
    read_on = step <= _LONGEST_READ_SECONDS and not by_seeking
    for second, frame in zip(
        seconds, sampler.exact(seconds, read_on=read_on), strict=True
    ):
        if frame is None:
            raise ItemError(
                f"no picture can be read at second {second:.1f} of "
                f"{duration_seconds:.1f}"
            )
        yield upright(frame)[..., ::-1]


def _reduced_size(width: int, height: int) -> tuple[int, int]:
    reduced = 2 * math.floor(_PICTURE_WIDTH * height / (width * 2) + 0.5)
    if reduced > _HIGHEST_PICTURE:
        raise ItemError("pictures this narrow have no perceptual hash")
    return _PICTURE_WIDTH, max(2, reduced)


def _shrink(picture: Picture) -> Picture:
    """Shrink the width to 64 in whole numbers, and swap the sides."""
    weights = _weights(picture.shape[1])
    sums = np.einsum("ox,yxc->oyc", weights, picture.astype(np.int64))
    means = sums // weights.sum(axis=1)[:, None, None]
    shrunk: Picture = np.clip(means, 0, 255).astype(np.uint8)
    return shrunk


@cache
def _weights(width: int) -> NDArray[np.int64]:
    """Return what each input column gives to each of the 64 output columns."""
    scale = width / _SIDE
    taps = 2 * max(math.ceil(scale), 1)
    factor = min(1 / scale, 1.0)
    weights = np.zeros((_SIDE, width), np.int64)
    for out in range(_SIDE):
        centre = scale * (out + 0.5) - 0.5
        start = int(centre) - taps // 2 + 1
        for tap in range(taps):
            nearness = 1 - abs((centre - start - tap) * factor)
            column = min(max(start + tap, 0), width - 1)
            weights[out, column] += int(max(nearness, 0.0) * 256)
    return weights


@cache
def _cosines() -> NDArray[np.float64]:
    """Return the first rows of the discrete cosine transform (type II, unscaled)."""
    row, column = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None, :]
    cosines: NDArray[np.float64] = np.cos(np.pi / _SIDE * (column + 0.5) * row)
    return cosines
