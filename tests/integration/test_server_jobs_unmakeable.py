"""Media that Stash cannot make: told from trouble, remembered, not asked for again."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from sandbox.stash.server import StandIn
from stashhog_core.db.generated import TRIES_IN_DOUBT
from stashhog_core.db.models import (
    Marker,
    Scene,
    SceneFile,
    SceneFingerprint,
    StashJob,
    Tag,
    UnmakeableMedia,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import CheckStashGenerateParams, StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.report import job_markdown
from stashhog_core.results import StashGenerateResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.server_jobs.media_check import check_generate
from stashhog_core.server_jobs.unmakeable import MANY, UNREADABLE
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.creating import all_scenes
from tests.support.fake_stash import FakeStash
from tests.support.media import write_video
from tests.support.server_jobs import check, marked, sent
from tests.support.server_jobs import run as generate_media
from tests.support.sync import run as mirror

pytestmark = pytest.mark.slow

BLINK_SECONDS = 0.04


def add_scene(database: Database, scene_id: int, *, oshash: str | None = None) -> None:
    with database.transaction() as session:
        session.add(Scene(id=scene_id))
        session.flush()
        key = {"scene_id": scene_id, "file_id": scene_id}
        path, seconds = f"/data/{scene_id}.mp4", BLINK_SECONDS
        session.add(SceneFile(position=0, path=path, duration_seconds=seconds, **key))
        value = oshash or f"{scene_id:016x}"
        session.add(SceneFingerprint(kind="oshash", value=value, **key))


@pytest.fixture
def stash(database: Database) -> FakeStash:
    """A Stash with scenes 1 to 3; it never makes the phash of scene 2."""
    for scene_id in (1, 2, 3):
        add_scene(database, scene_id)
    return FakeStash(scenes={1, 2, 3}, lacking={2: {"phash"}})


def run(
    stash: FakeStash, database: Database, *, again: bool = False, **params: Any
) -> StashGenerateResult:
    """Generate; with `again`, Stash still knows the jobs of the run before."""
    if not again:
        stash.started.clear()
    return generate_media(stash, database, run_id="run", **params)


def remembered(database: Database) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(UnmakeableMedia)) or 0


# --- remembering ---------------------------------------------------------------------


def test_what_stash_cannot_make_holds_up_nobody_and_is_an_error_once(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Complete scenes are marked; the other is an error of the run that found it out.

    From then on it is no error, and Stash is not asked again; each result lists it.
    """
    first = run(stash, database)
    asked = sent(stash)
    caplog.set_level(logging.INFO)
    second = run(stash, database)

    reason = "lacks phash: the video is only 0.04 s long"
    assert asked == [[1, 2, 3]]
    assert marked(database) == [1, 3]
    assert first.status == "completed_with_errors"
    assert [(e.item, e.reason) for e in first.errors] == [("scene 2", reason)]
    assert sent(stash) == []
    assert (second.status, second.errors) == ("completed", ())
    assert second.unmakeable_count == 1
    assert [(e.item, e.reason) for e in second.unmakeable] == [("scene 2", reason)]
    assert "Found 1 scenes without generated attribute" in caplog.text
    report = job_markdown("stash_generate", second)
    heading = "## Media that Stash cannot make\n\n"
    assert f"{heading}StashHog requests this media again only if" in report
    assert f"- scene 2: {reason}" in report


def replace_file(database: Database, stash: FakeStash) -> None:
    del stash
    with database.transaction() as session:
        session.execute(
            update(SceneFingerprint)
            .where(SceneFingerprint.scene_id == 2)
            .values(value="another file")
        )


def add_marker(database: Database, stash: FakeStash) -> None:
    del stash
    with database.transaction() as session:
        session.add(Tag(id=1, name="tag"))
        session.flush()
        session.add(Marker(id=7, scene_id=2, seconds=1.0, primary_tag_id=1, title=""))


def update_stash(database: Database, stash: FakeStash) -> None:
    del database
    stash.stash_version = "v0.31.0"


def nothing(database: Database, stash: FakeStash) -> None:
    del database, stash


