"""Going through all scenes, page by page, here and in Stash: memory stays flat."""

import gc
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import SelectBase, case, select, text
from sqlalchemy.orm import Session

from stashhog_core.db.models import Marker, Scene
from stashhog_core.db.reading import THESE, read_rows, read_these
from stashhog_core.db.session import Database
from stashhog_core.stash import payloads
from stashhog_core.stash.payloads import MarkerStamp, SceneStamp
from stashhog_core.sync.difference import (
    Hash,
    SceneDifference,
    compare_scenes,
    scenes_of_changed_markers,
)
from stashhog_core.sync.hashes import content_hash

Stamp = TypeVar("Stamp", SceneStamp, MarkerStamp)
Row = tuple[Any, ...]

_ROWS_READ = 20_000
_id = itemgetter(0)


@dataclass(frozen=True)
class Mirrored:
    """What tells that scenes are still as they were stored."""

    contents: Mapping[int, Hash]
    """Scene → hash of its content, unless it is to be stored whatever that is."""
    markers: Mapping[int, set[tuple[int, str]]]
    """Scene → ids and times of change of its markers, unless it has none."""

    def has(self, scene: payloads.StashScene) -> bool:
        """Tell whether a scene is mirrored as it was fetched."""
        if self.contents.get(scene.id) != content_hash(scene):
            return False
        markers = {(marker.id, marker.updated_at) for marker in scene.scene_markers}
        return self.markers.get(scene.id, set()) == markers


def is_empty(session: Session) -> bool:
    """Tell whether no scene is mirrored."""
    return session.scalar(select(Scene.id).limit(1)) is None


_CONTENTS = select(Scene.id, Scene.content).where(
    Scene.id == THESE, Scene.content.is_not(None), Scene.missing_since.is_(None)
)
_MARKERS = select(Marker.scene_id, Marker.id, Marker.stash_updated_text).where(
    Marker.scene_id == THESE
)


def mirrored(session: Session, scene_ids: Iterable[int]) -> Mirrored:
    """Return what is known of these scenes."""
    ids = list(scene_ids)
    contents = dict(read_these(session, _CONTENTS, ids))
    markers: dict[int, set[tuple[int, str]]] = {}
    for scene_id, id_, updated_text in read_these(session, _MARKERS, ids):
        markers.setdefault(scene_id, set()).add((id_, updated_text))
    return Mirrored(contents, markers)


LOCAL_SCENES = select(
    Scene.id,
    case((Scene.content.is_not(None), Scene.stash_updated_text)),
    Scene.missing_since.is_not(None),
)
"""Scene, its time of change unless it is to be fetched anyway, whether it is gone."""

LOCAL_MARKERS = select(Marker.id, Marker.scene_id, Marker.stash_updated_text)
"""Marker, its scene, its time of change."""


class RowsAhead:
    """All rows of a query by rising id, read by another thread before they are wanted.

    Each page is read in a transaction of its own: none is open while Stash is asked.

    Args:
        database: The mirror.
        query: Its first column is the id.
        executor: Whose thread reads.
    """

    def __init__(
        self, database: Database, query: SelectBase, executor: Executor
    ) -> None:
        self._database = database
        self._query: Any = query
        self._executor = executor
        self._rows: list[Row] = []
        self._coming: deque[Future[list[Row]]] = deque()
        self._has_ended = False

    def start(self, after: int = 0) -> None:
        """Begin to read, at the ids above `after`; two pages ahead."""
        first = self._executor.submit(self._read, after)
        self._coming.append(first)
        self._coming.append(self._executor.submit(self._read_following, first))

    def between(self, after: int, until: int | None) -> list[Row]:
        """Return the rows with ids above `after`, up to `until`; None: the last.

        Each call asks for higher ids than the one before; what lies in between is
        left out.
        """
        rows = self._rows
        while not self._has_ended and (
            until is None or not rows or _id(rows[-1]) < until
        ):
            if not self._coming:
                self.start(after)
            rows += self._next_page()
        first = bisect_right(rows, after, key=_id)
        end = len(rows) if until is None else bisect_right(rows, until, key=_id)
        self._rows = rows[end:]
        return rows[first:end]

    def _next_page(self) -> list[Row]:
        page = self._coming.popleft().result()
        self._has_ended = len(page) < _ROWS_READ
        if not self._has_ended:
            last = self._coming[-1]
            self._coming.append(self._executor.submit(self._read_following, last))
        return page

    def _read_following(self, previous: Future[list[Row]]) -> list[Row]:
        # One thread reads, page by page: the previous one is there.
        page = previous.result()
        return self._read(_id(page[-1])) if len(page) == _ROWS_READ else []

    def _read(self, after: int) -> list[Row]:
        id_ = self._query.selected_columns[0]
        query = self._query.where(id_ > after).order_by(id_).limit(_ROWS_READ)
        with self._database.transaction() as session:
            # By the index: as long as PostgreSQL has not looked at the table, which is
            # so after a first sync, it would sort all of it for each page.
            session.execute(text("SET LOCAL enable_sort = off"))
            return read_rows(session, query)


@contextmanager
def reading_ahead(
    database: Database, *queries: SelectBase
) -> Iterator[tuple[RowsAhead, ...]]:
    """Read the rows of several queries in one other thread, once each is started."""
    executor = ThreadPoolExecutor(1, "sync-read")
    try:
        yield tuple(RowsAhead(database, query, executor) for query in queries)
    finally:
        executor.shutdown(cancel_futures=True)


def compare_stamps(
    stamps: Iterable[SceneStamp], mirrored: Sequence[Row]
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
    stamps: Iterable[MarkerStamp], mirrored: Sequence[Row]
) -> Iterator[int]:
    """Yield the scenes of markers that are not as `LOCAL_MARKERS` has them there."""
    listed = [(stamp.id, stamp.scene.id, stamp.updated_at) for stamp in stamps]
    theirs, mine = _unequal(listed, mirrored)
    known = {id_: (scene_id, text) for id_, scene_id, text in mine}
    return scenes_of_changed_markers(theirs, known)


def _unequal(
    listed: Sequence[Row], mirrored: Sequence[Row]
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Leave out what is the same in the same place: mostly that is nearly all."""
    if len(listed) != len(mirrored):
        return listed, mirrored
    pairs = zip(listed, mirrored, strict=True)
    unequal = [pair for pair in pairs if pair[0] != pair[1]]
    return [theirs for theirs, _ in unequal], [mine for _, mine in unequal]


def windows(
    pages: Iterable[Sequence[Stamp]],
) -> Iterator[tuple[int, int | None, Sequence[Stamp]]]:
    """Yield each page of a complete listing with the ids it lies between.

    The last one, which may be empty, goes on without an end.
    """
    after = 0
    coming = iter(pages)
    page: Sequence[Stamp] = next(coming, ())
    for following in coming:
        yield after, page[-1].id, page
        after, page = page[-1].id, following
    yield after, None, page


@contextmanager
def collector_paused() -> Iterator[None]:
    """Have Python not look for cycles: rows by the ten thousand hold none.

    It would look all the same, and take a third of the time that storing them does.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
