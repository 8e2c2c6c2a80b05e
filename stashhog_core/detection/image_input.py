"""Laying pictures out as an image model takes them: order, size, range, number type."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stashhog_core.errors import ConfigurationError
from stashhog_core.settings.taggers import OnnxSettings

if TYPE_CHECKING:
    from stashhog_core.media.frames import Picture

COLOURS = 3

_DEFAULT_SIDE = 224
_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Layout:
    """How a model takes pictures.

    Attributes:
        name: Of its input.
        channels_first: (picture, colour, row, column), else the colour last.
        width: Pixels.
        height: Pixels.
        type: Name of the number type.
        batch: Pictures a run; None: any number.
    """

    name: str
    channels_first: bool
    width: int
    height: int
    type: str
    batch: int | None


def layout_of(session: Any, settings: OnnxSettings) -> Layout:
    """Return how a loaded model takes pictures; what it leaves open is set.

    Raises:
        ConfigurationError: It takes something else.
    """
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in _TYPES:
        raise unusable(
            settings, "it must take one tensor of pictures: four dimensions of numbers"
        )
    channels_first = shape[1] == COLOURS
    if not channels_first and shape[3] != COLOURS:
        raise unusable(settings, f"no dimension of {shape} is that of three colours")
    height, width = shape[2:] if channels_first else shape[1:3]
    side = settings.size or _DEFAULT_SIDE
    return Layout(
        name=inputs[0].name,
        channels_first=channels_first,
        width=width if isinstance(width, int) else side,
        height=height if isinstance(height, int) else side,
        type=_TYPES[inputs[0].type],
        batch=shape[0] if isinstance(shape[0], int) else None,
    )


def laid_out(
    pictures: Sequence["Picture"], layout: Layout, settings: OnnxSettings
) -> Any:
    """Return pictures as a tensor; what they do not fill is white.

    Args:
        pictures: Rows of pixels of (blue, green, red), no larger than the layout's.
        layout: How the model takes them.
        settings: Range and order of colours.
    """
    import numpy as np

    canvas = np.full(
        (layout.batch or len(pictures), layout.height, layout.width, COLOURS),
        255,
        np.uint8,
    )
    for place, picture in zip(canvas, pictures, strict=False):
        height, width = picture.shape[:2]
        top, left = (layout.height - height) // 2, (layout.width - width) // 2
        place[top : top + height, left : left + width] = picture
    if _channels(settings, layout) == "rgb":
        canvas = canvas[..., ::-1]
    values = _scaled(canvas, _pixels(settings, layout))
    if layout.channels_first:
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, dtype=layout.type)


def _channels(settings: OnnxSettings, layout: Layout) -> str:
    if settings.channels != "auto":
        return settings.channels
    return "rgb" if layout.channels_first else "bgr"


def _pixels(settings: OnnxSettings, layout: Layout) -> str:
    if settings.pixels != "auto":
        return settings.pixels
    floats = layout.type != "uint8"
    return "imagenet" if layout.channels_first and floats else "bytes"


def _scaled(canvas: Any, pixels: str) -> Any:
    """Bring bytes of (picture, row, column, colour) to the range asked for."""
    import numpy as np

    if pixels == "bytes":
        return canvas
    values = canvas.astype(np.float32) / 255
    if pixels == "signed":
        return values * 2 - 1
    if pixels == "imagenet":
        mean = np.array(_IMAGENET_MEAN, np.float32)
        return (values - mean) / np.array(_IMAGENET_DEVIATION, np.float32)
    return values


def unusable(settings: OnnxSettings, why: str) -> ConfigurationError:
    """Return the error that says why a model cannot be used."""
    return ConfigurationError(
        "The ONNX model cannot be used",
        where=str(settings.model),
        remedy=" ".join(why.split()),
    )