@pytest.mark.parametrize(
    ("change", "params"),
    [
        pytest.param(replace_file, {}, id="another-file"),
        pytest.param(add_marker, {}, id="another-marker"),
        pytest.param(update_stash, {}, id="another-version-of-stash"),
        pytest.param(nothing, {"retry_unmakeable": True}, id="on-request"),
        pytest.param(nothing, {"scene_ids": (2,)}, id="scene-named"),
        pytest.param(nothing, {"image_previews": True}, id="more-kinds-of-media"),
    ],
)
def test_asked_for_again(
    stash: FakeStash,
    database: Database,
    change: Callable[[Database, FakeStash], None],
    params: dict[str, Any],
) -> None:
    """Another file, another Stash, or somebody's wish: then it is tried again.

    What comes out well is marked and no longer listed.
    """
    run(stash, database)
    change(database, stash)
    stash.lacking = {}

    result = run(stash, database, **params)

    assert sent(stash) == [[2]]
    assert marked(database) == [1, 2, 3]
    assert (result.status, result.unmakeable_count) == ("completed", 0)


def test_what_was_made_after_all_is_forgotten(
    stash: FakeStash, database: Database
) -> None:
    """Nothing is kept of media that another try has made."""
    run(stash, database)
    stash.lacking = {}
    run(stash, database, retry_unmakeable=True)

    assert (marked(database), remembered(database)) == ([1, 2, 3], 0)


def test_only_remembered_scenes_lack_media_when_asked_again(
    stash: FakeStash, database: Database
) -> None:
    """A wish that Stash still cannot fulfil is no error; what is newly missing is.

    Why it could not be made stays as it was first known.
    """
    stash.log = ["Error generating phash: decoding image: image: unknown format"]
    run(stash, database)
    stash.log = []

    again = run(stash, database, retry_unmakeable=True)
    kept = run(stash, database)
    stash.lacking = {2: {"phash", "sprite"}}
    worse = run(stash, database, retry_unmakeable=True)

    assert (again.status, again.unmakeable_count) == ("completed", 1)
    assert "unknown format" in kept.unmakeable[0].reason
    assert worse.status == "completed_with_errors"
    assert [error.item for error in worse.errors] == ["scene 2"]


def test_content_counts_and_not_the_scene(stash: FakeStash, database: Database) -> None:
    """The same file under another scene's id is known; the log's reason stays."""
    stash.log = ["Error generating phash: decoding image: image: unknown format"]
    run(stash, database)
    add_scene(database, 4, oshash=f"{2:016x}")
    stash.replace_scenes(range(1, 5))

    result = run(stash, database)

    assert sent(stash) == []
    assert [scene.item for scene in result.unmakeable] == ["scene 2", "scene 4"]
    assert result.unmakeable[1].reason == (
        "lacks phash: the video is only 0.04 s long; Stash's log says: "
        "Error generating phash: decoding image: image: unknown format"
    )


def test_scene_whose_content_is_not_known(database: Database) -> None:
    """Files without a hash have nothing in common: each scene is tried by itself."""
    stash = FakeStash(scenes={1, 2, 3}, lacking={2: {"phash"}})
    with database.transaction() as session:
        session.add_all([Scene(id=1), Scene(id=2)])
    run(stash, database)
    with database.transaction() as session:
        session.add(Scene(id=3))

    run(stash, database)

    assert sent(stash) == [[3]]
    assert marked(database) == [1, 3]


# --- what may be trouble of Stash ----------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        pytest.param("file", UNREADABLE, id="file-cannot-be-read"),
        pytest.param("log", "lacks phash", id="disk-is-full"),
    ],
)
def test_trouble_of_stash_is_not_remembered(
    stash: FakeStash, database: Database, trouble: str, words: str
) -> None:
    """A disk that is full or a folder that is not mounted says nothing about a file."""
    if trouble == "file":
        stash.lacking = {2: {"phash", "stream"}}
    else:
        stash.log = ["write /generated/x.jpg: no space left on device"]

    results = [run(stash, database) for _ in range(TRIES_IN_DOUBT + 1)]

    assert {result.status for result in results} == {"completed_with_errors"}
    assert all(words in result.errors[0].reason for result in results)
    assert sent(stash) == [[2]]
    assert remembered(database) == 0

    stash.log, stash.lacking = [], {}
    assert run(stash, database).status == "completed"
    assert marked(database) == [1, 2, 3]


def test_scene_that_went_meanwhile_is_not_remembered(
    stash: FakeStash, database: Database
) -> None:
    """A scene that Stash deletes during the job is lacking, but not unmakeable."""
    stash.lacking = {}
    stash.on("StartGenerate", after=lambda: stash.destroy_scene(2))

    result = run(stash, database)

    assert [(e.item, e.reason) for e in result.errors] == [("scene 2", "lacks scene")]
    assert (marked(database), remembered(database)) == ([1, 3], 0)


