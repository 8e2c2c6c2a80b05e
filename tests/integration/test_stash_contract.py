"""What the product relies on in a Stash server: one suite for every server.

It runs against the sandbox's stand-in. With STASHHOG_TEST_STASH_URL set, the very same
tests run against a real Stash instead; STASHHOG_TEST_STASH_LIBRARY is then a folder
that is in Stash's library, under the same path here and there, and
STASHHOG_TEST_STASH_API_KEY its key, if it has one. It leaves scenes, tags and so on
behind: give it a Stash of its own.
"""

import os
import re
import shutil
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stashhog_core.errors import ConfigurationError, JobError
from stashhog_core.hashing import oshash
from stashhog_core.params import StashScanParams
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.media_check import Lacking, find_lacking
from stashhog_core.server_jobs.scan import scan_input
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import (
    SCENE_BOX_IDS,
    SCENES,
    NamedKind,
    Operation,
    Rows,
)
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.stash.payloads import Job, Ref, StashScene, StashTag
from stashhog_core.stash.transport import Transport
from stashhog_core.stash.watch import JobWatch
from tests.support.creating import all_scenes, create_performer, create_studio
from tests.support.http import loopback
from tests.support.media import write_video
from tests.support.stand_in import until
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

UNKNOWN_ID = 999_999_999
TAG_INPUTS = Operation(
    "TagInputs",
    'query TagInputs{answer:__type(name:"TagUpdateInput"){inputFields{name}}}',
    dict[str, Any],
)
UPDATE_TAG = Operation(
    "UpdateTag",
    "mutation UpdateTag($input:TagUpdateInput!){answer:tagUpdate(input:$input){id}}",
    Ref,
)
TAG_PERFORMER, TAG_STUDIO = (
    Operation(
        "UseTag",
        f"mutation UseTag($row:ID!,$tag:ID!){{answer:{kind}Update"
        "(input:{id:$row,tag_ids:[$tag]}){id}}",
        Ref,
    )
    for kind in ("performer", "studio")
)
TAG_WITH_ALIAS = Operation(
    "TagWithAlias",
    "mutation TagWithAlias($name:String!,$alias:String!){answer:tagCreate("
    "input:{name:$name,aliases:[$alias]}){id}}",
    Ref,
    reads=False,
)


