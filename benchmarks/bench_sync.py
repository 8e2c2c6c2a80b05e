"""Sync against what it cannot avoid: downloading; and storing against the ORM."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.measurement import Measurement, best_of, seconds
from stashhog_core.db.embedded import start_embedded, stop_embedded
from stashhog_core.db.models import Marker, MarkerTag
from stashhog_core.db.models import Scene as SceneTable
from stashhog_core.db.schema import migrate
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Scene
from stashhog_core.sync.job import sync
from stashhog_core.sync.loader import PAGE_SIZE
from stashhog_core.sync.mirrored import CHILDREN
from stashhog_core.sync.rows import SCENE_COLUMNS, marker_tag_rows, scene_row
from stashhog_core.sync.store import store_scenes

_SCENES = int(os.environ.get("STASHHOG_TEST_BENCH_SCENES", "20000"))
_TIMES = 3
_BY_ORM = 400
_MEMORY = """
import json, resource, sys
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync

stash_url, database_url = sys.argv[1:]
with StashClient(StashSettings(url=stash_url)) as stash:
    database = Database(database_url)
    for force in (True, False):
        sync(stash, database, SyncParams(force=force), Progress(), trigger="manual")
    database.close()
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


@dataclass(frozen=True)
class Place:
    """A stand-in with a made-up library in a process of its own, and a mirror."""

    stash: StashClient
    stash_url: str
    database: Database
    database_url: str

    def forget(self) -> None:
        """Empty the mirror."""
        with self.database.transaction() as session:
            tables = "scene, tag, performer, studio, manifest, sync_run"
            session.execute(text(f"TRUNCATE {tables} CASCADE"))

    def sync(self, **params: Any) -> None:
        sync(
            self.stash,
            self.database,
            SyncParams(**params),
            Progress(),
            trigger="manual",
            settle_seconds=0,
        )

    def download(self, ids: Sequence[int]) -> None:
        """Fetch and decode scenes in the pages that sync fetches; keep nothing."""
        for start in range(0, len(ids), PAGE_SIZE):
            self.stash.scenes(ids[start : start + PAGE_SIZE])

    def download_manifest(self) -> None:
        """Fetch and decode all light listings; keep nothing."""
        for _ in self.stash.scene_stamps():
            pass
        self.stash.marker_stamps()
        self.stash.tags()
        self.stash.performers()
        self.stash.studios()


def measure() -> Iterator[Measurement]:
    """Yield the values that the issue of sync names goals for."""
    ids = list(range(1, _SCENES + 1))
    with _place() as place:
        # The first requests also warm the server.
        place.download(ids)
        floor = _timed("download all", lambda: place.download(ids))
        manifest = _timed("download the light listings", place.download_manifest)

        first = min(seconds(place.sync) for _ in _fresh(place, _TIMES))
        yield _ratio("first sync", "bare download", first, floor, 1.15)
        full = _timed("full sync", lambda: place.sync(force=True))
        yield _ratio(
            "full sync of what is mirrored", "bare download", full, floor, 1.15
        )

        place.sync()
        manifest = min(manifest, _timed("download again", place.download_manifest))
        idle = _timed("nothing changed", place.sync)
        yield _ratio("sync with nothing changed", "light listings", idle, manifest, 1.2)
        yield _few_changed(place, ids, manifest)
        yield from _storing(place, ids)

        place.forget()
        used = _memory(place)
        yield Measurement(f"peak memory, {_SCENES} scenes", used, "MB", 300, "max")


def _ratio(what: str, of: str, mine: float, theirs: float, goal: float) -> Measurement:
    print(f"   {what}: {mine:.3f} s, {of} {theirs:.3f} s")
    return Measurement(
        f"{what} / {of}, {_SCENES} scenes", mine / theirs, "times", goal, "max"
    )


def _timed(what: str, work: Callable[[], object]) -> float:
    taken = best_of(_TIMES, work)
    print(f"   {what}: {taken:.3f} s")
    return taken


def _fresh(place: Place, times: int) -> Iterator[None]:
    for _ in range(times):
        place.forget()
        yield


def _few_changed(place: Place, ids: Sequence[int], manifest: float) -> Measurement:
    few = list(ids)[:: max(1, len(ids) // (len(ids) // 100))]
    rounds = []
    for number in range(_TIMES):
        for scene_id in few:
            place.stash.update_scene(scene_id, {"title": f"Round {number}"})
        rounds.append(seconds(place.sync))
    theirs = manifest + best_of(_TIMES, lambda: place.download(few))
    return _ratio(
        "sync with 1 % changed", "listings and those", min(rounds), theirs, 1.3
    )


def _storing(place: Place, ids: Sequence[int]) -> Iterator[Measurement]:
    """Store the same payloads set by set, and scene by scene through the ORM."""
    pages = [
        place.stash.scenes(ids[start : start + PAGE_SIZE])[0]
        for start in range(0, min(len(ids), 20_000), PAGE_SIZE)
    ]
    scenes = sum(map(len, pages))

    def by_sets() -> None:
        for page in pages:
            with place.database.transaction() as session:
                store_scenes(session, page)

    def by_orm() -> None:
        for scene in pages[0][:_BY_ORM]:
            with place.database.transaction() as session:
                _upsert(session, scene)

    for what in ("new scenes", "mirrored scenes"):
        new = what == "new scenes"
        mine = theirs = float("inf")
        for _ in range(_TIMES):
            if new:
                _forget_scenes(place)
            theirs = min(theirs, seconds(by_orm))
            if new:
                _forget_scenes(place)
            mine = min(mine, seconds(by_sets))
        orm_rate, rate = min(_BY_ORM, scenes) / theirs, scenes / mine
        print(f"   store {what}: {rate:.0f}/s, by the ORM {orm_rate:.0f}/s")
        yield Measurement(
            f"store {what} / ORM upsert of each", rate / orm_rate, "times", 40, "min"
        )


def _forget_scenes(place: Place) -> None:
    with place.database.transaction() as session:
        session.execute(text("TRUNCATE scene, manifest CASCADE"))


def _upsert(session: Session, scene: Scene) -> None:
    """Bring one scene in as an ORM does: read it, change what differs, flush."""
    row = session.get(SceneTable, scene.id)
    if row is None:
        row = SceneTable(id=scene.id)
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


def _memory(place: Place) -> float:
    """Return the most memory, in MB, that a process syncing everything takes."""
    output = subprocess.run(
        [sys.executable, "-c", _MEMORY, place.stash_url, place.database_url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(json.loads(output)) / 1024


@contextmanager
def _place() -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="stashhog-bench-"))
    # PostgreSQL runs under another account when root starts it.
    home.chmod(0o755)
    (home / "library").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sandbox.stash", "--port", str(port)]
    command += ["--home", str(home / "stash"), "--library", str(home / "library")]
    server = subprocess.Popen(
        [*command, "--scenes", str(_SCENES)], stdout=subprocess.PIPE, text=True
    )
    database_url = start_embedded(home / "db", "bench")
    database = Database(database_url)
    stash_url = f"http://127.0.0.1:{port}"
    try:
        migrate(database)
        assert server.stdout is not None
        assert server.stdout.readline().startswith("Stand-in")
        with StashClient(StashSettings(url=stash_url)) as stash:
            yield Place(stash, stash_url, database, database_url)
    finally:
        server.terminate()
        server.communicate()
        database.close()
        stop_embedded(home / "db")
        shutil.rmtree(home)
