"""Comparing every field of scenes with the mirror, page by page, beside syncs."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stashhog_core.background import map_in_threads
from stashhog_core.batches import batched
from stashhog_core.db.locks import hold_off, wait_until_free
from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.models import Scene
from stashhog_core.db.reading import THESE, read_these
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.progress import Progress
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import StashScene
from stashhog_core.sync.history import JOB
from stashhog_core.sync.loader import FETCHERS, PAGE_SIZE
from stashhog_core.sync.mirror import scene_differences
from stashhog_core.sync.rows import collector_paused

WAIT_SECONDS = 600.0
"""So long a comparison waits for a sync to end."""

Marks = Mapping[int, tuple[Any, ...]]
"""Scene → values of which one changes whenever anything stored of the scene does."""

_MARKS = select(Scene.id, Scene.content, Scene.synced_at, Scene.missing_since).where(
    Scene.id == THESE
)


class ComparedPage(NamedTuple):
    """Scenes that were compared.

    Attributes:
        number: How many.
        differences: Scene, field, Stash's value and the mirror's of all that differs.
        absent: Those that Stash lacks; they differ, too.
    """

    number: int
    differences: Sequence[tuple[int, str, Any, Any]]
    absent: Sequence[int]


class _Page(NamedTuple):
    """Scenes as Stash has them.

    `marks` are those of the mirror before Stash was asked; `refused` is why Stash gives
    no scene.
    """

    ids: Sequence[int]
    marks: Marks
    scenes: Sequence[StashScene] = ()
    refused: JobError | None = None


class SceneComparison:
    """Compares mirrored scenes with Stash; has the next sync fetch what differs.

    Local edits count as right. Syncs may run meanwhile: only while a page is compared
    they wait before they store; what they have stored since Stash was asked is fetched
    and compared again. While a sync is under way, a page waits for its end.

    Args:
        stash: The Stash server.
        database: The mirror.
        checkpoint: Called while waiting; may raise to end that.
        sample: Compare so many scenes, drawn by lot. None: all.
        marks_refused: Whether scenes of a page that Stash refuses count as different,
            so that the next sync fetches each by itself.
    """

    def __init__(
        self,
        stash: StashClient,
        database: Database,
        checkpoint: Callable[[], None],
        *,
        sample: int | None = None,
        marks_refused: bool = False,
    ) -> None:
        self._stash = stash
        self._database = database
        self._checkpoint = checkpoint
        self._sample = sample
        self._marks_refused = marks_refused

    def pages(self) -> Iterator[ComparedPage]:
        """Yield each page once it is compared, while the next ones are fetched.

        Raises:
            TransientError: Stash or the database is away, or a sync does not end.
            JobError: Stash refuses to answer.
        """
        fetched = map_in_threads(self._fetch, self._ids(), FETCHERS, "sync-compare")
        for page in fetched:
            while (found := self._differences(page)) is None:
                wait_for_sync(self._database, self._checkpoint)
                page = self._fetch(page.ids)
            yield found

    def _ids(self) -> Iterator[Sequence[int]]:
        """Yield the scenes by rising id, in pages."""
        if self._sample is not None:
            with self._database.transaction() as session:
                drawn = _draw(session, self._sample)
            yield from batched(drawn, PAGE_SIZE)
            return
        after = 0
        while ids := self._ids_after(after):
            yield ids
            after = ids[-1]

    def _ids_after(self, after: int) -> list[int]:
        query = (
            select(Scene.id)
            .where(Scene.id > after, Scene.missing_since.is_(None))
            .order_by(Scene.id)
            .limit(PAGE_SIZE)
        )
        with self._database.transaction() as session:
            return list(session.scalars(query))

    def _fetch(self, ids: Sequence[int]) -> _Page:
        with self._database.transaction() as session:
            marks = _marks(session, ids)
        try:
            if self._sample is not None:
                listed, _ = self._stash.scenes(ids)
            else:
                # Stash takes less time for all scenes of a range than for ids.
                listed = self._stash.scenes_between(ids[0], ids[-1])
        except JobError as error:
            if not self._marks_refused:
                raise
            return _Page(ids, marks, refused=error)
        return _Page(ids, marks, [scene for scene in listed if scene.id in marks])

    def _differences(self, page: _Page) -> ComparedPage | None:
        """Return what differs; None: the mirror is, or was, being changed."""
        absent = sorted(page.marks.keys() - {scene.id for scene in page.scenes})
        with collector_paused(), self._database.transaction() as session:
            if (
                not hold_off(session, JOB)
                or _marks(session, page.marks.keys()) != page.marks
            ):
                return None
            found = list(scene_differences(session, page.scenes))
            found += [(id_, "scene", page.refused, "it") for id_ in absent]
            forget_hashes(session, {id_ for id_, *_ in found})
        return ComparedPage(len(page.marks), found, [] if page.refused else absent)


def wait_for_sync(database: Database, checkpoint: Callable[[], None]) -> None:
    """Return once no sync is under way; `checkpoint` is called while it waits.

    Raises:
        TransientError: The sync does not end.
    """
    wait_until_free(database, JOB, WAIT_SECONDS, checkpoint)
    checkpoint()


def mark_differing(stash: StashClient, database: Database, progress: Progress) -> None:
    """Compare all scenes with Stash; have the next sync fetch those that differ.

    Raises:
        TransientError: Stash or the database is away, or a sync does not end.
        JobCancelled: A stop was asked for.
    """
    with database.transaction() as session:
        total = count_mirrored(session)
    wait_for_sync(database, progress.checkpoint)
    comparison = SceneComparison(
        stash, database, progress.checkpoint, marks_refused=True
    )
    done = 0
    for page in comparison.pages():
        done += page.number
        progress.items(done, max(total, done), "Compared scenes")


def count_mirrored(session: Session) -> int:
    """Return the number of mirrored scenes that are not known to be gone."""
    query = select(func.count()).select_from(Scene)
    return session.scalars(query.where(Scene.missing_since.is_(None))).one()


def _marks(session: Session, scene_ids: Collection[int]) -> Marks:
    return {row[0]: row for row in read_these(session, _MARKS, scene_ids)}


def _draw(session: Session, number: int) -> list[int]:
    query = (
        select(Scene.id)
        .where(Scene.missing_since.is_(None))
        .order_by(func.random())
        .limit(number)
    )
    return sorted(session.scalars(query))
