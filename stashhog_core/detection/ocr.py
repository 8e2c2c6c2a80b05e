"""Text recognition in pictures (OCR) with the PP-OCRv6 models in RapidOCR's wheel.

RapidOCR's own code is not used: it loads both models again for every thread, downloads
a model that is missing or has changed, and sets up log handlers. The models work as
PaddleOCR describes them: one marks the pixels that belong to lines of text, the other
one reads the picture of a single line.
"""

import importlib.util
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stashhog_core.errors import ConfigurationError

if TYPE_CHECKING:
    from stashhog_core.media.upright import Picture

RAPIDOCR = "3.10.0"
"""Version of the wheel that has the models; pyproject.toml pins this version."""

ENGINE = f"rapidocr-{RAPIDOCR}-pp-ocrv6-small"
"""Name and version of the models, part of the key in the result cache."""

DETECTION_SIDE_PIXELS = 544
"""Short side of the picture in which lines of text are looked for."""

LEAST_SCORE = 0.6
"""Minimum score of a line of text; lines with a lower score are noise."""

MOST_THREADS = 4
"""Each thread needs up to 200 MB while it reads a picture."""

MOST_LINES = 100
"""Maximum number of lines that are read in a picture; no title card has as many."""

_LINES_MODEL, _LETTERS_MODEL = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
# Sizes that the models can be given are multiples of it.
_CELL_PIXELS = 32
_LINE_HEIGHT, _LEAST_LINE_WIDTH, _MOST_LINE_WIDTH = 48, 320, 2048
# Of PaddleOCR's configuration of these models.
_TEXT_PIXEL, _TEXT_REGION, _GROWTH = 0.3, 0.5, 1.6
_LEAST_SIDE = 3
# A region that is so much higher than wide is a line that was turned.
_UPRIGHT_BY = 1.5


@dataclass(frozen=True)
class TextLine:
    """A line of text in a picture, and the engine's score for the line (0-1).

    Attributes:
        box: Left, top, right and bottom in pixels.
    """

    text: str
    score: float
    box: tuple[int, int, int, int] | None = None


Ocr = Callable[[Sequence["Picture"]], list[list[TextLine]]]
"""Returns the lines of each picture, from top to bottom."""

# All batches of this process share these threads: one thread per processor. The
# engine's own threads wait for each other by spinning, which takes nearly three times
# the processor time.
_pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS), "text")


def load_ocr(folder: Path | None = None) -> Ocr:
    """Return the text recognition; its models are loaded with the first picture.

    Args:
        folder: Where the models are; None: in the installed package `rapidocr`.

    Raises:
        ConfigurationError: The extra is not installed, or a model is missing.
    """
    package = importlib.util.find_spec("rapidocr")
    if package is None or package.origin is None:
        raise ConfigurationError(
            "Title cards cannot be read: the package rapidocr is not installed",
            remedy="install requirements/run.txt, set STASHHOG_AI_SERVER__URL, or run "
            "the analysis with detect_video_tags=false",
        )
    models = folder or Path(package.origin).parent / "models"
    for name in (_LINES_MODEL, _LETTERS_MODEL):
        if not (models / name).is_file():
            raise _unusable(models / name, "the file is missing")
    return partial(_read, models)


def _read(folder: Path, pictures: Sequence["Picture"]) -> list[list[TextLine]]:
    return list(_pool.map(partial(_read_one, folder), pictures))


def _read_one(folder: Path, picture: "Picture") -> list[TextLine]:
    models = _models(folder)
    found = []
    for corners in models.regions(picture, DETECTION_SIDE_PIXELS)[:MOST_LINES]:
        text, score = models.line(_cut_out(picture, corners))
        if text.strip() and score >= LEAST_SCORE:
            found.append((corners, TextLine(text.strip(), round(score, 3))))
    return [
        replace(line, box=_box(corners)) for corners, line in in_reading_order(found)
    ]


