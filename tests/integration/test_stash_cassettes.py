"""The client against answers that a real Stash (v0.30.1) once gave.

The cassettes replay without a server. To record them anew, delete them, start a fresh,
protected Stash whose library is the empty folder /data, set STASHHOG_TEST_RECORD_URL
and STASHHOG_TEST_RECORD_API_KEY, and run this file once; keys and addresses are left
out.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from stashhog_core.errors import ConfigurationError, JobError
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import SCENES, Operation
from stashhog_core.stash.follow import JobKey, follow
from stashhog_core.stash.payloads import Job, Ref
from stashhog_core.stash.transport import Transport
from tests.support.cassettes import recorder
from tests.support.creating import create_performer, create_studio, scene_pages
from tests.support.media import write_video

LIBRARY = "/data"
ADDRESS = "http://127.0.0.1:9999"
KEPT_HEADERS = {"content-type", "content-range", "location", "www-authenticate"}
PREVIEW_OPTIONS = {
    "previewSegments": 2,
    "previewSegmentDuration": 0.75,
    "previewExcludeStart": "0",
    "previewExcludeEnd": "0",
    "previewPreset": "ultrafast",
}

recording_url = os.environ.get("STASHHOG_TEST_RECORD_URL")
Play = Callable[[str], AbstractContextManager[StashClient]]
RECORDER = recorder(ADDRESS, KEPT_HEADERS, recording_url)


@pytest.fixture
def settings() -> StashSettings:
    """Settings that lead to the recorded server."""
    key = os.environ.get("STASHHOG_TEST_RECORD_API_KEY", "left-out")
    return StashSettings(
        url=recording_url or ADDRESS,
        api_key=SecretStr(key),
        poll_interval_seconds=0.4 if recording_url else 0.001,
    )


@pytest.fixture
def play(settings: StashSettings) -> Play:
    """Open a cassette, with a client that meets its answers; all must be used."""

    @contextmanager
    def opened(name: str) -> Iterator[StashClient]:
        with RECORDER.use_cassette(name) as cassette, StashClient(settings) as stash:
            yield stash
            assert recording_url or cassette.all_played

    return opened


def _wait(stash: StashClient, settings: StashSettings, job_id: int) -> Job:
    job = follow(
        stash,
        JobKey(job_id),
        Progress(),
        label="Test",
        poll_interval_seconds=settings.poll_interval_seconds,
        outage_limit_seconds=0,
    )
    assert job is not None
    return job


def _let_it_run(seconds: float) -> None:
    if recording_url:
        time.sleep(seconds)


def test_version(play: Play) -> None:
    """Version, readiness and library folders are read."""
    with play("version") as stash:
        stash.check_ready()

        assert stash.version() == "v0.30.1-19-gcf3489efd"
        assert stash.library_roots() == [LIBRARY]


def test_wrong_key(settings: StashSettings) -> None:
    """An empty 401 becomes a sentence about the key."""
    wrong = settings.model_copy(update={"api_key": SecretStr("wrong")})
    with RECORDER.use_cassette("wrong_key"), StashClient(wrong) as stash:
        with pytest.raises(ConfigurationError, match="STASHHOG_STASH__API_KEY"):
            stash.version()
        with pytest.raises(ConfigurationError, match="STASHHOG_STASH__API_KEY"):
            stash.media_exists("/scene/1/screenshot")


def test_scan(play: Play, settings: StashSettings) -> None:
    """A scan is followed to its end; an unknown job and an idle queue are told."""
    if recording_url:
        write_video(Path(LIBRARY) / "first.mp4", seconds=6, seed=1)
        write_video(Path(LIBRARY) / "sub" / "second.mkv", seconds=6, seed=2)
        write_video(Path(LIBRARY) / "sub" / "third.mp4", seconds=4, seed=3)
        (Path(LIBRARY) / "broken.mp4").write_bytes(b"no video " * 9999)
    with play("scan") as stash:
        job_id = stash.start_job("scan", {"paths": [LIBRARY], "rescan": False})
        _let_it_run(1)
        job = _wait(stash, settings, job_id)

        assert (job_id, job.id, job.status, job.error) == (1, 1, "FINISHED", None)
        assert job.description == "Scanning..."
        assert job.progress == 1
        assert job.add_time.startswith("2026-11-28T")
        assert stash.find_job(424242) is None
        assert stash.job_queue() == []


def test_scenes(play: Play, settings: StashSettings) -> None:
    """Manifest, pages and scenes by id agree; unknown ids are told apart."""
    with play("scenes") as stash:
        stamps = [stamp for page in stash.scene_stamps(page_size=2) for stamp in page]
        pages = [scene for page in scene_pages(settings, 2) for scene in page]
        scenes, missing = stash.scenes([3, 99999, 1])

        assert [stamp.id for stamp in stamps] == [1, 2, 3]
        assert [scene.id for scene in pages] == [1, 2, 3]
        assert [scene.updated_at for scene in pages] == [s.updated_at for s in stamps]
        assert ([scene.id for scene in scenes], missing) == ([3, 1], [99999])
        assert stash.count_scenes() == 3
        assert list(stash.marker_stamps()) == []
        files = [scene.files[0] for scene in pages]
        assert {file.path for file in files} == {
            "/data/first.mp4",
            "/data/sub/second.mkv",
            "/data/sub/third.mp4",
        }
        (first,) = [file for file in files if file.path == "/data/first.mp4"]
        assert (first.width, first.height, first.frame_rate) == (320, 180, 10)
        assert (first.video_codec, first.audio_codec, first.format) == (
            "h264",
            "",
            "mp4",
        )
        assert [print_.type for print_ in first.fingerprints] == ["oshash"]


def test_entities(play: Play, settings: StashSettings) -> None:
    """Tags, performers and studios are created once, found, listed and given."""
    with play("entities") as stash:
        tag = stash.create_tag(" Outdoor ")
        performer = create_performer(settings, "Alice Example")
        studio = create_studio(settings, "Northwind")

        assert (tag.id, tag.name, tag.aliases) == (1, "Outdoor", ())
        assert stash.tags() == [tag]
        assert stash.performers() == [performer]
        assert stash.studios() == [studio]
        assert stash.find_tag("OUTDOOR") == tag
        assert stash.find_tag("Outd") is None
        with pytest.raises(JobError, match="tag with name 'outdoor' already exists"):
            stash.create_tag("outdoor")

        stash.bulk_update_scenes(
            [1, 2], add_tag_ids=[1], add_performer_ids=[1], studio_id=1
        )
        stash.update_scene(1, {"title": "A title", "date": "2024-05-06"})
        marker_id = stash.create_marker(
            scene_id=1, title="Here", seconds=1.5, primary_tag_id=1
        )
        (scene,), _ = stash.scenes([1])

        assert (scene.title, scene.date) == ("A title", "2024-05-06")
        assert scene.studio == Ref(id=1)
        assert (scene.tags, scene.performers) == ((Ref(id=1),), (Ref(id=1),))
        assert [marker.id for marker in scene.scene_markers] == [marker_id]
        assert [stamp.scene for stamp in stash.marker_stamps()] == [Ref(id=1)]
        with pytest.raises(JobError, match="primary tag in scene markers"):
            stash.destroy_object("tag", 1)

        stash.destroy_markers([marker_id])
        stash.bulk_update_scenes([1], remove_tag_ids=[1])
        (scene,), _ = stash.scenes([1])

        assert (scene.tags, scene.scene_markers) == ((), ())


def test_errors(play: Play, settings: StashSettings) -> None:
    """Stash's three ways to refuse: in words, by its schema, and by a panic."""
    bogus = Operation("Bogus", "query Bogus{answer:bogus}", bool)
    panics = Operation(
        "Panics",
        "query Panics{answer:findScenes(scene_filter:{updated_at:"
        '{value:"x",modifier:INCLUDES}}){count}}',
        dict,
    )
    transport = Transport(settings)
    with play("errors") as stash:
        with pytest.raises(JobError, match="scene with id 99999 not found"):
            stash.update_scene(99999, {"title": "x"})
        with pytest.raises(JobError, match=r"BulkUpdateScenes.*FOREIGN KEY"):
            stash.bulk_update_scenes([1, 99999], add_tag_ids=[1])
        with pytest.raises(JobError, match="scene with id 99999 not found"):
            transport.send(SCENES, {"ids": ["1", "99999"]})
        with pytest.raises(JobError, match='Cannot query field "bogus"'):
            transport.send(bogus)
        with pytest.raises(JobError, match="Stash itself failed at Panics"):
            transport.send(panics)
    transport.close()


