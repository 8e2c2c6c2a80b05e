"""Text recognition in pictures (OCR) with RapidOCR, an optional extra."""

import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stashhog_core.errors import ConfigurationError

if TYPE_CHECKING:
    from stashhog_core.media.upright import Picture

ENGINE = "rapidocr-1.4"
"""Name and model generation, part of the key in the result cache."""

DETECTION_SIDE_PIXELS = 544
"""Short side of the picture for text detection; the engine's default of 736 takes twice
as long and finds no more text on a title card."""

LEAST_SCORE = 0.6
"""Minimum score of a line of text; lines with a lower score are noise."""

MOST_ENGINES = 4
"""Each engine needs about 100 MB."""


@dataclass(frozen=True)
class TextLine:
    """A line of text in a picture, and the engine's score for the line (0-1)."""

    text: str
    score: float


Ocr = Callable[[Sequence["Picture"]], list[list[TextLine]]]
"""Returns the lines of each picture, from top to bottom."""

_engines = threading.local()

# All batches of this process share these threads: one thread per engine, and one engine
# per processor. The engine's own threads wait for each other by spinning, which takes
# nearly three times the processor time.
_pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_ENGINES), "text")


def load_ocr() -> Ocr:
    """Return the text recognition; its engines are loaded with the first picture.

    Raises:
        ConfigurationError: The extra is not installed.
    """
    if importlib.util.find_spec("rapidocr_onnxruntime") is None:
        raise ConfigurationError(
            "Title cards cannot be read: the package rapidocr-onnxruntime "
            "is not installed",
            remedy="install requirements/ocr.txt, set STASHHOG_AI_SERVER__URL, or "
            "run the analysis with detect_video_tags=false",
        )
    return _read


def _read(pictures: Sequence["Picture"]) -> list[list[TextLine]]:
    return list(_pool.map(_read_one, pictures))


def _read_one(picture: "Picture") -> list[TextLine]:
    found, _ = _engine()(picture)
    return [
        TextLine(text.strip(), round(float(score), 3))
        for _, text, score in in_reading_order(found or [])
        if text.strip() and float(score) >= LEAST_SCORE
    ]


def in_reading_order(found: Sequence[Any]) -> list[Any]:
    """Return pieces of text row by row, each row from left to right.

    Args:
        found: Pieces of (corners clockwise from the top left, text, score). Pieces of
            one row are rarely at exactly the same height.
    """
    rows: list[list[Any]] = []
    for piece in sorted(found, key=lambda piece: piece[0][0][1]):
        corners = piece[0]
        middle = (corners[0][1] + corners[2][1]) / 2
        if rows and middle < rows[-1][0][0][2][1]:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [
        piece for row in rows for piece in sorted(row, key=lambda piece: piece[0][0][0])
    ]


def _engine() -> Any:
    """Return the engine of this thread: RapidOCR keeps state while it reads."""
    if not hasattr(_engines, "engine"):
        from rapidocr_onnxruntime import RapidOCR

        _engines.engine = RapidOCR(
            intra_op_num_threads=1,
            inter_op_num_threads=1,
            det_limit_side_len=DETECTION_SIDE_PIXELS,
            # Title cards are upright; the frames have been rotated already.
            use_cls=False,
        )
    return _engines.engine