@dataclass
class Target:
    """A Stash server under test, and a folder of its library of our own."""

    settings: StashSettings
    library: Path
    folder: Path
    client: StashClient
    transport: Transport
    faults: Any = None
    serial: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def name(self, what: str) -> str:
        """Return a name that nothing in this Stash has yet."""
        return f"{what} {self.folder.name} {next(self.serial)}"

    def ask(self, operation: Operation[Any], **variables: Any) -> Any:
        """Send a document the product does not use."""
        return self.transport.send(operation, variables)

    def wait(self, job_id: int) -> Job:
        """Return the job once it is over."""
        job = follow(
            self.client,
            JobKey(job_id),
            Progress(),
            label="Test",
            poll_interval_seconds=0.1,
            outage_limit_seconds=0,
        )
        assert job is not None
        return job

    @contextmanager
    def slow_work(self) -> Iterator[None]:
        """Hold jobs while the block looks at them; a real Stash is slow enough."""
        checked = threading.Event()
        if self.faults:
            self.faults.on_item = until(checked)
        yield
        checked.set()

    def scan(self, path: Path | None = None, **flags: bool) -> Job:
        """Scan a path, our folder by default, to the end."""
        paths = [str(path or self.folder)]
        return self.wait(self.client.start_job("scan", {"paths": paths, **flags}))

    def write(self, name: str, **video: Any) -> Path:
        """Write a video whose content no Stash has seen."""
        path = self.folder / name
        return write_video(path, seed=zlib.crc32(bytes(path)), **video)

    def add(self, name: str, **video: Any) -> StashScene:
        """Bring a new video into Stash; return its scene."""
        path = self.write(name, **video)
        self.scan(path)
        return self.scene_of(path)

    def scene_of(self, path: Path) -> StashScene:
        """Return the scene with this file."""
        (scene,) = [
            scene
            for scene in all_scenes(self.client)
            if any(file.path == str(path) for file in scene.files)
        ]
        return scene

    def again(self, scene: StashScene) -> StashScene:
        """Return the scene as it is now."""
        (found,), _ = self.client.scenes([scene.id])
        return found


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test."""
    if url := os.environ.get("STASHHOG_TEST_STASH_URL"):
        library = os.environ.get("STASHHOG_TEST_STASH_LIBRARY")
        assert library, "STASHHOG_TEST_STASH_LIBRARY must name a folder of its library"
        key = os.environ.get("STASHHOG_TEST_STASH_API_KEY")
        yield from _opened(url, Path(library), key)
    else:
        from sandbox.stash.server import StandIn

        home = tmp_path_factory.mktemp("stash-home")
        library_folder = tmp_path_factory.mktemp("stash-library")
        with StandIn(home=home, library=library_folder, timezone="UTC") as stand_in:
            for target in _opened(stand_in.url, library_folder, None):
                target.faults = stand_in.faults
                target.faults.item_seconds = 0
                yield target


def _opened(url: str, library: Path, key: str | None) -> Iterator[Target]:
    folder = library / f"contract-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    settings = StashSettings(url=url, api_key=SecretStr(key) if key else None)
    transport = Transport(settings)
    with StashClient(settings) as client:
        target = Target(settings, library, folder, client, transport)
        # A file by itself is taken only after its folder is known.
        target.scan()
        yield target
    transport.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def scene(target: Target) -> StashScene:
    """A scene without anything but its file."""
    return target.add("plain.mp4")


# --- the server ----------------------------------------------------------------------


def test_ready_and_its_version(target: Target) -> None:
    """A server that is set up says so, has a version, and names its library."""
    target.client.check_ready()

    assert target.client.version().startswith("v")
    assert str(target.library) in target.client.library_roots()


def test_what_its_scan_takes(target: Target) -> None:
    """Without settings of its own: no transport streams, and nothing is excluded."""
    rules = target.client.scan_rules()

    folders = {folder.path: folder.exclude_video for folder in rules.stashes}
    assert folders[str(target.library)] is False
    assert {"mp4", "mkv", "webm", "f4v"} <= set(rules.video_extensions)
    assert {"ts", "m2ts", "vob"}.isdisjoint(rules.video_extensions)
    assert rules.excludes == ()


def test_wrong_key_is_refused(target: Target) -> None:
    """A key Stash does not know is refused, even by one that asks for none."""
    wrong = target.settings.model_copy(update={"api_key": SecretStr("wrong")})
    with StashClient(wrong) as client:
        with pytest.raises(ConfigurationError, match="STASHHOG_STASH__API_KEY"):
            client.version()
        with pytest.raises(ConfigurationError, match="STASHHOG_STASH__API_KEY"):
            client.check_ready()
        with pytest.raises(ConfigurationError, match="STASHHOG_STASH__API_KEY"):
            client.media_exists("/scene/1/preview")


def test_wrong_key_has_an_empty_body(target: Target) -> None:
    """The refusal is a 401 without a body."""
    response = loopback.post(
        f"{target.settings.url}/graphql",
        json={"query": "{version{version}}"},
        headers={"ApiKey": "wrong"},
    )

    assert (response.status_code, response.content) == (401, b"")


def test_unknown_field_is_an_error(target: Target) -> None:
    """A document that does not fit the schema fails with Stash's own words."""
    operation = Operation("Bogus", "query Bogus{answer:bogus}", bool)

    with pytest.raises(JobError, match='Cannot query field "bogus"'):
        target.ask(operation)


# --- scanning ------------------------------------------------------------------------


def test_scan_makes_a_scene(target: Target) -> None:
    """A scan makes one scene of a video, with the facts of its file."""
    path = target.write("new.mp4", seconds=4)

    job = target.scan()
    scene = target.scene_of(path)

    assert (job.status, job.error, job.sub_tasks) == ("FINISHED", None, None)
    assert job.description == "Scanning..."
    assert job.progress == 1
    assert scene.title == ""
    assert (scene.date, scene.rating100, scene.organized) == (None, None, False)
    assert (scene.studio, scene.tags, scene.performers) == (None, (), ())
    (file,) = scene.files
    assert file.size == path.stat().st_size
    assert file.duration == pytest.approx(4, abs=0.2)
    assert (file.width, file.height, file.frame_rate) == (320, 180, 10)
    assert (file.video_codec, file.audio_codec) == ("h264", "")
    assert file.format == "mp4"
    assert file.bit_rate > 0
    hashes = {print_.type: print_.value for print_ in file.fingerprints}
    assert hashes == {"oshash": oshash(path)}


def test_scan_of_nothing_new_has_no_progress(target: Target, scene: StashScene) -> None:
    """A scan of unchanged files finishes, and changes nothing."""
    job = target.scan(Path(scene.files[0].path))

    assert job.status == "FINISHED"
    assert target.again(scene) == scene


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_scan_of_a_wrong_path_finishes(target: Target, place: str) -> None:
    """A path that does not exist, or is not in the library, is no error to Stash."""
    parent = target.folder if place == "inside" else Path("/no-library-of-stash")

    job = target.scan(parent / "missing")

    assert (job.status, job.progress, job.error) == ("FINISHED", None, None)


