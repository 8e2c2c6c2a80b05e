"""What a detector proposes: one value for one field of one scene, with evidence.

The database keeps a value as JSON. This module alone knows the shapes: a tag, a
performer or a studio is `{"id", "name"}`, a marker is `{"title", "tag", "seconds",
"end_seconds"}`, and a text is a string.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Field = Literal[
    "tags", "performers", "studio", "title", "details", "date", "code", "markers"
]
ChangeState = Literal[
    "pending",
    "approved",
    "rejected",
    "applied",
    "already",
    "conflict",
    "skipped",
    "failed",
    "undone",
]
Action = Literal["add", "remove", "set"]
TextField = Literal["title", "details", "date", "code"]

TEXT_FIELDS = ("title", "details", "date", "code")

StoredValue = str | dict[str, Any]
"""A value as the database keeps it."""

STORED_NAMES = ("name", "title")
"""Keys of a stored value, one of which has its name; a text has neither."""

RIVALS = "rivals"
"""Key of the evidence with the names that may be meant instead. No automatic approval
decides between names: a person does."""

PICTURES = ("pictures_seen", "pictures_asked")
"""Keys of how many pictures of a video were decoded, and of how many were asked for."""

_SHOWN_CHARACTERS = 60
_ONE = {"tags": "tag", "performers": "performer", "markers": "marker"}
_WORDED = frozenset(
    {*PICTURES, "rule", "text", "span", "also", "second", "alias", RIVALS}
)


@dataclass(frozen=True)
class NamedValue:
    """A tag, performer or studio.

    Attributes:
        id: The id in Stash; None: a tag that Stash does not have yet.
        name: The main name.
    """

    id: int | None
    name: str

    @property
    def key(self) -> str:
        """What makes two values for one field the same."""
        return name_key(self.name)

    @property
    def as_text(self) -> str:
        """What a reviewer reads, and writes to replace the value."""
        return self.name

    @property
    def stored(self) -> StoredValue:
        """The value as the database keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class MarkerValue:
    """A marker with its primary tag; without `end_seconds` it marks a moment."""

    title: str
    tag: NamedValue
    seconds: float
    end_seconds: float | None

    @property
    def key(self) -> str:
        """What makes two markers of one scene the same."""
        return f"{name_key(self.title)}@{self.seconds:.2f}"

    @property
    def as_text(self) -> str:
        """What a reviewer reads, and writes to replace the tag."""
        return self.title

    @property
    def stored(self) -> StoredValue:
        """The value as the database keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class TextValue:
    """A title, details, a date or a code."""

    text: str

    @property
    def key(self) -> str:
        """What makes two texts the same, without the length of a text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def as_text(self) -> str:
        """The text."""
        return self.text

    @property
    def stored(self) -> StoredValue:
        """The value as the database keeps it."""
        return self.text


Value = NamedValue | MarkerValue | TextValue


def read_value(stored: StoredValue) -> Value:
    """Return a value that was read from the database."""
    if isinstance(stored, str):
        return TextValue(stored)
    if "seconds" in stored:
        return MarkerValue(
            stored["title"],
            NamedValue(stored["tag"]["id"], stored["tag"]["name"]),
            stored["seconds"],
            stored["end_seconds"],
        )
    return NamedValue(stored["id"], stored["name"])


def with_name(value: Value, other: NamedValue) -> Value:
    """Return the value with another tag, performer or studio in place of its own."""
    if isinstance(value, MarkerValue):
        return replace(value, title=other.name, tag=other)
    return other


@dataclass(frozen=True)
class Proposal:
    """A change that a detector proposes.

    Attributes:
        base: The scene's value now; None for a value to be added and for a field that
            is empty.
        proposed: The value to be added, removed or set.
        confidence: 0 to 1, computed from the data that `evidence` shows; rounded.
    """

    field: Field
    action: Action
    base: Value | None
    proposed: Value
    confidence: float
    detector: str
    evidence: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "confidence", round(self.confidence, 3))

    @property
    def value_key(self) -> str:
        """What makes two proposals for one field the same."""
        return self.proposed.key

    @property
    def row(self) -> dict[str, Any]:
        """The columns of a `PlanChange`."""
        return {
            **vars(self),
            "value_key": self.value_key,
            "base": self.base.stored if self.base is not None else None,
            "proposed": self.proposed.stored,
        }


def add_member(
    field: Literal["tags", "performers"],
    member_id: int | None,
    name: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose one more tag or performer."""
    member = NamedValue(member_id, name)
    return Proposal(field, "add", None, member, confidence, detector, evidence)


def remove_member(
    field: Literal["tags", "performers"],
    member_id: int,
    name: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose one tag or performer less."""
    member = NamedValue(member_id, name)
    return Proposal(field, "remove", member, member, confidence, detector, evidence)


def set_studio(
    studio_id: int,
    name: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose a studio for a scene that has none."""
    studio = NamedValue(studio_id, name)
    return Proposal("studio", "set", None, studio, confidence, detector, evidence)


def set_text(
    field: TextField,
    base: str,
    proposed: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose another text."""
    old, new = TextValue(base), TextValue(proposed)
    return Proposal(field, "set", old, new, confidence, detector, evidence)


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
    marker = MarkerValue(tag, NamedValue(tag_id, tag), seconds, end_seconds)
    return Proposal("markers", "add", None, marker, confidence, detector, evidence)


def name_key(name: str) -> str:
    """Return what two spellings of one name share: names in Stash ignore case."""
    return name.strip().casefold()


def best_of(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Return one proposal per value, and one value per field that holds only one.

    The proposal with the highest confidence wins, of equals the first; its evidence
    keeps, under `also`, the evidence of the other proposals of the same value.
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
    additional = {
        "detector": other.detector,
        "confidence": other.confidence,
        **{name: value for name, value in other.evidence.items() if name != "also"},
    }
    also = [
        *proposal.evidence.get("also", ()),
        additional,
        *other.evidence.get("also", ()),
    ]
    return replace(proposal, evidence={**proposal.evidence, "also": also})


def change_in_words(field: str, action: str, value: Value) -> str:
    """Return a change in words, such as `add tag Outdoor`; long texts are cut."""
    words = _cut(value.as_text) if isinstance(value, TextValue) else value.as_text
    if isinstance(value, MarkerValue):
        words += f" at {value.seconds:g} s"
    return f"{action} {_ONE.get(field, field)} {words}"


def pictures_in_words(facts: Mapping[str, Any]) -> list[str]:
    """Return how many pictures were seen; nothing if the facts do not say so."""
    seen, asked = (facts.get(key) for key in PICTURES)
    return [] if seen is None else [f"{seen:,} of {asked:,} pictures seen"]


def evidence_in_words(evidence: Mapping[str, Any]) -> str:
    """Return why a change was proposed, such as `name on a title card at 2 s: "…"`."""
    words = str(evidence.get("rule", ""))
    if "second" in evidence:
        words += f" at {evidence['second']:g} s"
    if "text" in evidence:
        words += f': "{_around(evidence)}"'
    if "alias" in evidence:
        words += f" (alias {evidence['alias']})"
    facts = [f"{k} {v}" for k, v in evidence.items() if k not in _WORDED]
    facts += pictures_in_words(evidence)
    return f"{words}, {', '.join(facts)}" if facts else words


def _around(evidence: Mapping[str, Any]) -> str:
    """Return the part of the text that the evidence points to."""
    text = str(evidence["text"])
    start, end = evidence.get("span", (0, len(text)))
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    first = max(0, start - (_SHOWN_CHARACTERS - (end - start)) // 2)
    return _cut(text[first:])


def _cut(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 1] + "…"
