"""Text recognition in pictures (OCR) with the PP-OCRv6 models in RapidOCR's wheel.

RapidOCR's own code is not used: it loads both models again for every thread, downloads
a model that is missing or has changed, and sets up log handlers. The models work as
PaddleOCR describes them: one marks the pixels that belong to lines of text, the other
one reads the picture of a single line.
"""

import ctypes
import importlib.util
import math
import os
import platform
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stashhog_core.errors import ConfigurationError

if TYPE_CHECKING:
    from stashhog_core.media.upright import Picture

RAPIDOCR = "3.10.0"
"""Version of the wheel that has the models; pyproject.toml pins this version."""

SMALL_SIDE_PIXELS = 224
"""Short side of the copy of each picture that is searched for text at first. At 192
the model misses one in twenty of the names in benchmarks/card_corpus.py that it finds
at 224."""

FULL_SIDE_PIXELS = 640
"""Short side of the copy that is searched again if a picture shows new text. At 544 the
model misses letters that stand on the border of two colours."""

ENGINE = f"rapidocr-{RAPIDOCR}-pp-ocrv6-small-{SMALL_SIDE_PIXELS}/{FULL_SIDE_PIXELS}px"
"""Models and sizes of the pictures, part of the key in the result cache."""

LEAST_SCORE = 0.6
"""Minimum score of a line of text; lines with a lower score are noise."""

MOST_THREADS = 4
"""Each thread needs up to 200 MB while it reads a picture."""

MOST_LINES = 60
"""Maximum number of lines that a search of a picture returns, the clearest ones."""

MOST_LINES_OF_VIDEO = 1000
"""Maximum number of lines that are read in a video: 15 seconds of processor time."""

_LINES_MODEL, _LETTERS_MODEL = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
# Sizes that the models can be given are multiples of it.
_CELL_PIXELS = 32
_LINE_HEIGHT, _LEAST_LINE_WIDTH, _MOST_LINE_WIDTH = 48, 96, 2048
# The model marks only the middle of a line, so each region is enlarged by this factor,
# as in PaddleOCR's configuration.
_GROWTH = 1.6
_MOST_SIDES = 2.5
# One letter is no name, and patterns are often taken for an O or an I.
_LEAST_LETTERS = 2
# What makes two regions of two pictures the same line of text.
_SAME_PLACE, _SAME_TEXT, _SAME_GRAYS = 0.6, 0.75, 0.15
_PART = 0.6
_GRAY_HEIGHT, _NEAR, _LEAST_CONTRAST = 24, 12, 40.0
_EARLIER_REGIONS = 200
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


@dataclass(frozen=True)
class Sensitivity:
    """Where text is taken to be.

    Attributes:
        pixel: Minimum likelihood of a pixel that belongs to text.
        region: Minimum mean likelihood in a region of such pixels.
        side: Minimum height in pixels of such a region, before it is grown.
    """

    pixel: float
    region: float
    side: float


# What is found in the small copy is read before the picture counts as one with text.
_IN_SMALL_COPY = Sensitivity(0.2, 0.3, 2)
# Of PaddleOCR's configuration of these models.
_IN_FULL_SIZE = Sensitivity(0.3, 0.5, 3)

Ocr = Callable[[Iterable["Picture"]], list[list[TextLine]]]
"""Returns the lines of each picture of a video, from top to bottom."""

_FLUSH_DENORMALS = 0x8040
"""Bits of the control word of SSE that make results and operands zero."""


def _flush_denormals() -> None:
    """Have this thread take numbers below 1e-38, which the models work with, for zero.

    Intel's processors need a hundred times as long for these numbers, so that a search
    of a picture takes three times as long. ONNX Runtime has an option for it, but only
    the first session of a process sets it, and only for the thread that opens it.
    """
    if sys.platform == "linux" and platform.machine() == "x86_64":
        # The control word is the last one of the floating-point environment.
        library, environment = ctypes.CDLL(None), (ctypes.c_uint32 * 8)()
        library.fegetenv(environment)
        environment[7] |= _FLUSH_DENORMALS
        library.fesetenv(environment)


# All batches of this process share these threads: one thread per processor. The
# engine's own threads wait for each other by spinning, which takes nearly three times
# the processor time.
_pool = ThreadPoolExecutor(
    min(os.cpu_count() or 1, MOST_THREADS), "text", _flush_denormals
)


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


def _read(folder: Path, pictures: Iterable["Picture"]) -> list[list[TextLine]]:
    return _Video(_models(folder)).read(pictures)


