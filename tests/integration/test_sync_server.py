"""Sync over HTTP, with the product's client.

It runs against the sandbox's stand-in, or, with STASHHOG_TEST_STASH_URL and
STASHHOG_TEST_STASH_LIBRARY set as for the contract suite, against a real Stash.
"""

import logging
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
from sqlalchemy import event, select, update

from sandbox.stash.server import StandIn
from stashhog_core.db.models import (
    Marker,
    Performer,
    PerformerTag,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
    Studio,
    StudioTag,
    SyncRun,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError, TransientError
from stashhog_core.params import StashGenerateParams, SyncParams, VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.results import SyncResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import YOUNGER_FIELDS
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.sync.comparison import ListingRule
from stashhog_core.sync.job import pending_scenes, sync
from stashhog_core.sync.loader import STABLE_SECONDS
from stashhog_core.sync.mirror import scene_differences
from stashhog_core.sync.verify import verify_mirror
from tests.support.creating import all_scenes, create_performer, create_studio
from tests.support.http import loopback
from tests.support.media import write_video
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow


LISTING = ListingRule(timedelta(0))
"""Everything is listed, whatever a glance shows."""


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
        # What tells it apart comes first: SQLite compares up to a zero byte.
        return f"{self.folder.name} {what}"

    def ask(self, document: str, **variables: Any) -> Any:
        """Send a document the product does not use; return its one answer."""
        (value,) = self.ask_all(document, **variables)
        return value

    def ask_all(self, document: str, **variables: Any) -> list[Any]:
        """Send a document the product does not use; return all its answers."""
        key = self.settings.api_key
        answer = loopback.post(
            f"{self.settings.url}/graphql",
            json={"query": document, "variables": variables},
            headers={"ApiKey": key.get_secret_value()} if key else {},
        ).json()
        assert not answer.get("errors"), answer
        return list(answer["data"].values())

    def scan(self, *, rescan: bool = False) -> None:
        """Scan our folder to the end."""
        job_id = self.client.start_job(
            "scan", {"paths": [str(self.folder)], "rescan": rescan}
        )
        self._wait_for(job_id)

    def clean(self) -> None:
        """Have Stash forget files of our folder that are gone."""
        job_id = self.ask(
            "mutation($i:CleanMetadataInput!){metadataClean(input:$i)}",
            i={"paths": [str(self.folder)], "dryRun": False},
        )
        self._wait_for(int(job_id))

    def generate_phashes(self, *scenes: int, overwrite: bool = False) -> None:
        """Have Stash make perceptual hashes, as the job does."""
        kinds = dict.fromkeys(("covers", "previews", "sprites"), False)
        generate(
            self.client,
            self.database,
            StashGenerateParams(scene_ids=scenes, overwrite=overwrite, **kinds),
            Progress(),
            run_id=uuid.uuid4().hex,
            settings=self.settings,
        )

    def _wait_for(self, job_id: int) -> None:
        follow(
            self.client,
            JobKey(job_id),
            Progress(),
            label="Job",
            poll_interval_seconds=0.1,
            outage_limit_seconds=0,
        )

    def add_video(self, name: str, seconds: float = 1) -> Path:
        """Write a video whose content no Stash has seen, and scan it."""
        path = self.folder / name
        write_video(path, seconds=seconds, seed=zlib.crc32(bytes(path)))
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
            stabilize_seconds=0 if self.server else STABLE_SECONDS,
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

    def scene_at(self, path: Path) -> int:
        """Return the mirrored scene with the file at this path."""
        query = select(SceneFile.scene_id).where(SceneFile.path == str(path))
        ((scene_id,),) = self.values(query)
        return int(scene_id)

    def paths(self, scene_id: int) -> list[str]:
        """Return the mirrored paths of a scene, the primary file first."""
        query = select(SceneFile.position, SceneFile.path)
        rows = self.values(query.where(SceneFile.scene_id == scene_id))
        return [path for _, path in rows]

    def mark_all(self, **flags: bool) -> None:
        """Set local flags of all scenes."""
        with self.database.transaction() as session:
            session.execute(update(Scene).values(**flags))

    def assert_mirror_is_right(self) -> None:
        """Nothing is pending, and fetching everything finds nothing to change."""
        pending = pending_scenes(self.client, self.database)
        with self.database.transaction() as session:
            scenes = all_scenes(self.client)
            assert list(scene_differences(session, scenes)) == []
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
    performer = create_performer(site.settings, site.name("before")).id
    studio = create_studio(site.settings, site.name("studio")).id
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

    site.mark_all(generated=True)
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


def test_renamed_folder_is_noticed_by_a_listing(site: Site) -> None:
    """A renamed folder moves no time of change; the list of all folders tells."""
    outer = site.folder / "outer"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    site.add_video("outer/one.mp4")
    site.add_video("outer/inner/two.mp4")
    site.add_video("elsewhere.mp4")
    site.sync()
    site.sync()
    renamed = outer.rename(site.folder / "renamed")
    site.scan()
    listed = pending_scenes(site.client, site.database, LISTING)

    assert dict(listed.reasons) == {"file": 2}
    sync(
        site.client,
        site.database,
        SyncParams(),
        Progress(),
        trigger="manual",
        stabilize_seconds=0,
        listing=LISTING,
    )
    paths = select(SceneFile.path).where(SceneFile.path.startswith(str(site.folder)))
    assert site.values(paths) == sorted(
        (str(path),)
        for path in (
            renamed / "one.mp4",
            renamed / "inner" / "two.mp4",
            site.folder / "elsewhere.mp4",
        )
    )
    assert not pending_scenes(site.client, site.database, LISTING)
    site.assert_mirror_is_right()


def test_replaced_file_is_noticed(site: Site) -> None:
    """Other content at the same path wants media and analysis anew."""
    path = site.add_video("video.mp4")
    site.sync()
    scene = site.scene_at(path)
    site.mark_all(generated=True, video_analyzed=True, analyzed=True)
    write_video(path, seconds=2, seed=zlib.crc32(bytes(path)) + 1)
    site.scan()

    assert site.pending() == {"file": 1}
    site.sync()
    flags = select(Scene.generated, Scene.video_analyzed, Scene.analyzed)
    assert site.values(flags.where(Scene.id == scene)) == [(False, False, True)]
    site.assert_mirror_is_right()


def test_removed_files_are_noticed(site: Site) -> None:
    """A scene keeps what files it has left, the next one first; without any it goes.

    Stash says nothing of the loss of a file that was not the primary one: that is for
    the deep look.
    """
    path = site.add_video("first.mp4")
    copies = [path.with_name(name) for name in ("second.mp4", "third.mp4")]
    for copy in copies:
        shutil.copyfile(path, copy)
        site.scan()
    site.sync()
    scene = site.scene_at(path)
    assert site.paths(scene) == [str(path), *map(str, copies)]

    copies[1].unlink()
    site.clean()
    site.sync(deep=True)
    assert site.paths(scene) == [str(path), str(copies[0])]

    path.unlink()
    site.clean()
    assert site.pending() == {"changed": 1}
    site.sync()
    assert site.paths(scene) == [str(copies[0])]
    site.assert_mirror_is_right()

    copies[0].unlink()
    site.clean()
    assert site.pending() == {"vanished": 1}
    site.sync()
    site.sync(confirm_removals=True)
    assert site.values(select(Scene.id).where(Scene.id == scene)) == []
    site.assert_mirror_is_right()


def test_lists_without_an_order_differ_in_nothing(site: Site) -> None:
    """Stash sorts neither secondary files nor aliases: their order changes nothing.

    How a list comes depends on how many rows are asked for, so a scene that was
    fetched by itself comes otherwise than in a page of many.
    """
    path = site.add_video("first.mp4")
    for number in range(6):
        shutil.copyfile(path, path.with_name(f"copy {number}.mp4"))
        site.scan()
    for number in range(6):
        site.add_scene(f"other {number}")
    aliases = [site.name(f"alias {letter}") for letter in "fbeadc"]
    for kind, field in (("tag", "aliases"), ("performer", "alias_list")):
        name = kind.capitalize()
        site.ask(
            f"mutation($i:{name}CreateInput!){{{kind}Create(input:$i){{id}}}}",
            i={"name": site.name(kind), field: aliases},
        )
    if site.server:
        site.server.faults.shuffled_lists = True
    site.sync()
    scene = site.scene_at(path)
    site.sync(scene_ids=[scene])

    assert len(site.paths(scene)) == 7
    assert site.paths(scene)[0] == str(path)
    site.assert_mirror_is_right()


def test_subtitles_and_scripts_that_come_and_go(site: Site) -> None:
    """Captions and funscripts found by a later scan reach the mirror.

    Stash moves no time of change for either: they are for the deep look.
    """
    path = site.add_video("video.mp4")
    caption = path.with_suffix(".en.srt")
    script = path.with_suffix(".funscript")
    site.sync()
    scene = site.scene_at(path)
    mine = select(Scene.interactive, Scene.captions).where(Scene.id == scene)
    caption.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    script.write_text('{"version":"1.0","actions":[{"at":0,"pos":0}]}')
    site.scan()
    site.sync(deep=True)
    english = {"language_code": "en", "caption_type": "srt"}
    assert site.values(mine) == [(True, [english])]
    site.assert_mirror_is_right()

    caption.unlink()
    script.unlink()
    site.scan()
    site.sync(deep=True)
    assert site.values(mine) == [(False, [])]
    site.assert_mirror_is_right()


def test_file_that_is_scanned_anew_is_noticed(site: Site) -> None:
    """What a forced scan reads otherwise is seen by the next sync, not only nightly."""
    path = site.add_video("video.mp4")
    site.sync()
    modified = path.stat().st_mtime_ns
    size = path.stat().st_size
    write_video(path, seconds=1, seed=zlib.crc32(bytes(path)) + 1, width=160, height=80)
    assert path.stat().st_size < size
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    os.utime(path, ns=(modified, modified))
    site.scan()
    assert site.pending() == {}

    site.scan(rescan=True)
    assert site.pending() == {"file": 1}
    site.sync()
    sizes = select(SceneFile.width, SceneFile.height).where(SceneFile.path == str(path))
    assert site.values(sizes) == [(160, 80)]
    site.assert_mirror_is_right()


def test_what_is_played_reaches_the_mirror(site: Site) -> None:
    """Plays move no time of change: the deep look finds them."""
    scene = site.add_scene("scene")
    site.sync()
    site.ask("mutation($i:ID!){sceneAddPlay(id:$i){count}}", i=scene)
    site.ask(
        "mutation($i:ID!){sceneSaveActivity(id:$i,resume_time:7.5,playDuration:61.25)}",
        i=scene,
    )
    site.sync(deep=True)
    query = select(
        Scene.play_count,
        Scene.resume_time_seconds,
        Scene.play_duration_seconds,
        Scene.last_played_at.is_not(None),
    )
    assert site.values(query.where(Scene.id == scene)) == [(1, 7.5, 61.25, True)]
    site.assert_mirror_is_right()


def test_names_of_groups_and_galleries(site: Site) -> None:
    """A scene's groups and galleries have their names; a new name moves no time."""
    (group,) = site.ask_all(
        "mutation($n:String!){groupCreate(input:{name:$n}){id}}", n=site.name("film")
    )
    (gallery,) = site.ask_all(
        "mutation($n:String!){galleryCreate(input:{title:$n}){id}}", n=site.name("set")
    )
    scene = site.add_scene("scene")
    site.ask(
        "mutation($i:SceneUpdateInput!){sceneUpdate(input:$i){id}}",
        i={
            "id": scene,
            "groups": [{"group_id": group["id"], "scene_index": 2}],
            "gallery_ids": [gallery["id"]],
        },
    )
    site.sync()
    mine = select(Scene.groups, Scene.galleries).where(Scene.id == scene)

    def names() -> Any:
        ((groups, galleries),) = site.values(mine)
        return [row["name"] for row in (*groups, *galleries)]

    assert names() == [site.name("film"), site.name("set")]
    site.ask(
        "mutation($i:GroupUpdateInput!){groupUpdate(input:$i){id}}",
        i={"id": group["id"], "name": site.name("other")},
    )
    site.sync(deep=True)
    assert names() == [site.name("other"), site.name("set")]
    site.assert_mirror_is_right()


def test_tags_and_fields_of_performers_and_studios(site: Site) -> None:
    """Whatever is set of a performer, studio or tag reaches the mirror."""
    tag = site.client.create_tag(site.name("tag")).id
    box = {"endpoint": "https://box.invalid/graphql", "stash_id": site.name("id")}
    fields = {"height_cm": 180, "circumcised": "CUT", "tattoos": "a rose"}
    custom = {"b": 1.5, "a": site.name("text")}
    ids = {}
    for kind, given in (
        ("tag", {"stash_ids": [box]}),
        ("performer", {**fields, "custom_fields": custom, "tag_ids": [tag]}),
        ("studio", {"tag_ids": [tag]}),
    ):
        created = site.ask(
            f"mutation($i:{kind.capitalize()}CreateInput!)"
            f"{{{kind}Create(input:$i){{id}}}}",
            i={"name": site.name(f"a {kind}"), **given},
        )
        ids[kind] = int(created["id"])
    site.sync()
    own = select(
        Performer.height_cm,
        Performer.circumcised,
        Performer.tattoos,
        Performer.custom_fields,
    )
    assert site.values(own.where(Performer.id == ids["performer"])) == [
        (180, "CUT", "a rose", custom)
    ]
    boxes = select(Tag.stash_ids).where(Tag.id == ids["tag"])
    assert site.values(boxes) == [([box],)]
    tagged = select(PerformerTag.performer_id).where(PerformerTag.tag_id == tag)
    assert site.values(tagged) == [(ids["performer"],)]
    tagged = select(StudioTag.studio_id).where(StudioTag.tag_id == tag)
    assert site.values(tagged) == [(ids["studio"],)]
    site.assert_mirror_is_right()


def test_older_server(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A Stash that lacks younger fields is synced without them, and that is said.

    Once it has been upgraded, the fields are filled without being asked for.
    """
    if site.server is None:
        # The real server of this suite has them all.
        assert site.ask('{__type(name:"Tag"){name}}') == {"name": "Tag"}
        return
    caplog.set_level(logging.INFO)
    box = {"endpoint": "https://box.invalid/graphql", "stash_id": "1"}
    tag = site.ask(
        "mutation($i:TagCreateInput!){tagCreate(input:$i){id}}",
        i={"name": site.name("tag"), "stash_ids": [box]},
    )
    scene = site.add_scene("scene")
    boxes = select(Tag.stash_ids).where(Tag.id == int(tag["id"]))
    site.server.faults.unknown_fields.update(YOUNGER_FIELDS)
    site.sync()
    site.client.create_marker(
        scene_id=scene, title="here", seconds=1, primary_tag_id=int(tag["id"])
    )
    site.sync()

    assert site.values(boxes) == [([],)]
    said = [
        r.getMessage()
        for r in caplog.records
        if "This version of Stash" in r.getMessage()
    ]
    # A sync reads neither the times of ids at stash-boxes nor what these scrape.
    mirrored = {
        name for name in YOUNGER_FIELDS if not name.startswith(("StashID.", "Scraped"))
    }
    assert len(said) == len(mirrored)
    assert (
        "This version of Stash has no Tag.stash_ids, which needs Stash 0.30; "
        "the field stays empty"
    ) in said
    site.assert_mirror_is_right()

    site.server.faults.unknown_fields.clear()
    with StashClient(site.settings) as client:
        site.client = client
        site.sync()
        assert site.values(boxes) == [([box],)]
        site.assert_mirror_is_right()


def test_only_a_scene_that_got_a_phash_is_fetched(site: Site) -> None:
    """A phash moves no time; one that cannot be made leaves nothing to fetch.

    The real server makes none of a video of a single second.
    """
    short, long = site.add_video("short.mp4"), site.add_video("long.mp4", seconds=4)
    site.sync()
    scenes = site.scene_at(short), site.scene_at(long)
    if site.server:
        site.server.faults.failing_items.add(f"phash {short}")
    site.generate_phashes(*scenes)
    hashes = select(SceneFingerprint.scene_id).where(
        SceneFingerprint.kind == "phash", SceneFingerprint.scene_id.in_(scenes)
    )

    assert site.pending() == {"changed": 1}
    assert site.sync().updated == 1
    assert site.values(hashes) == [(scenes[1],)]
    site.generate_phashes(*scenes)
    assert site.pending() == {}
    site.assert_mirror_is_right()


def test_phash_that_was_made_anew_is_fetched(site: Site) -> None:
    """Stash keeps the phash of a replaced file until it is told to overwrite it."""
    path = site.add_video("video.mp4", seconds=4)
    site.sync()
    scene = site.scene_at(path)
    site.generate_phashes(scene)
    site.sync()
    hashes = select(SceneFingerprint.value).where(
        SceneFingerprint.kind == "phash", SceneFingerprint.scene_id == scene
    )
    before = site.values(hashes)
    write_video(path, seconds=5, seed=zlib.crc32(bytes(path)) + 1)
    site.scan()
    site.sync()
    site.generate_phashes(scene, overwrite=True)

    assert site.pending() == {"changed": 1}
    site.sync()
    assert site.values(hashes) != before
    site.assert_mirror_is_right()


def test_entities_unknown_here(site: Site) -> None:
    """A scene that names what was created since the last sync brings it along."""
    scene = site.add_scene("scene")
    site.sync()
    tag = site.client.create_tag(site.name("tag")).id
    performer = create_performer(site.settings, site.name("who")).id
    studio = create_studio(site.settings, site.name("studio")).id
    site.client.bulk_update_scenes(
        [scene], add_tag_ids=[tag], add_performer_ids=[performer], studio_id=studio
    )
    site.sync(scene_ids=(scene,))

    for model, id_, what in (
        (Tag, tag, "tag"),
        (Performer, performer, "who"),
        (Studio, studio, "studio"),
    ):
        names = select(model.name).where(model.id == id_)
        assert site.values(names) == [(site.name(what),)]
    tags = select(SceneTag.tag_id).where(SceneTag.scene_id == scene)
    assert site.values(tags) == [(tag,)]
    site.assert_mirror_is_right()


def test_tag_name_that_moves_to_another_id(site: Site) -> None:
    """A name may leave one tag and come back with another."""
    first = site.client.create_tag(site.name("name")).id
    scene = site.add_scene("scene")
    site.client.bulk_update_scenes([scene], add_tag_ids=[first])
    site.sync()
    site.ask(
        "mutation($i:TagUpdateInput!){tagUpdate(input:$i){id}}",
        i={"id": first, "name": site.name("other name")},
    )
    second = site.client.create_tag(site.name("name")).id
    site.client.bulk_update_scenes([scene], add_tag_ids=[second])
    site.sync()

    names = select(Tag.id, Tag.name).where(Tag.id.in_([first, second]))
    assert site.values(names) == [
        (first, site.name("other name")),
        (second, site.name("name")),
    ]
    tags = select(SceneTag.tag_id).where(SceneTag.scene_id == scene)
    assert site.values(tags) == [(first,), (second,)]
    site.assert_mirror_is_right()


def test_names_with_zero_bytes(site: Site) -> None:
    """What PostgreSQL cannot hold is left out, once: nothing stays pending for it."""
    tag = site.client.create_tag(site.name("ze\0ro")).id
    who = create_performer(site.settings, site.name("\0")).id
    scene = site.add_scene("t\0itle")
    site.client.bulk_update_scenes([scene], add_tag_ids=[tag], add_performer_ids=[who])
    result = site.sync()

    assert result.failed == 0
    titles = select(Scene.title).where(Scene.id == scene)
    assert site.values(titles) == [("title",)]
    names = select(Tag.name).where(Tag.id == tag)
    assert site.values(names) == [(site.name("zero"),)]
    site.assert_mirror_is_right()


@pytest.mark.parametrize("site", ["UTC"], indirect=True)
def test_ten_thousand_tags_on_one_scene(site: Site) -> None:
    """A scene may have more tags than any page has scenes."""
    tags: list[int] = []
    for start in range(0, 10_000, 1000):
        fields = " ".join(
            f't{n}:tagCreate(input:{{name:"{site.name(str(n))}"}}){{id}}'
            for n in range(start, start + 1000)
        )
        tags += [int(tag["id"]) for tag in site.ask_all(f"mutation{{{fields}}}")]
    scene = site.add_scene("one")
    site.client.bulk_update_scenes([scene], add_tag_ids=tags)
    assert site.sync().failed == 0
    site.client.bulk_update_scenes([scene], remove_tag_ids=tags[:5000])
    assert site.sync().updated == 1

    query = select(SceneTag.tag_id).where(SceneTag.scene_id == scene)
    assert site.values(query) == [(tag,) for tag in sorted(tags[5000:])]
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


@pytest.mark.parametrize("fault", ["status", "drop"])
def test_outage_in_the_middle(big: tuple[StandIn, Site], fault: str) -> None:
    """A run that breaks off on a later page keeps those before; the next ends it."""
    server, site = big
    first_is_here = threading.Event()
    scenes_between = site.client.scenes_between

    def break_off_after_the_first_page(low: int, high: int) -> Any:
        if high == 2200:
            # Pages are asked for at the same time.
            assert first_is_here.wait(PATIENCE_SECONDS)
            if fault == "drop":
                server.faults.drop_connection(times=50, field="findScenes")
            else:
                server.faults.answer_status(503, times=50, field="findScenes")
        answer = scenes_between(low, high)
        if low == 1:
            first_is_here.set()
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(site.client, "scenes_between", break_off_after_the_first_page)
        with pytest.raises(TransientError):
            site.sync()
        server.faults.clear()

    stored = len(site.values(select(Scene.id)))
    history = select(SyncRun.id, SyncRun.status, SyncRun.created)
    assert stored in {1000, 2000}
    assert [row[1:] for row in site.values(history)] == [("failed", stored)]
    result = site.sync()
    assert (result.created, result.updated) == (2200 - stored, 0)
    assert result.unchanged == stored
    site.assert_mirror_is_right()


def test_a_check_that_finds_nothing_asks_little(big: tuple[StandIn, Site]) -> None:
    """It takes one request to Stash, and two statements: to read and keep a glance."""
    _, site = big
    site.sync()
    site.sync()
    statements: list[str] = []
    requests: list[bytes] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            requests.append(request.read())
            return super().handle_request(request)

    event.listen(site.database.engine, "before_cursor_execute", note)
    with StashClient(site.settings, Counting()) as counted:
        found = pending_scenes(counted, site.database)
    event.remove(site.database.engine, "before_cursor_execute", note)

    assert not found
    assert len(requests) == 1
    assert len(statements) == 2


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
