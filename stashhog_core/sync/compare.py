"""The rules of what differs between Stash and its mirror. Pure: no I/O in here."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stashhog_core.stash.payloads import (
    MarkerStamp,
    Payload,
    SceneStamp,
    StashScene,
)

Hash = int
"""64 bits, signed as PostgreSQL's bigint is."""

_FORM = 3
"""Goes into the hashes of scenes' content: raised when rows are made otherwise."""


def row_hash(row: Payload) -> Hash:
    """Return the hash of all that a row holds."""
    # Custom fields come in any order.
    text = msgspec.json.encode(row, order="deterministic")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)


def content_hash(scene: StashScene) -> Hash:
    """Return the hash of all that Stash has of a scene."""
    return row_hash(scene) ^ _FORM


class LocalEntity(NamedTuple):
    """A tag, performer or studio as mirrored. No hash: a stub, or to be renewed."""

    name: str
    hash: Hash | None
    missing: bool


@dataclass(frozen=True)
class EntityDifference:
    """What differs in one table of tags, performers or studios. Ids throughout."""

    changed: frozenset[int] = frozenset()
    """New, changed or back again: to be stored."""
    renamed: frozenset[int] = frozenset()
    vanished: frozenset[int] = frozenset()
    """Gone from Stash since the last run."""
    missing: frozenset[int] = frozenset()
    """Found gone in an earlier run, and still gone: may be removed."""

    @property
    def touches_scenes(self) -> frozenset[int]:
        """Those whose scenes are fetched anew.

        A merge shows as one that vanished: its scenes now have another one, though
        their own time of change did not move.
        """
        return self.renamed | self.vanished


def compare_entities(
    remote: Mapping[int, tuple[str, Hash]], local: Mapping[int, LocalEntity]
) -> EntityDifference:
    """Compare Stash's rows (id → name, hash) with the mirrored ones."""
    changed, renamed = set(), set()
    for id_, (name, hash_) in remote.items():
        known = local.get(id_)
        if known is None or known.missing or known.hash != hash_:
            changed.add(id_)
        if known is not None and known.name != name:
            # Also where the hash is the same: then our side is wrong.
            renamed.add(id_)
            changed.add(id_)
    gone = [(id_, row.missing) for id_, row in local.items() if id_ not in remote]
    return EntityDifference(
        changed=frozenset(changed),
        renamed=frozenset(renamed),
        vanished=frozenset(id_ for id_, missing in gone if not missing),
        missing=frozenset(id_ for id_, missing in gone if missing),
    )


LocalScenes = Mapping[int, str | None]
"""Mirrored scene → Stash's time of its last change when it was stored.

None: it is to be fetched, whatever Stash says.
"""

LocalMarkers = Mapping[int, tuple[int, str]]
"""Marker id → its scene and Stash's time of its last change."""

FileRows = frozenset[tuple[Any, ...]]
"""The rows of the files of a scene, without their hashes and without their order."""


_TO_FETCH = ("new", "returned", "changed", "marker", "file", "entity")
"""Reasons to fetch a scene: the first one counts."""


@dataclass(frozen=True)
class SceneDifference:
    """What differs in the scenes: id sets by reason. A scene may be in several."""

    new: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    marker: set[int] = field(default_factory=set)
    file: set[int] = field(default_factory=set)
    entity: set[int] = field(default_factory=set)
    returned: set[int] = field(default_factory=set)
    vanished: set[int] = field(default_factory=set)
    """Gone from Stash since the last run; nothing to fetch."""
    missing: set[int] = field(default_factory=set)
    """Found gone in an earlier run, and still gone: may be removed."""

    @property
    def to_fetch(self) -> set[int]:
        """Scenes that Stash has and the mirror has not, or not as they are."""
        return set().union(*(getattr(self, reason) for reason in _TO_FETCH))

    @property
    def pending(self) -> int:
        """How many scenes a sync would bring up to date."""
        return len(self.to_fetch | self.vanished)

    def add(self, other: "SceneDifference") -> None:
        """Take in what differs in another part of the library."""
        self.new.update(other.new)
        self.changed.update(other.changed)
        self.returned.update(other.returned)
        self.add_gone(other)

    def add_gone(self, other: "SceneDifference") -> None:
        """Take in what is gone from another part of the library."""
        self.vanished.update(other.vanished)
        self.missing.update(other.missing)

    def reasons(self) -> dict[str, int]:
        """Return how many scenes are pending, each under its first reason."""
        counts: dict[str, int] = {}
        counted: set[int] = set()
        for reason in (*_TO_FETCH, "vanished"):
            ids: set[int] = getattr(self, reason)
            if number := len(ids - counted):
                counts[reason] = number
            counted |= ids
        return counts


