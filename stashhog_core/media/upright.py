"""Pictures of frames, turned and mirrored as they are to be seen."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""An upright picture: rows of pixels of three colours."""

Sizing = Callable[[int, int], tuple[int, int]]
"""Width and height of an upright frame to those of its picture."""


class Orientation(NamedTuple):
    """What makes a stored picture upright: swap its sides, then flip it."""

    swaps_sides: bool
    flips_rows: bool
    flips_columns: bool

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """Return the orientation that the video asks for.

        A display matrix maps the column x and the row y of the stored picture to the
        column ax + cy and the row bx + dy. Angles between quarter turns are rounded.
        """
        matrix: Any = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
        if matrix is None:
            return cls(False, False, False)
        a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, b < 0, c < 0)
        return cls(False, d < 0, a < 0)

    def turned(self, picture: Any) -> Picture:
        """Return rows of pixels of colours, turned and mirrored."""
        if self.swaps_sides:
            picture = picture.swapaxes(0, 1)
        if self.flips_rows:
            picture = picture[::-1]
        if self.flips_columns:
            picture = picture[:, ::-1]
        return np.ascontiguousarray(picture)


class Upright:
    """Makes pictures of the frames of a video, turned as they are to be seen.

    Args:
        sizing: Tells how large each picture is.
        pixels: Order of the colours, as FFmpeg names it.
        interpolation: How a frame is scaled; None: as FFmpeg does it by default.
        pixel_aspect: Width of a stored pixel for a height of 1.
    """

    def __init__(
        self,
        sizing: Sizing,
        pixels: str = "bgr24",
        interpolation: str | None = "AREA",
        pixel_aspect: float = 1.0,
    ) -> None:
        self._sizing = sizing
        self._pixels = pixels
        self._interpolation = interpolation
        self._pixel_aspect = pixel_aspect
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None
        self._orientation = Orientation(False, False, False)

    def __call__(self, frame: Any) -> Picture:
        """Return the picture of a frame of the video."""
        if frame.rotation != self._rotation:
            # A frame and its side data hold each other, so the memory of the frame is
            # kept until Python looks for such circles: read them once for a video.
            self._rotation, self._orientation = frame.rotation, Orientation.of(frame)
        # Phones store portrait video lying down, with the angle beside it.
        orientation = self._orientation
        width, height = round(frame.width * self._pixel_aspect), frame.height
        if orientation.swaps_sides:
            height, width = self._sizing(height, width)
        else:
            width, height = self._sizing(width, height)
        # Threads for the parts of a picture would cost more than they save.
        small = self._reformatter.reformat(
            frame,
            width,
            height,
            self._pixels,
            interpolation=self._interpolation,
            threads=1,
        )
        return orientation.turned(small.to_ndarray())
