"""An image-tagging model of the user's own, run by ONNX Runtime, an optional extra.

How pictures must be laid out is read from the model's input; what a file cannot say
(the range and order of colours, what the outputs mean) is taken from the settings.
"""

import hashlib
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stashhog_core.detection.image_input import (
    COLOURS,
    laid_out,
    layout_of,
    unusable,
)
from stashhog_core.detection.label_file import Label, read_labels
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings.taggers import OnnxSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stashhog_core.media.frames import Picture

    Scores = NDArray[np.float32]

BATCH_SIZE = 8
"""Pictures a run, where the model leaves it open."""

# Rounding may take a probability a little out of its range.
_PROBABILITY_TOLERANCE = 1e-3


class ImageModel:
    """Says how sure it is of each label in each picture; for several threads at once.

    Attributes:
        labels: What its outputs stand for.
        content: Stands for the model and its labels, as long as neither changes.
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
        """Width and height of its pictures in pixels."""
        return self._layout.width, self._layout.height

    @property
    def batch(self) -> int:
        """Pictures to give it at a time."""
        return self._layout.batch or BATCH_SIZE

    def __call__(self, pictures: Sequence["Picture"]) -> "Scores":
        """Return probabilities of shape (pictures, labels); not a number counts as 0.

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
        """Try plain pictures; return the output with the labels, and what it needs.

        Raises:
            ConfigurationError: The model does not run, or has other labels.
        """
        import numpy as np

        width, height = self.size
        shades = np.linspace(0, 255, self.batch).astype(np.uint8)
        pictures = [np.full((height, width, COLOURS), shade) for shade in shades]
        try:
            results = self._session.run(None, self._input(pictures))
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise unusable(self._settings, f"it does not run: {error}") from error
        widths = []
        for output, result in zip(self._session.get_outputs(), results, strict=True):
            scores = np.asarray(result).reshape(self.batch, -1)
            if scores.shape[1] == len(self.labels):
                return output.name, _activation(self._settings.outputs, scores)
            widths.append(scores.shape[1])
        raise unusable(
            self._settings,
            f"it has {' or '.join(map(str, widths))} outputs, and the labels are "
            f"{len(self.labels)}: see STASHHOG_ONNX__LABELS",
        )


_loaded: dict[object, ImageModel] = {}
_lock = threading.Lock()


def load_model(settings: OnnxSettings) -> ImageModel:
    """Return the model of the settings; loaded once, until one of its files changes.

    Raises:
        ConfigurationError: ONNX Runtime is not installed, or the files do not do.
    """
    if settings.model is None or settings.labels is None:
        raise ConfigurationError(
            "The ONNX tagger needs a model and its labels",
            remedy="set STASHHOG_ONNX__MODEL and STASHHOG_ONNX__LABELS",
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigurationError(
            "The ONNX model cannot be run: onnxruntime is not installed",
            remedy="install it, or leave STASHHOG_ONNX__MODEL empty",
        )
    try:
        states = _state(settings.model), _state(settings.labels)
        key = (settings.model_dump_json(), *states)
        with _lock:
            if key not in _loaded:
                # One model: the one before may be as large as the memory.
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
    # Threads that wait by spinning take the processor from everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A provider that asks a server elsewhere is left out.
    local = [p for p in onnxruntime.get_available_providers() if "Azure" not in p]
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=local)
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise unusable(settings, f"it is no model: {error}") from error
    found = read_labels(labels, names)
    return ImageModel(session, found, digest.hexdigest()[:16], settings)


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _activation(outputs: str, probe: Any) -> Any:
    """Return what makes probabilities of the outputs."""
    if outputs == "auto":
        low, high = -_PROBABILITY_TOLERANCE, 1 + _PROBABILITY_TOLERANCE
        outside = ((probe < low) | (probe > high)).any()
        outputs = "logits" if outside else "probabilities"
    return {"probabilities": _kept, "logits": _sigmoid, "softmax": _softmax}[outputs]


def _kept(scores: Any) -> Any:
    return scores.clip(0, 1)


def _sigmoid(scores: Any) -> Any:
    import numpy as np

    # Beyond this it is 0 or 1 to all digits, and exp() would overflow.
    return 1 / (1 + np.exp(-scores.clip(-60, 60)))


def _softmax(scores: Any) -> Any:
    import numpy as np

    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
