"""The hashes of what was last seen of Stash: of each row, and of all listings."""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from stashhog_core.db.merge import merge_rows
from stashhog_core.db.models import Manifest
from stashhog_core.db.reading import read_rows
from stashhog_core.stash.payloads import Scene
from stashhog_core.sync.difference import Hash, row_hash, text_hash

SCENE = "scene"
"""The scenes' name in the table of hashes."""

_LIBRARY = "library"
_FORM = 1
"""Goes into the hashes of scenes' content: raised when rows are made otherwise."""


def content_hash(scene: Scene) -> Hash:
    """Return the hash of all that Stash has of a scene."""
    return row_hash(scene) ^ _FORM


def stored_contents(session: Session) -> dict[int, Hash]:
    """Return the content hash of every scene that has one."""
    query = select(Manifest.id, Manifest.content).where(
        Manifest.entity == SCENE, Manifest.content.is_not(None)
    )
    return dict(read_rows(session, query))


def note_scenes(session: Session, scenes: Iterable[Scene]) -> None:
    """Note how scenes were when they were fetched."""
    merge_rows(
        session,
        Manifest,
        ("entity", "id", "hash", "content"),
        [
            (SCENE, s.id, text_hash(s.updated_at.encode()), content_hash(s))
            for s in scenes
        ],
    )
    forget_library(session)


def note_entities(session: Session, kind: str, hashes: Mapping[int, Hash]) -> None:
    """Note how tags, performers or studios were when they were listed."""
    rows = [(kind, id_, hash_) for id_, hash_ in hashes.items()]
    merge_rows(session, Manifest, ("entity", "id", "hash"), rows)
    forget_library(session)


def forget_hashes(session: Session, ids: Collection[int], kind: str = SCENE) -> None:
    """Let the next look find these rows pending, whatever Stash says."""
    if ids:
        session.execute(
            delete(Manifest).where(
                Manifest.entity == kind, Manifest.id == func.any(list(ids))
            )
        )
        forget_library(session)


def library_digest(session: Session) -> Hash | None:
    """Return the digest of the listings that were last found to be all mirrored."""
    return session.scalar(select(Manifest.hash).where(Manifest.entity == _LIBRARY))


def note_library(session: Session, digest: Hash) -> None:
    """Note that the mirror is what these listings say."""
    merge_rows(session, Manifest, ("entity", "id", "hash"), [(_LIBRARY, 0, digest)])


def forget_library(session: Session) -> None:
    """Have the next look compare every row: something is about to change."""
    session.execute(delete(Manifest).where(Manifest.entity == _LIBRARY))
