"""Detector `title_cards`: what the video says of itself in writing.

With no AI server this is what `detect_video_tags` means. Title cards name the studio,
the performers and the tags, and all three are proposed: they are what the video shows,
not guesses from the name of a file, which is what `detect_performers` and
`detect_studios` ask for. The file's name is read as one more card, since releases carry
the title there that others show in the picture; but only full main names of performers
and studios count in it. Aliases, folders and titles stay with the detector `names`,
and so do tags in file names, which `detect_tags` asks for.
"""

import itertools
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stashhog_core.detection import names
from stashhog_core.detection.name_finder import Match, stands_alone
from stashhog_core.detection.ocr import ENGINE, TextReader
from stashhog_core.detection.reader import Knowledge, WholeReader
from stashhog_core.detection.scenes import SceneFacts
from stashhog_core.errors import ItemError
from stashhog_core.media import frames
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal

NAME = "title_cards"
VERSION = "1"

# A word among others on a card may belong to a sentence.
_AMONG_OTHERS = 0.8
# Shorter lines are often misread ornaments.
_LEAST_LETTERS = 3


class TitleCards(WholeReader):
    """Reads the cards of the first and last minute and finds known names on them.

    Args:
        read_text: Reads pictures.
        path_map: Stash's paths to those of this machine.
    """

    name = NAME
    version = VERSION
    configuration = (
        f"{ENGINE};keyframes={frames.WINDOW_SECONDS:g}s/{frames.PICTURES_PER_WINDOW}"
        f"/{frames.LONG_SIDE_PIXELS}px"
    )

    def __init__(self, read_text: TextReader, path_map: PathMap) -> None:
        self._read_text = read_text
        self._path_map = path_map

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return every line that was read: second, text, score."""
        if scene.file is None:
            raise ItemError("The scene has no file")
        path = local_file(scene.file.path, self._path_map)
        stills = frames.end_stills(path)
        read = self._read_text([still.picture for still in stills])
        return {
            "pictures": len(stills),
            "lines": [
                {
                    "second": round(still.second, 2),
                    "text": line.text,
                    "score": line.score,
                }
                for still, lines in zip(stills, read, strict=True)
                for line in lines
            ],
        }

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return the known names on the cards and in the file's name."""
        return [
            *self._on_cards(scene, output, knowledge),
            *self._in_file_name(scene, knowledge),
        ]

    def _on_cards(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> Iterator[Proposal]:
        by_second = itertools.groupby(output["lines"], key=lambda line: line["second"])
        for second, group in by_second:
            lines = list(group)
            # A name may run over two lines of a card.
            text = "\n".join(line["text"] for line in lines)
            for match in knowledge.finder.find(text):
                sure = _sure_on_card(text, match)
                if sure is None:
                    continue
                score = _score(lines, match)
                evidence = {
                    "rule": "name on a title card",
                    "second": second,
                    "text": _touched(text, match),
                    "score": score,
                }
                proposal = names.proposal_for(
                    scene, match.known, score * sure, NAME, evidence
                )
                if proposal is not None:
                    yield proposal

    def _in_file_name(
        self, scene: SceneFacts, knowledge: Knowledge
    ) -> Iterator[Proposal]:
        text = scene.file_name
        for match in knowledge.finder.find(text):
            if match.known.kind == "tags" or match.known.is_alias:
                continue
            confidence = names.confidence_in(text, match)
            if confidence is None:
                continue
            evidence = names.evidence_of("full name in the file name", text, match)
            proposal = names.proposal_for(
                scene, match.known, confidence, NAME, evidence
            )
            if proposal is not None:
                yield proposal


def local_file(stash_path: str, path_map: PathMap) -> Path:
    """Return where this machine has a file of Stash.

    Raises:
        ItemError: Nowhere; says which mapping is missing.
    """
    path = Path(path_map.to_local(stash_path))
    if path.is_file():
        return path
    mapped = str(path) != stash_path
    folder = posixpath.dirname(stash_path.replace("\\", "/"))
    raise ItemError(
        f"This machine has no file {path}"
        + (f", where STASHHOG_STASH__PATH_MAP puts {stash_path}" if mapped else ""),
        remedy="mount Stash's library here, or say where it is: "
        f'STASHHOG_STASH__PATH_MAP={{"{folder}": "/folder/on/this/machine"}}',
    )


def _sure_on_card(text: str, match: Match) -> float | None:
    """Return how sure a name on a card is, apart from the reading of its letters."""
    if names.is_technical(match.known):
        return None
    if match.word_count > 1:
        return 1.0
    if stands_alone(text, match):
        # Nobody writes an everyday word on a line of its own without meaning it.
        return 1.0 if match.end - match.start >= _LEAST_LETTERS else None
    is_tag = match.known.kind == "tags"
    if is_tag and names.confidence_in(text, match) is not None:
        return _AMONG_OTHERS
    return None


def _line_numbers(text: str, match: Match) -> range:
    first = text.count("\n", 0, match.start)
    return range(first, first + text.count("\n", match.start, match.end) + 1)


def _score(lines: list[Mapping[str, Any]], match: Match) -> float:
    text = "\n".join(line["text"] for line in lines)
    return min(float(lines[n]["score"]) for n in _line_numbers(text, match))


def _touched(text: str, match: Match) -> str:
    lines = text.split("\n")
    return " / ".join(lines[n] for n in _line_numbers(text, match))
