"""An image-tagging model of the user's own, run by ONNX Runtime, an optional extra.

The model file states the size, the number type and the order of dimensions of its
input. The settings state what a model file cannot: the range and the order of colours,
and what the outputs mean.
"""

import csv
import hashlib
import importlib.util
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stashhog_core.errors import ConfigurationError
from stashhog_core.settings.taggers import OnnxSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stashhog_core.media.upright import Picture

    Scores = NDArray[np.float32]

BATCH_SIZE = 8
"""Pictures per run of a model that takes any number of pictures."""

# Rounding may move a probability slightly outside 0 to 1.
_PROBABILITY_TOLERANCE = 1e-3

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

# Numbers by which the image boards name their categories in `selected_tags.csv`.
_CATEGORIES = {"0": "general", "1": "artist", "3": "copyright", "4": "character"}
_CATEGORIES |= {"5": "meta", "9": "rating"}
_LETTERS = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class Label:
    """The meaning of one output; an output with an empty name is ignored."""

    name: str
    category: str = "general"


def read_labels(path: Path, content: bytes) -> list[Label]:
    """Return the labels of a file in the order of the model's outputs.

    A CSV file has a column `name` and may have a column `category`; any other file has
    one name per line. Underscores between words become spaces.

    Raises:
        ConfigurationError: The file is not UTF-8, has no column `name`, or is empty.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, "the file is not UTF-8 text") from error
    if path.suffix.lower() == ".csv":
        labels = _of_table(path, text)
    else:
        labels = [Label(_spaced(line.strip())) for line in text.splitlines()]
    if not any(label.name for label in labels):
        raise _wrong(path, "the file has no labels")
    return labels


def _of_table(path: Path, text: str) -> list[Label]:
    rows = csv.DictReader(text.splitlines())
    if "name" not in (rows.fieldnames or ()):
        raise _wrong(path, "the first line has no column `name`")
    labels = []
    for row in rows:
        category = (row.get("category") or "0").strip()
        name = (row["name"] or "").strip()
        labels.append(Label(_spaced(name), _CATEGORIES.get(category, category)))
    return labels


def _spaced(name: str) -> str:
    # Emoticons such as `^_^` and `0_0` keep their underscores.
    return name.replace("_", " ") if _LETTERS.search(name) else name


def _wrong(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "The labels of the ONNX model cannot be used",
        where=str(path),
        remedy=f"{why}; see STASHHOG_ONNX__LABELS",
    )


@dataclass(frozen=True)
class ImageLayout:
    """The input that a model expects.

    Attributes:
        name: Name of the input.
        channels_first: True: (picture, colour, row, column); False: colour last.
        width: Width in pixels.
        height: Height in pixels.
        type: Name of the number type.
        batch: Number of pictures per run; None: any number.
    """

    name: str
    channels_first: bool
    width: int
    height: int
    type: str
    batch: int | None


def layout_of(session: Any, settings: OnnxSettings) -> ImageLayout:
    """Return the input of a loaded model; the settings give a size it leaves open.

    Raises:
        ConfigurationError: The model's input is not a tensor of pictures.
    """
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in _TYPES:
        raise unusable(
            settings, "the model must take one tensor of numbers with four dimensions"
        )
    channels_first = shape[1] == COLOURS
    if not channels_first and shape[3] != COLOURS:
        raise unusable(settings, f"no dimension of its input {shape} has three colours")
    height, width = shape[2:] if channels_first else shape[1:3]
    side = settings.size or _DEFAULT_SIDE
    return ImageLayout(
        name=inputs[0].name,
        channels_first=channels_first,
        width=width if isinstance(width, int) else side,
        height=height if isinstance(height, int) else side,
        type=_TYPES[inputs[0].type],
        batch=shape[0] if isinstance(shape[0], int) else None,
    )


def laid_out(
    pictures: Sequence["Picture"], layout: ImageLayout, settings: OnnxSettings
) -> Any:
    """Return pictures as a tensor, with white around smaller pictures.

    Args:
        pictures: Rows of pixels of (blue, green, red), no larger than the layout's.
        layout: The model's input.
        settings: Range and order of the colours.
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


def _channels(settings: OnnxSettings, layout: ImageLayout) -> str:
    if settings.channels != "auto":
        return settings.channels
    return "rgb" if layout.channels_first else "bgr"


def _pixels(settings: OnnxSettings, layout: ImageLayout) -> str:
    if settings.pixels != "auto":
        return settings.pixels
    floats = layout.type != "uint8"
    return "imagenet" if layout.channels_first and floats else "bytes"


def _scaled(canvas: Any, pixels: str) -> Any:
    """Convert bytes of (picture, row, column, colour) to the range of the settings."""
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
    """Return the error for a model that cannot be used."""
    return ConfigurationError(
        "The ONNX model cannot be used",
        where=str(settings.model),
        remedy=" ".join(why.split()),
    )


