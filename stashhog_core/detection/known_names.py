"""Detector `names`: names from Stash in the path, title and details of a scene.

The detector finds only names that Stash already has. `name_context` decides by the
place of a match whether the text means the name, and says why.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from stashhog_core.detection import technical
from stashhog_core.detection.name_context import Named, names_in
from stashhog_core.detection.name_finder import Kind, KnownName, NameFinder
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import RIVALS, Proposal, add_member, set_studio

NAME = "names"
VERSION = "2"

# The properties of the file decide on these tags, not words in the file's name.
_TECHNICAL = frozenset(
    name.casefold() for names in technical.TAG_NAMES.values() for name in names
)

_SURROUNDINGS = 500
"""Number of characters before and after a name that its evidence keeps."""

_DEDUCTIONS = {"file name": 0.0, "title": 0.0, "folder": 0.03, "details": 0.08}


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
        if text
        for proposal in _in_text(scene, place, text, finder)
        if proposal.field in kinds
    ]


def _in_text(
    scene: SceneFacts, place: str, text: str, finder: NameFinder
) -> Iterator[Proposal]:
    for named in names_in(text, finder, is_folder=place == "folder"):
        if not is_technical(named.match.known):
            yield from lacking(
                scene,
                named.match.known,
                named.verdict.confidence - _DEDUCTIONS[place],
                NAME,
                evidence_of(f"known name in the {place}", text, named),
            )


def is_technical(known: KnownName) -> bool:
    """Tell whether the detector `technical` decides on the tag of this name."""
    return known.kind == "tags" and known.name.casefold() in _TECHNICAL


def evidence_of(rule: str, text: str, named: Named) -> dict[str, Any]:
    """Return the evidence that a reviewer needs for a name."""
    match = named.match
    # Of details as long as a book, each name keeps its surroundings only.
    first = max(0, match.start - _SURROUNDINGS)
    evidence: dict[str, Any] = {
        "rule": rule,
        "reason": named.verdict.reason,
        "text": text[first : match.end + _SURROUNDINGS],
        "span": [match.start - first, match.end - first],
    }
    if match.known.is_alias:
        evidence["alias"] = match.known.alias
    if match.rivals:
        evidence[RIVALS] = list(match.rivals)
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
