"""Generating media: who is sent, who is marked, and how a run ends."""

import logging
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, insert, select, update

from stashhog_core.db.jobs import record_job
from stashhog_core.db.models import Scene, SceneFile, SceneFingerprint
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    ConfigurationError,
    JobCancelled,
    JobError,
    TransientError,
)
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.server_jobs.generate_request import generate_input
from stashhog_core.server_jobs.tracking import (
    cancelled_result,
    only_one,
    reconcile_cancelled,
)
from stashhog_core.stash.payloads import Fingerprint
from stashhog_core.sync.job import pending_scenes
from tests.support.fake_stash import (
    ADD_TIME,
    FINISHED,
    OUTAGE,
    RUNNING,
    FakeStash,
    refs,
    refusal,
)
from tests.support.server_jobs import marked, run, server_jobs
from tests.support.sync import run as sync

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WRONG_KEY = httpx.Response(401)
SAMPLE_SIZE = 200


class Stopped(BaseException):
    """What Prefect raises in a run that is cancelled."""


@pytest.fixture
def stash(monkeypatch: pytest.MonkeyPatch) -> FakeStash:
    """A Stash with scenes 1 to 5, whose stopped jobs are not waited for."""
    monkeypatch.setattr("stashhog_core.server_jobs.tracking.STOP_WAIT_SECONDS", 0)
    return FakeStash(scenes=range(1, 6))


def add_scenes(database: Database, *ids: int, generated: bool = False) -> None:
    with database.transaction() as session:
        session.add_all(Scene(id=id_, generated=generated) for id_ in ids)
        session.flush()
        session.add_all(
            SceneFile(scene_id=id_, file_id=id_, position=0, path=f"/data/{id_}.mp4")
            for id_ in ids
        )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("stashhog_core")
    ]


# --- a run that ends well ------------------------------------------------------------