class ImageModel:
    """Scores each label in each picture; may be called from several threads.

    Attributes:
        labels: The meanings of the outputs, in order.
        content: Hash of the model file and the label file.
    """

    def __init__(
        self, session: Any, labels: list[Label], content: str, settings: OnnxSettings
    ) -> None:
        self._session = session
        self._settings = settings
        self.labels = labels
        self.content = content
        self._layout = layout_of(session, settings)
        self._output, self._as_probabilities = self._probed()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input pictures in pixels."""
        return self._layout.width, self._layout.height

    @property
    def batch(self) -> int:
        """Maximum number of pictures per call."""
        return self._layout.batch or BATCH_SIZE

    def __call__(self, pictures: Sequence["Picture"]) -> "Scores":
        """Return probabilities of shape (pictures, labels); NaN becomes 0.

        Args:
            pictures: Rows of pixels of (blue, green, red), no larger than `size`, at
                most `batch` of them.
        """
        import numpy as np

        (scores,) = self._session.run([self._output], self._input(pictures))
        scores = scores[: len(pictures)].reshape(len(pictures), -1).astype(np.float32)
        probabilities: Scores = self._as_probabilities(scores)
        return np.nan_to_num(probabilities, nan=0.0)

    def _input(self, pictures: Sequence["Picture"]) -> dict[str, Any]:
        layout = self._layout
        return {layout.name: laid_out(pictures, layout, self._settings)}

    def _probed(self) -> tuple[str, Any]:
        """Run plain pictures; return the output of the labels and its activation.

        Raises:
            ConfigurationError: The model does not run, or no output fits the labels.
        """
        import numpy as np

        width, height = self.size
        shades = np.linspace(0, 255, self.batch).astype(np.uint8)
        pictures = [np.full((height, width, COLOURS), shade) for shade in shades]
        try:
            results = self._session.run(None, self._input(pictures))
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise unusable(
                self._settings, f"the model does not run: {error}"
            ) from error
        widths = []
        for output, result in zip(self._session.get_outputs(), results, strict=True):
            scores = np.asarray(result).reshape(self.batch, -1)
            if scores.shape[1] == len(self.labels):
                return output.name, _activation(self._settings.outputs, scores)
            widths.append(scores.shape[1])
        raise unusable(
            self._settings,
            f"the model has {' or '.join(map(str, widths))} outputs, but the file of "
            f"STASHHOG_ONNX__LABELS has {len(self.labels)} labels",
        )


_loaded: dict[object, ImageModel] = {}
_lock = threading.Lock()


def load_model(settings: OnnxSettings) -> ImageModel:
    """Return the model of the settings; it is loaded again only if a file has changed.

    Raises:
        ConfigurationError: ONNX Runtime is not installed, or a file cannot be used.
    """
    if settings.model is None or settings.labels is None:
        raise ConfigurationError(
            "The ONNX tagger needs a model and its labels",
            remedy="set STASHHOG_ONNX__MODEL and STASHHOG_ONNX__LABELS",
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigurationError(
            "The ONNX model cannot be run: the package onnxruntime is not installed",
            remedy="install onnxruntime, or leave STASHHOG_ONNX__MODEL empty",
        )
    try:
        states = _state(settings.model), _state(settings.labels)
        key = (settings.model_dump_json(), *states)
        with _lock:
            if key not in _loaded:
                # Keep one model only: models may need most of the memory.
                _loaded.clear()
                _loaded[key] = _load(settings, settings.model, settings.labels)
            return _loaded[key]
    except OSError as error:
        raise ConfigurationError(
            "The ONNX model or its labels cannot be read",
            where=str(error.filename),
            remedy=f"{error.strerror}; see STASHHOG_ONNX__MODEL and …__LABELS",
        ) from error


def _load(settings: OnnxSettings, model: Path, labels: Path) -> ImageModel:
    import onnxruntime  # type: ignore[import-untyped]

    names = labels.read_bytes()
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(names)
    options = onnxruntime.SessionOptions()
    # Threads that wait by spinning take processor time from everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Exclude the provider that sends requests to a remote server.
    local = [p for p in onnxruntime.get_available_providers() if "Azure" not in p]
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=local)
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise unusable(settings, f"the file is no ONNX model: {error}") from error
    found = read_labels(labels, names)
    return ImageModel(session, found, digest.hexdigest()[:16], settings)


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _activation(outputs: str, probe: Any) -> Any:
    """Return the function that turns outputs into probabilities."""
    if outputs == "auto":
        low, high = -_PROBABILITY_TOLERANCE, 1 + _PROBABILITY_TOLERANCE
        outside = ((probe < low) | (probe > high)).any()
        outputs = "logits" if outside else "probabilities"
    return {"probabilities": _clipped, "logits": _sigmoid, "softmax": _softmax}[outputs]


def _clipped(scores: Any) -> Any:
    return scores.clip(0, 1)


def _sigmoid(scores: Any) -> Any:
    import numpy as np

    # Beyond these limits the result is 0 or 1 to all digits, and exp() overflows.
    return 1 / (1 + np.exp(-scores.clip(-60, 60)))


def _softmax(scores: Any) -> Any:
    import numpy as np

    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
