"""Cancelling: through the Prefect API, on a worker and on `serve`, and by Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import select

from flows.jobs import stash_generate
from sandbox.ai_server import AiStandIn, Spans
from sandbox.stash.jobs import Job
from stashhog_core.db.models import AnalysisPlan, Scene, StashJob
from stashhog_core.db.session import Database
from stashhog_core.results import WorkflowReport
from stashhog_core.server_jobs.tracking import CANCELLED_MESSAGE
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.support.locks import locks
from tests.support.media import write_video
from tests.support.prefect import (
    ROOT,
    Runner,
    job_rows,
    processes_of,
    report_of,
    stash_job_of,
    stash_jobs,
)
from tests.support.processes import kill_all
from tests.support.services import Services
from tests.support.stand_in import generating_until_stopped, until, until_stopped
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TERMINAL = """
import signal
from stashhog.cli.app import main
# A shell that starts the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
WORKERS_WORDS = "Flow run was cancelled successfully."
SEEN: Spans = {"actions": {"Dancing": [(0.0, 1.0, 0.9)]}}
QUICK_SCAN = {
    "scanGenerateCovers": False,
    "scanGeneratePreviews": False,
    "scanGenerateSprites": False,
    "scanGeneratePhashes": False,
}


@pytest.fixture
def stash(services: Services) -> Iterator[StashClient]:
    """The product's client of the stand-in."""
    with StashClient(get_settings().stash) as client:
        yield client


def has(stash: StashClient, job: str, status: str) -> Callable[[], bool]:
    return lambda: (job, status) in stash_jobs(stash)


def scan_library(services: Services, database: Database, stash: StashClient) -> None:
    """Put two videos into Stash and the mirror."""
    for number in range(2):
        write_video(services.library / f"{number}.mp4", seconds=8, seed=number)
    stash.start_job("scan", {"paths": [str(services.library)]})
    services.stash.jobs.wait()
    with database.transaction() as session:
        session.add_all(
            Scene(id=stamp.id) for page in stash.scene_stamps() for stamp in page
        )


def chosen(database: Database, flag: str) -> set[int]:
    with database.transaction() as session:
        return set(session.scalars(select(Scene.id).where(getattr(Scene, flag))))


def open_stash_jobs(database: Database) -> list[int]:
    with database.transaction() as session:
        query = select(StashJob.stash_job_id).where(StashJob.state == "open")
        return list(session.scalars(query))


def assert_nothing_left(database: Database, *runs: FlowRun) -> None:
    for run in runs:
        wait_until(lambda run=run: not processes_of(run.id), f"the end of {run.name}")
    # The database takes a moment to see that a process is gone.
    wait_until(lambda: locks(database) == [], "the end of all locks")


def test_jobs_alone(
    runner: Runner, services: Services, database: Database, stash: StashClient
) -> None:
    """A running generate is stopped, of a running scan it is only said.

    A scheduled run and one that is over change nothing in Stash.
    """
    scan_library(services, database, stash)
    services.stash.faults.on_item = until_stopped

    # Not due yet, so that nothing takes it up.
    scheduled = runner.start("stash_generate", due_in=timedelta(hours=1))
    runner.cancel(scheduled)

    generate = runner.start("stash_generate", previewSegments=1)
    wait_until(has(stash, "Generating", "RUNNING"), "the generate job")
    runner.cancel(generate)
    runner.wait_for(generate, "Cancelled")

    assert stash_jobs(stash)[-1] == ("Generating", "CANCELLED")
    assert chosen(database, "generated") == set()
    assert job_rows(database, generate) == [("generate", "cancelled")]
    kept = report_of(database, generate.id)
    assert kept is not None
    assert kept.report["job_id"] == str(generate.id)
    assert kept.report["stash_job_id"] == str(stash_job_of(database, generate))
    assert (kept.status, kept.report["status"]) == ("cancelled", "cancelled")
    assert kept.report["scenes_updated"] == []

    cancelled = threading.Event()
    services.stash.faults.on_item = until(cancelled)
    for number in range(4):
        write_video(services.library / f"new-{number}.mp4", seed=10 + number)
    before = stash.count_scenes()
    scan = runner.start("stash_scan", **QUICK_SCAN)
    # Its number is stored right after Stash has given it.
    wait_until(lambda: job_rows(database, scan), "the scan")
    number = stash.job_queue()[0].id
    runner.cancel(scan)
    runner.wait_for(scan, "Cancelled")
    cancelled.set()
    warning = (
        f"Cancellation requested for metadata scan job {number}, but NOT cancelling "
        "Stash server job to prevent data corruption"
    )

    wait_until(lambda: warning in runner.warnings(scan), "the warning")
    assert runner.warnings(scan).count(warning) == 1
    assert job_rows(database, scan) == [("scan", "cancelled")]
    report = report_of(database, scan.id)
    assert report is not None
    assert (report.status, report.report["message"]) == ("cancelled", CANCELLED_MESSAGE)
    assert report.report["stash_job_id"] == str(number)
    # Prefect's own words stand in the state; the run's name says what goes on.
    assert runner.name_of(scan) == f"stash_scan · {CANCELLED_MESSAGE}"
    services.stash.jobs.wait()
    job = stash.find_job(number)
    assert job is not None
    assert job.status == "FINISHED"
    assert stash.count_scenes() == before + 4

    # Over: there is nothing left to cancel.
    finished = runner.start("stash_generate", previewSegments=1, sprites=False)
    runner.wait_for(finished, "Completed")
    runner.cancel(finished)

    assert len(chosen(database, "generated")) == 2
    assert runner.state(scheduled) == "Cancelled"
    assert job_rows(database, scheduled) == []
    assert job_rows(database, finished) == [("generate", "finished")]
    assert_nothing_left(database, scheduled, generate, scan, finished)
    for run in (generate, scan):
        # Each end is an event, for which automations fire.
        (end,) = runner.ends(run)
        assert end == ("Cancelled", WORKERS_WORDS)