def test_all_lacking_scenes_are_sent_and_marked(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Exactly the scenes without the mark are sent, and marked in the end."""
    caplog.set_level(logging.INFO)
    add_scenes(database, 1, 2, 4)
    add_scenes(database, 3, generated=True)

    result = run(stash, database)

    assert [asked["sceneIDs"] for _, asked in stash.started] == [["1", "2", "4"]]
    assert marked(database) == [1, 2, 3, 4]
    assert (result.job_id, result.stash_job_id) == ("run-1", "1")
    assert (result.status, result.errors) == ("completed", ())
    assert result.scenes_updated_count == 3
    assert result.scenes_updated == ("1", "2", "4")
    assert result.start_time < result.end_time
    assert server_jobs(database) == [(1, "finished", ADD_TIME)]
    assert messages(caplog) == [
        "Starting Stash generate job run-1",
        "Found 3 scenes without generated attribute",
        "Started Stash job 1",
        "Updated generated attribute for 3 scenes",
    ]


def test_nothing_lacks_media(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """When every scene is marked no job is started: an empty list would mean all."""
    caplog.set_level(logging.INFO)
    add_scenes(database, 1, 2, generated=True)

    result = run(stash, database)

    assert stash.started == []
    assert (result.status, result.stash_job_id) == ("completed", None)
    assert result.scenes_updated == ()
    assert server_jobs(database) == []
    assert messages(caplog)[1:] == [
        "Found 0 scenes without generated attribute",
        "No scene lacks generated media: no Stash job is started",
    ]


def test_named_scenes(stash: FakeStash, database: Database) -> None:
    """All named scenes are sent; those of them without the mark are marked."""
    add_scenes(database, 1, 2)
    add_scenes(database, 3, generated=True)

    result = run(stash, database, scene_ids=(3, 2, 5))

    assert stash.started[0][1]["sceneIDs"] == ["3", "2", "5"]
    assert result.scenes_updated == ("2",)
    assert marked(database) == [2, 3]


def test_unknown_scenes_are_left_out(stash: FakeStash, database: Database) -> None:
    """Ids that Stash lacks would drop the whole job: they are reported instead."""
    add_scenes(database, 1, 2, 77)

    result = run(stash, database)

    assert stash.started[0][1]["sceneIDs"] == ["1", "2"]
    assert result.status == "completed_with_errors"
    assert [failure.item for failure in result.errors] == ["scene 77"]
    assert marked(database) == [1, 2]


def test_only_unknown_scenes(stash: FakeStash, database: Database) -> None:
    """When no id is left nothing is started, and the ids are reported."""
    result = run(stash, database, scene_ids=(77, 78))

    assert stash.started == []
    assert (result.status, result.stash_job_id) == ("completed_with_errors", None)
    assert [failure.item for failure in result.errors] == ["scene 77", "scene 78"]


def test_missing_scenes_are_not_sent(stash: FakeStash, database: Database) -> None:
    """A scene that sync no longer found in Stash is not asked for."""
    add_scenes(database, 1, 2)
    with database.transaction() as session:
        session.execute(
            update(Scene).where(Scene.id == 2).values(missing_since=Scene.created_at)
        )

    run(stash, database)

    assert stash.started[0][1]["sceneIDs"] == ["1"]


def test_request_as_stash_takes_it() -> None:
    """Names, nesting and defaults are Stash's and the documented ones."""
    wire = generate_input(StashGenerateParams(), [1, 2])

    assert wire == {
        "sceneIDs": ["1", "2"],
        "covers": True,
        "sprites": True,
        "previews": True,
        "imagePreviews": False,
        "markers": True,
        "markerImagePreviews": False,
        "markerScreenshots": True,
        "transcodes": False,
        "forceTranscodes": False,
        "phashes": True,
        "interactiveHeatmapsSpeeds": False,
        "clipPreviews": True,
        "imageThumbnails": True,
        "overwrite": False,
        "previewOptions": {
            "previewSegments": 12,
            "previewSegmentDuration": 0.75,
            "previewExcludeStart": "0",
            "previewExcludeEnd": "0",
            "previewPreset": "slow",
        },
    }


def test_progress_is_the_servers(stash: FakeStash, database: Database) -> None:
    """The bar follows the server's job, then the look at its outcome, to the end."""
    add_scenes(database, 1)
    sub_tasks = ["Generating preview for /data/a.mp4"]
    stash.job_states = [{**RUNNING, "subTasks": sub_tasks}, FINISHED]
    reports: list[tuple[float | None, str]] = []

    run(stash, database, progress=Progress(lambda *report: reports.append(report)))

    assert reports[0] == (0.475, "Generate metadata: Generating previews... (a.mp4)")
    assert reports[-1] == (1, "Generate metadata: Completed")


def test_progress_of_what_was_left_and_what_is_new(
    stash: FakeStash, database: Database
) -> None:
    """A job that was left takes the first half, the jobs of this run share the other.

    Of each job, Stash's work is 95 %, and the check of its outcome the rest.
    """
    add_scenes(database, 1, 2, 3)
    left_behind(stash, database, 1)
    stash.job_states = [
        RUNNING,
        RUNNING,
        FINISHED,
        RUNNING,
        FINISHED,
        RUNNING,
        FINISHED,
    ]
    shown: list[float] = []

    run(
        stash,
        database,
        run_id="run-2",
        progress=Progress(lambda fraction, _: shown.append(fraction or 0)),
        chunk_size=1,
    )

    assert shown == sorted(shown)
    left = {0.2375, 0.4875, 0.5}
    new = {0.6188, 0.7438, 0.75, 0.8688, 0.9938, 1}
    assert left | new <= {round(fraction, 4) for fraction in shown}


# --- looking before marking ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("phash", "phash"),
        ("screenshot", "cover"),
        ("preview", "preview"),
        ("sprite", "sprite"),
        ("vtt", "vtt"),
    ],
)
@pytest.mark.parametrize(
    ("all_or_nothing", "complete"),
    [
        pytest.param(False, [1, 3], id="complete-ones"),
        pytest.param(True, [], id="all-or-nothing"),
    ],
)
def test_scene_that_lacks_media_is_not_marked(
    stash: FakeStash,
    database: Database,
    kind: str,
    words: str,
    all_or_nothing: bool,
    complete: list[int],
) -> None:
    """Stash says FINISHED, but a scene lacks media: only complete ones are marked.

    By the strict setting, none is.
    """
    add_scenes(database, 1, 2, 3)
    stash.lacking = {2: {kind}}
    stash.configure(all_or_nothing=all_or_nothing)

    result = run(stash, database)

    assert marked(database) == complete
    assert result.status == "completed_with_errors"
    assert result.scenes_updated == tuple(map(str, complete))
    assert [(error.item, error.reason) for error in result.errors] == [
        ("scene 2", f"lacks {words}")
    ]


