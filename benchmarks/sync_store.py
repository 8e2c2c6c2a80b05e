"""Storing the same scenes page by page, and one by one through the ORM."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.measurement import Measurement, seconds
from benchmarks.sync_place import Place
from stashhog_core.db.models import Marker, MarkerTag, Scene
from stashhog_core.stash.payloads import StashScene
from stashhog_core.sync.loader import PAGE_SIZE
from stashhog_core.sync.mirror import CHILDREN
from stashhog_core.sync.rows import (
    SCENE_COLUMNS,
    collector_paused,
    marker_tag_rows,
    scene_row,
)
from stashhog_core.sync.store import store_scenes

_SCENES = 10_000
_BY_ORM = 400


def measure_storing(
    place: Place, ids: Sequence[int], rounds: int
) -> Iterator[Measurement]:
    """Yield how many times faster sync stores new scenes, and mirrored ones."""
    pages = [
        place.stash.scenes(ids[start : start + PAGE_SIZE])[0]
        for start in range(0, min(len(ids), _SCENES), PAGE_SIZE)
    ]
    scenes = sum(map(len, pages))

    def by_pages() -> None:
        for page in pages:
            with collector_paused(), place.database.transaction() as session:
                store_scenes(session, page)

    def by_orm() -> None:
        for scene in pages[0][:_BY_ORM]:
            with place.database.transaction() as session:
                _upsert(session, scene)

    for what in ("new", "mirrored"):
        mine = theirs = float("inf")
        for _ in range(rounds):
            for is_mine in (False, True):
                if what == "new":
                    _forget_scenes(place)
                if is_mine:
                    mine = min(mine, seconds(by_pages))
                else:
                    theirs = min(theirs, seconds(by_orm))
        orm_rate, rate = min(_BY_ORM, scenes) / theirs, scenes / mine
        print(f"   store {what} scenes: {rate:.0f}/s, by the ORM {orm_rate:.0f}/s")
        yield Measurement(
            f"store {what} scenes / ORM upsert of each",
            rate / orm_rate,
            "times",
            40,
            "min",
        )


def _forget_scenes(place: Place) -> None:
    with place.database.transaction() as session:
        session.execute(text("TRUNCATE scene CASCADE"))


def _upsert(session: Session, scene: StashScene) -> None:
    """Bring one scene in as an ORM does: read it, change what differs, flush."""
    row = session.get(Scene, scene.id)
    if row is None:
        row = Scene(id=scene.id)
        session.add(row)
    for name, value in zip(SCENE_COLUMNS, scene_row(scene), strict=True):
        setattr(row, name, value)
    session.flush()
    for table in CHILDREN.values():
        owner = table.model.scene_id
        mine = session.scalars(select(table.model).where(owner == scene.id)).all()
        known = {_key(child, table.columns[: table.key]): child for child in mine}
        for values in table.rows_of(scene):
            child = known.pop(values[: table.key], None)
            if child is None:
                child = table.model()
                session.add(child)
            for name, value in zip(table.columns, values, strict=True):
                setattr(child, name, value)
        for child in known.values():
            session.delete(child)
    session.flush()
    markers = [marker.id for marker in scene.scene_markers]
    links = session.scalars(
        select(MarkerTag).join(Marker).where(Marker.id.in_(markers))
    ).all()
    have = {(link.marker_id, link.tag_id) for link in links}
    wanted = {row[:2] for row in marker_tag_rows(scene)}
    for marker_id, tag_id in wanted - have:
        session.add(MarkerTag(marker_id=marker_id, tag_id=tag_id))


def _key(child: Any, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(child, name) for name in columns)
