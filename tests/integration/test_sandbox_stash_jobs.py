"""The stand-in Stash's job queue: order, progress, stopping, forgetting."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sandbox.stash.jobs import Job
from tests.support.stand_in import GENERATE, SCAN, Stash, until
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_jobs_run_one_at_a_time(stash: Stash, two_videos: tuple[Path, Path]) -> None:
    """A second job waits for the first; both are in the queue, in order."""
    checked = threading.Event()
    stash.server.faults.on_item = until(checked)
    first = stash.start(GENERATE, phashes=True)
    second = stash.start(SCAN)
    wait_until(lambda: stash.job(first)["status"] == "RUNNING", "the first job")

    queue = stash.ask("{jobQueue{id status}}")["data"]["jobQueue"]
    waiting = stash.job(second)
    checked.set()
    stash.server.jobs.wait()

    assert queue == [
        {"id": first, "status": "RUNNING"},
        {"id": second, "status": "READY"},
    ]
    assert (waiting["progress"], waiting["startTime"]) == (0, None)
    assert stash.job(first)["endTime"] <= stash.job(second)["startTime"]
    assert stash.ask("{jobQueue{id}}") == {"data": {"jobQueue": None}}


def test_progress_and_sub_tasks(stash: Stash, two_videos: tuple[Path, Path]) -> None:
    """A running job shows what it does; a finished one keeps only its progress."""
    seen: dict[Any, Any] = {}

    def check(job: Job) -> None:
        shown = stash.job(str(job.id))
        seen[shown["progress"]] = shown["subTasks"]

    stash.server.faults.on_item = check
    job = stash.finished(GENERATE, phashes=True)

    assert seen[0] == [f"Generating phash for {two_videos[0]}"]
    assert seen[0.5] == [f"Generating phash for {two_videos[1]}"]
    assert (job["status"], job["progress"]) == ("FINISHED", 1)
    assert (job["subTasks"], job["error"]) == (None, None)
    assert job["description"] == "Generating..."


def test_stop_lets_the_running_item_and_one_more_end(
    stash: Stash, two_videos: tuple[Path, Path], video: Path
) -> None:
    """A stop is answered at once and takes effect later; a waiting job goes at once."""
    (two_videos[0].parent / "c.mp4").write_bytes(video.read_bytes() + b"third")
    stash.scan()
    checked = threading.Event()
    stash.server.faults.on_item = until(checked)
    running = stash.start(GENERATE, phashes=True)
    waiting = stash.start(GENERATE, phashes=True)
    wait_until(lambda: stash.job(running)["status"] == "RUNNING", "the first job")

    for job_id in (running, waiting, "99"):
        answer = stash.ask("mutation($id:ID!){stopJob(job_id:$id)}", id=job_id)
        assert answer == {"data": {"stopJob": True}}
    status = stash.job(running)["status"]
    checked.set()
    stash.server.jobs.wait()

    assert status == "STOPPING"
    assert stash.job(running)["status"] == "CANCELLED"
    assert stash.job(running)["progress"] == pytest.approx(2 / 3)
    cancelled = stash.job(waiting)
    assert cancelled["status"] == "CANCELLED"
    assert (cancelled["startTime"], cancelled["endTime"]) == (None, None)


def test_only_ten_finished_jobs_are_remembered(stash: Stash) -> None:
    """The eleventh pushes the first out; it is then as unknown as one never made."""
    ids = [stash.start(SCAN, paths=["/elsewhere"]) for _ in range(12)]
    stash.server.jobs.wait()

    assert [bool(stash.job(job_id)) for job_id in ids] == [False] * 2 + [True] * 10
    assert stash.job("99") is None


def test_restart_forgets_jobs_and_keeps_the_library(
    stash: Stash, two_videos: tuple[Path, Path]
) -> None:
    """A job dies with the server; ids start at 1 again, scenes stay as they were."""
    stash.server.faults.on_item = until(threading.Event())
    before = stash.scenes()
    old = stash.start(GENERATE, phashes=True)
    added = stash.job(old)["addTime"]
    assert old == "2"

    stash.server.restart()

    assert stash.job(old) is None
    assert stash.scenes() == before
    assert stash.start(SCAN, paths=["/elsewhere"]) == "1"
    assert stash.job("1")["addTime"] > added