def test_within_the_main_job(
    runner: Runner, services: Services, database: Database, stash: StashClient
) -> None:
    """Cancelling the parent stops the generate job it is in, or leaves its scan."""
    cancelled = threading.Event()
    in_scan = runner.kind == "serve"
    if not in_scan:
        scan_library(services, database, stash)
        for sample in services.samples:
            sample.path.unlink()
    hold = until(cancelled) if in_scan else generating_until_stopped
    services.stash.faults.on_item = hold
    what = "Scanning" if in_scan else "Generating"
    parent = runner.start("process_new_scenes")
    kind = "scan" if in_scan else "generate"
    wait_until(lambda: (kind, "open") in job_rows(database, parent), what)
    runner.cancel(parent)
    runner.wait_for(parent, "Cancelled")
    cancelled.set()
    services.stash.jobs.wait()

    assert stash_jobs(stash)[-1] == (what, "FINISHED" if in_scan else "CANCELLED")
    assert chosen(database, "generated") == set()
    assert job_rows(database, parent)[-1] == (kind, "cancelled")
    report = report_of(database, parent.id)
    assert report is not None
    assert report.status == "cancelled"
    step = WorkflowReport.model_validate(report.report).steps
    active = step.stash_scan if in_scan else step.stash_generate
    assert active is not None
    assert active.status == "cancelled"
    assert active.message == (CANCELLED_MESSAGE if in_scan else "Cancelled")
    assert runner.name_of(parent) == f"process_new_scenes · {active.message}"
    assert_nothing_left(database, parent)

    def warnings() -> list[str]:
        return [line for line in runner.warnings(parent) if "NOT cancelling" in line]

    # The log comes in bundles.
    if in_scan:
        wait_until(warnings, "the warning")
    assert len(warnings()) == (1 if in_scan else 0)