def test_broken_video_is_no_scene(target: Target) -> None:
    """A file that cannot be read makes no scene and does not fail the scan."""
    path = target.folder / "broken.mp4"
    # Not random: ffprobe finds some format in random bytes now and then.
    path.write_bytes(b"no video " * 9999)

    before = target.client.count_scenes()
    job = target.scan(path)

    assert (job.status, job.error) == ("FINISHED", None)
    assert target.client.count_scenes() == before
    path.unlink()


def test_moved_file_keeps_its_scene(target: Target) -> None:
    """After a rename a scan gives the same scene its new path, and no new time."""
    scene = target.add("before.mp4")
    old = Path(scene.files[0].path)
    new = old.rename(target.folder / "after.mp4")

    time.sleep(1.1)
    target.scan()
    moved = target.scene_of(new)

    assert (moved.id, moved.files[0].id) == (scene.id, scene.files[0].id)
    assert moved.updated_at == scene.updated_at


def test_moved_file_is_recognised_by_its_time(target: Target) -> None:
    """Scenes whose files changed since a time of the server are found; others not."""
    moving, still = target.add("moving.mp4"), target.add("still.mp4")
    time.sleep(1.1)
    target.client.update_scene(still.id, {"title": "Later than all files"})
    since = target.again(still).updated_at

    time.sleep(1.1)
    new = Path(moving.files[0].path).rename(target.folder / "moved.mp4")
    target.scan()
    stamps = target.client.library(since).files

    assert [stamp.id for stamp in stamps] == [moving.id]
    (file,) = stamps[0].files
    (now,) = target.again(moving).files
    assert (file.id, file.path) == (moving.files[0].id, str(new))
    assert (file.size, file.mod_time) == (now.size, now.mod_time)


def test_copies_share_a_scene(target: Target) -> None:
    """The same bytes twice are one scene with two files."""
    scene = target.add("original.mp4")
    original = Path(scene.files[0].path)
    copy = Path(shutil.copy(original, target.folder / "copy.mp4"))

    target.scan(copy)
    both = target.scene_of(copy)

    assert both.id == scene.id
    assert [file.path for file in both.files] == [str(original), str(copy)]


def test_scan_generates_on_the_way(target: Target) -> None:
    """A scan makes the media it was asked for, for new files."""
    path = target.write("with-cover.mp4")

    target.scan(path, scanGenerateCovers=True)
    scene = target.scene_of(path)

    assert target.client.media_exists(f"/scene/{scene.id}/screenshot")
    assert not target.client.media_exists(f"/scene/{scene.id}/preview")


# --- jobs ----------------------------------------------------------------------------


def test_unknown_job(target: Target) -> None:
    """An unknown job is null; stopping one is no error."""
    assert target.client.find_job(UNKNOWN_ID) is None
    target.client.stop_job(UNKNOWN_ID)


def test_idle_queue_is_empty(target: Target) -> None:
    """The queue of an idle server is empty (on the wire: null)."""
    assert target.client.job_queue() == []


def test_last_ten_jobs_are_kept(target: Target) -> None:
    """Of the finished jobs Stash remembers ten."""
    nowhere = {"paths": [str(target.folder / "missing")]}
    ids = [target.client.start_job("scan", nowhere) for _ in range(12)]
    for job_id in ids[-9:]:
        target.wait(job_id)

    assert [target.client.find_job(job_id) is None for job_id in ids] == (
        [True] * 2 + [False] * 10
    )
    assert ids == list(range(ids[0], ids[0] + 12))


def test_one_job_at_a_time(target: Target, scene: StashScene) -> None:
    """A second job waits; stopped there it is cancelled at once, the first in a while.

    The ids, times and states are those the product tells jobs apart by.
    """
    client = target.client
    others = [target.add(f"busy-{n}.mp4", seconds=6).id for n in range(2)]
    work = {"sceneIDs": [str(id_) for id_ in (scene.id, *others)], "overwrite": True}

    with target.slow_work():
        first = client.start_job("generate", {**work, "sprites": True})
        second = client.start_job("generate", {**work, "sprites": True})

        def queued() -> dict[int, Job]:
            return {job.id: job for job in client.job_queue()}

        wait_until(lambda: queued()[first].status == "RUNNING", "the first job")
        queue = queued()
        client.stop_job(second)
        stopped = client.find_job(second)
        client.stop_job(first)
        stopping = client.find_job(first)
    ended = target.wait(first)

    assert list(queue) == [first, second]
    assert queue[second].status == "READY"
    assert queue[first].status == "RUNNING"
    assert queue[first].description == "Generating..."
    assert queue[first].add_time < queue[second].add_time
    assert stopped is not None
    assert stopped.status == "CANCELLED"
    assert stopping is not None
    assert stopping.status in {"STOPPING", "CANCELLED"}
    assert (ended.status, ended.error) == ("CANCELLED", None)
    assert ended.add_time == queue[first].add_time


# --- reading -------------------------------------------------------------------------


