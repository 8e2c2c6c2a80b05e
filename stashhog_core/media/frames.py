"""Still pictures of a video: keyframes of its ends, or of the whole at a distance."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from stashhog_core.errors import ItemError
from stashhog_core.media.headers import header_duration, picture_decoder, reason
from stashhog_core.media.sampler import Sampler
from stashhog_core.media.upright import Picture, Sizing, Upright

WINDOW_SECONDS = 60.0
"""Length of the part at either end that is looked at."""

LONG_SIDE_PIXELS = 960
"""Larger frames are scaled down: letters of a title are still 20 pixels high."""

PICTURES_PER_WINDOW = 24
"""Most pictures of either end; more would cost minutes on an all-intra file."""

SPACING_SECONDS = 1.0
"""Least time between two pictures; a title stands longer."""

UNEVENTFUL_SPACING_SECONDS = 4.0
"""The same while keyframes come at an even distance and in an even size: where a title
appears, at least one of the two changes."""

_THUMBNAIL = (64, 36)
_SAME_CELLS_DIFFER_BY = 12
_FLAT_CELLS_DIFFER_BY = 10
# Keyframes that an encoder set every two seconds lie a little less apart now and then.
_EARLY_SHARE = 0.05
_PLAY = "see whether the video plays, and replace the file if it does not"


@dataclass(frozen=True)
class Still:
    """One picture, upright: rows of pixels of (blue, green, red)."""

    second: float
    picture: Picture


@dataclass(frozen=True)
class EndStills:
    """What the first and last minute of a video show.

    Attributes:
        stills: The pictures that differ, in order.
        seen: Number of pictures that were decoded, with those that do not differ.
        asked: Number of pictures that were asked for: one each second. Most videos have
            fewer keyframes, one in two to ten seconds.
    """

    stills: list[Still]
    seen: int
    asked: int


def end_stills(path: Path) -> EndStills:
    """Return the keyframes of the first and last minute that differ.

    Flat pictures (black leaders) and repeats of the picture before are left out. Only
    keyframes are decoded, so a two-hour file costs hardly more than a short one. A file
    that breaks off in the middle yields what could be read.

    Raises:
        ItemError: Nothing could be decoded: no such file, not a video, no video
            stream, only cover art, or every keyframe is broken.
    """
    with _sampler(path) as sampler:
        return _end_stills(sampler, path)


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
    with _sampler(path) as sampler:
        picture_of = Upright(_into(size, keep_shape))
        spacing = interval_seconds * (1 - _EARLY_SHARE)
        for second, frame in sampler.frames(spacing=spacing):
            yield Still(second, picture_of(frame))
        if not sampler.decoded:
            raise _no_picture(path)


@contextmanager
def _sampler(path: Path) -> Iterator[Sampler]:
    """Open a video.

    Raises:
        ItemError: It cannot be read, or has no pictures.
    """
    where = str(path)
    try:
        with ExitStack() as opened:
            try:
                sampler = opened.enter_context(Sampler(where))
                picture_decoder(sampler.stream)
            except ItemError as error:
                raise ItemError(
                    f"The video cannot be read ({error})", where=where, remedy=_PLAY
                ) from error
            yield sampler
    except (FFmpegError, OSError, ValueError) as error:
        raise ItemError(
            f"The video cannot be read ({reason(error)})", where=where, remedy=_PLAY
        ) from error


def _no_picture(path: Path) -> ItemError:
    return ItemError("The video has no readable picture", where=str(path), remedy=_PLAY)


def _end_stills(sampler: Sampler, path: Path) -> EndStills:
    thumbnail_of, picture_of = _Thumbnail(), Upright(_legible)
    stills: list[Still] = []
    last: Any = None
    seen = asked = 0
    said = header_duration(sampler.container, sampler.stream)
    duration = sampler.shown_seconds(said)
    for start, end in _windows(duration):
        taken = 0
        until = min(end, duration or end)
        for second, frame in sampler.frames(
            start,
            end,
            SPACING_SECONDS,
            UNEVENTFUL_SPACING_SECONDS * (1 - _EARLY_SHARE),
        ):
            seen += 1
            thumbnail = thumbnail_of(frame)
            if _is_flat(thumbnail) or _is_same(thumbnail, last):
                continue
            last = thumbnail
            stills.append(Still(second, picture_of(frame)))
            taken += 1
            if taken == PICTURES_PER_WINDOW:
                until = second + SPACING_SECONDS
                break
        asked += max(1, math.ceil((until - start) / SPACING_SECONDS))
    if not sampler.decoded:
        raise _no_picture(path)
    return EndStills(stills, seen, max(asked, seen))


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


class _Thumbnail:
    """Makes small gray pictures of frames, to compare them.

    A reformatter is kept for all frames: setting one up costs as much as using it.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Any:
        width, height = _THUMBNAIL
        small = self._reformatter.reformat(
            frame, width, height, "gray", interpolation="AREA", threads=1
        )
        return small.to_ndarray().astype("int16")


def _is_flat(thumbnail: Any) -> bool:
    return int(thumbnail.max()) - int(thumbnail.min()) < _FLAT_CELLS_DIFFER_BY


def _is_same(thumbnail: Any, other: Any) -> bool:
    # The largest difference, not the mean: small letters change few cells.
    return (
        other is not None and int(abs(thumbnail - other).max()) < _SAME_CELLS_DIFFER_BY
    )


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