@pytest.fixture
def ai(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[AiStandIn]:
    """An AI server that sees something in every sample, one at a time."""
    with AiStandIn() as server:
        server.videos = {str(services.placed(s)): SEEN for s in services.readable}
        monkeypatch.setenv("STASHHOG_AI_SERVER__URL", server.url)
        monkeypatch.setenv("STASHHOG_ANALYSIS__PARALLEL_BATCHES", "1")
        get_settings.cache_clear()
        yield server


def test_within_mapped_batches(
    ai: AiStandIn, worker: Runner, services: Services, database: Database
) -> None:
    """Finished batches stay, applied; the open plan is a draft; none begins anew."""
    cancelled = threading.Event()

    def hold_the_second_batch(path: str) -> None:
        if len(ai.requests) >= 5:
            cancelled.wait(PATIENCE_SECONDS)

    ai.on_video = hold_the_second_batch
    run = worker.start("process_new_scenes", batch_size=3)
    wait_until(lambda: len(ai.requests) >= 5, "the second batch")
    worker.cancel(run)
    worker.wait_for(run, "Cancelled")
    cancelled.set()

    assert len(ai.requests) <= 6
    assert 3 <= len(chosen(database, "video_analyzed")) <= 5
    with database.transaction() as session:
        states = session.scalars(
            select(AnalysisPlan.state).order_by(AnalysisPlan.id)
        ).all()
    assert states[0] == "applied"
    assert set(states[1:]) <= {"draft"}
    kept = report_of(database, run.id)
    assert kept is not None
    assert kept.status == "cancelled"
    report = WorkflowReport.model_validate(kept.report)
    assert report.steps.incremental_sync is not None
    assert report.steps.stash_generate is None
    assert report.steps.analysis is not None
    assert report.steps.analysis.status == "cancelled"
    first = report.steps.analysis_batches[0]
    assert (first.batch_num, first.scenes_analyzed) == (1, 3)
    assert_nothing_left(database, run)


@pytest.mark.parametrize("moment", ["taken-up", "its-process-is-there"])
def test_pending(
    worker: Runner,
    services: Services,
    database: Database,
    stash: StashClient,
    moment: str,
) -> None:
    """Cancelled while it begins: no work is done, and the run gets one end.

    If it is further on than that by then, Stash makes nothing of what it was asked for.
    """
    scan_library(services, database, stash)
    services.stash.faults.on_item = until_stopped
    before = stash_jobs(stash)

    run = worker.start("stash_generate")
    if moment == "taken-up":
        wait_until(lambda: worker.state(run) != "Scheduled", "a worker takes it up")
    else:
        worker.wait_for_process(run)
    worker.cancel(run)
    worker.wait_for(run, "Cancelled")

    wait_until(lambda: processes_of(run.id) == [], "the end of its process")
    services.stash.jobs.wait()
    worker.wait_for(run, "Cancelled")
    assert len(worker.ends(run)) == 1
    assert set(stash_jobs(stash)[len(before) :]) <= {("Generating", "CANCELLED")}
    assert chosen(database, "generated") == set()
    assert_nothing_left(database, run)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"]
)
def test_with_the_worker_gone_the_next_job_reconciles_it(
    services: Services,
    database: Database,
    stash: StashClient,
    process_worker: Runner,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """No hook runs when the worker ends: the next run stops what was to be cancelled.

    Its own generate job comes after that, and the run that was killed marked nothing.
    """
    scan_library(services, database, stash)
    first_ended = threading.Event()

    def hold(job: Job) -> None:
        while not (job.stopped.is_set() or first_ended.is_set()):
            job.pause(0.02)

    services.stash.faults.on_item = hold
    name = f"doomed-{number.name.lower()}"
    doomed = Runner(name, "worker", process_worker.client, tmp_path / "doomed")
    with doomed.running():
        doomed.configure()
        run = doomed.start("stash_generate", previewSegments=1)
        wait_until(has(stash, "Generating", "RUNNING"), "the generate job")
        wait_until(lambda: job_rows(database, run), "the row")
        runs = processes_of(run.id)
        # The worker first: else it might see that its run has died, and say so.
        doomed.process.send_signal(number)
        if number == signal.SIGKILL:
            kill_all(runs)
        doomed.process.wait(PATIENCE_SECONDS)
        doomed.cancel(run)
        psutil.wait_procs(runs, timeout=PATIENCE_SECONDS)
        kill_all(runs)

    def hurry_afterwards() -> None:
        wait_until(has(stash, "Generating", "CANCELLED"), "the stop")
        first_ended.set()

    hurry = threading.Thread(target=hurry_afterwards)
    hurry.start()
    result = stash_generate(previewSegments=1)
    hurry.join()

    assert stash_jobs(stash)[-2:] == [
        ("Generating", "CANCELLED"),
        ("Generating", "FINISHED"),
    ]
    assert job_rows(database, run) == [("generate", "cancelled")]
    assert result.scenes_updated_count == 2
    assert_nothing_left(database, run)


@pytest.mark.parametrize("job", ["stash_generate", "stash_scan", "process_new_scenes"])
def test_ctrl_c(
    services: Services,
    database: Database,
    stash: StashClient,
    prefect_api: str,
    tmp_path: Path,
    job: str,
) -> None:
    """A run in the terminal ends by the same rules, in one line, with status 130."""
    scan_library(services, database, stash)
    if job == "stash_scan":
        write_video(services.library / "new.mp4", seed=10)
    is_scan = job != "stash_generate"
    ended = threading.Event()
    services.stash.faults.on_item = until(ended) if is_scan else until_stopped
    before = len(stash_jobs(stash))
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, "run", job],
        env=os.environ | {"PREFECT_API_URL": prefect_api, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    what = "Scanning" if is_scan else "Generating"
    wait_until(lambda: (what, "RUNNING") in stash_jobs(stash)[before:], what)
    # Its number is stored after Stash has given it.
    wait_until(lambda: open_stash_jobs(database), "the row")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    ended.set()
    services.stash.jobs.wait()

    assert process.returncode == 130
    assert stash_jobs(stash)[-1] == (what, "FINISHED" if is_scan else "CANCELLED")
    assert chosen(database, "generated") == set()
    assert "Traceback" not in said
    assert said.count("Error:") == 1
    wait_until(lambda: locks(database) == [], "the end of all locks")