def test_manifest_is_complete(target: Target, scene: StashScene) -> None:
    """Pages by rising id hold every scene once, whatever their size."""
    client = target.client
    whole = [stamp for page in client.scene_stamps() for stamp in page]
    by_two = [stamp for page in client.scene_stamps(page_size=2) for stamp in page]
    ids = [stamp.id for stamp in whole]

    assert by_two == whole
    assert ids == sorted(set(ids))
    assert len(ids) == client.count_scenes()
    assert scene.id in ids
    assert [s.id for page in client.scene_media_pages(3) for s in page] == ids
    assert client.scenes_between(ids[0], ids[-1]) == client.scenes(ids)[0]


def test_all_listings_in_one_answer(target: Target, scene: StashScene) -> None:
    """The light listings together are what they are one by one."""
    client = target.client
    tag = client.create_tag(target.name("mark"))
    for second in range(3):
        client.create_marker(
            scene_id=scene.id, title="", seconds=second, primary_tag_id=tag.id
        )
    whole, by_two = client.library(), client.library(page_size=2)
    stamps = [stamp for page in client.scene_stamps() for stamp in page]
    markers = list(client.marker_stamps(page_size=2))

    for library in (whole, by_two):
        assert [stamp for page in library.pages for stamp in page] == stamps
        assert [stamp for page in library.marker_pages for stamp in page] == markers
        assert list(library.tags) == client.tags()
        assert list(library.performers) == client.performers()
        assert list(library.studios) == client.studios()
        assert library.files == ()


def test_newest_scene(target: Target, scene: StashScene) -> None:
    """All scenes are counted; one was changed last, and one has the highest id."""
    time.sleep(1.1)
    target.client.update_scene(scene.id, {"title": "The newest"})

    newest = target.client.newest_scene()
    assert newest.total == target.client.count_scenes()
    assert newest.newest_text == target.again(scene).updated_at
    assert newest.newest_id == max(s.id for s in all_scenes(target.client))


def test_times_are_whole_seconds(target: Target, scene: StashScene) -> None:
    """Times of scenes are RFC 3339 text to the second, with the server's offset."""
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"

    assert re.fullmatch(pattern, scene.updated_at)
    assert re.fullmatch(pattern, scene.created_at)


def test_scenes_by_id(target: Target, scene: StashScene) -> None:
    """Scenes come in the order of their ids; unknown ids are told apart."""
    other = target.add("by-id.mp4")

    scenes, missing = target.client.scenes(
        [other.id, UNKNOWN_ID, scene.id, other.id, UNKNOWN_ID - 1]
    )

    assert [found.id for found in scenes] == [other.id, scene.id]
    assert missing == [UNKNOWN_ID, UNKNOWN_ID - 1]
    assert scenes[0] == other
    assert target.client.existing_scene_ids([UNKNOWN_ID, scene.id]) == {scene.id}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        pytest.param(str(UNKNOWN_ID), f"scene with id {UNKNOWN_ID} not found", id="x"),
        pytest.param(None, "duplicate id found", id="twice"),
    ],
)
def test_one_wrong_id_fails_all(
    target: Target, scene: StashScene, extra: str | None, message: str
) -> None:
    """Stash answers a list with an unknown or repeated id with nothing but an error."""
    ids = [str(scene.id), extra or str(scene.id)]

    with pytest.raises(JobError, match=message):
        target.ask(SCENES, ids=ids)


def test_25_rows_by_default(target: Target) -> None:
    """A list without a page size has 25 rows; the product's lists have all."""
    created = [target.client.create_tag(target.name("many")) for _ in range(26)]
    unpaged = Operation("X", "query X{answer:findTags{rows:tags{id}}}", Rows[Ref])

    rows = target.ask(unpaged).rows
    tags = target.client.tags()

    assert len(rows) == 25
    assert {tag.id for tag in created} <= {tag.id for tag in tags}
    for tag in created:
        target.client.destroy_object("tag", tag.id)


# --- tags, performers, studios -------------------------------------------------------


def test_create_tag(target: Target) -> None:
    """A tag is created with its name trimmed and nothing else, and then listed."""
    name = target.name("Outdoor")

    tag = target.client.create_tag(f"  {name} ")

    assert tag.name == name
    times = {"created_at": tag.created_at, "updated_at": tag.updated_at}
    assert all(times.values())
    assert tag == StashTag(id=tag.id, name=name, sort_name="", description="", **times)
    assert tag in target.client.tags()


ADDED_TO_TAGS: dict[str, Any] = {
    "sort_name": "Zebra",
    "description": "Mine.",
    "aliases": ["Another name"],
    "ignore_auto_tag": True,
    "favorite": True,
    "image": "data:image/gif;base64,"
    "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    "stash_ids": [
        {"endpoint": "http://127.0.0.1/graphql", "stash_id": str(uuid.UUID(int=7))}
    ],
    "parent_ids": [],
    "child_ids": [],
}
"""What can be added to a tag, by its name in `TagUpdateInput`."""