def test_trouble_before_a_job_is_not_the_jobs(
    stash: FakeStash, database: Database
) -> None:
    """Lines that Stash wrote before it took the job say nothing about its media."""
    stash.log = ["write /generated/phash.jpg: no space left on device"]
    stash.log_time = "2026-11-21T04:57:00Z"
    assert stash.log_time < stash.add_time

    result = run(stash, database)

    assert "no space" not in result.errors[0].reason
    assert remembered(database) == 1


def test_many_at_once_are_given_up_only_after_some_tries(database: Database) -> None:
    """When much is missing at once Stash may be at fault: that is tried again."""
    ids = set(range(1, MANY + 3))
    for scene_id in ids:
        add_scene(database, scene_id)
    stash = FakeStash(scenes=ids, lacking={i: {"sprite", "vtt"} for i in ids - {1}})

    statuses = [run(stash, database).status for _ in range(TRIES_IN_DOUBT + 1)]

    assert statuses == ["completed_with_errors"] * TRIES_IN_DOUBT + ["completed"]
    assert sent(stash) == []
    assert marked(database) == [1]


def test_scene_of_which_nothing_was_made_is_given_up_only_after_some_tries(
    database: Database,
) -> None:
    """If nothing at all was made, perhaps Stash could make nothing just then."""
    add_scene(database, 1)
    kinds = {"screenshot", "preview", "sprite", "vtt", "phash"}
    stash = FakeStash(scenes={1}, lacking={1: kinds})

    results = [run(stash, database) for _ in range(TRIES_IN_DOUBT + 1)]

    statuses = [result.status for result in results]
    assert statuses == ["completed_with_errors"] * TRIES_IN_DOUBT + ["completed"]
    given_up = [result.unmakeable_count for result in results]
    assert given_up == [0] * (TRIES_IN_DOUBT - 1) + [1, 1]


def test_strict_setting_remembers_nothing(stash: FakeStash, database: Database) -> None:
    """All or nothing: each run asks for all scenes, and marks none while one lacks."""
    stash.configure(all_or_nothing=True)

    results = [run(stash, database) for _ in range(2)]

    assert {result.status for result in results} == {"completed_with_errors"}
    assert sent(stash) == [[1, 2, 3]]
    assert (marked(database), remembered(database)) == ([], 0)


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_job_that_did_not_end_well(
    stash: FakeStash, database: Database, status: str
) -> None:
    """A job that failed or was cancelled proves nothing: no mark, no memory."""
    stash.job_states = [{"status": status}]

    with pytest.raises(JobError):
        run(stash, database)

    assert (marked(database), remembered(database)) == ([], 0)


