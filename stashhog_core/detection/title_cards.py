"""Detector `title_cards`: known names in the text that a video shows.

`detect_video_tags` runs this detector if no AI server and no ONNX model is set. Title
cards name tags, performers and the studio. Performers are proposed only with
`detect_performers`, and studios only with `detect_studios`. This detector reads the
file's name like one more card, since releases carry there the title that other videos
show in the picture, but accepts only full main names of performers and studios there.
Aliases, folders, titles and tags in file names belong to the detector `names`.
"""

import bisect
import itertools
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stashhog_core.detection import known_names
from stashhog_core.detection.name_context import Named, names_in
from stashhog_core.detection.name_finder import KINDS, Kind
from stashhog_core.detection.ocr import ENGINE, Ocr
from stashhog_core.detection.readers import SceneReader, StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.media import frames
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import PICTURES, RIVALS, Proposal

logger = logging.getLogger(__name__)

NAME = "title_cards"
VERSION = "1"

# A single word among others on a card may be part of a sentence.
_AMONG_OTHERS = 0.8

# The sampler decodes a picture every 20 seconds at least, unless the file is damaged.
_LEAST_SHARE_SEEN = 1 / 20


class TitleCards(SceneReader):
    """Reads the title cards of the first and last minute of a video.

    Args:
        ocr: Recognizes the text in pictures.
        path_map: Maps Stash's paths to paths on this machine.
        kinds: The kinds of names that are proposed.
    """

    name = NAME
    version = VERSION
    configuration = (
        f"{ENGINE};keyframes={frames.WINDOW_SECONDS:g}s/{frames.PICTURES_PER_WINDOW}"
        f"/{frames.LONG_SIDE_PIXELS}px"
    )

    def __init__(
        self, ocr: Ocr, path_map: PathMap, kinds: Collection[Kind] = KINDS
    ) -> None:
        self._ocr = ocr
        self._path_map = path_map
        self._kinds = kinds
        self._pictures: Counter[str] = Counter()

    def costs(self) -> Mapping[str, float | str]:
        """Return how many pictures were seen so far, and how many were asked for."""
        return dict(self._pictures)

    def read(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the number of pictures, and the lines of text in the pictures.

        `pictures` differ and were read, `pictures_seen` were decoded, `pictures_asked`
        were asked for. Each line has its second, its text, its score and its place:
        left, top, right and bottom in pixels.
        """
        path = scene.local_file(self._path_map)
        found = frames.end_stills(path)
        if found.seen < found.asked * _LEAST_SHARE_SEEN:
            logger.warning(
                "Scene %d: only %d of %d pictures could be decoded (one a second of "
                "the first and last minute), so title cards may be missed: %s",
                scene.id,
                found.seen,
                found.asked,
                path,
            )
        pictures = dict(zip(PICTURES, (found.seen, found.asked), strict=True))
        self._pictures.update(pictures)
        read = self._ocr([still.picture for still in found.stills])
        return {
            "pictures": len(found.stills),
            **pictures,
            "lines": [
                {
                    "second": round(still.second, 2),
                    "text": line.text,
                    "score": line.score,
                    "box": line.box,
                }
                for still, lines in zip(found.stills, read, strict=True)
                for line in lines
            ],
        }

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        """Return the known names on the cards and in the file's name."""
        found = itertools.chain(
            self._on_cards(scene, output, names), self._in_file_name(scene, names)
        )
        # Only now: a name of another kind may be the longer one, and then counts.
        return [proposal for proposal in found if proposal.field in self._kinds]

    def _on_cards(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> Iterator[Proposal]:
        pictures = {name: output[name] for name in PICTURES if name in output}
        by_second = itertools.groupby(output["lines"], key=lambda line: line["second"])
        for second, group in by_second:
            taken: set[int] = set()
            for card in _texts(list(group)):
                yield from self._on_card(scene, card, second, pictures, names, taken)

    def _on_card(
        self,
        scene: SceneFacts,
        card: "_CardText",
        second: float,
        pictures: Mapping[str, int],
        names: StashNames,
        taken: set[int],
    ) -> Iterator[Proposal]:
        """Yield the names in one text of a card.

        Args:
            scene: The scene.
            card: The text.
            second: When the card is shown.
            pictures: How many pictures were seen.
            names: The names that Stash has.
            taken: The lines of names that run down a column; those of `card` are added.
        """
        for named in names_in(card.text, names.finder, on_card=True):
            match = named.match
            numbers = card.numbers_of(match.start, match.end)
            if known_names.is_technical(match.known):
                continue
            if card.is_column:
                if len(numbers) == 1:
                    continue
                taken.update(numbers)
            elif taken.issuperset(numbers):
                continue
            matched = [card.lines[number] for number in numbers]
            score = min(float(line["score"]) for line in matched)
            evidence = {
                "rule": "name on a title card",
                "reason": named.verdict.reason,
                "second": second,
                "text": " / ".join(line["text"] for line in matched),
                "score": score,
                **pictures,
            }
            if match.rivals:
                evidence[RIVALS] = list(match.rivals)
            yield from known_names.lacking(
                scene,
                match.known,
                score * _confidence_on_card(named),
                NAME,
                evidence,
            )

    def _in_file_name(self, scene: SceneFacts, names: StashNames) -> Iterator[Proposal]:
        text = scene.file_name
        for named in names_in(text, names.finder):
            known = named.match.known
            if known.kind != "tags" and not known.is_alias:
                yield from known_names.lacking(
                    scene,
                    known,
                    named.verdict.confidence,
                    NAME,
                    known_names.evidence_of("full name in the file name", text, named),
                )


_SYMBOLS = str.maketrans("\u220f\u2211\u2206\u2205\u2300", "ΠΣΔØØ")
_SPACED_WORD = re.compile(r"[^\W\d_](?: [^\W\d_]){2,5}")
_LEADERS = re.compile(
    r"[ ]?(?:[._\u00b7](?:[ ]?[._\u00b7])+|\u2026)[ ]?|(?<=\s)[.\u00b7]+(?=\w)"
)
# `Mia Cole as Kate, Dana Reed as Lena`: to the end of a line or to the next person.
_ROLE = re.compile(
    r"(?<=\w)(?<!as well) as (?!well as )[^,;&+/|\u2022\u00b7]*?"
    r"(?=\s+and\s|\s*[,;&+/|\u2022\u00b7]|$)",
    re.IGNORECASE,
)
_HYPHEN_AT_THE_END = re.compile(r"(?<=\w)[-\u2010]$")
_LEAST_SPACED_OUT = 4
"""So many letters in a row, each read as a line, are a line of letters far apart."""


@dataclass(frozen=True)
class _CardText:
    """Lines of one card as one text.

    Attributes:
        lines: All lines of the card.
        numbers: The lines of this text.
        starts: Where each of these begins in the text.
        is_column: Whether the lines stand below one another.
    """

    lines: Sequence[Mapping[str, Any]]
    numbers: Sequence[int]
    text: str
    starts: Sequence[int]
    is_column: bool

    def numbers_of(self, start: int, end: int) -> Sequence[int]:
        """Return the lines of a part of the text."""
        first = bisect.bisect_right(self.starts, start) - 1
        return self.numbers[first : bisect.bisect_left(self.starts, end)]


def _texts(lines: Sequence[Mapping[str, Any]]) -> Iterator[_CardText]:
    """Yield the texts of a card: each of its columns, then all of it row by row.

    A name may run over two lines, and the two lines do not follow one another if two
    names stand beside each other.
    """
    boxes = [line["box"] for line in lines if line.get("box")]
    if len(boxes) == len(lines):
        for column in _columns(boxes):
            # Lines that follow one another are read together row by row, too.
            if column != list(range(column[0], column[-1] + 1)):
                yield _joined(lines, column, is_column=True)
    yield _joined(lines, range(len(lines)), is_column=False)


def _joined(
    lines: Sequence[Mapping[str, Any]], numbers: Sequence[int], *, is_column: bool
) -> _CardText:
    written = [_as_written(lines[number]["text"]) for number in numbers]
    text, starts = "", []
    for place, line in enumerate(written):
        if place:
            text += " " if _is_spaced_out(written, place) else "\n"
        starts.append(len(text))
        text += line
    return _CardText(lines, numbers, text, starts, is_column)


def _is_spaced_out(lines: Sequence[str], number: int) -> bool:
    """Tell whether a line and the line before it are letters of one line."""
    first = last = number
    while first > 0 and len(lines[first - 1]) == 1:
        first -= 1
    while last < len(lines) and len(lines[last]) == 1:
        last += 1
    return first < number < last and last - first >= _LEAST_SPACED_OUT


def _columns(boxes: Sequence[Sequence[float]]) -> list[list[int]]:
    """Return the columns of a card: numbers of lines that stand below one another.

    Args:
        boxes: Left, top, right and bottom of each line, row by row.
    """
    following: dict[int, int] = {}
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other, (left_, top_, right_, bottom_) in enumerate(boxes):
            is_below = (
                (top + bottom) / 2 < top_ < bottom + max(bottom - top, bottom_ - top_)
            )
            shared = min(right, right_) - max(left, left_)
            if is_below and shared > min(right - left, right_ - left_) / 2:
                following.setdefault(number, other)
                break
    columns = []
    for number in range(len(boxes)):
        if number not in following.values():
            column = [number]
            while column[-1] in following:
                column.append(following[column[-1]])
            columns.append(column)
    return columns


def _as_written(line: str) -> str:
    """Return a line of a card without what does not belong to the names.

    These are dots that lead from a role to a name, a hyphen at the end, spaces between
    the letters of a short word, and what a person plays. Some letters are read as the
    symbols that look like them.
    """
    line = _HYPHEN_AT_THE_END.sub("", line.translate(_SYMBOLS))
    if _SPACED_WORD.fullmatch(line):
        line = line.replace(" ", "")
    line = _ROLE.sub("", line)
    return _LEADERS.sub(" - ", line)


def _confidence_on_card(named: Named) -> float:
    """Return the confidence of a name on a card, without the score of the OCR."""
    match = named.match
    if match.rivals:
        return named.verdict.confidence
    if named.verdict.reason.startswith("a whole word"):
        return _AMONG_OTHERS
    return (1.0, 1.0, 0.95, 0.85)[match.spelling]