def test_every_field_of_a_tag_differs_from_an_untouched_one(
    target: Target,
) -> None:
    """Whatever this Stash lets people edit makes a tag theirs.

    A field that only a later version has fails here until it is listed.
    """
    client = target.client
    inputs = target.ask(TAG_INPUTS)
    names = {field["name"] for field in inputs["inputFields"]} - {"id", "name"}
    assert names <= ADDED_TO_TAGS.keys()

    for name in sorted(names):
        tag = client.create_tag(target.name(name))
        untouched = client.object_use("tag", tag.id)
        value = ADDED_TO_TAGS[name] or [str(client.create_tag(target.name("Kin")).id)]
        if name == "aliases":
            value = [target.name("alias")]
        target.ask(UPDATE_TAG, input={"id": str(tag.id), name: value})
        touched = client.object_use("tag", tag.id)

        assert untouched is not None
        assert touched is not None
        assert not untouched.additions
        assert touched.additions, name


def test_every_use_of_a_tag_is_seen(target: Target, scene: StashScene) -> None:
    """By scenes, markers as first or further tag, performers and studios."""
    client = target.client

    def used(word: str, use: Callable[[int], object]) -> str:
        tag = client.create_tag(target.name(word))
        use(tag.id)
        found = client.object_use("tag", tag.id)
        assert found is not None
        return found.in_words

    def of_marker(primary: int, *others: int) -> None:
        marker = {"scene_id": scene.id, "title": "M", "seconds": 1}
        client.create_marker(**marker, primary_tag_id=primary, tag_ids=others)

    other = client.create_tag(target.name("Other")).id
    performer = str(create_performer(target.settings, target.name("Ada")).id)
    studio = str(create_studio(target.settings, target.name("Studio")).id)

    assert {
        used("S", lambda i: client.bulk_update_scenes([scene.id], add_tag_ids=[i])),
        used("P", of_marker),
        used("M", lambda i: of_marker(other, i)),
        used("A", lambda i: target.ask(TAG_PERFORMER, row=performer, tag=str(i))),
        used("B", lambda i: target.ask(TAG_STUDIO, row=studio, tag=str(i))),
    } == {"scenes: 1", "scene_markers: 1", "performers: 1", "studios: 1"}


def test_tag_names_are_unique(target: Target) -> None:
    """A name or alias that is taken, in any letter case, is refused; so is none."""
    name, alias = target.name("Red"), target.name("Rouge")
    target.ask(TAG_WITH_ALIAS, name=name, alias=alias)

    with pytest.raises(JobError, match="already exists"):
        target.client.create_tag(name.upper())
    with pytest.raises(JobError, match=f"is used as alias for '{name}'"):
        target.client.create_tag(alias)
    with pytest.raises(JobError, match="must not be blank"):
        target.client.create_tag("  ")


def test_find_tag(target: Target) -> None:
    """A tag is found by its name or an alias in any letter case, never by likeness."""
    name, alias = target.name("Under_score"), target.name("Alias")
    tag_id = target.ask(TAG_WITH_ALIAS, name=name, alias=alias).id
    find = target.client.find_tag

    found = [find(name), find(name.upper()), find(f" {alias.lower()} ")]

    assert [tag.id if tag else None for tag in found] == [tag_id] * 3
    assert found[0] is not None
    assert found[0].aliases == (alias,)
    assert find(name.replace("_", "%")) is None
    assert find(name[:-3]) is None


# --- changing scenes -----------------------------------------------------------------


def test_bulk_update_adds_and_removes(target: Target) -> None:
    """ADD and REMOVE leave other values alone, and may be repeated."""
    client = target.client
    one, two = target.add("bulk-1.mp4"), target.add("bulk-2.mp4")
    old, new = (client.create_tag(target.name("bulk")).id for _ in range(2))
    performer = create_performer(target.settings, target.name("Bulk")).id
    studio = create_studio(target.settings, target.name("Bulk")).id
    client.bulk_update_scenes([one.id], add_tag_ids=[old])

    for _ in range(2):
        client.bulk_update_scenes(
            [one.id, two.id],
            add_tag_ids=[new],
            add_performer_ids=[performer],
            studio_id=studio,
        )
    added = [target.again(scene) for scene in (one, two)]
    client.bulk_update_scenes(
        [one.id, two.id], remove_tag_ids=[old], remove_performer_ids=[performer]
    )
    removed = [target.again(scene) for scene in (one, two)]

    assert [{tag.id for tag in scene.tags} for scene in added] == [{old, new}, {new}]
    assert [[p.id for p in scene.performers] for scene in added] == [[performer]] * 2
    assert [scene.studio for scene in added] == [Ref(id=studio)] * 2
    assert [{tag.id for tag in scene.tags} for scene in removed] == [{new}] * 2
    assert [scene.performers for scene in removed] == [(), ()]
    assert [scene.studio for scene in removed] == [Ref(id=studio)] * 2


