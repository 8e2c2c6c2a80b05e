"""The hashes of what was last seen of Stash: of each row, and of all listings."""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from stashhog_core.db.kept_glance import forget_glance
from stashhog_core.db.merge import merge_rows
from stashhog_core.db.models import Manifest, Scene
from stashhog_core.db.reading import any_of

SCENE = "scene"
"""The kind of what is no tag, performer or studio."""

LIBRARY = "library"
"""The kind of the hashes of listings that were last found to be all mirrored."""

SURVEY = "look"
"""The kind of the one row that says that nothing was stored since a survey began."""


def forget_hashes(session: Session, ids: Collection[int], kind: str = SCENE) -> None:
    """Let the next survey find these rows pending, whatever Stash says.

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
        forget_glance(session)
    forget_listing(session)


def forget_listing(session: Session) -> None:
    """Have the next survey compare every row: something is about to change."""
    touched = Manifest.entity.in_([LIBRARY, SURVEY])
    session.execute(delete(Manifest).where(touched))


def note_entities(session: Session, kind: str, hashes: Mapping[int, int]) -> None:
    """Note how tags, performers or studios were when they were listed."""
    rows = [(kind, id_, hash_) for id_, hash_ in hashes.items()]
    merge_rows(session, Manifest, ("entity", "id", "hash"), rows)
    forget_listing(session)


def note_survey(session: Session) -> None:
    """Note that a run is about to list everything, and to compare it."""
    session.merge(Manifest(entity=SURVEY, id=0, hash=0))


def note_listing(session: Session, digests: Iterable[int]) -> None:
    """Note that the mirror is what listings of these hashes say.

    Unless it was touched since the survey began, as by somebody who discards an edit:
    that may have been after its rows were compared.
    """
    # Whoever touches it in this very moment comes before all of this, or after.
    session.execute(text("LOCK TABLE manifest IN SHARE ROW EXCLUSIVE MODE"))
    surveys = session.scalars(
        select(Manifest.id).where(Manifest.entity == SURVEY)
    ).all()
    forget_listing(session)
    if surveys:
        rows = [(LIBRARY, number, digest) for number, digest in enumerate(digests)]
        merge_rows(session, Manifest, ("entity", "id", "hash"), rows)
