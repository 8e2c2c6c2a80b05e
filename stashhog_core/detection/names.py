"""Detector `names`: known names in the path, title and details of a scene.

It never invents: only what Stash already knows is found. A name of several words counts
wherever it stands. A single word is too often just a word: for a performer or studio it
must stand alone in its part of the text (`Vixen - Summer Day`), be no common word and
have a few letters; for a tag it must not be a filler word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stashhog_core.detection import technical
from stashhog_core.detection.name_finder import (
    Kind,
    KnownName,
    Match,
    NameFinder,
    fold,
    stands_alone,
)
from stashhog_core.detection.scenes import SceneFacts
from stashhog_core.plans.proposals import Proposal, add_member, set_studio

NAME = "names"
VERSION = "1"

LEAST_LETTERS_OF_PERSON = 4
LEAST_LETTERS_OF_TAG = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# First names that are everyday words: alone they say nothing about who is in a scene.
COMMON_WORDS = _words(
    "amber angel april august autumn blue candy cherry chance crystal daisy destiny "
    "diamond dawn eden faith final fox ginger grace heaven holiday home honey hope "
    "hunter india intro ivory jade jasmine jewel joy june king lady love lucky luna "
    "may melody mercy mercury misty model music nature nova ocean olive paris part "
    "pearl phoenix preview prince princess queen rain raven rebel red river rose ruby "
    "sample sapphire savage scarlet scene season serenity sky snow spring star storm "
    "sugar summer sunny sunshine trailer trinity venus victory video violet virgin "
    "virginia willow winter"
)
# Words that happen to be tags but stand in any title.
FILLER_WORDS = _words(
    "all and are big day for full her him his hot movie new night not out part scene "
    "sex she the two video videos vol with you"
)

# What the file's facts decide, no word in its name does.
_TECHNICAL = frozenset(
    name.casefold() for names in technical.TAG_NAMES.values() for name in names
)

_DEDUCTIONS = {"file name": 0.0, "title": 0.0, "folder": 0.03, "details": 0.12}


@dataclass(frozen=True)
class _Text:
    place: str
    text: str


def propose(
    scene: SceneFacts, finder: NameFinder, kinds: set[Kind], roots: Sequence[str]
) -> list[Proposal]:
    """Return the names of `kinds` that the scene's texts hold.

    Args:
        scene: The scene.
        finder: Everything Stash knows.
        kinds: What is asked for.
        roots: Folders of the library; their own names say nothing about a scene.
    """
    texts = [
        _Text("file name", scene.file_name),
        _Text("title", scene.title),
        _Text("folder", scene.folder_name(roots)),
        _Text("details", scene.details),
    ]
    return [
        proposal
        for text in texts
        for proposal in _in_text(scene, text, finder)
        if proposal.field in kinds
    ]


def _in_text(scene: SceneFacts, text: _Text, finder: NameFinder) -> Iterator[Proposal]:
    for match in finder.find(text.text):
        confidence = confidence_in(text.text, match)
        if confidence is None:
            continue
        evidence = evidence_of(f"known name in the {text.place}", text.text, match)
        proposal = proposal_for(
            scene, match.known, confidence - _DEDUCTIONS[text.place], NAME, evidence
        )
        if proposal is not None:
            yield proposal


def confidence_in(text: str, match: Match) -> float | None:
    """Return how sure a match is by its form and surroundings; None: a mere word."""
    known = match.known
    if is_technical(match.known):
        return None
    confidence = 0.97 - (0.05 if known.is_alias else 0.0)
    if match.word_count > 1:
        return confidence
    word = fold(text[match.start : match.end])
    if known.kind == "tags":
        filler = word in FILLER_WORDS or word.isdigit()
        if filler or len(word) < LEAST_LETTERS_OF_TAG:
            return None
        return confidence - 0.1
    if (
        len(word) < LEAST_LETTERS_OF_PERSON
        or word in COMMON_WORDS
        or not stands_alone(text, match)
    ):
        return None
    return confidence - 0.12


def is_technical(known: KnownName) -> bool:
    """Tell whether a name is that of a tag for what the file's facts decide."""
    return known.kind == "tags" and known.name.casefold() in _TECHNICAL


def evidence_of(rule: str, text: str, match: Match) -> dict[str, Any]:
    """Return what a reviewer needs to see of a match."""
    evidence: dict[str, Any] = {
        "rule": rule,
        "text": text,
        "span": [match.start, match.end],
    }
    if match.known.is_alias:
        evidence["alias"] = match.known.alias
    return evidence


def proposal_for(
    scene: SceneFacts,
    known: KnownName,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal | None:
    """Return the change that a found name means; None if the scene has it."""
    if known.kind == "studio":
        # A studio that is set was set by someone who knew.
        if scene.studio_id is not None:
            return None
        return set_studio(known.id, known.name, confidence, detector, evidence)
    present = scene.tag_ids if known.kind == "tags" else scene.performer_ids
    if known.id in present:
        return None
    return add_member(known.kind, known.id, known.name, confidence, detector, evidence)