def test_bulk_update_is_atomic(target: Target, scene: StashScene) -> None:
    """One unknown scene, and nothing is applied to the others."""
    tag = target.client.create_tag(target.name("atomic"))

    with pytest.raises(JobError, match="BulkUpdateScenes"):
        target.client.bulk_update_scenes([scene.id, UNKNOWN_ID], add_tag_ids=[tag.id])

    assert tag.id not in {ref.id for ref in target.again(scene).tags}


def test_update_scene(target: Target) -> None:
    """Named fields are set, None clears, others stay; each update moves the time."""
    scene = target.add("update.mp4")
    studio = create_studio(target.settings, target.name("Update")).id
    fields = {"title": "A title", "date": "2024-05-06", "studio_id": studio}
    target.client.update_scene(scene.id, {**fields, "details": "Words"})

    time.sleep(1.1)
    first = target.again(scene)
    target.client.update_scene(scene.id, {"date": None, "studio_id": None})
    second = target.again(scene)

    assert (first.title, first.date) == ("A title", "2024-05-06")
    assert (first.studio, first.details) == (Ref(id=studio), "Words")
    assert (second.title, second.details) == ("A title", "Words")
    assert (second.date, second.studio) == (None, None)
    assert first.updated_at < second.updated_at


def test_update_of_an_unknown_scene(target: Target) -> None:
    """Updating a scene that is not there is refused."""
    with pytest.raises(JobError, match=f"scene with id {UNKNOWN_ID} not found"):
        target.client.update_scene(UNKNOWN_ID, {"title": "x"})


def test_markers(target: Target) -> None:
    """A marker is created, listed, and deleted, and does not move the scene's time."""
    client = target.client
    scene = target.add("markers.mp4")
    primary, second = (client.create_tag(target.name("mark")).id for _ in range(2))

    time.sleep(1.1)
    marker_id = client.create_marker(
        scene_id=scene.id,
        title="Here",
        seconds=1.5,
        end_seconds=2.25,
        primary_tag_id=primary,
        tag_ids=[second],
    )
    marked = target.again(scene)
    stamps = {stamp.id: stamp for stamp in client.marker_stamps()}

    assert marked.updated_at == scene.updated_at
    (marker,) = marked.scene_markers
    assert (marker.id, marker.title) == (marker_id, "Here")
    assert (marker.seconds, marker.end_seconds) == (1.5, 2.25)
    assert (marker.primary_tag, marker.tags) == (Ref(id=primary), (Ref(id=second),))
    assert stamps[marker_id].scene.id == scene.id
    assert stamps[marker_id].updated_at == marker.updated_at
    with pytest.raises(JobError, match="primary tag"):
        client.destroy_object("tag", primary)

    client.destroy_markers([marker_id])

    assert target.again(scene).scene_markers == ()
    client.destroy_object("tag", primary)
    assert primary not in {tag.id for tag in client.tags()}


def test_media_of_markers(target: Target) -> None:
    """A marker's media is missing until it is generated: with its scene, or alone.

    Alone only if the scene had markers generated before: a real Stash fails to make
    the folder, and says so in its log only.
    """
    scene = target.add("with-marker.mp4", seconds=8)
    tag = target.client.create_tag(target.name("Marked"))

    def mark(seconds: float) -> int:
        return target.client.create_marker(
            scene_id=scene.id, title="M", seconds=seconds, primary_tag_id=tag.id
        )

    marker = mark(2)
    kinds = frozenset({"marker video", "marker preview", "marker screenshot"})

    def lacking() -> dict[int, Lacking]:
        media, _ = target.client.scene_media([scene.id])
        return find_lacking(
            target.client, media, kinds, Progress(), label="", at_a_time=2
        )

    def generate(**ids: list[str]) -> Job:
        flags = ("markers", "markerImagePreviews", "markerScreenshots")
        wanted = dict.fromkeys(flags, True)
        return target.wait(target.client.start_job("generate", {**ids, **wanted}))

    before = lacking()
    generate(sceneIDs=[str(scene.id)])
    with_scene = lacking()
    second = mark(5)
    between = lacking()
    alone = generate(markerIDs=[str(second)])

    assert set(before[scene.id].kinds) == kinds
    assert before[scene.id].marker_ids == [marker]
    assert with_scene == {}
    assert between[scene.id].marker_ids == [second]
    assert alone.status == "FINISHED"
    assert lacking() == {}


