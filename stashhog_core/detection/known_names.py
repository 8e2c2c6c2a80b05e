"""Detector `names`: names from Stash in the path, title and details of a scene.

The detector finds only names that Stash already has, see `load_name_finder`.
`name_context` decides by the place of a match whether the text means the name, and says
why.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import text as sql
from sqlalchemy.orm import Session

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


_TABLES: tuple[tuple[str, Kind, str], ...] = (
    ("performer", "performers", "disambiguation"),
    ("studio", "studio", "''"),
    ("tag", "tags", "''"),
)
# A checksum of all names of each table: far cheaper than reading the names.
_STAMP = " UNION ALL ".join(
    f"SELECT count(*), coalesce(sum(hashtextextended(id || ':' || name || ':' || "  # noqa: S608 - names from the constant above
    f"aliases::text || ':' || {disambiguation}, 0)::numeric), 0)::text FROM {table} "
    "WHERE missing_since IS NULL AND NOT ignore_auto_tag"
    for table, _, disambiguation in _TABLES
)

_lock = threading.Lock()
_kept: dict[str, tuple[object, NameFinder]] = {}


def load_name_finder(session: Session) -> NameFinder:
    """Return a finder of all names and aliases in the mirror.

    Objects that are missing in Stash, or that the user excludes from automatic tagging
    (`ignore_auto_tag` in Stash), are left out. The finder of a database is built once
    and shared by all threads until a name changes.
    """
    database = str(session.get_bind().engine.url)
    stamp = [tuple(row) for row in session.execute(sql(_STAMP))]
    with _lock:
        kept = _kept.get(database)
        if kept is None or kept[0] != stamp:
            kept = (stamp, NameFinder(_names(session)))
            _kept[database] = kept
        return kept[1]


def _names(session: Session) -> Iterator[KnownName]:
    for table, kind, disambiguation in _TABLES:
        rows = session.execute(
            sql(
                f"SELECT id, name, aliases, {disambiguation} FROM {table} "  # noqa: S608 - a constant
                "WHERE missing_since IS NULL AND NOT ignore_auto_tag ORDER BY id"
            )
        )
        for identity, name, aliases, more in rows:
            yield KnownName(kind, identity, name, name)
            if more:
                # The disambiguation distinguishes people of one name: `Jade Kush (II)`.
                yield KnownName(kind, identity, name, f"{name} {more}")
            for alias in aliases:
                yield KnownName(kind, identity, name, alias)