def test_result_counts_what_was_checked(stash: FakeStash, database: Database) -> None:
    """It has the scenes that were sent, and the shares of those that were checked."""
    add_scenes(database, 1, 2, 3)
    stash.lacking = {2: {"preview"}}

    result = run(stash, database)
    stash.configure(verify="none")
    unchecked = run(stash, database, run_id="run-2", scene_ids=(2,))

    assert result.scenes_processed == 3
    assert (result.success_rate, result.failure_rate) == (0.6667, 0.3333)
    elapsed = result.end_time - result.start_time
    assert 0 <= result.duration_seconds <= elapsed.total_seconds() + 1
    assert (unchecked.scenes_processed, unchecked.success_rate) == (1, None)


@pytest.mark.parametrize("all_or_nothing", [False, True])
def test_incremental_marks_the_verified(
    stash: FakeStash, database: Database, all_or_nothing: bool
) -> None:
    """One scene that lacks media does not hold up the others, whatever is set."""
    add_scenes(database, 1, 2, 3)
    stash.lacking = {2: {"phash", "preview"}}
    stash.configure(all_or_nothing=all_or_nothing)

    result = run(stash, database, incremental=True)

    assert marked(database) == [1, 3]
    assert result.status == "completed_with_errors"
    assert result.scenes_updated == ("1", "3")
    assert [error.reason for error in result.errors] == ["lacks phash, preview"]


def test_only_what_was_asked_for_is_checked(
    stash: FakeStash, database: Database
) -> None:
    """Media that was not asked for may be missing; WebP was asked for here."""
    add_scenes(database, 1)
    stash.lacking = {1: {"phash", "sprite", "vtt", "screenshot"}}

    result = run(
        stash, database, phashes=False, sprites=False, covers=False, image_previews=True
    )

    assert (result.status, marked(database)) == ("completed", [1])

    add_scenes(database, 2)
    stash.lacking = {2: {"webp"}}

    result = run(stash, database, run_id="run-2", image_previews=True)

    assert [error.reason for error in result.errors] == ["lacks webp"]


@pytest.mark.parametrize(
    ("incremental", "all_or_nothing", "checked"),
    [
        pytest.param(False, True, SAMPLE_SIZE, id="one-says-it-of-all"),
        pytest.param(False, False, 3 * SAMPLE_SIZE, id="each-for-itself"),
        pytest.param(True, True, 3 * SAMPLE_SIZE, id="incremental"),
    ],
)
def test_sample_that_lacks_media(
    stash: FakeStash,
    database: Database,
    incremental: bool,
    all_or_nothing: bool,
    checked: int,
) -> None:
    """If a scene of the sample lacks media, all are checked, to mark them singly."""
    ids = range(1, 3 * SAMPLE_SIZE + 1)
    stash.replace_scenes(ids)
    stash.lacking = {scene_id: {"preview"} for scene_id in ids}
    stash.configure(all_or_nothing=all_or_nothing)
    add_scenes(database, *ids)

    result = run(stash, database, incremental=incremental)

    listed = [error for error in result.errors if error.reason == "lacks preview"]
    more = result.errors[len(listed) :]
    beyond = int(more[0].item.split()[0]) if more else 0
    assert len(listed) + beyond == checked
    paths = [asked["path"] for asked in stash.asked("Media")]
    assert len(paths) == len(set(paths)), "each file is asked for once"
    assert marked(database) == []