def test_files_are_found_by_their_path(target: Target) -> None:
    """A path is compared as a whole, and letter by letter."""
    path = target.write("what_is.mp4")
    target.scan(path)

    assert target.client.has_file(str(path))
    assert not target.client.has_file(str(path.with_name("whatXis.mp4")))
    assert not target.client.has_file(str(path.parent))


def test_scan_of_files_changed_since(target: Target) -> None:
    """An older file is left out by the time in the scan's filter."""
    path = target.write("old.mp4")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    params = StashScanParams(min_mod_time=datetime(2020, 1, 1, tzinfo=UTC))
    scan = scan_input(params, [str(path)])

    target.wait(target.client.start_job("scan", scan))
    left_out = target.client.has_file(str(path))
    target.scan(path)

    assert not left_out
    assert target.client.has_file(str(path))


def test_media_of_all_scenes_in_pages(target: Target, scene: StashScene) -> None:
    """Pages of any size give every scene once, with the hash of its file."""
    pages = list(target.client.scene_media_pages(page_size=2))
    media = [row for page in pages for row in page]

    assert len(media) == target.client.count_scenes()
    (own,) = [row for row in media if row.id == scene.id]
    assert own.files[0].fingerprints


def test_end_of_a_job_is_reported(target: Target) -> None:
    """The websocket tells of the end of the very job, soon."""
    path = target.write("told.mp4", seconds=8)
    with ExitStack() as open_until_the_end:
        with target.slow_work():
            job_id = target.client.start_job("scan", {"paths": [str(path)]})
            watch = JobWatch(target.settings, job_id)
            open_until_the_end.enter_context(watch)
            assert watch.listening.wait(PATIENCE_SECONDS)
            # Told once for the start of listening.
            assert watch.wait(PATIENCE_SECONDS)
        while not (job := target.client.find_job(job_id)) or not job.is_over:
            assert watch.wait(PATIENCE_SECONDS)

    assert job.status == "FINISHED"


def test_marker_of_an_unknown_scene(target: Target) -> None:
    """A marker needs a scene that exists."""
    tag = target.client.create_tag(target.name("mark"))

    with pytest.raises(JobError, match="CreateMarker"):
        target.client.create_marker(
            scene_id=UNKNOWN_ID, title="x", seconds=1, primary_tag_id=tag.id
        )


# --- generating ----------------------------------------------------------------------

WANTED = {
    "covers": True,
    "previews": True,
    "sprites": True,
    "phashes": True,
    "previewOptions": {
        "previewSegments": 2,
        "previewSegmentDuration": 0.75,
        "previewExcludeStart": "0",
        "previewExcludeEnd": "0",
        "previewPreset": "ultrafast",
    },
}


def _media(client: StashClient, scene: StashScene) -> dict[str, bool]:
    (media,), _ = client.scene_media([scene.id])
    paths = media.paths
    kinds = {
        "cover": paths.screenshot,
        "preview": paths.preview,
        "webp": paths.webp,
        "sprite": paths.sprite,
        "vtt": paths.vtt,
    }
    found = {kind: client.media_exists(path or "") for kind, path in kinds.items()}
    return {**found, "phash": client.scenes_lacking_phash([scene.id]) == []}


def test_generate_makes_what_was_asked_for(target: Target) -> None:
    """Before, all media is missing; after, what was asked for is there; then no work.

    A job that finds nothing to do ends without progress.
    """
    client = target.client
    scene = target.add("generate.mp4", seconds=8)
    wanted = {**WANTED, "sceneIDs": [str(scene.id)]}

    before = _media(client, scene)
    job = target.wait(client.start_job("generate", wanted))
    after = _media(client, scene)
    idle = target.wait(client.start_job("generate", wanted))

    assert set(before.values()) == {False}
    assert (job.status, job.progress, job.error) == ("FINISHED", 1, None)
    assert job.description == "Generating..."
    assert [kind for kind, exists in after.items() if not exists] == ["webp"]
    assert (idle.status, idle.progress) == ("FINISHED", None)


def test_one_unknown_scene_drops_the_job(target: Target) -> None:
    """A generate job with one unknown id finishes, and has done nothing at all."""
    client = target.client
    scene = target.add("dropped.mp4")
    wanted = {"covers": True, "sceneIDs": [str(scene.id), str(UNKNOWN_ID)]}

    job = target.wait(client.start_job("generate", wanted))

    assert (job.status, job.progress, job.error) == ("FINISHED", None, None)
    assert not client.media_exists(f"/scene/{scene.id}/screenshot")


@pytest.mark.parametrize(
    "path",
    [
        f"/scene/{UNKNOWN_ID}/preview",
        "/scene/0000000000000000_sprite.jpg",
        "/scene/0000000000000000_thumbs.vtt",
    ],
)
def test_media_of_no_scene(target: Target, path: str) -> None:
    """Media of an unknown scene does not exist."""
    assert not target.client.media_exists(path)