def _box(corners: Any) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a frame around a region."""
    across, down = zip(*corners, strict=True)
    return int(min(across)), int(min(down)), int(max(across)), int(max(down))


@dataclass(frozen=True)
class _Region:
    """A line of text in a picture: its place, its copy in gray, and what it says."""

    corners: Any
    gray: Any
    line: TextLine

    @property
    def is_text(self) -> bool:
        """Whether this is text, and not a pattern that looks like a letter."""
        return (
            self.line.score >= LEAST_SCORE
            and sum(letter.isalnum() for letter in self.line.text) >= _LEAST_LETTERS
        )


class _Video:
    """The pictures of one video.

    A search of a small copy of each picture finds where text may be. If a picture has
    text that no earlier picture had at this place, it is searched again in full size.
    Lines are always read in full size, but a line that stands still is read only once,
    and the first new line decides that a picture is searched again.
    """

    def __init__(self, models: "TextModels") -> None:
        self._models = models
        self._earlier: deque[_Region] = deque(maxlen=_EARLIER_REGIONS)
        self._readings = 0

    def read(self, pictures: Iterable["Picture"]) -> list[list[TextLine]]:
        """Return the lines of each picture."""
        pending: deque[tuple[Picture, Future[list[Any]]]] = deque()
        lines = []
        for picture in pictures:
            pending.append((picture, _pool.submit(self._search, picture)))
            if len(pending) > 2 * MOST_THREADS:
                lines.append(self._lines_of(*pending.popleft()))
        while pending:
            lines.append(self._lines_of(*pending.popleft()))
        return lines

    def _search(self, picture: "Picture") -> list[Any]:
        return self._models.regions(picture, SMALL_SIDE_PIXELS, _IN_SMALL_COPY)

    def _lines_of(
        self, picture: "Picture", searched: "Future[list[Any]]"
    ) -> list[TextLine]:
        found = searched.result()
        return _pool.submit(self._read_picture, picture, found).result()

    def _read_picture(self, picture: "Picture", found: list[Any]) -> list[TextLine]:
        earlier = list(self._earlier)
        regions: list[_Region] = []
        for number, corners in enumerate(found, 1):
            regions.append(self._region(picture, corners))
            if regions[-1].is_text and not _said_before(regions[-1], earlier):
                regions += self._in_full_size(picture, found[number:])
                regions = _without_parts(regions)
                break
        lines = [(r.corners, r.line) for r in regions if r.line.score >= LEAST_SCORE]
        return [
            replace(line, box=_box(corners))
            for corners, line in in_reading_order(lines)
        ]

    def _in_full_size(self, picture: "Picture", unread: list[Any]) -> list[_Region]:
        """Return what a search in full size finds, and the rest of the first search.

        Args:
            picture: The picture.
            unread: Corners of the regions of the first search that were not read yet.
                A region that both searches find is read once.
        """
        regions = [
            self._region(picture, corners)
            for corners in self._models.regions(
                picture, FULL_SIDE_PIXELS, _IN_FULL_SIZE
            )
        ]
        others = []
        for corners in unread:
            same = next(
                (r for r in regions if _overlap(corners, r.corners) > _SAME_PLACE), None
            )
            if same is None:
                others.append(self._region(picture, corners))
            else:
                # The first search will find this line at its place again.
                gray = _gray(_cut_out(picture, corners))
                self._earlier.appendleft(replace(same, corners=corners, gray=gray))
        return regions + others

    def _region(self, picture: "Picture", corners: Any) -> _Region:
        """Return a region with what it says, which an earlier picture may have said."""
        strip = _cut_out(picture, corners)
        region = _Region(corners, _gray(strip), TextLine("", 0.0))
        same = next((r for r in self._earlier if _is_same(region, r)), None)
        if same is not None:
            return replace(region, line=same.line)
        if self._readings < MOST_LINES_OF_VIDEO:
            self._readings += 1
            text, score = self._models.line(strip)
            line = TextLine(text.strip(), round(score, 3) if text.strip() else 0.0)
            region = replace(region, line=line)
            self._earlier.appendleft(region)
        return region


def _without_parts(regions: list[_Region]) -> list[_Region]:
    """Return regions without those that lie in a region with as much text or more.

    In the small copy, lines that lie close together become one region; in full size, a
    line may become several.
    """
    kept: list[_Region] = []
    for region in sorted(regions, key=lambda r: -len(r.line.text) * r.line.score):
        if not any(_covered(region.corners, other.corners) > _PART for other in kept):
            kept.append(region)
    return kept


def _said_before(region: _Region, earlier: Sequence[_Region]) -> bool:
    """Tell whether an earlier picture says the same at this place."""
    return any(
        _overlap(region.corners, other.corners) > _SAME_PLACE
        and SequenceMatcher(None, region.line.text, other.line.text).ratio()
        > _SAME_TEXT
        for other in earlier
    )


def _overlap(corners: Any, other: Any) -> float:
    """Return the share of the area of both upright frames that both cover (0-1)."""
    shared = _shared_area(corners, other)
    return shared / (_area(corners) + _area(other) - shared)


def _covered(corners: Any, other: Any) -> float:
    """Return the share of the area of an upright frame that the other one covers."""
    return _shared_area(corners, other) / _area(corners)


def _shared_area(corners: Any, other: Any) -> float:
    import numpy as np

    low = np.maximum(corners.min(axis=0), other.min(axis=0))
    high = np.minimum(corners.max(axis=0), other.max(axis=0))
    return float((high - low).clip(0).prod())


def _area(corners: Any) -> float:
    sides = corners.max(axis=0) - corners.min(axis=0)
    return max(1.0, float(sides.prod()))


def _gray(strip: "Picture") -> Any:
    import cv2

    height, width = strip.shape[:2]
    width = max(_GRAY_HEIGHT, round(_GRAY_HEIGHT * width / height))
    gray = cv2.cvtColor(strip, cv2.COLOR_BGR2GRAY)
    return cv2.resize(gray, (width, _GRAY_HEIGHT), interpolation=cv2.INTER_AREA).astype(
        "float32"
    )


def _is_same(region: _Region, other: _Region) -> bool:
    """Tell whether two regions of two pictures show the same letters.

    Half a letter makes a difference; a shift by a pixel makes none.
    """
    import cv2

    if _overlap(region.corners, other.corners) < _SAME_PLACE:
        return False
    one, two = region.gray, other.gray
    two = cv2.resize(two, (one.shape[1], one.shape[0]))
    limit = max(_LEAST_CONTRAST, float(one.max() - one.min())) * _SAME_GRAYS
    inner = one[1:-1, 1:-1]
    for top in range(3):
        for left in range(3):
            rows, columns = inner.shape
            shifted = two[top : top + rows, left : left + columns]
            near = cv2.blur(abs(inner - shifted), (_NEAR, _NEAR))
            if float(near.max()) < limit:
                return True
    return False


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
        # Without an arena, the system clears memory anew for each layer of the model,
        # which takes a fifth of a search in full size, and two threads that read
        # pictures of many shapes take more memory at most (745 instead of 607 MB).
        self._lines = _session(folder / _LINES_MODEL, arena=True)
        # Lines are small: an arena saves no time here.
        self._letters = _session(folder / _LETTERS_MODEL, arena=False)
        known = self._letters.get_modelmeta().custom_metadata_map.get("character", "")
        # The model answers with the number of a letter; 0 is the gap between two.
        self._alphabet = ["", *known.splitlines(), " "]

    def regions(
        self, picture: "Picture", side: int, sensitivity: Sensitivity
    ) -> list[Any]:
        """Return the corners of each line of text: x and y, clockwise from top left.

        Args:
            picture: Rows of pixels of (blue, green, red).
            side: Short side in pixels of the copy that the model searches. The long
                side is at most 2.5 times as long. A smaller picture is enlarged.
            sensitivity: Where text is taken to be.
        """
        import cv2
        import numpy as np

        height, width = picture.shape[:2]
        long_side = side * _MOST_SIDES
        scale = min(side / min(height, width), long_side / max(height, width))
        size = (_in_cells(width * scale), _in_cells(height * scale))
        likely = _run(self._lines, _input(picture, size))[0, 0]
        marked = (likely > sensitivity.pixel).astype(np.uint8)
        marked = cv2.dilate(marked, np.ones((2, 2), np.uint8))
        outlines, _ = cv2.findContours(marked, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        to_picture = np.array([width / size[0], height / size[1]])
        found = []
        for outline in outlines:
            centre, sides, angle = cv2.minAreaRect(outline)
            if min(sides) < sensitivity.side:
                continue
            score = _mean_inside(likely, cv2.boxPoints((centre, sides, angle)))
            if score < sensitivity.region:
                continue
            growth = sides[0] * sides[1] * _GROWTH / (sides[0] + sides[1])
            grown = (sides[0] + growth, sides[1] + growth)
            corners = cv2.boxPoints((centre, grown, angle)) * to_picture
            found.append((score, _clockwise(corners, width, height)))
        found.sort(key=lambda region: -region[0])
        return [corners for _, corners in found[:MOST_LINES]]

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


def _session(model: Path, *, arena: bool) -> Any:
    """Return a model, loaded.

    Args:
        model: The file.
        arena: Keep the memory of a run for the next one.
    """
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
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
