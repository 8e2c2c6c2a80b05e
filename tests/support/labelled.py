"""The labelled names under `tests/labelled`: what a person would tag, and the score."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stashhog_core.detection import known_names, release
from stashhog_core.detection.name_finder import Kind, KnownName, NameFinder
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import PrimaryFile, SceneFacts
from stashhog_core.detection.title_cards import TitleCards
from stashhog_core.paths import PathMap
from stashhog_core.plans.proposals import Proposal, best_of

FOLDER = Path(__file__).parents[1] / "labelled"
KINDS: dict[str, str] = {
    "p": "performers",
    "s": "studio",
    "t": "tags",
    "d": "date",
    "c": "code",
}
_LIBRARY_KINDS: dict[str, Kind] = {
    "performer": "performers",
    "studio": "studio",
    "tag": "tags",
}
THRESHOLD = 0.7
"""The default of `STASHHOG_ANALYSIS__CONFIDENCE_THRESHOLD`."""
_OCR_SCORE = 0.97

Label = tuple[str, str]
"""Field and value, such as `("performers", "Jade Kush")`."""


@dataclass(frozen=True)
class Case:
    """A text, what a person would tag, and why.

    Attributes:
        place: `file`, `path`, `title`, `details` or `card`.
        held: Whether the case was kept back while the rules were tuned.
        missed: Whether this build is known to tag the case otherwise.
    """

    group: str
    place: str
    text: str
    labels: frozenset[Label]
    why: str
    held: bool
    missed: bool

    @property
    def scene(self) -> SceneFacts:
        """The scene whose text this is."""
        path = "/data/0001.mp4"
        if self.place == "file":
            path = f"/data/{self.text}.mp4"
        elif self.place == "path":
            path = f"/data{self.text}"
        return SceneFacts(
            id=1,
            file=PrimaryFile(path, 60, 640, 360, 25, "h264", "aac", None),
            title=self.text if self.place == "title" else "",
            details=self.text if self.place == "details" else "",
        )

    @property
    def card_lines(self) -> list[dict[str, Any]]:
        """The lines of a card, as the reader of title cards stores them."""
        if self.place != "card":
            return []
        return [
            {"second": 1.0, "text": line, "score": _OCR_SCORE}
            for line in self.text.split("\n")
        ]


def labelled_cases() -> list[Case]:
    """Return all cases, in the order of the file."""
    cases = []
    group = ""
    for line in (FOLDER / "cases.txt").read_text(encoding="utf8").splitlines():
        if line.startswith("# ") or not line:
            continue
        if line.startswith("[") and line.endswith("]") and " ⇒ " not in line:
            group = line[1:-1]
            continue
        missed = line.startswith("! ")
        line = line.removeprefix("! ")
        held = line.startswith("* ")
        text, labels, why = line.removeprefix("* ").split(" ⇒ ")
        text = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), text)
        place = "path" if text.startswith("/") else "file"
        for prefix in ("title", "details", "card"):
            if text.startswith(f"{prefix}: "):
                place, text = prefix, text.removeprefix(f"{prefix}: ")
        cases.append(
            Case(
                group,
                place,
                text.replace("⏎", "\n"),
                _labels(labels),
                why,
                held,
                missed,
            )
        )
    return cases


@dataclass(frozen=True)
class Card:
    """A drawn card, what a person would tag, and why.

    Attributes:
        style: How the card is drawn; see `tests/labelled/draw_cards.py`.
        held: Whether the card was kept back while the rules were tuned.
        incomplete: Whether text recognition cannot read what the card says.
    """

    group: str
    name: str
    style: str
    text: str
    labels: frozenset[Label]
    why: str
    held: bool
    incomplete: bool

    @property
    def video(self) -> Path:
        """The video that shows the card."""
        return FOLDER / "cards" / f"{self.name}.mp4"

    @property
    def scene(self) -> SceneFacts:
        """The scene of the video, whose name says nothing."""
        file = PrimaryFile(str(self.video), 3, 960, 540, 1, "h264", "", None)
        return SceneFacts(id=1, file=file)


def labelled_cards() -> list[Card]:
    """Return all drawn cards, in the order of the file."""
    cards = []
    group = ""
    for line in (FOLDER / "cards.txt").read_text(encoding="utf8").splitlines():
        if line.startswith("# ") or not line:
            continue
        if line.startswith("[") and " ⇒ " not in line:
            group = line[1:-1]
            continue
        name, style, text, labels, why = line.split(" ⇒ ")
        *marks, name = name.split(" ")
        text = text.replace("⏎", "\n")
        held, incomplete = "*" in marks, "!" in marks
        cards.append(
            Card(group, name, style, text, _labels(labels), why, held, incomplete)
        )
    return cards


def _labels(text: str) -> frozenset[Label]:
    if text == "-":
        return frozenset()
    pairs = (label.strip().split(":", 1) for label in text.split(";"))
    return frozenset((KINDS[kind], value) for kind, value in pairs)


def labelled_library() -> list[KnownName]:
    """Return the names and aliases that the cases are judged against."""
    names: list[KnownName] = []
    lines = (FOLDER / "library.txt").read_text(encoding="utf8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#"):
            continue
        kind, _, spelled = line.partition(": ")
        main, *aliases = spelled.split("; ")
        names += [
            KnownName(_LIBRARY_KINDS[kind], number, main, alias)
            for alias in (main, *aliases)
        ]
    return names


def proposed(case: Case, finder: NameFinder) -> list[Proposal]:
    """Return what this build proposes for a case, at the default threshold."""
    if case.place == "card":
        reader = TitleCards(_unused, PathMap({}))
        names = StashNames(finder, lambda name: None, create_missing_tags=False)
        found = reader.propose(case.scene, {"lines": case.card_lines}, names)
    else:
        kinds: set[Kind] = {"performers", "studio", "tags"}
        found = known_names.propose(case.scene, finder, kinds, ["/data"])
        found += release.propose(case.scene)
    return best_of(p for p in found if p.confidence >= THRESHOLD)


def proposed_for_cards(
    finder: NameFinder, lines: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Callable[[Card], frozenset[Label]]:
    """Return a function that gives what this build proposes for a card.

    Args:
        finder: Finds the names of the library.
        lines: The lines that text recognition has read, by the name of the card.
    """
    reader = TitleCards(_unused, PathMap({}))
    names = StashNames(finder, lambda name: None, create_missing_tags=False)

    def labels(card: Card) -> frozenset[Label]:
        found = reader.propose(card.scene, {"lines": lines[card.name]}, names)
        return labels_of(best_of(p for p in found if p.confidence >= THRESHOLD))

    return labels


def labels_of(proposals: Iterable[Proposal]) -> frozenset[Label]:
    """Return proposals as labels."""
    return frozenset((p.field, p.proposed.as_text) for p in proposals)


@dataclass
class Score:
    """Right, wrong and missed values of one kind."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Share of the proposed values that are right."""
        return self.right / (self.right + self.wrong) if self.right else 0.0

    @property
    def recall(self) -> float:
        """Share of the labelled values that are proposed."""
        return self.right / (self.right + self.missed) if self.right else 0.0


def scores(
    cases: Iterable[Case], tagger: Callable[[Case], frozenset[Label]]
) -> dict[str, Score]:
    """Return the score of each kind of value."""
    counts: Counter[tuple[str, str]] = Counter()
    for case in cases:
        found = tagger(case)
        for what, labels in (
            ("right", found & case.labels),
            ("wrong", found - case.labels),
            ("missed", case.labels - found),
        ):
            counts.update((field, what) for field, _ in labels)
    return {
        field: Score(
            counts[field, "right"], counts[field, "wrong"], counts[field, "missed"]
        )
        for field in KINDS.values()
    }


def _unused(pictures: object) -> list[list[object]]:
    raise AssertionError("no picture is read")
