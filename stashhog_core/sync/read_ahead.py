"""Reading the mirror while Stash lists: both are compared part by part."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import SelectBase, case, select, text

from stashhog_core.db.models import Marker, Scene
from stashhog_core.db.reading import THESE, read_rows
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import MarkerStamp, SceneStamp

Stamp = TypeVar("Stamp", SceneStamp, MarkerStamp)
Row = tuple[Any, ...]

ROWS_PER_PAGE = 20_000
_id = itemgetter(0)

LOCAL_SCENES = select(
    Scene.id,
    case((Scene.content.is_not(None), Scene.stash_updated_text)),
    Scene.missing_since.is_not(None),
)
"""Scene, its time of change unless it is to be fetched anyway, whether it is gone."""

LOCAL_MARKERS = select(Marker.id, Marker.scene_id, Marker.stash_updated_text)
"""Marker, its scene, its time of change."""


THESE_SCENES = LOCAL_SCENES.where(Scene.id == THESE)
THESE_MARKERS = LOCAL_MARKERS.where(Marker.id == THESE)
"""The rows of some ids alone."""


class RowsAhead:
    """All rows of a query by rising id, read by another thread before they are wanted.

    Each page is read in a transaction of its own: none is open while Stash is asked.

    Args:
        database: The mirror.
        query: Its first column is the id.
        executor: Whose thread reads.
        page_size: How many rows are read in one transaction.
    """

    def __init__(
        self,
        database: Database,
        query: SelectBase,
        executor: Executor,
        page_size: int,
    ) -> None:
        self._database = database
        self._query: Any = query
        self._executor = executor
        self._page_size = page_size
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
        self._has_ended = len(page) < self._page_size
        if not self._has_ended:
            last = self._coming[-1]
            self._coming.append(self._executor.submit(self._read_following, last))
        return page

    def _read_following(self, previous: Future[list[Row]]) -> list[Row]:
        # One thread reads, page by page: the previous one is there.
        page = previous.result()
        return self._read(_id(page[-1])) if len(page) == self._page_size else []

    def _read(self, after: int) -> list[Row]:
        id_ = self._query.selected_columns[0]
        query = self._query.where(id_ > after).order_by(id_).limit(self._page_size)
        with self._database.transaction() as session:
            # By the index: as long as PostgreSQL has not looked at the table, which is
            # so after a first sync, it would sort all of it for each page.
            session.execute(text("SET LOCAL enable_sort = off"))
            return read_rows(session, query)


@contextmanager
def reading_ahead(
    database: Database, *queries: SelectBase, page_size: int = ROWS_PER_PAGE
) -> Iterator[tuple[RowsAhead, ...]]:
    """Read the rows of several queries in one other thread, once each is started."""
    # Unlike `Background` it is waited for: no transaction outlives the block.
    executor = ThreadPoolExecutor(1, "sync-read")
    try:
        yield tuple(
            RowsAhead(database, query, executor, page_size) for query in queries
        )
    finally:
        executor.shutdown(cancel_futures=True)


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
