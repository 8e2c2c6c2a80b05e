"""Sync over HTTP, with the product's client.

It runs against the sandbox's stand-in, or, with STASHHOG_TEST_STASH_URL and
STASHHOG_TEST_STASH_LIBRARY set as for the contract suite, against a real Stash.
"""

import os
import shutil
import threading
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from sandbox.stash.server import StandIn
from stashhog_core.db.models import (
    Marker,
    Performer,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
    SyncRun,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError, TransientError
from stashhog_core.params import SyncParams, VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.results import SyncResult
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.sync.job import pending_scenes, sync
from stashhog_core.sync.loader import SETTLE_SECONDS
from stashhog_core.sync.verify import verify_mirror
from tests.sample_video import write_video

pytestmark = pytest.mark.slow


@dataclass
class Site:
    """A Stash server, its mirror, and a folder of its library of our own."""

    client: StashClient
    database: Database
    folder: Path
    settings: StashSettings
    server: StandIn | None = None

    def name(self, what: str) -> str:
        """Return a name nothing in this Stash has yet."""
        return f"{what} {self.folder.name}"

    def ask(self, document: str, **variables: Any) -> Any:
        """Send a document the product does not use; return its one answer."""
        key = self.settings.api_key
        answer = httpx.post(
            f"{self.settings.url}/graphql",
            json={"query": document, "variables": variables},
            headers={"ApiKey": key.get_secret_value()} if key else {},
            timeout=30,
        ).json()
        assert not answer.get("errors"), answer
        (value,) = answer["data"].values()
        return value

    def scan(self) -> None:
        """Scan our folder to the end."""
        job_id = self.client.start_scan({"paths": [str(self.folder)], "rescan": False})
        follow(
            self.client,
            JobKey(job_id),
            Progress(),
            label="Scan",
            poll_interval_seconds=0.1,
            outage_limit_seconds=0,
        )

    def add_video(self, name: str) -> Path:
        """Write a video whose content no Stash has seen, and scan it."""
        path = self.folder / name
        write_video(path, seconds=1, seed=zlib.crc32(bytes(path)))
        self.scan()
        return path

    def add_scene(self, title: str) -> int:
        """Create a scene without a file."""
        created = self.ask(
            "mutation($i:SceneCreateInput!){sceneCreate(input:$i){id}}",
            i={"title": title},
        )
        return int(created["id"])

    def sync(self, **params: Any) -> SyncResult:
        """Sync once; edits that follow fall into a later second of Stash's clock."""
        result = sync(
            self.client,
            self.database,
            SyncParams(**params),
            Progress(),
            trigger="manual",
            settle_seconds=0 if self.server else SETTLE_SECONDS,
        )
        if self.server:
            self.server.clock.offset += timedelta(seconds=2)
        return result

    def values(self, query: Any) -> list[Any]:
        """Return the rows of the mirror."""
        with self.database.transaction() as session:
            return sorted(tuple(row) for row in session.execute(query))

    def pending(self) -> dict[str, int]:
        """Return what is pending, by reason."""
        return dict(pending_scenes(self.client, self.database).reasons)

    def assert_mirror_is_right(self) -> None:
        """Nothing is pending, and fetching everything finds nothing to change."""
        pending = pending_scenes(self.client, self.database)
        deep = self.sync(deep=True)
        full = self.sync(force=True)
        params = VerifyMirrorParams(scenes=100)
        checked = verify_mirror(self.client, self.database, params, Progress())

        assert (deep.created, deep.updated, checked.errors) == (0, 0, ())
        assert (pending.count, pending.entities) == (0, {})
        assert (full.created, full.updated, full.failed) == (0, 0, 0)
        assert full.entities == {}


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/New_York"])
def site(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path
) -> Iterator[Site]:
    """A site in each zone; a real Stash has the one it has."""
    if url := os.environ.get("STASHHOG_TEST_STASH_URL"):
        if request.param != "UTC":
            pytest.skip("a real Stash has one zone")
        library = Path(os.environ["STASHHOG_TEST_STASH_LIBRARY"])
        key = os.environ.get("STASHHOG_TEST_STASH_API_KEY")
        yield from _opened(url, library, database, key)
        return
    library = tmp_path / "library"
    library.mkdir()
    with StandIn(
        home=tmp_path / "home", library=library, timezone=request.param
    ) as server:
        server.faults.item_seconds = 0
        for site in _opened(server.url, library, database, None):
            site.server = server
            yield site


def _opened(
    url: str, library: Path, database: Database, key: str | None
) -> Iterator[Site]:
    folder = library / f"sync-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    settings = StashSettings(url=url, api_key=SecretStr(key) if key else None)
    with StashClient(settings) as client:
        yield Site(client, database, folder, settings)
    shutil.rmtree(folder)


def test_changes_of_all_kinds_reach_the_mirror(site: Site) -> None:
    """Edits, markers, renames and merges are seen, each in the next sync."""
    old, kept = (site.client.create_tag(site.name(n)).id for n in ("old", "kept"))
    performer = site.client.create_performer(site.name("before")).id
    studio = site.client.create_studio(site.name("studio")).id
    scene, marked = site.add_scene("one"), site.add_scene("two")
    site.client.bulk_update_scenes(
        [scene], add_tag_ids=[old], add_performer_ids=[performer], studio_id=studio
    )
    site.sync()
    mine = select(Scene.id, Scene.studio_id).where(Scene.id.in_([scene, marked]))
    assert site.values(mine) == [(scene, studio), (marked, None)]
    links = select(ScenePerformer.scene_id).where(
        ScenePerformer.performer_id == performer
    )
    assert site.values(links) == [(scene,)]
    site.assert_mirror_is_right()

    site.client.update_scene(scene, {"studio_id": None})
    assert site.pending() == {"changed": 1}
    site.sync()
    assert site.values(mine) == [(scene, None), (marked, None)]

    site.ask(
        "mutation($i:PerformerUpdateInput!){performerUpdate(input:$i){id}}",
        i={"id": performer, "name": site.name("after")},
    )
    assert site.pending() == {"entity": 1}
    site.sync()
    names = select(Performer.name).where(Performer.id == performer)
    assert site.values(names) == [(site.name("after"),)]

    site.ask(
        "mutation($i:TagsMergeInput!){tagsMerge(input:$i){id}}",
        i={"source": [old], "destination": kept},
    )
    assert site.pending() == {"entity": 1}
    site.sync()
    tags = select(SceneTag.tag_id).where(SceneTag.scene_id == scene)
    assert site.values(tags) == [(kept,)]

    with site.database.transaction() as session:
        session.execute(update(Scene).values(generated=True))
    marker = site.client.create_marker(
        scene_id=marked, title="here", seconds=1.5, primary_tag_id=kept
    )
    assert site.pending() == {"marker": 1}
    site.sync()
    assert site.values(select(Marker.id).where(Marker.scene_id == marked)) == [
        (marker,)
    ]
    not_generated = select(Scene.id).where(~Scene.generated)
    assert site.values(not_generated) == [(marked,)]

    site.client.destroy_markers([marker])
    site.sync()
    assert site.values(select(Marker.id).where(Marker.scene_id == marked)) == []
    site.sync()
    assert site.values(select(Tag.id).where(Tag.id == old)) == []
    site.assert_mirror_is_right()


def test_moved_file_is_noticed(site: Site) -> None:
    """A scan that finds a file elsewhere makes its scene pending."""
    path = site.add_video("here.mp4")
    site.sync()
    site.assert_mirror_is_right()
    moved = path.rename(path.with_name("there.mp4"))
    site.scan()
    paths = select(SceneFile.path).where(SceneFile.path.startswith(str(site.folder)))

    assert sum(site.pending().values()) == 1
    site.sync()
    assert site.values(paths) == [(str(moved),)]
    site.assert_mirror_is_right()


def test_destroyed_scene_goes_in_two_runs(site: Site) -> None:
    """A scene destroyed in Stash is marked, then removed."""
    scene, kept = site.add_scene("gone"), site.add_scene("kept")
    site.sync()
    site.ask("mutation($i:SceneDestroyInput!){sceneDestroy(input:$i)}", i={"id": scene})
    mine = select(Scene.id, Scene.missing_since.is_not(None)).where(
        Scene.id.in_([scene, kept])
    )

    assert site.pending() == {"vanished": 1}
    assert site.sync().removed == 0
    assert site.values(mine) == [(scene, True), (kept, False)]
    assert site.sync().removed == 1
    assert site.values(mine) == [(kept, False)]


def test_named_scenes_with_an_unknown_one(site: Site) -> None:
    """Named scenes are fetched by id; one Stash lacks is reported alone."""
    first, _ = site.add_scene("first"), site.add_scene("second")
    result = site.sync(scene_ids=(first, 999_999_999))

    assert (result.created, result.failed) == (1, 1)
    assert [error.item for error in result.errors] == ["scene 999999999"]
    assert site.values(select(Scene.id)) == [(first,)]


@pytest.fixture
def big(database: Database, tmp_path: Path) -> Iterator[tuple[StandIn, Site]]:
    """A stand-in with 2,200 scenes of all kinds: several pages."""
    library = tmp_path / "library"
    library.mkdir()
    with StandIn(home=tmp_path / "home", library=library, scenes=2200) as server:
        for site in _opened(server.url, library, database, None):
            yield server, site


def test_outage_in_the_middle(big: tuple[StandIn, Site]) -> None:
    """A run that breaks off on a later page keeps those before; the next ends it."""
    server, site = big
    first_is_here = threading.Event()
    scenes = site.client.scenes

    def break_off_after_the_first_page(ids: Any) -> Any:
        if 2200 in ids:
            # Pages are asked for at the same time.
            assert first_is_here.wait(30)
            server.faults.answer_status(503, times=50, field="findScenes")
        answer = scenes(ids)
        if 1 in ids:
            first_is_here.set()
        return answer

    site.client.scenes = break_off_after_the_first_page  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        site.sync()
    server.faults.clear()
    site.client.scenes = scenes  # type: ignore[method-assign]

    stored = len(site.values(select(Scene.id)))
    history = select(SyncRun.id, SyncRun.status, SyncRun.created)
    assert stored in {1000, 2000}
    assert [row[1:] for row in site.values(history)] == [("failed", stored)]
    result = site.sync()
    assert (result.created, result.updated) == (2200 - stored, 0)
    assert result.unchanged == stored
    site.assert_mirror_is_right()


def test_outage_is_an_error_of_the_check(big: tuple[StandIn, Site]) -> None:
    """Stash down, or answering nonsense, is never "nothing pending"."""
    server, site = big
    site.sync()
    server.faults.answer_html(times=50)
    with pytest.raises(JobError, match="Stash"):
        site.pending()
    server.faults.clear()
    server.stop()
    try:
        with pytest.raises(TransientError):
            site.pending()
    finally:
        server.start()