def compare_scenes(
    remote: Mapping[int, str], local: LocalScenes, missing: Collection[int] = ()
) -> SceneDifference:
    """Compare the times of change of all of Stash's scenes with the mirrored ones.

    Args:
        remote: Scene → time of its last change, as Stash has it.
        local: The mirrored ones.
        missing: Those of the mirrored ones that were found gone in an earlier run.
    """
    gone = local.keys() - remote.keys()
    returned = remote.keys() & missing
    mirrored = map(local.get, remote)
    differing = {
        id_
        for (id_, text), known in zip(remote.items(), mirrored, strict=True)
        if text != known
    }
    new = differing - local.keys()
    return SceneDifference(
        new=new,
        changed=differing - new - returned,
        returned=returned,
        vanished=gone.difference(missing),
        missing=gone.intersection(missing),
    )


def scenes_of_changed_markers(
    remote: Iterable[tuple[int, int, str]], local: LocalMarkers
) -> Iterator[int]:
    """Yield the scenes whose markers were created, changed, moved or destroyed.

    Args:
        remote: Id, scene and time of change of each of Stash's markers.
        local: The mirrored ones.
    """
    seen: set[int] = set()
    for id_, scene_id, updated_text in remote:
        seen.add(id_)
        known = local.get(id_)
        if known != (scene_id, updated_text):
            yield scene_id
            if known is not None:
                yield known[0]
    for id_, (scene_id, _) in local.items():
        if id_ not in seen:
            yield scene_id


def scenes_of_changed_files(
    remote: Mapping[int, FileRows], local: Mapping[int, FileRows]
) -> Iterator[int]:
    """Yield the scenes whose files are not the mirrored ones."""
    for scene_id, files in remote.items():
        if local.get(scene_id, frozenset()) != files:
            yield scene_id


def compare_stamps(
    stamps: Iterable[SceneStamp], mirrored: Sequence[tuple[Any, ...]]
) -> SceneDifference:
    """Compare scenes as listed with the rows of `LOCAL_SCENES` in the same place."""
    listed = [(stamp.id, stamp.updated_at, False) for stamp in stamps]
    theirs, mine = _unequal(listed, mirrored)
    return compare_scenes(
        {id_: updated_text for id_, updated_text, _ in theirs},
        {id_: known for id_, known, _ in mine},
        {id_ for id_, _, is_missing in mine if is_missing},
    )


def compare_marker_stamps(
    stamps: Iterable[MarkerStamp], mirrored: Sequence[tuple[Any, ...]]
) -> Iterator[int]:
    """Yield the scenes of markers that are not as `LOCAL_MARKERS` has them there."""
    listed = [(stamp.id, stamp.scene.id, stamp.updated_at) for stamp in stamps]
    theirs, mine = _unequal(listed, mirrored)
    known = {id_: (scene_id, text) for id_, scene_id, text in mine}
    return scenes_of_changed_markers(theirs, known)


def _unequal(
    listed: Sequence[tuple[Any, ...]], mirrored: Sequence[tuple[Any, ...]]
) -> tuple[Sequence[tuple[Any, ...]], Sequence[tuple[Any, ...]]]:
    """Leave out what is the same in the same place: mostly that is nearly all."""
    if len(listed) != len(mirrored):
        return listed, mirrored
    pairs = zip(listed, mirrored, strict=True)
    unequal = [pair for pair in pairs if pair[0] != pair[1]]
    return [theirs for theirs, _ in unequal], [mine for _, mine in unequal]