def _box(corners: Any) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a frame around a region."""
    across, down = zip(*corners, strict=True)
    return int(min(across)), int(min(down)), int(max(across)), int(max(down))


def in_reading_order(found: Sequence[Any]) -> list[Any]:
    """Return pieces of text row by row, each row from left to right.

    Args:
        found: Pieces of (corners clockwise from the top left, text, …). Pieces of one
            row are rarely at exactly the same height.
    """
    rows: list[list[Any]] = []
    for piece in sorted(found, key=lambda piece: float(piece[0][0][1])):
        corners = piece[0]
        middle = (corners[0][1] + corners[2][1]) / 2
        if rows and middle < rows[-1][0][0][2][1]:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [
        piece
        for row in rows
        for piece in sorted(row, key=lambda piece: float(piece[0][0][0]))
    ]


class TextModels:
    """The two models, which all threads may use at the same time.

    Args:
        folder: Where their files are.

    Raises:
        ConfigurationError: A file is missing or cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = _session(folder / _LINES_MODEL)
        self._letters = _session(folder / _LETTERS_MODEL)
        known = self._letters.get_modelmeta().custom_metadata_map.get("character", "")
        # The model answers with the number of a letter; 0 is the gap between two.
        self._alphabet = ["", *known.splitlines(), " "]

    def regions(self, picture: "Picture", side: int) -> list[Any]:
        """Return the corners of each line of text: x and y, clockwise from top left.

        Args:
            picture: Rows of pixels of (blue, green, red).
            side: Short side in pixels of the picture that the model looks at; a smaller
                picture stays as it is.
        """
        import cv2
        import numpy as np

        height, width = picture.shape[:2]
        scale = min(1.0, side / min(height, width))
        size = (_in_cells(width * scale), _in_cells(height * scale))
        likely = _run(self._lines, _input(picture, size))[0, 0]
        marked = (likely > _TEXT_PIXEL).astype(np.uint8)
        marked = cv2.dilate(marked, np.ones((2, 2), np.uint8))
        outlines, _ = cv2.findContours(marked, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        to_picture = np.array([width / size[0], height / size[1]])
        found = []
        for outline in outlines:
            centre, sides, angle = cv2.minAreaRect(outline)
            if min(sides) < _LEAST_SIDE:
                continue
            score = _mean_inside(likely, cv2.boxPoints((centre, sides, angle)))
            if score < _TEXT_REGION:
                continue
            # The model marks the middle of a line only.
            growth = sides[0] * sides[1] * _GROWTH / (sides[0] + sides[1])
            grown = (sides[0] + growth, sides[1] + growth)
            corners = cv2.boxPoints((centre, grown, angle)) * to_picture
            found.append((score, _clockwise(corners, width, height)))
        found.sort(key=lambda region: -region[0])
        return [corners for _, corners in found]

    def line(self, picture: "Picture") -> tuple[str, float]:
        """Return the text of a line, and the mean score of its letters.

        Args:
            picture: The line alone, horizontal.
        """
        import numpy as np

        height, width = picture.shape[:2]
        width = min(_MOST_LINE_WIDTH, math.ceil(_LINE_HEIGHT * width / height))
        shape = (1, 3, _LINE_HEIGHT, max(width, _LEAST_LINE_WIDTH))
        line = np.zeros(shape, np.float32)
        line[..., :width] = _input(picture, (width, _LINE_HEIGHT))
        scores = _run(self._letters, line)[0]
        letters = scores.argmax(axis=1)
        begins = np.append(True, letters[1:] != letters[:-1]) & (letters != 0)
        if not begins.any():
            return "", 0.0
        text = "".join(self._alphabet[number] for number in letters[begins])
        return text, float(scores.max(axis=1)[begins].mean())


_loaded: dict[Path, TextModels] = {}
_lock = threading.Lock()


def _models(folder: Path) -> TextModels:
    """Return the models of this process, which are loaded once."""
    with _lock:
        if folder not in _loaded:
            _loaded[folder] = TextModels(folder)
        return _loaded[folder]


def _session(model: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Pictures differ in size: the arena would keep the memory of the largest ones.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise _unusable(model, "the file is damaged") from error


def _unusable(model: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"Title cards cannot be read: {reason}",
        where=str(model),
        remedy=f"install the package rapidocr {RAPIDOCR} again",
    )


def _run(session: Any, given: Any) -> Any:
    return session.run(None, {session.get_inputs()[0].name: given})[0]


def _input(picture: "Picture", size: tuple[int, int]) -> Any:
    """Return a picture as the models take it: (1, colours, rows, columns), -1 to 1."""
    import cv2

    half = 127.5
    return cv2.dnn.blobFromImage(picture, 1 / half, size, (half, half, half))


def _in_cells(pixels: float) -> int:
    return max(1, round(pixels / _CELL_PIXELS)) * _CELL_PIXELS


def _mean_inside(likely: Any, corners: Any) -> float:
    """Return the mean of the values in a rectangle."""
    import cv2
    import numpy as np

    limit = np.array(likely.shape[::-1]) - 1
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, limit).astype(int)
    inside = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(inside, [(corners - [left, top]).astype(np.int32)], 1.0)
    return float(cv2.mean(likely[top : bottom + 1, left : right + 1], inside)[0])


def _clockwise(corners: Any, width: int, height: int) -> Any:
    """Return the corners from the top left on, inside the picture."""
    import numpy as np

    corners = np.clip(corners, 0, (width - 1, height - 1)).astype(np.float32)
    corners = corners[np.argsort(corners[:, 0], kind="stable")]
    left = corners[:2][np.argsort(corners[:2, 1], kind="stable")]
    right = corners[2:][np.argsort(corners[2:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]])


def _cut_out(picture: "Picture", corners: Any) -> "Picture":
    """Return the picture of a line, turned to the horizontal."""
    import cv2
    import numpy as np

    top_left, top_right, bottom_right, bottom_left = corners
    width = max(math.dist(top_left, top_right), math.dist(bottom_left, bottom_right))
    height = max(math.dist(top_left, bottom_left), math.dist(top_right, bottom_right))
    width, height = max(1, round(width)), max(1, round(height))
    target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    line: Picture = cv2.warpPerspective(
        picture,
        cv2.getPerspectiveTransform(corners, target),
        (width, height),
        borderMode=cv2.BORDER_REPLICATE,
        flags=cv2.INTER_CUBIC,
    ).astype(np.uint8)
    if height >= _UPRIGHT_BY * width:
        line = np.ascontiguousarray(np.rot90(line))
    return line
