"""The deep look: every field of every mirrored scene, compared with Stash."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.background import read_ahead
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.stash.payloads import StashScene
from stashhog_core.sync.mirrored import scene_differences
from stashhog_core.sync.source import Source

_PAGE_SIZE = 1000


def scenes_that_differ(stash: Source, database: Database) -> Iterator[int]:
    """Yield the mirrored scenes that are not as Stash has them.

    Much of a scene changes without a time of change that moves: plays, captions, a
    funscript, hashes, the name of a group, a file that was removed. So all scenes are
    fetched whole, and each field is compared with the mirror's own rows. Fields edited
    here are left out: they differ on purpose. Nor are scenes compared that Stash lacks
    or the mirror has not yet: the light listings tell of both.

    No transaction is open while Stash is asked.

    Raises:
        TransientError: Stash or the database is away.
    """
    for ids, scenes in read_ahead(_fetched(stash, database), "sync-deep"):
        if scenes is None:
            # Stash fails at one of them: each is fetched by itself later on.
            yield from ids
            continue
        with database.transaction() as session:
            known = set(ids)
            mine = [scene for scene in scenes if scene.id in known]
            differing = {id_ for id_, *_ in scene_differences(session, mine)}
        yield from differing


def _fetched(
    stash: Source, database: Database
) -> Iterator[tuple[Sequence[int], Sequence[StashScene] | None]]:
    """Yield the ids of all mirrored scenes, page by page, and the scenes in Stash."""
    after = 0
    while True:
        with database.transaction() as session:
            ids = _ids_after(session, after)
        if not ids:
            return
        try:
            yield ids, stash.scenes_between(ids[0], ids[-1])
        except JobError:
            yield ids, None
        after = ids[-1]


def _ids_after(session: Session, after: int) -> Sequence[int]:
    query = (
        select(Scene.id).where(Scene.id > after).order_by(Scene.id).limit(_PAGE_SIZE)
    )
    return session.scalars(query).all()
