"""Scanning: what Stash is asked, and that cancelling never stops it."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from stashhog_core.db.jobs import record_job
from stashhog_core.db.models import DownloadItem
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    ConfigurationError,
    JobCancelled,
    JobError,
    TransientError,
)
from stashhog_core.params import StashScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import CancelledResult, Result, StashScanResult
from stashhog_core.server_jobs.scan import check_inside, scan
from stashhog_core.server_jobs.tracking import (
    CANCELLED_MESSAGE,
    cancelled_result,
    reconcile_cancelled,
)
from tests.support.fake_stash import (
    ADD_TIME,
    FINISHED,
    OUTAGE,
    RUNNING,
    FakeStash,
    refusal,
)
from tests.support.server_jobs import server_jobs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WARNING = (
    "Cancellation requested for metadata scan job 1, but NOT cancelling Stash server "
    "job to prevent data corruption"
)


@pytest.fixture
def stash() -> FakeStash:
    """A Stash whose library is /data."""
    return FakeStash()


def run(
    stash: FakeStash,
    database: Database,
    progress: Progress | None = None,
    was_cancelled: Callable[[str], bool] = lambda _: False,
    **params: Any,
) -> StashScanResult:
    return scan(
        stash,
        database,
        StashScanParams(**params),
        progress or Progress(),
        run_id="run-1",
        settings=stash.settings,
        was_cancelled=was_cancelled,
    )


def kept_of(database: Database, job: str) -> Result:
    with database.transaction() as session:
        return cancelled_result(session, job, run_id="run-1", started_at=NOW)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_defaults(stash: FakeStash, database: Database) -> None:
    """Without parameters the configured paths are scanned with the documented flags."""
    result = run(stash, database)

    assert stash.started == [
        (
            "scan",
            {
                "paths": ["/data"],
                "rescan": False,
                "scanGenerateCovers": True,
                "scanGeneratePreviews": True,
                "scanGenerateImagePreviews": False,
                "scanGenerateSprites": True,
                "scanGeneratePhashes": True,
                "scanGenerateThumbnails": False,
                "scanGenerateClipPreviews": False,
            },
        )
    ]
    assert (result.stash_job_id, result.status) == ("1", "completed")
    assert result.message == "Metadata scan completed"
    assert result.start_time < result.end_time
    assert server_jobs(database) == [(1, "finished", ADD_TIME)]


def test_parameters(stash: FakeStash, database: Database) -> None:
    """Paths and flags go to Stash as they are given."""
    run(stash, database, paths=("/data/new", "/data/b/"), rescan=True)

    _, asked = stash.started[0]
    assert (asked["paths"], asked["rescan"]) == (["/data/new", "/data/b/"], True)


def test_progress(stash: FakeStash, database: Database) -> None:
    """Messages say what Stash is at; the end is full."""
    stash.job_states = [
        {"status": "RUNNING", "progress": None, "subTasks": ["Walking directory tree"]},
        {**RUNNING, "subTasks": ["Scanning /data/b.mkv"]},
        FINISHED,
    ]
    reports: list[tuple[float | None, str]] = []

    run(stash, database, Progress(lambda *report: reports.append(report)))

    assert reports == [
        (None, "Metadata scan: Walking directory tree..."),
        (0.5, "Metadata scan: Scanning... (b.mkv)"),
        (1, "Metadata scan completed"),
    ]


def test_nothing_to_scan_is_said(stash: FakeStash, database: Database) -> None:
    """A scan without a single task says so: the path may not exist there."""
    stash.job_states = [{"status": "FINISHED", "progress": None}]

    assert "found no file" in run(stash, database).message


@pytest.mark.parametrize(
    "path", ["/other", "/database", "/", "data", "", "/data/../other", "C:\\data"]
)
def test_paths_outside_the_library_are_refused(
    stash: FakeStash, database: Database, path: str
) -> None:
    """Stash would finish having done nothing: the path, roots and setting are named."""
    with pytest.raises(ConfigurationError) as caught:
        run(stash, database, paths=("/data", path))

    assert stash.started == []
    for words in (repr(path), "/data", "STASHHOG_STASH__SCAN_PATHS"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/data", "/data"),
        ("/data/", "/data"),
        ("/data/a/../b", "/data/"),
        ("D:\\Films\\New", "d:\\films"),
        ("D:/Films/New", "D:\\Films"),
        ("\\\\nas\\films\\new", "\\\\nas\\films"),
    ],
)
def test_paths_inside_the_library(path: str, root: str) -> None:
    """Paths are compared by the rules of the machine they are on."""
    check_inside([path], ["/elsewhere", root])


@pytest.mark.parametrize(
    ("polls", "words", "state"),
    [
        pytest.param(
            [{"status": "FAILED", "error": "boom"}], "boom", "failed", id="failed"
        ),
        pytest.param(
            [{"status": "CANCELLED"}], "cancelled in Stash", "cancelled", id="cancelled"
        ),
    ],
)
def test_failures(
    stash: FakeStash, database: Database, polls: list[Any], words: str, state: str
) -> None:
    """A scan whose end is bad or unknown fails, in words."""
    stash.job_states = polls

    with pytest.raises(JobError, match=words):
        run(stash, database)

    assert server_jobs(database) == [(1, state, ADD_TIME)]


def test_ffmpeg_missing(stash: FakeStash, database: Database) -> None:
    """What Stash says against the start is handed on, and nothing is noted."""
    stash.on("StartScan", after=refusal("missing ffmpeg and/or ffprobe"))

    with pytest.raises(JobError, match="StartScan: missing ffmpeg and/or ffprobe"):
        run(stash, database)

    assert server_jobs(database) == []


def test_resumed_run_finds_its_scan(stash: FakeStash, database: Database) -> None:
    """After an outage that was too long the next try follows the same scan."""
    stash.job_states = [RUNNING, OUTAGE]
    with pytest.raises(TransientError):
        run(stash, database)

    stash.job_states = [RUNNING, FINISHED]
    result = run(stash, database)

    assert len(stash.started) == 1
    assert result.stash_job_id == "1"
    assert server_jobs(database) == [(1, "finished", ADD_TIME)]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), JobCancelled("now")], ids=["signal", "event"]
)
def test_cancelling_leaves_stash_scanning(
    stash: FakeStash,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    """A cancelled scan only says, once, that Stash goes on."""
    stash.job_states = [RUNNING, error, RUNNING]

    with pytest.raises(type(error)):
        run(stash, database)
    reconcile_cancelled(stash, database, run_id="run-1")

    assert stash.stopped == []
    assert warnings(caplog) == [WARNING, CANCELLED_MESSAGE]
    assert server_jobs(database) == [(1, "cancelled", ADD_TIME)]
    kept = kept_of(database, "stash_scan")
    assert isinstance(kept, StashScanResult)
    assert (kept.status, kept.stash_job_id) == ("cancelled", "1")
    assert kept.message == CANCELLED_MESSAGE


def test_cancelled_before_stash_has_a_job_says_nothing_of_one(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing goes on in Stash: neither the log nor what is kept says so."""

    def interrupt() -> None:
        stash.started.clear()
        raise KeyboardInterrupt

    stash.on("StartScan", after=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(stash, database)

    assert warnings(caplog) == []
    assert kept_of(database, "stash_scan") == CancelledResult(message="Cancelled")


@pytest.mark.parametrize(
    ("placed", "status"),
    [
        pytest.param([], "completed_with_errors", id="nothing-to-go-by"),
        pytest.param(["a.mp4"], "completed", id="all-there"),
        pytest.param(["a.mp4", "b.mp4"], "completed_with_errors", id="one-absent"),
    ],
)
def test_forgotten_scan_is_judged_by_what_is_in_stash(
    stash: FakeStash, database: Database, placed: list[str], status: str
) -> None:
    """A lost scan says so; the files that were placed for it are looked for."""
    stash.job_states = [RUNNING, None]
    stash.add_scene(files=(stash.new_file("/data/a.mp4"),))
    with database.transaction() as session:
        session.add_all(
            DownloadItem(
                source="folder",
                entry_key=name,
                entry_name=name,
                relative_path=name,
                size_bytes=1,
                state="placed",
                target_path=f"/data/{name}",
                oshash="0" * 16,
            )
            for name in placed
        )

    result = run(stash, database)

    assert result.status == status
    assert "Stash no longer knows job 1" in result.message
    assert [error.item for error in result.errors] == [
        f"/data/{name}" for name in placed if name == "b.mp4"
    ]
    assert server_jobs(database) == [(1, "lost", ADD_TIME)]


def test_forgotten_scan_of_an_additional_server(
    stash: FakeStash, database: Database
) -> None:
    """What was placed was placed for the mirrored one: there is nothing to go by."""
    stash.job_states = [RUNNING, None]
    with database.transaction() as session:
        session.add(
            DownloadItem(
                source="folder",
                entry_key="a",
                entry_name="a",
                relative_path="a.mp4",
                size_bytes=1,
                state="placed",
                target_path="/data/a.mp4",
                oshash="0" * 16,
            )
        )

    result = run(stash, database, server="attic")

    assert (result.status, result.errors) == ("completed_with_errors", ())


def test_only_files_changed_since(stash: FakeStash, database: Database) -> None:
    """The time goes to Stash in its filter."""
    since = datetime(2026, 11, 21, 4, tzinfo=UTC)

    run(stash, database, min_mod_time=since)

    _, asked = stash.started[0]
    assert asked["filter"] == {"minModTime": "2026-11-21T04:00:00+00:00"}


def test_deadline_leaves_the_scan_alone(stash: FakeStash, database: Database) -> None:
    """A scan that takes too long fails the run, and goes on in Stash."""
    stash.job_states = [RUNNING]
    stash.configure(job_deadline_seconds=0.01)

    with pytest.raises(JobError, match="did not end within"):
        run(stash, database)

    assert stash.stopped == []
    assert server_jobs(database) == [(1, "failed", ADD_TIME)]


@pytest.mark.parametrize(
    ("polls", "cancelled", "state"),
    [
        pytest.param([RUNNING, FINISHED], False, "finished", id="ends-before-ours"),
        pytest.param([FINISHED], False, "finished", id="over"),
        pytest.param([RUNNING, FINISHED], True, "cancelled", id="told-to-stop"),
        pytest.param([None, FINISHED], False, "lost", id="forgotten"),
    ],
)
def test_scans_of_runs_that_are_gone(
    stash: FakeStash,
    database: Database,
    polls: list[Any],
    cancelled: bool,
    state: str,
) -> None:
    """What a dead run left is closed, and never taken for this run's own scan."""
    stash.started = [("scan", {})]
    with database.transaction() as session:
        record_job(session, run_id="gone", kind="scan", stash_job_id=1)
    stash.job_states = polls

    run(stash, database, was_cancelled=lambda run_id: cancelled and run_id == "gone")

    assert len(stash.started) == 2
    assert stash.stopped == []
    assert [row[1] for row in server_jobs(database)] == [state, "finished"]


def test_cancelled_message() -> None:
    """The message of a cancelled scan is the documented one."""
    assert CANCELLED_MESSAGE == (
        "StashHog job cancelled (Stash server job continues to prevent data corruption)"
    )
