"""Which tags, studios and performers of Stash the names of a stash-box mean.

An object is found by its id at the stash-box, else by its name, else by an alias, as
Stash itself does. In two cases Stash takes a wrong one, and this module takes none: if
the object that is found by name has another id at the same stash-box, and if several
objects have the alias.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Performer, Studio, Tag
from stashhog_core.plans.proposals import NamedValue, name_key
from stashhog_core.stash.box_payloads import RemoteName

RemoteKind = Literal["tags", "studio", "performers"]

_MODELS: dict[RemoteKind, type[Tag] | type[Studio] | type[Performer]] = {
    "tags": Tag,
    "studio": Studio,
    "performers": Performer,
}


@dataclass
class _Index:
    """The objects of one kind: id → name, and what they are found by."""

    names: dict[int, str] = field(default_factory=dict)
    box_ids: dict[int, dict[str, str]] = field(default_factory=dict)
    by_box_id: dict[tuple[str, str], int] = field(default_factory=dict)
    by_name: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_alias: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Found:
    """What the names of a stash-box mean here.

    Attributes:
        known: The objects of Stash.
        unknown: What Stash does not have, each name once.
        conflicts: Sentences about names that a person has to look at.
    """

    known: Sequence[NamedValue] = ()
    unknown: Sequence[RemoteName] = ()
    conflicts: Sequence[str] = ()


class RemoteNames:
    """The tags, studios and performers of the mirror, with their ids at stash-boxes.

    Args:
        session: Open session; everything is read at once.
    """

    def __init__(self, session: Session) -> None:
        self._kinds = {kind: _read(session, kind) for kind in _MODELS}

    def name_of(self, kind: RemoteKind, object_id: int) -> str:
        """Return the name of an object of the mirror; empty: there is none."""
        return self._kinds[kind].names.get(object_id, "")

    def find(
        self, kind: RemoteKind, remote: Iterable[RemoteName | None], endpoint: str
    ) -> Found:
        """Return what names of a stash-box mean, each object once."""
        index = self._kinds[kind]
        known: dict[int, NamedValue] = {}
        unknown: dict[str, RemoteName] = {}
        conflicts: list[str] = []
        for one in remote:
            name = (one.name or "").strip() if one is not None else ""
            if one is None or not name:
                continue
            found = _object_of(index, name, one.remote_site_id, endpoint)
            if isinstance(found, str):
                conflicts.append(found)
            elif found is None:
                unknown.setdefault(name_key(name), one)
            else:
                known[found] = NamedValue(found, index.names[found])
        return Found(list(known.values()), list(unknown.values()), conflicts)


def _object_of(
    index: _Index, name: str, remote_id: str | None, endpoint: str
) -> int | str | None:
    """Return the id of an object, a sentence about a conflict, or None: unknown."""
    by_id = index.by_box_id.get((endpoint, remote_id or ""))
    if by_id is not None:
        return by_id
    key = name_key(name)
    found = index.by_name.get(key) or index.by_alias.get(key) or []
    if len(found) > 1:
        return f"{len(found)} are called {name}"
    if not found:
        return None
    other = index.box_ids.get(found[0], {}).get(endpoint)
    if other is not None and other != remote_id:
        return f"{index.names[found[0]]} has another id at this stash-box"
    return found[0]


def _read(session: Session, kind: RemoteKind) -> _Index:
    model = _MODELS[kind]
    index = _Index()
    rows = session.execute(
        select(model.id, model.name, model.aliases, model.stash_ids)
        .where(model.missing_since.is_(None))
        .order_by(model.id)
    )
    for id_, name, aliases, boxes in rows:
        index.names[id_] = name
        for box in boxes:
            index.by_box_id.setdefault((box["endpoint"], box["stash_id"]), id_)
            index.box_ids.setdefault(id_, {})[box["endpoint"]] = box["stash_id"]
        index.by_name[name_key(name)].append(id_)
        for alias in {name_key(alias) for alias in aliases}:
            index.by_alias[alias].append(id_)
    return index
