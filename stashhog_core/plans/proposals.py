"""What a detector proposes: one value for one field of one scene, with evidence.

The database keeps a value as JSON. This module alone knows the shapes: a tag, a
performer or a studio is `{"id", "name"}` (with `box_id` and `disambiguation` if it is
to be created), a marker is `{"title", "tag", "seconds", "end_seconds"}`, an id at a
stash-box is `{"endpoint", "stash_id"}`, and a text or a URL is a string.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from stashhog_core.params import ChangeField

Field = ChangeField
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
TextField = Literal["title", "details", "date", "code", "director"]

TEXT_FIELDS = ("title", "details", "date", "code", "director")

NAMELESS_FIELDS = (*TEXT_FIELDS, "urls", "stash_ids", "cover")
"""Fields whose values differ from scene to scene, and have no name in Stash."""

StoredValue = str | dict[str, Any]
"""A value as the database keeps it."""

STORED_NAMES = ("name", "title")
"""Keys of a stored value, one of which has its name; a text has neither."""

RIVALS = "rivals"
"""Key of the evidence with the names that may be meant instead. No automatic approval
decides between names: a person does."""

MATCH = "match"
"""Key of the evidence with the scene elsewhere that the value comes from. Where several
scenes are possible (`RIVALS`), a field may have one proposal for each of them."""

CANDIDATES = "candidates"
"""Key of the evidence with the number of scenes elsewhere that are possible."""

PICTURES = ("pictures_seen", "pictures_asked")
"""Keys of how many pictures of a video were decoded, and of how many were asked for."""

_SHOWN_CHARACTERS = 60
_ONE = {
    "tags": "tag",
    "performers": "performer",
    "markers": "marker",
    "urls": "URL",
    "stash_ids": "stash-box id",
}
_WORDED = frozenset(
    {*PICTURES, "rule", "text", "span", "also", "second", "alias", RIVALS, MATCH}
)


@dataclass(frozen=True)
class BoxIdValue:
    """The id that a scene, tag, performer or studio has at a stash-box.

    Attributes:
        endpoint: Address of the stash-box, as Stash names it.
        stash_id: The id there.
    """

    endpoint: str
    stash_id: str

    @property
    def key(self) -> str:
        """What makes two ids the same."""
        return self.as_text

    @property
    def as_text(self) -> str:
        """What a reviewer reads."""
        return f"{self.stash_id} at {self.endpoint}"

    @property
    def stored(self) -> StoredValue:
        """The value as the database keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class NamedValue:
    """A tag, performer or studio.

    Attributes:
        id: The id in Stash; None: Stash does not have it yet.
        name: The main name.
        box_id: The id at the stash-box that knows what Stash does not have yet; None
            for what Stash has, and for tags of other detectors.
        disambiguation: What distinguishes a performer that is created from others of
            this name.
    """

    id: int | None
    name: str
    box_id: BoxIdValue | None = None
    disambiguation: str = ""

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
        plain: dict[str, Any] = {"id": self.id, "name": self.name}
        if self.box_id is not None:
            plain["box_id"] = asdict(self.box_id)
        if self.disambiguation:
            plain["disambiguation"] = self.disambiguation
        return plain


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
        return {**asdict(self), "tag": self.tag.stored}


@dataclass(frozen=True)
class TextValue:
    """A title, details, a date, a code, a director or a URL."""

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


@dataclass(frozen=True)
class CoverValue:
    """A cover, whose picture is stored by its SHA-256.

    Attributes:
        kind: JPEG, PNG or WebP.
        width: In pixels.
        height: In pixels.
        size_bytes: Size of the picture.
    """

    sha256: str
    kind: str
    width: int
    height: int
    size_bytes: int

    @property
    def key(self) -> str:
        """What makes two covers the same."""
        return self.sha256[:16]

    @property
    def as_text(self) -> str:
        """What a reviewer reads."""
        size = f"{self.size_bytes / 1000:.0f} kB"
        return f"{self.kind}, {self.width}x{self.height}, {size}"

    @property
    def stored(self) -> StoredValue:
        """The value as the database keeps it."""
        return asdict(self)


Value = NamedValue | MarkerValue | TextValue | BoxIdValue | CoverValue


def read_value(stored: StoredValue) -> Value:
    """Return a value that was read from the database."""
    if isinstance(stored, str):
        return TextValue(stored)
    if "sha256" in stored:
        return CoverValue(**stored)
    if "endpoint" in stored:
        return BoxIdValue(stored["endpoint"], stored["stash_id"])
    if "seconds" in stored:
        return MarkerValue(
            stored["title"],
            NamedValue(stored["tag"]["id"], stored["tag"]["name"]),
            stored["seconds"],
            stored["end_seconds"],
        )
    box_id = stored.get("box_id")
    return NamedValue(
        stored["id"],
        stored["name"],
        None if box_id is None else BoxIdValue(box_id["endpoint"], box_id["stash_id"]),
        stored.get("disambiguation", ""),
    )


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
    def has_rivals(self) -> bool:
        """Whether only a person can decide between this value and others."""
        return RIVALS in self.evidence

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


def add_url(
    url: str, confidence: float, detector: str, evidence: dict[str, Any]
) -> Proposal:
    """Propose one more URL."""
    return Proposal("urls", "add", None, TextValue(url), confidence, detector, evidence)


def add_box_id(
    endpoint: str,
    stash_id: str,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose the id of a scene at a stash-box where the scene has none."""
    value = BoxIdValue(endpoint, stash_id)
    return Proposal("stash_ids", "add", None, value, confidence, detector, evidence)


def set_cover(
    base: CoverValue,
    proposed: CoverValue,
    confidence: float,
    detector: str,
    evidence: dict[str, Any],
) -> Proposal:
    """Propose another cover for a scene that has one."""
    return Proposal("cover", "set", base, proposed, confidence, detector, evidence)


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

    Of several possible scenes elsewhere, each keeps its own value. The proposal with
    the highest confidence wins, of equals the first; its evidence keeps, under `also`,
    the evidence of the other proposals of the same value.
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
        rival = str(proposal.evidence.get(MATCH, "")) if proposal.has_rivals else ""
        slot = (field, action, rival if action == "set" else value)
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


def field_in_words(field: str) -> str:
    """Return the name of one value of a field, such as `tag` or `stash-box id`."""
    return _ONE.get(field, field)


def change_in_words(field: str, action: str, value: Value) -> str:
    """Return a change in words, such as `add tag Outdoor`; long texts are cut."""
    words = _cut(value.as_text) if isinstance(value, TextValue) else value.as_text
    if isinstance(value, MarkerValue):
        words += f" at {value.seconds:g} s"
    return f"{action} {field_in_words(field)} {words}"


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
    facts = [
        # A reason is in words already.
        str(v)
        if k == "reason"
        else f"{k.replace('_', ' ')} {f'{v:g}' if isinstance(v, float) else v}"
        for k, v in evidence.items()
        if k not in _WORDED
    ]
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
