"""Going through all scenes, page by page, here and in Stash: memory stays flat."""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Marker, Scene
from stashhog_core.db.reading import any_of, read_rows
from stashhog_core.stash import payloads
from stashhog_core.stash.payloads import MarkerStamp, SceneStamp
from stashhog_core.sync.difference import Hash, LocalScenes
from stashhog_core.sync.hashes import content_hash

T = TypeVar("T")
Stamp = TypeVar("Stamp", SceneStamp, MarkerStamp)


@dataclass(frozen=True)
class Mirrored:
    """What tells that scenes are still as they were stored."""

    contents: Mapping[int, Hash]
    """Scene → hash of its content, unless it is to be stored whatever that is."""
    markers: Mapping[int, set[tuple[int, str]]]
    """Scene → ids and times of change of its markers, unless it has none."""

    def has(self, scene: payloads.Scene) -> bool:
        """Tell whether a scene is mirrored as it was fetched."""
        if self.contents.get(scene.id) != content_hash(scene):
            return False
        markers = {(marker.id, marker.updated_at) for marker in scene.scene_markers}
        return self.markers.get(scene.id, set()) == markers


def is_empty(session: Session) -> bool:
    """Tell whether no scene is mirrored."""
    return session.scalar(select(Scene.id).limit(1)) is None


def mirrored(session: Session, scene_ids: Iterable[int]) -> Mirrored:
    """Return what is known of these scenes."""
    wanted = any_of(scene_ids)
    scenes = select(Scene.id, Scene.content).where(
        Scene.id == wanted, Scene.content.is_not(None), Scene.missing_since.is_(None)
    )
    contents = dict(read_rows(session, scenes))
    query = select(Marker.scene_id, Marker.id, Marker.stash_updated_text)
    markers: dict[int, set[tuple[int, str]]] = {}
    for scene_id, id_, text in read_rows(
        session, query.where(Marker.scene_id == wanted)
    ):
        markers.setdefault(scene_id, set()).add((id_, text))
    return Mirrored(contents, markers)


@dataclass(frozen=True)
class Window:
    """All mirrored scenes between two ids: Stash's listings come in such pieces."""

    scenes: LocalScenes
    missing: set[int]


def mirrored_between(session: Session, after: int, until: int | None) -> Window:
    """Return the scenes with higher ids than `after`, up to `until`; None: the last."""
    known = case((Scene.content.is_not(None), Scene.stash_updated_text))
    query = select(Scene.id, known).where(Scene.id > after)
    if until is not None:
        query = query.where(Scene.id <= until)
    missing = query.where(Scene.missing_since.is_not(None))
    return Window(
        dict(read_rows(session, query)), {id_ for id_, _ in read_rows(session, missing)}
    )


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


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items, getting the next one in another thread while one is used."""
    executor = ThreadPoolExecutor(1, "sync-list")
    try:
        coming = executor.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = executor.submit(next, items, None)
            yield item
    finally:
        # A stop must not wait for Stash to answer.
        executor.shutdown(wait=False, cancel_futures=True)


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
