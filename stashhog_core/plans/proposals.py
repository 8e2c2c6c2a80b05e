"""What a detector hands over: one value for one field of one scene, with evidence."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Field = Literal[
    "tags", "performers", "studio", "title", "details", "date", "code", "markers"
]
Action = Literal["add", "remove", "set"]


@dataclass(frozen=True)
class Proposal:
    """A change that a detector proposes.

    Attributes:
        base: The scene's value now: None for a value to be added, the text or member
            (`{"id", "name"}`) to be replaced for a value to be set.
        proposed: The text, member or marker. A tag's `id` is None when Stash has none
            of that name yet.
        value_key: What makes two proposals for one field the same.
        confidence: 0-1, from the data that `evidence` shows.
    """

    field: Field
    action: Action
    value_key: str
    base: Any
    proposed: Any
    confidence: float
    detector: str
    evidence: dict[str, Any]


def add_member(
    field: Literal["tags", "performers"],
    member_id: int | None,
    name: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose one more tag or performer."""
    return Proposal(
        field=field,
        action="add",
        value_key=member_key(name),
        base=None,
        proposed={"id": member_id, "name": name},
        confidence=round(confidence, 3),
        detector=detector,
        evidence=evidence,
    )


def remove_member(
    field: Literal["tags", "performers"],
    member_id: int,
    name: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose one tag or performer less."""
    return Proposal(
        field=field,
        action="remove",
        value_key=member_key(name),
        base={"id": member_id, "name": name},
        proposed={"id": member_id, "name": name},
        confidence=round(confidence, 3),
        detector=detector,
        evidence=evidence,
    )


def set_studio(
    studio_id: int,
    name: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose a studio for a scene that has none."""
    return Proposal(
        field="studio",
        action="set",
        value_key=member_key(name),
        base=None,
        proposed={"id": studio_id, "name": name},
        confidence=round(confidence, 3),
        detector=detector,
        evidence=evidence,
    )


def set_text(
    field: Literal["title", "details", "date", "code"],
    base: str,
    proposed: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose another text."""
    return Proposal(
        field=field,
        action="set",
        value_key=hashlib.sha256(proposed.encode()).hexdigest()[:16],
        base=base,
        proposed=proposed,
        confidence=round(confidence, 3),
        detector=detector,
        evidence=evidence,
    )


def add_marker(
    tag_id: int | None,
    tag: str,
    seconds: float,
    end_seconds: float | None,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose a marker with `tag` as its title and primary tag."""
    return Proposal(
        field="markers",
        action="add",
        value_key=f"{member_key(tag)}@{seconds:.2f}",
        base=None,
        proposed={
            "title": tag,
            "tag": {"id": tag_id, "name": tag},
            "seconds": seconds,
            "end_seconds": end_seconds,
        },
        confidence=round(confidence, 3),
        detector=detector,
        evidence=evidence,
    )


def member_key(name: str) -> str:
    """Return what stands for a name: Stash's names ignore case."""
    return name.strip().casefold()


def best_of(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Return one proposal per value, and one value per field that holds only one.

    The most confident wins, of equals the first; the evidence of the others for the
    same value is kept in its `also`.
    """
    by_value: dict[tuple[str, str, str], Proposal] = {}
    for proposal in proposals:
        key = (proposal.field, proposal.action, proposal.value_key)
        known = by_value.get(key)
        if known is None:
            by_value[key] = proposal
        elif proposal.confidence > known.confidence:
            by_value[key] = _with_more(proposal, known)
        else:
            by_value[key] = _with_more(known, proposal)
    chosen: dict[tuple[str, str, str], Proposal] = {}
    for (field, action, value), proposal in by_value.items():
        slot = (field, action, "" if action == "set" else value)
        if slot not in chosen or proposal.confidence > chosen[slot].confidence:
            chosen[slot] = proposal
    return list(chosen.values())


def _with_more(proposal: Proposal, other: Proposal) -> Proposal:
    further = {
        "detector": other.detector,
        "confidence": other.confidence,
        **{name: value for name, value in other.evidence.items() if name != "also"},
    }
    also = [
        *proposal.evidence.get("also", ()),
        further,
        *other.evidence.get("also", ()),
    ]
    return replace(proposal, evidence={**proposal.evidence, "also": also})
