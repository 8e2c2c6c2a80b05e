"""Pictures of frames, turned and mirrored as they are to be seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""An upright picture: rows of pixels of three colours."""

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

    def __call__(self, frame: Any) -> Picture:
        """Return the picture of a frame."""
        # Phones store portrait video lying down, with the angle beside it.
        lying = lies_on_its_side(frame)
        shape = (frame.height, frame.width) if lying else (frame.width, frame.height)
        width, height = self._sizing(*shape)
        small = self._reformatter.reformat(
            frame,
            height if lying else width,
            width if lying else height,
            self._pixels,
            interpolation=self._interpolation,
        )
        return turned(frame, small.to_ndarray())


def turned(frame: VideoFrame, picture: Any) -> Picture:
    """Return the pixels of a frame turned and mirrored as the video asks for.

    Args:
        frame: Says how.
        picture: Its pixels: an array of rows of columns of colours.
    """
    transposed, flip_rows, flip_columns = _orientation(frame)
    if transposed:
        picture = picture.swapaxes(0, 1)
    if flip_rows:
        picture = picture[::-1]
    if flip_columns:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def is_upright(frame: VideoFrame) -> bool:
    """Tell whether the pixels of a frame are to be shown as they are stored."""
    return not any(_orientation(frame))


def lies_on_its_side(frame: VideoFrame) -> bool:
    """Tell whether width and height of a frame change places when it is upright."""
    return _orientation(frame)[0]


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return whether to swap the sides, then to flip rows, and to flip columns.

    A display matrix maps the column x and the row y of the stored picture to the
    column ax + cy and the row bx + dy. Angles between quarter turns are rounded.
    """
    matrix: Any = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0