def test_job_dropped_for_a_deleted_scene(stash: FakeStash, database: Database) -> None:
    """A scene deleted after the check drops the job: another try leaves it out."""
    add_scenes(database, 1, 2)
    stash.job_states = [{"status": "FINISHED", "progress": None}]
    stash.on("StartGenerate", after=lambda: stash.scene_rows.pop(2))
    with pytest.raises(TransientError, match="scene 2"):
        run(stash, database)
    stash.on("StartGenerate")
    result = run(stash, database)

    assert [asked["sceneIDs"] for _, asked in stash.started] == [["1", "2"], ["1"]]
    assert result.scenes_updated == ("1",)
    assert [state for _, state, _ in server_jobs(database)] == ["failed", "finished"]


def test_job_with_nothing_to_do(stash: FakeStash, database: Database) -> None:
    """A job without progress whose media is there already is a success."""
    add_scenes(database, 1)
    stash.job_states = [{"status": "FINISHED", "progress": None}]

    assert run(stash, database).scenes_updated == ("1",)


# --- a run that ends badly -----------------------------------------------------------


@pytest.mark.parametrize(
    ("polls", "words", "state"),
    [
        pytest.param(
            [RUNNING, {"status": "FAILED", "error": "disk is full"}],
            "disk is full",
            "failed",
            id="with a reason",
        ),
        pytest.param(
            [{"status": "FAILED"}], "Stash gave no reason", "failed", id="without"
        ),
        pytest.param(
            [{"status": "CANCELLED"}], "cancelled in Stash", "cancelled", id="cancelled"
        ),
        pytest.param(
            [RUNNING, None], "Stash no longer knows job 1", "lost", id="forgotten"
        ),
        pytest.param(
            [RUNNING, OUTAGE, {**FINISHED, "addTime": "2026-11-21T05:00:00Z"}],
            "Stash no longer knows job 1",
            "lost",
            id="restarted",
        ),
    ],
)
def test_failure_marks_none(
    stash: FakeStash, database: Database, polls: list[Any], words: str, state: str
) -> None:
    """A job that fails, is cancelled in Stash or forgotten leaves all flags alone."""
    add_scenes(database, 1)
    stash.job_states = polls

    with pytest.raises(JobError, match=words):
        run(stash, database)

    assert marked(database) == []
    assert server_jobs(database) == [(1, state, ADD_TIME)]
    assert stash.stopped == []


def test_no_answer_at_the_start(stash: FakeStash, database: Database) -> None:
    """When Stash is away nothing is started, marked or noted."""
    add_scenes(database, 1)
    stash.on("StartGenerate", after=OUTAGE)
    stash.job_states = [{"status": "READY"}]

    with pytest.raises(TransientError):
        run(stash, database)

    assert (marked(database), server_jobs(database)) == ([], [])


def test_server_error_text_is_kept(stash: FakeStash, database: Database) -> None:
    """An error of Stash at the start fails the run in Stash's words."""
    add_scenes(database, 1)
    stash.on("StartGenerate", after=refusal("missing ffmpeg and/or ffprobe"))

    with pytest.raises(JobError, match="missing ffmpeg"):
        run(stash, database)

    assert server_jobs(database) == []


# --- going on after an interruption --------------------------------------------------


def test_resumed_run_finds_its_job(stash: FakeStash, database: Database) -> None:
    """A run that broke off while it waited follows the same server job next time."""
    add_scenes(database, 1, 2)
    stash.job_states = [RUNNING, WRONG_KEY]
    with pytest.raises(ConfigurationError):
        run(stash, database)
    add_scenes(database, 3)

    stash.job_states = [RUNNING, FINISHED]
    result = run(stash, database)

    assert len(stash.started) == 1
    assert result.stash_job_id == "1"
    assert result.scenes_updated == ("1", "2")
    assert server_jobs(database) == [(1, "finished", ADD_TIME)]