def test_generate(play: Play, settings: StashSettings) -> None:
    """Media that was missing is there afterwards; an unknown id drops the job."""
    wanted = {"covers": True, "previews": True, "phashes": True}
    with play("generate") as stash:
        media, missing = stash.scene_media([1, 99999])
        paths = media[0].paths
        before = [
            stash.media_exists(p or "") for p in (paths.screenshot, paths.preview)
        ]
        dropped = _wait(
            stash,
            settings,
            stash.start_job("generate", {**wanted, "sceneIDs": [1, 99999]}),
        )
        lacking = stash.scenes_lacking_phash([3, 1])
        job_id = stash.start_job(
            "generate", {**wanted, "sceneIDs": [1], "previewOptions": PREVIEW_OPTIONS}
        )
        job = _wait(stash, settings, job_id)
        after = [stash.media_exists(p or "") for p in (paths.screenshot, paths.preview)]

        assert missing == [99999]
        assert before == [False, False]
        assert (dropped.status, dropped.progress) == ("FINISHED", None)
        assert lacking == [3, 1]
        assert (job.status, job.progress) == ("FINISHED", 1)
        assert after == [True, True]
        assert not stash.media_exists(paths.sprite or "")
        assert stash.scenes_lacking_phash([3, 1]) == [3]


def test_stop(play: Play, settings: StashSettings) -> None:
    """A job that is told to stop ends as cancelled, after what it was at."""
    with play("stop") as stash:
        job_id = stash.start_job("generate", {"sceneIDs": [1, 2, 3], "sprites": True})
        _let_it_run(0.5)
        running = stash.find_job(job_id)
        stash.stop_job(job_id)
        stopping = stash.find_job(job_id)
        job = _wait(stash, settings, job_id)

        assert running is not None
        assert running.status == "RUNNING"
        assert running.sub_tasks is not None
        assert running.sub_tasks[0].startswith("Generating sprites for ")
        assert stopping is not None
        assert stopping.status == "STOPPING"
        assert (job.status, job.error) == ("CANCELLED", None)
        assert job.add_time == running.add_time
