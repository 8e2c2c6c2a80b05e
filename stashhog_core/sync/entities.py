"""Tags, performers and studios in the mirror."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.kept_glance import forget_glance
from stashhog_core.db.manifest import note_entities
from stashhog_core.db.merge import (
    merge_rows,
    replace_children,
)
from stashhog_core.db.models import (
    Manifest,
    Performer,
    PerformerTag,
    Studio,
    StudioTag,
    Tag,
    TagParent,
)
from stashhog_core.db.reading import THESE, any_of, read_rows, read_these
from stashhog_core.stash import payloads
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.compare import Hash, LocalEntity, row_hash
from stashhog_core.sync.rows import (
    PERFORMER_COLUMNS,
    STUDIO_COLUMNS,
    TAG_COLUMNS,
    Row,
    performer_row,
    plain_text,
    studio_row,
    tag_link_rows,
    tag_parent_rows,
    tag_row,
)

EntityPayload = payloads.StashTag | payloads.StashPerformer | payloads.StashStudio


@dataclass(frozen=True)
class Links:
    """A table that gives the rows of a kind some tags.

    Attributes:
        name: What the tags are to the row.
        model: The table.
        column: Its column that names the row; the other one is a tag's.
        rows_of: Makes the links of a row.
    """

    name: str
    model: type[TagParent] | type[PerformerTag] | type[StudioTag]
    column: str
    rows_of: Callable[[Any], list[Row]]

    @property
    def columns(self) -> tuple[str, str]:
        """The columns of what `rows_of` makes."""
        return self.column, "parent_id" if self.model is TagParent else "tag_id"


@dataclass(frozen=True)
class EntityKind:
    """Tags, performers or studios: their table, and how its rows are made.

    Attributes:
        fetch: Returns all of them from Stash.
        row_of: Makes the row of one, of these columns.
    """

    model: type[Tag] | type[Performer] | type[Studio]
    columns: Sequence[str]
    fetch: Callable[[StashClient], Sequence[EntityPayload]]
    row_of: Callable[[Any], Row]
    links: Links


KINDS: Mapping[str, EntityKind] = {
    "tag": EntityKind(
        Tag,
        TAG_COLUMNS,
        lambda stash: stash.tags(),
        tag_row,
        Links("parents", TagParent, "tag_id", tag_parent_rows),
    ),
    "performer": EntityKind(
        Performer,
        PERFORMER_COLUMNS,
        lambda stash: stash.performers(),
        performer_row,
        Links("tags", PerformerTag, "performer_id", tag_link_rows),
    ),
    "studio": EntityKind(
        Studio,
        STUDIO_COLUMNS,
        lambda stash: stash.studios(),
        studio_row,
        Links("tags", StudioTag, "studio_id", tag_link_rows),
    ),
}

_LOCK = {
    name: select(kind.model.id)
    .where(kind.model.id == THESE)
    .with_for_update(read=True, key_share=True)
    for name, kind in KINDS.items()
}


@dataclass(frozen=True)
class EntityListing:
    """All rows of one kind, as Stash has them now."""

    kind: str
    rows: Mapping[int, EntityPayload]

    @cached_property
    def hashes(self) -> Mapping[int, Hash]:
        """The hash of each row."""
        return {id_: row_hash(row) for id_, row in self.rows.items()}

    def names(self) -> dict[int, tuple[str, Hash]]:
        """Return what a comparison needs: id → name, as it is mirrored, and hash."""
        return {
            id_: (plain_text(row.name), self.hashes[id_])
            for id_, row in self.rows.items()
        }


def fetch_listing(stash: StashClient, kind: str) -> EntityListing:
    """Fetch all rows of a kind."""
    return listing_of(kind, KINDS[kind].fetch(stash))


def listing_of(kind: str, rows: Iterable[EntityPayload]) -> EntityListing:
    """Return what Stash listed."""
    return EntityListing(kind, {row.id: row for row in rows})


def local_entities(
    session: Session, kind: str, ids: Collection[int] | None = None
) -> dict[int, LocalEntity]:
    """Return the mirrored rows of a kind: all, or those of these ids."""
    model = KINDS[kind].model
    query = select(
        model.id, model.name, Manifest.hash, model.missing_since.is_not(None)
    ).outerjoin(Manifest, (Manifest.entity == kind) & (Manifest.id == model.id))
    if ids is not None:
        query = query.where(model.id == any_of(ids))
    return {
        id_: LocalEntity(name, hash_, missing)
        for id_, name, hash_, missing in read_rows(session, query)
    }


def store_entities(
    listing: EntityListing, session: Session, ids: Collection[int]
) -> set[int]:
    """Store those rows of the listing, and their hashes; return the changed ones."""
    if not ids:
        return set()
    kind = KINDS[listing.kind]
    rows: list[Any] = [listing.rows[id_] for id_ in sorted(ids)]
    if listing.kind == "studio":
        parents = {row.parent_studio.id for row in rows if row.parent_studio}
        store_stubs(session, "studio", parents.difference(ids))
    made = [kind.row_of(row) for row in rows]
    changed = set(merge_rows(session, kind.model, kind.columns, made))
    wanted = [link for row in rows for link in kind.links.rows_of(row)]
    store_stubs(session, "tag", {tag_id for _, tag_id in wanted})
    changed.update(
        replace_children(
            session,
            kind.links.model,
            kind.links.column,
            [row.id for row in rows],
            kind.links.columns,
            wanted,
        )
    )
    note_entities(
        session, listing.kind, {row.id: listing.hashes[row.id] for row in rows}
    )
    return changed


def entity_ids(session: Session) -> dict[str, set[int]]:
    """Return the ids of all mirrored tags, performers and studios."""
    return {
        name: {id_ for (id_,) in read_rows(session, select(kind.model.id))}
        for name, kind in KINDS.items()
    }


def store_stubs(session: Session, kind: str, ids: Collection[int]) -> None:
    """Create nameless rows for ids that have none, so that they can be referred to.

    A stub has no hash: the next run fills it, or finds it gone.
    """
    model = KINDS[kind].model
    known = session.scalars(select(model.id).where(model.id == any_of(ids)))
    if lacking := set(ids).difference(known):
        merge_rows(session, model, ("id",), [(id_,) for id_ in lacking])
        forget_glance(session)


def lock_entities(session: Session, named: Mapping[str, Collection[int]]) -> bool:
    """Tell whether all of these rows exist; they stay until the transaction ends."""
    return all(
        len(read_these(session, _LOCK[kind], ids)) == len(ids)
        for kind, ids in named.items()
    )