def test_resumed_run_after_a_restart(stash: FakeStash, database: Database) -> None:
    """If Stash has forgotten the job meanwhile, the resumed run starts another."""
    add_scenes(database, 1)
    stash.job_states = [RUNNING, WRONG_KEY]
    with pytest.raises(ConfigurationError):
        run(stash, database)

    stash.job_states = [None, FINISHED]
    stash.add_time = "2026-11-21T06:00:00Z"
    result = run(stash, database)

    assert result.scenes_updated == ("1",)
    assert server_jobs(database) == [
        (1, "lost", ADD_TIME),
        (2, "finished", "2026-11-21T06:00:00Z"),
    ]


def left_behind(
    stash: FakeStash, database: Database, *scene_ids: int, **asked: Any
) -> None:
    """Have Stash's job 1 stem from a run that is gone."""
    stash.started = [("generate", {})]
    with database.transaction() as session:
        record_job(
            session,
            run_id="gone",
            kind="generate",
            stash_job_id=1,
            scene_ids=scene_ids,
            asked=StashGenerateParams(**asked).model_dump(mode="json", by_alias=True),
        )


def test_job_of_a_run_that_died_is_resumed(
    stash: FakeStash, database: Database
) -> None:
    """It is followed to its end and its scenes are marked; then comes this run's."""
    add_scenes(database, 1, 2)
    left_behind(stash, database, 1, previews=False)
    stash.lacking = {1: {"preview"}}
    stash.job_states = [RUNNING, RUNNING, FINISHED]

    result = run(stash, database, run_id="run-2")

    assert [asked.get("sceneIDs") for _, asked in stash.started] == [None, ["2"]]
    assert result.scenes_updated == ("1", "2")
    assert result.stash_job_ids == ("1", "2")
    assert result.scenes_processed == 2
    assert [row[1] for row in server_jobs(database)] == ["finished", "finished"]


def test_cancelling_stops_a_resumed_job(stash: FakeStash, database: Database) -> None:
    """This run answers for what it has resumed."""
    add_scenes(database, 1)
    left_behind(stash, database, 1)
    stash.job_states = [RUNNING, RUNNING, KeyboardInterrupt(), RUNNING]

    with pytest.raises(KeyboardInterrupt):
        run(stash, database, run_id="run-2")

    assert stash.stopped == [1]
    assert [row[1] for row in server_jobs(database)] == ["cancelled"]


def test_job_of_a_cancelled_run_is_stopped(
    stash: FakeStash, database: Database
) -> None:
    """If nobody could stop it when its run was cancelled, the next run does."""
    add_scenes(database, 1)
    left_behind(stash, database, 1)
    stash.job_states = [RUNNING, RUNNING, FINISHED]

    result = run(
        stash, database, run_id="run-2", was_cancelled=lambda run_id: run_id == "gone"
    )

    assert stash.stopped == [1]
    assert [row[1] for row in server_jobs(database)] == ["cancelled", "finished"]
    assert result.stash_job_ids == ("2",)


@pytest.mark.parametrize(
    ("poll", "state"),
    [
        pytest.param(None, "lost", id="forgotten"),
        pytest.param({"status": "FAILED"}, "failed", id="failed"),
        pytest.param({"status": "CANCELLED"}, "cancelled", id="cancelled"),
    ],
)
def test_job_of_a_dead_run_that_came_to_nothing(
    stash: FakeStash, database: Database, poll: Any, state: str
) -> None:
    """It is noted as what it is, and its scenes are generated by this run."""
    add_scenes(database, 1)
    left_behind(stash, database, 1)
    stash.job_states = [poll, FINISHED]

    result = run(stash, database, run_id="run-2")

    assert [row[1] for row in server_jobs(database)] == [state, "finished"]
    assert result.scenes_updated == ("1",)


def test_resumed_job_that_fails_does_not_fail_this_run(
    stash: FakeStash, database: Database
) -> None:
    """What another run left may fail while it is followed; the own work goes on."""
    add_scenes(database, 1)
    left_behind(stash, database, 1)
    stash.job_states = [RUNNING, {"status": "FAILED", "error": "boom"}, FINISHED]

    result = run(stash, database, run_id="run-2")

    assert [row[1] for row in server_jobs(database)] == ["failed", "finished"]
    assert (result.status, result.scenes_updated) == ("completed", ("1",))


