"""The hashes of what was last seen of Stash: of each row, and of all listings."""

from collections.abc import Iterable, Mapping

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from stashhog_core.db.manifest import LIBRARY, LOOK, forget_library
from stashhog_core.db.merge import merge_rows
from stashhog_core.db.models import Manifest
from stashhog_core.stash import payloads
from stashhog_core.sync.difference import Hash, row_hash

_FORM = 3
"""Goes into the hashes of scenes' content: raised when rows are made otherwise."""


def content_hash(scene: payloads.StashScene) -> Hash:
    """Return the hash of all that Stash has of a scene."""
    return row_hash(scene) ^ _FORM


def note_entities(session: Session, kind: str, hashes: Mapping[int, Hash]) -> None:
    """Note how tags, performers or studios were when they were listed."""
    rows = [(kind, id_, hash_) for id_, hash_ in hashes.items()]
    merge_rows(session, Manifest, ("entity", "id", "hash"), rows)
    forget_library(session)


def begin_look(session: Session) -> None:
    """Note that a run is about to list everything, and to compare it."""
    session.merge(Manifest(entity=LOOK, id=0, hash=0))


def note_library(session: Session, digests: Iterable[Hash]) -> None:
    """Note that the mirror is what listings of these hashes say.

    Unless it was touched since the look began, as by somebody who gives up an edit:
    that may have been after its rows were compared.
    """
    # Whoever touches it in this very moment comes before all of this, or after.
    session.execute(text("LOCK TABLE manifest IN SHARE ROW EXCLUSIVE MODE"))
    looks = session.scalars(select(Manifest.id).where(Manifest.entity == LOOK)).all()
    forget_library(session)
    if looks:
        rows = [(LIBRARY, number, digest) for number, digest in enumerate(digests)]
        merge_rows(session, Manifest, ("entity", "id", "hash"), rows)
