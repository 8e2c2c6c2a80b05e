"""What a sync that fetches every scene must know of the mirror, and how it lists."""

import gc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Marker, Scene
from stashhog_core.db.reading import read_rows
from stashhog_core.stash import payloads
from stashhog_core.sync.difference import Hash
from stashhog_core.sync.hashes import content_hash

T = TypeVar("T")


@dataclass(frozen=True)
class MirroredLibrary:
    """All mirrored scenes, and what tells that one of them is still the same."""

    contents: Mapping[int, Hash | None] = field(default_factory=dict)
    """Scene → hash of its content. None: to be stored, whatever that is."""
    missing: frozenset[int] = frozenset()
    """Those found gone in an earlier run."""
    markers: Mapping[int, frozenset[tuple[int, str]]] = field(default_factory=dict)
    """Scene → ids and times of change of its markers, unless it has none."""

    def has(self, scene: payloads.Scene) -> bool:
        """Tell whether a scene is mirrored as it was fetched."""
        known = self.contents.get(scene.id)
        if known is None or known != content_hash(scene):
            return False
        markers = frozenset((m.id, m.updated_at) for m in scene.scene_markers)
        return self.markers.get(scene.id, frozenset()) == markers


def is_empty(session: Session) -> bool:
    """Tell whether no scene is mirrored."""
    return session.scalar(select(Scene.id).limit(1)) is None


def mirrored_library(session: Session) -> MirroredLibrary:
    """Return what is known of all mirrored scenes."""
    missing = select(Scene.id).where(Scene.missing_since.is_not(None))
    gone = frozenset(id_ for (id_,) in read_rows(session, missing))
    contents = dict(read_rows(session, select(Scene.id, Scene.content)))
    contents |= dict.fromkeys(gone)
    markers: dict[int, set[tuple[int, str]]] = {}
    query = select(Marker.scene_id, Marker.id, Marker.stash_updated_text)
    for scene_id, id_, text in read_rows(session, query):
        markers.setdefault(scene_id, set()).add((id_, text))
    return MirroredLibrary(
        contents, gone, {id_: frozenset(found) for id_, found in markers.items()}
    )


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