@pytest.mark.parametrize("table", ["scene", "unmakeable_media"])
def test_marks_and_what_is_remembered_are_stored_together(
    stash: FakeStash, database: Database, table: str
) -> None:
    """A run that dies at either of the two has stored neither; the next one has both.

    Its job stays open as well, so that the next run follows it and starts no other.
    """

    def die(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if f"UPDATE {table} SET" in statement or f"INSERT INTO {table} " in statement:
            raise RuntimeError("killed")

    event.listen(database.engine, "before_cursor_execute", die)
    with pytest.raises(RuntimeError, match="killed"):
        run(stash, database)
    event.remove(database.engine, "before_cursor_execute", die)

    assert (marked(database), remembered(database)) == ([], 0)

    result = run(stash, database, again=True)

    assert sent(stash) == [[1, 2, 3]]
    assert (marked(database), remembered(database)) == ([1, 3], 1)
    assert [error.item for error in result.errors] == ["scene 2"]
    with database.transaction() as session:
        assert list(session.scalars(select(StashJob.state))) == ["finished"]


# --- the check follows the same memory -----------------------------------------------


def test_check_counts_apart_what_stash_cannot_make(
    stash: FakeStash, database: Database
) -> None:
    """It is no incomplete scene that a targeted run could mend; asked about once."""
    run(stash, database)

    first, second = check(stash, database), check(stash, database)
    probes = len(stash.asked("Media"))
    again = check(stash, database, recheck=True)

    for result in (first, second, again):
        assert (result.scenes_complete, result.scenes_incomplete) == (2, 0)
        assert (result.scene_ids, result.missing) == ((), {})
        assert [scene.item for scene in result.unmakeable] == ["scene 2"]
    assert (second.scenes_checked, probes) == (0, 0)
    assert again.scenes_checked == 3
    assert marked(database) == [1, 3]


def test_check_finds_more_missing_than_stash_could_not_make(
    stash: FakeStash, database: Database
) -> None:
    """A preview that went is to be made: the scene is incomplete, and asked for."""
    run(stash, database)
    stash.lacking = {2: {"phash", "preview"}}

    found = check(stash, database)
    stash.lacking = {2: {"phash"}}
    run(stash, database)
    asked = sent(stash)
    run(stash, database)

    assert found.scene_ids == (2,)
    assert found.missing == {"phash": 1, "preview": 1}
    assert asked == [[2]]
    assert sent(stash) == []


def test_check_finds_that_it_was_made_after_all(
    stash: FakeStash, database: Database
) -> None:
    """What somebody made by other means is there: the scene is marked."""
    run(stash, database)
    stash.lacking = {}

    result = check(stash, database)

    assert (result.scenes_complete, result.scenes_unmakeable) == (3, 0)
    assert (marked(database), remembered(database)) == ([1, 2, 3], 0)


def test_only_what_is_missing_is_not_asked_again(
    stash: FakeStash, database: Database
) -> None:
    """A targeted run leaves out scenes that lack only what Stash cannot make."""
    run(stash, database)
    check(stash, database)

    result = run(stash, database, only_missing=True)
    asked = sent(stash)
    run(stash, database, only_missing=True, retry_unmakeable=True)

    assert (asked, result.status, result.unmakeable_count) == ([], "completed", 1)
    assert sent(stash) == [[2]]


def test_more_is_missing_than_stash_was_asked_for(
    stash: FakeStash, database: Database
) -> None:
    """A targeted run asks for what the check found missing beside the unmakeable."""
    stash.lacking = {2: {"screenshot", "preview"}}
    check(stash, database)
    found_out = run(
        stash, database, scene_ids=(2,), previews=False, phashes=False, markers=False
    )

    run(stash, database, only_missing=True)

    assert found_out.unmakeable_count == 1
    assert sent(stash) == [[2]]


def test_check_marks_no_scene_that_got_a_marker_meanwhile(
    stash: FakeStash, database: Database
) -> None:
    """A marker that a sync stored after the page was listed may lack its media."""
    stash.lacking = {}
    is_done = False

    def sync_a_marker() -> None:
        nonlocal is_done
        if not is_done:
            is_done = True
            add_marker(database, stash)

    stash.on("Media", before=sync_a_marker)

    result = check(stash, database)

    assert result.scenes_complete == 3
    assert marked(database) == [1, 3]

    stash.add_marker(2, 1, seconds=1, id=7)
    check(stash, database)
    assert marked(database) == [1, 2, 3]


# --- over the network ----------------------------------------------------------------


def test_very_short_clip(stand_in: StandIn, database: Database) -> None:
    """A clip of one frame among real ones, with a Stash that works as the real one."""
    write_video(stand_in.library / "long.mp4", seconds=4)
    write_video(stand_in.library / "blink.mp4", seconds=0.1, seed=1)
    settings = StashSettings(url=stand_in.url, poll_interval_seconds=0.05)
    params = StashGenerateParams(preview_segments=1, image_previews=True)
    with StashClient(settings) as client:
        client.start_job("scan", {"paths": [str(stand_in.library)]})
        stand_in.jobs.wait()
        mirror(client, database)
        (blink,) = [
            scene.id
            for scene in all_scenes(client)
            if scene.files[0].path.endswith("blink.mp4")
        ]
        first, second = (
            generate(
                client, database, params, Progress(), run_id=name, settings=settings
            )
            for name in ("first", "second")
        )
        found = check_generate(
            client,
            database,
            CheckStashGenerateParams(image_previews=True),
            Progress(),
            settings=settings,
        )

    assert (first.scenes_updated_count, first.status) == (1, "completed_with_errors")
    assert [error.item for error in first.errors] == [f"scene {blink}"]
    assert first.errors[0].reason.startswith(
        "lacks phash, cover, webp: the video is only 0.1 s long"
    )
    assert (second.stash_job_id, second.status) == (None, "completed")
    assert second.unmakeable_count == 1
    assert (found.scenes_complete, found.scenes_unmakeable) == (1, 1)