def test_one_at_a_time(stash: FakeStash, database: Database) -> None:
    """While another run generates on this server nothing is touched."""
    add_scenes(database, 1)

    with (
        only_one(database, "generate"),
        pytest.raises(TransientError, match="Another run of stash_generate"),
    ):
        run(stash, database)

    assert stash.started == []


def test_jobs_of_a_run_are_distinguished(stash: FakeStash, database: Database) -> None:
    """A scan of the same run is neither taken for the job nor stopped with it."""
    add_scenes(database, 1)
    with database.transaction() as session:
        record_job(session, run_id="run-1", kind="scan", stash_job_id=9)
    stash.job_states = [RUNNING, KeyboardInterrupt(), RUNNING]

    with pytest.raises(KeyboardInterrupt):
        run(stash, database)

    assert server_jobs(database) == [(9, "open", ""), (1, "cancelled", ADD_TIME)]


def test_lost_answer_starts_no_second_job(stash: FakeStash, database: Database) -> None:
    """If the answer to the start is lost, the job in the queue is the one."""
    add_scenes(database, 1)
    stash.job_states = [RUNNING, FINISHED]
    stash.on("StartGenerate", after=OUTAGE)

    result = run(stash, database)

    assert len(stash.started) == 1
    assert result.scenes_updated == ("1",)


# --- cancelling ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt, Stopped, JobCancelled("now")], ids=str
)
def test_cancelling_stops_the_server_job(
    stash: FakeStash, database: Database, interruption: BaseException
) -> None:
    """A cancelled run tells Stash to stop, once, marks nothing, and stays cancelled."""
    add_scenes(database, 1)
    error = interruption if isinstance(interruption, Exception) else interruption()
    stash.job_states = [RUNNING, error, RUNNING]

    with pytest.raises(type(error)):
        run(stash, database)
    reconcile_cancelled(stash, database, run_id="run-1")

    assert stash.stopped == [1]
    assert marked(database) == []
    assert server_jobs(database) == [(1, "cancelled", ADD_TIME)]


@pytest.mark.parametrize("job", ["stash_generate", "auto_stash_generate"])
def test_a_cancelled_generate_keeps_the_structure_of_its_result(
    stash: FakeStash, database: Database, job: str
) -> None:
    """With the job in Stash, if there was one, and no scene as updated."""

    def kept() -> dict[str, Any]:
        with database.transaction() as session:
            result = cancelled_result(session, job, run_id="run-1", started_at=NOW)
        values = result.model_dump(mode="json")
        names = ("job_id", "stash_job_id", "status", "scenes_updated")
        return {name: values[name] for name in names}

    before = kept()
    add_scenes(database, 1)
    stash.job_states = [RUNNING, KeyboardInterrupt(), RUNNING]
    with pytest.raises(KeyboardInterrupt):
        run(stash, database)

    common = {"job_id": "run-1", "status": "cancelled", "scenes_updated": []}
    assert before == common | {"stash_job_id": None}
    assert kept() == common | {"stash_job_id": "1"}


def test_stop_event_stops_the_server_job(stash: FakeStash, database: Database) -> None:
    """A run in a thread, told by its stop event, ends by the same rules."""
    add_scenes(database, 1)
    stash.job_states = [RUNNING]
    stop = threading.Event()

    def sink(_fraction: float | None, _message: str) -> None:
        stop.set()

    with pytest.raises(JobCancelled):
        run(stash, database, progress=Progress(sink, stop))

    assert stash.stopped == [1]


def test_stop_event_stops_a_resumed_job(stash: FakeStash, database: Database) -> None:
    """A stop is no failure of the job that was left: nothing else is started."""
    add_scenes(database, 1, 2)
    left_behind(stash, database, 1)
    stash.job_states = [RUNNING]
    stop = threading.Event()

    with pytest.raises(JobCancelled):
        run(
            stash,
            database,
            run_id="run-2",
            progress=Progress(lambda *_: stop.set(), stop),
        )

    assert (stash.stopped, len(stash.started)) == ([1], 1)
    assert [row[1] for row in server_jobs(database)] == ["cancelled"]


