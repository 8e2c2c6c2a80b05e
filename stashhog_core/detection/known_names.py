"""Detector `names`: names from Stash in the path, title and details of a scene.

The detector finds only names that Stash already has. A name of several words counts
wherever it occurs. A single word is often no name: the word for a performer or studio
must be alone in its part of the text (`Vixen - Summer Day`), must not be a common word
and needs a minimum length; the word for a tag must not be a filler word.
"""

from collections.abc import Iterator, Sequence
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
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import Proposal, add_member, set_studio

NAME = "names"
VERSION = "1"

LEAST_LETTERS_OF_PERSON = 4
LEAST_LETTERS_OF_TAG = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# First names that are everyday words: alone they do not identify a performer.
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
# Words that some libraries use as tags but that occur in any title.
FILLER_WORDS = _words(
    "all and are big day for full her him his hot movie new night not out part scene "
    "sex she the two video videos vol with you"
)

# The properties of the file decide on these tags, not words in the file's name.
_TECHNICAL = frozenset(
    name.casefold() for names in technical.TAG_NAMES.values() for name in names
)

_DEDUCTIONS = {"file name": 0.0, "title": 0.0, "folder": 0.03, "details": 0.12}


def propose(
    scene: SceneFacts, finder: NameFinder, kinds: set[Kind], roots: Sequence[str]
) -> list[Proposal]:
    """Return the names of `kinds` that occur in the scene's texts.

    Args:
        scene: The scene.
        finder: Finds the names that Stash has.
        kinds: The kinds of names to propose.
        roots: Folders of the library; their own names are ignored.
    """
    texts = {
        "file name": scene.file_name,
        "title": scene.title,
        "folder": scene.folder_name(roots),
        "details": scene.details,
    }
    return [
        proposal
        for place, text in texts.items()
        for proposal in _in_text(scene, place, text, finder)
        if proposal.field in kinds
    ]


def _in_text(
    scene: SceneFacts, place: str, text: str, finder: NameFinder
) -> Iterator[Proposal]:
    for match in finder.find(text):
        confidence = confidence_in(text, match)
        if confidence is not None:
            yield from lacking(
                scene,
                match.known,
                confidence - _DEDUCTIONS[place],
                NAME,
                evidence_of(f"known name in the {place}", text, match),
            )


def confidence_in(text: str, match: Match) -> float | None:
    """Return the confidence of a match by its form and context; None: no name."""
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
    """Tell whether the detector `technical` decides on the tag of this name."""
    return known.kind == "tags" and known.name.casefold() in _TECHNICAL


def evidence_of(rule: str, text: str, match: Match) -> dict[str, Any]:
    """Return the evidence that a reviewer needs for a match."""
    evidence: dict[str, Any] = {
        "rule": rule,
        "text": text,
        "span": [match.start, match.end],
    }
    if match.known.is_alias:
        evidence["alias"] = match.known.alias
    return evidence


def lacking(
    scene: SceneFacts,
    known: KnownName,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Iterator[Proposal]:
    """Yield the proposal of a name, unless the scene already has the name."""
    if known.kind == "studio":
        # A studio that is already set takes precedence.
        if scene.studio_id is None:
            yield set_studio(known.id, known.name, confidence, detector, evidence)
    elif known.id not in (
        scene.tag_ids if known.kind == "tags" else scene.performer_ids
    ):
        yield add_member(
            known.kind, known.id, known.name, confidence, detector, evidence
        )