# --- URLs, and ids at stash-boxes ----------------------------------------------------


def test_urls_are_added_behind_and_removed(target: Target) -> None:
    """What is there already is not added again; the order of the others stays."""
    scene = target.add("urls.mp4")
    first, second, third = (f"https://films.example/{n}" for n in range(3))

    target.client.change_urls(scene.id, "ADD", [first, second])
    target.client.change_urls(scene.id, "ADD", [second, third])
    assert target.again(scene).urls == (first, second, third)

    target.client.change_urls(scene.id, "REMOVE", [second, "https://nowhere.example"])
    assert target.again(scene).urls == (first, third)


def test_one_id_for_each_stash_box(target: Target) -> None:
    """An id is set, replaced and removed; the ids at other stash-boxes keep theirs."""
    scene = target.add("box-ids.mp4")
    boxes = [f"https://{name}.example/graphql" for name in ("a", "b")]

    def dated() -> dict[str, tuple[str, str | None]]:
        found = target.ask(SCENE_BOX_IDS, id=str(scene.id))
        return {b.endpoint: (b.stash_id, b.updated_at) for b in found.stash_ids}

    target.client.set_box_id(scene.id, boxes[0], "one")
    kept = dated()[boxes[0]]
    target.client.set_box_id(scene.id, boxes[1], "two")
    target.client.set_box_id(scene.id, boxes[1], "three")
    assert dated()[boxes[0]] == kept
    assert dated()[boxes[1]][0] == "three"

    target.client.set_box_id(scene.id, boxes[1], None)
    assert dated() == {boxes[0]: kept}
    with pytest.raises(JobError, match="no scene"):
        target.client.set_box_id(UNKNOWN_ID, boxes[0], "one")


# --- what a stash-box knows and Stash lacks ------------------------------------------

KINDS: tuple[NamedKind, ...] = ("tag", "performer", "studio")


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_found_by_its_id_and_by_its_names(
    target: Target, kind: NamedKind
) -> None:
    """By the id at one stash-box, by the name and by an alias, in any letter case."""
    client, box = target.client, "https://a.example/graphql"
    aliases = "alias_list" if kind == "performer" else "aliases"
    name, alias, box_id = target.name("Name"), target.name("Alias"), target.name("id")
    ids = {"stash_ids": [{"endpoint": box, "stash_id": box_id}]}
    made = client.create_object(kind, {"name": name, aliases: [alias], **ids})

    def found(name: str, endpoint: str, stash_id: str) -> list[int]:
        return [row.id for row in client.find_objects(kind, name, endpoint, stash_id)]

    nobody = target.name("nobody")
    assert found(nobody, box, box_id) == [made]
    assert found(nobody, "https://b.example/graphql", box_id) == []
    assert found(name.upper(), box, nobody) == [made]
    assert found(alias, box, nobody) == [made]
    (row,) = client.find_objects(kind, name, box, nobody)
    assert (row.name, row.aliases) == (name, (alias,))
    assert [(b.endpoint, b.stash_id) for b in row.stash_ids] == [(box, box_id)]
    (listed,) = (row for row in client.list_objects(kind) if row.id == made)
    assert (listed.name, listed.aliases) == (name, (alias,))
    everything = {
        "tag": client.tags,
        "performer": client.performers,
        "studio": client.studios,
    }[kind]()
    assert {row.id: row.created_at for row in everything}[made] == listed.created_at
    with pytest.raises(JobError, match="exists"):
        client.create_object(kind, {"name": name})


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_nobody_has_touched(target: Target, kind: NamedKind) -> None:
    """Only what it was created with; a use or an edit is named; then it is deleted."""
    client, scene = target.client, target.add(f"use-{kind}.mp4")
    given: dict[str, Any] = {
        "stash_ids": [{"endpoint": "https://a.example/graphql", "stash_id": "one"}]
    }
    if kind == "performer":
        given["disambiguation"] = "second"
    made = client.create_object(kind, {"name": target.name("Made"), **given})

    untouched = client.object_use(kind, made, given)
    assert untouched is not None
    assert untouched.additions == {}
    without = client.object_use(kind, made)
    assert without is not None
    assert set(without.additions) == set(given)

    if kind == "studio":
        client.update_scene(scene.id, {"studio_id": str(made)})
    elif kind == "tag":
        client.bulk_update_scenes([scene.id], add_tag_ids=[made])
    else:
        client.bulk_update_scenes([scene.id], add_performer_ids=[made])
    used = client.object_use(kind, made, given)
    assert used is not None
    assert used.in_words == "scenes: 1"

    client.destroy_object(kind, made)
    assert client.object_use(kind, made, given) is None
    with pytest.raises(JobError):
        client.destroy_object(kind, made)