def test_cancelling_while_the_start_is_stored(
    stash: FakeStash, database: Database
) -> None:
    """Stash works by then: the job is stored all the same, and stopped."""
    add_scenes(database, 1)
    stash.job_states = [RUNNING]
    interruptions = [KeyboardInterrupt()]

    def interrupt(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "INSERT INTO stash_job" in statement and interruptions:
            raise interruptions.pop()

    event.listen(database.engine, "before_cursor_execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(stash, database)
    event.remove(database.engine, "before_cursor_execute", interrupt)

    assert interruptions == []
    assert stash.stopped == [1]
    assert [row[1] for row in server_jobs(database)] == ["cancelled"]


def test_cancelling_while_starting(stash: FakeStash, database: Database) -> None:
    """A run cancelled while it waits for the start's answer stops what was started."""
    add_scenes(database, 1)
    stash.job_states = [RUNNING]
    stash.on("StartGenerate", after=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(stash, database)

    assert stash.stopped == [1]
    assert server_jobs(database) == [(1, "cancelled", "")]


def test_somebody_elses_job_is_not_stopped(
    stash: FakeStash, database: Database
) -> None:
    """After a restart of Stash the id may be another's job: that is left alone."""
    add_scenes(database, 1)
    other = {**RUNNING, "addTime": "2026-11-21T05:00:00Z"}
    stash.job_states = [RUNNING, KeyboardInterrupt(), other]

    with pytest.raises(KeyboardInterrupt):
        run(stash, database)

    assert stash.stopped == []


def test_stop_that_fails_is_left_for_later(
    stash: FakeStash, database: Database
) -> None:
    """If Stash is away at that moment the row stays open, and is reconciled later."""
    add_scenes(database, 1)
    stash.job_states = [RUNNING, KeyboardInterrupt(), RUNNING]
    stash.on("StopJob", after=OUTAGE)

    with pytest.raises(KeyboardInterrupt):
        run(stash, database)

    assert server_jobs(database) == [(1, "open", ADD_TIME)]

    stash.on("StopJob")
    reconcile_cancelled(stash, database, run_id="run-1")

    assert stash.stopped == [1, 1]
    assert server_jobs(database) == [(1, "cancelled", ADD_TIME)]


def test_cancelling_while_checking_the_outcome(
    stash: FakeStash, database: Database
) -> None:
    """Cancelled after the server's job, before the marks: nothing is marked."""
    add_scenes(database, 1)

    def sink(_fraction: float | None, message: str) -> None:
        if "Checking media" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stash, database, progress=Progress(sink))

    assert stash.stopped == []
    assert marked(database) == []
    assert server_jobs(database) == [(1, "cancelled", ADD_TIME)]


# --- beside a sync -------------------------------------------------------------------


def meanwhile(stash: FakeStash, action: Callable[[], None]) -> Progress:
    """Return a bar that does something once, while the server's job is running."""
    is_done = False

    def sink(_fraction: float | None, _message: str) -> None:
        nonlocal is_done
        if stash.started and not is_done:
            is_done = True
            action()

    return Progress(sink)


def another_marker(stash: FakeStash, scene: int) -> None:
    stash.add_marker(scene, min(stash.tag_rows))


def moved_marker(stash: FakeStash, scene: int) -> None:
    stash.edit_markers(scene, seconds=30.0)


def another_file(stash: FakeStash, scene: int) -> None:
    hashes = (Fingerprint(type="oshash", value="ff"),)
    stash.replace_file(scene, fingerprints=hashes, size=1)


@pytest.mark.parametrize("change", [another_marker, moved_marker, another_file])
@pytest.mark.parametrize("is_resumed", [False, True])
def test_scene_changed_meanwhile_is_not_marked(
    database: Database,
    change: Callable[[FakeStash, int], None],
    is_resumed: bool,
) -> None:
    """What a sync found changed while the job was running may lack its media."""
    stash = FakeStash()
    tag = stash.add_tag("tag")
    changed, other = stash.add_scene(), stash.add_scene()
    stash.add_marker(changed, tag)
    sync(stash, database)

    def change_and_sync() -> None:
        change(stash, changed)
        sync(stash, database)

    progress = meanwhile(stash, change_and_sync)
    stash.job_states = [RUNNING, WRONG_KEY if is_resumed else FINISHED]
    if is_resumed:
        with pytest.raises(ConfigurationError):
            run(stash, database, progress=progress)
        stash.job_states = [FINISHED]
    result = run(stash, database, progress=progress)

    assert len(stash.started) == 1
    assert marked(database) == [other]
    assert (result.status, result.scenes_updated) == ("completed", (str(other),))


def test_scene_edited_meanwhile_is_marked(database: Database) -> None:
    """Other texts or tags are no reason to make media anew."""
    stash = FakeStash()
    tag = stash.add_tag("tag")
    scene = stash.add_scene()
    sync(stash, database)

    def edit() -> None:
        stash.edit(scene, title="new", tags=refs(tag))
        sync(stash, database)

    run(stash, database, progress=meanwhile(stash, edit))

    assert marked(database) == [scene]


@pytest.mark.parametrize(
    ("params", "fetched"),
    [({}, 1), ({"overwrite": True}, 1), ({"phashes": False}, 0), ({"server": "b"}, 0)],
)
def test_phash_arrives_with_the_next_sync(
    database: Database, params: dict[str, Any], fetched: int
) -> None:
    """Scenes that got a phash are fetched, though no time moves for it; no others."""
    stash = FakeStash()
    lacking, having = stash.add_scene(), stash.add_scene()
    whole = stash.scene_rows[lacking].files[0].fingerprints
    stash.replace_file(lacking, fingerprints=whole[:1])
    sync(stash, database)
    sync(stash, database)

    def make_phash() -> None:
        stash.replace_file(lacking, fingerprints=whole)
        stash.file_times = dict.fromkeys(stash.file_times, "2000-01-01T00:00:00Z")

    stash.on("StartGenerate", after=make_phash)
    run(stash, database, **params)

    assert pending_scenes(stash, database).count == fetched
    sync(stash, database)
    with database.transaction() as session:
        kinds = session.scalars(
            select(SceneFingerprint.kind).where(SceneFingerprint.scene_id == lacking)
        ).all()
    assert len(kinds) == 1 + fetched
    assert marked(database) == ([] if "server" in params else [lacking, having])


def test_phash_of_a_resumed_job_arrives_with_the_next_sync(database: Database) -> None:
    """What the job of a run that is gone has made is fetched like this run's."""
    stash = FakeStash()
    scene = stash.add_scene()
    whole = stash.scene_rows[scene].files[0].fingerprints
    stash.replace_file(scene, fingerprints=whole[:1])
    sync(stash, database)
    left_behind(stash, database, scene)
    stash.replace_file(scene, fingerprints=whole)
    stash.file_times = dict.fromkeys(stash.file_times, "2000-01-01T00:00:00Z")

    result = run(stash, database, run_id="run-2")

    assert result.stash_job_ids == ("1",)
    assert pending_scenes(stash, database).reasons == {"changed": 1}


# --- cost ----------------------------------------------------------------------------


def test_cost_of_100_000_scenes(stash: FakeStash, database: Database) -> None:
    """A run over 100,000 scenes takes 11 statements, and less than 200 MB."""
    ids = range(1, 100_001)
    stash.replace_scenes(ids)
    with database.transaction() as session:
        session.execute(
            insert(Scene).from_select(["id"], select(func.generate_series(1, len(ids))))
        )
    statements: list[str] = []

    def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", count)
    tracemalloc.start()
    result = run(stash, database)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    event.remove(database.engine, "before_cursor_execute", count)

    assert result.scenes_updated_count == len(ids)
    assert len(statements) <= 11
    assert peak_bytes < 200_000_000
