"""What was last seen of Stash, and forgetting it, so that sync looks again."""

from collections.abc import Collection

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import Manifest, Scene
from stashhog_core.db.reading import any_of

SCENE = "scene"
"""The kind of what is no tag, performer or studio."""

LIBRARY = "library"
"""The kind of the hashes of listings that were last found to be all mirrored."""

LOOK = "look"
"""The kind of the one row that says that nothing has changed since a look began."""


def forget_hashes(session: Session, ids: Collection[int], kind: str = SCENE) -> None:
    """Let the next look find these rows pending, whatever Stash says.

    Whoever repeats in the mirror what was done in Stash calls it as well: what it
    writes may be older than what a sync has stored meanwhile.
    """
    if not ids:
        return
    wanted = any_of(ids)
    if kind == SCENE:
        session.execute(update(Scene).where(Scene.id == wanted).values(content=None))
    else:
        session.execute(
            delete(Manifest).where(Manifest.entity == kind, Manifest.id == wanted)
        )
    forget_library(session)


def forget_library(session: Session) -> None:
    """Have the next look compare every row: something is about to change."""
    touched = Manifest.entity.in_([LIBRARY, LOOK])
    session.execute(delete(Manifest).where(touched))
