"""A run that died is retried under its own name and repeats nothing it had finished."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from sandbox.ai_server import AiStandIn, Spans
from sandbox.stash.server import StandIn
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.results import WorkflowReport
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.support.locks import locks
from tests.support.prefect import Runner, job_rows, processes_of, report_of, stash_jobs
from tests.support.services import Services
from tests.support.stand_in import until
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SEEN: Spans = {"actions": {"Dancing": [(0.0, 1.0, 0.9)]}}


@pytest.fixture
def ai(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[AiStandIn]:
    """An AI server that sees something in every sample, one at a time."""
    with AiStandIn() as server:
        server.videos = {str(services.placed(s)): SEEN for s in services.readable}
        monkeypatch.setenv("STASHHOG_AI_SERVER__URL", server.url)
        monkeypatch.setenv("STASHHOG_ANALYSIS__PARALLEL_BATCHES", "1")
        get_settings.cache_clear()
        yield server


@pytest.fixture
def asked(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """How often Stash was asked for each thing."""
    counts: Counter[str] = Counter()
    next_for = stand_in.faults.next_for

    def count(fields: set[str]) -> object:
        counts.update(fields)
        return next_for(fields)

    monkeypatch.setattr(stand_in.faults, "next_for", count)
    return counts


def checked(ai: AiStandIn) -> int:
    return len({path for path, _ in ai.inferred})


def marked(database: Database, flag: str) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).where(getattr(Scene, flag))) or 0


# A worker reports a crash once more, after up to ten seconds; that would end a retry
# that had begun by then.
@pytest.mark.parametrize("runner", ["serve"], indirect=True)
def test_killed_in_the_middle_of_each_step(
    ai: AiStandIn,
    asked: "Counter[str]",
    runner: Runner,
    services: Services,
    database: Database,
) -> None:
    """Killed in the scan, in the second of three batches, and in generate.

    Each retry goes on where it was: one scan, one generate job, and no batch twice.
    """
    stash = services.stash
    polled, killed = threading.Event(), threading.Event()
    stash.faults.on_item = until(polled)

    def hold_the_second_batch(path: str) -> None:
        if checked(ai) >= 5:
            killed.wait(PATIENCE_SECONDS)

    ai.on_video = hold_the_second_batch

    run = runner.start("process_new_scenes", batch_size=4)
    with StashClient(get_settings().stash) as client, runner.explaining(run):
        wait_until(lambda: job_rows(database, run) == [("scan", "open")], "the scan")
        runner.kill(run)
        runner.wait_for(run, "Crashed")
        # Stash scans on meanwhile, and has work left when the run comes back.
        assert stash_jobs(client) == [("Scanning", "RUNNING")]
        polls = asked["findJob"]
        runner.retry(run)
        wait_until(lambda: asked["findJob"] > polls, "the retry to poll the scan")
        polled.set()
        wait_until(lambda: checked(ai) >= 5, "the second batch")
        runner.kill(run)
        killed.set()
        runner.wait_for(run, "Crashed")
        analyzed = marked(database, "video_analyzed")
        let_go = threading.Event()
        stash.faults.on_item = until(let_go)
        runner.retry(run)
        wait_until(
            lambda: job_rows(database, run)[-1] == ("generate", "open"), "generate"
        )
        runner.kill(run)
        runner.wait_for(run, "Crashed")
        let_go.set()
        runner.retry(run)
        runner.wait_for(run, "CompletedWithErrors")

        assert analyzed == 4
        assert stash_jobs(client) == [
            ("Scanning", "FINISHED"),
            ("Generating", "FINISHED"),
        ]
    assert (asked["metadataScan"], asked["metadataGenerate"]) == (1, 1)
    times = Counter(request["path"] for request in ai.requests)
    assert len(times) == len(services.readable)
    # The killed batch was at its first video, or had just begun its second.
    assert sum(times.values()) <= len(times) + 2
    kept = report_of(database, run.id)
    assert kept is not None
    report = WorkflowReport.model_validate(kept.report)
    assert report.summary.total_synced_items == len(list(services.downloads.iterdir()))
    assert report.summary.total_scenes_analyzed == len(services.readable)
    assert [batch.batch_num for batch in report.steps.analysis_batches] == [1, 2, 3]
    assert report.steps.incremental_sync is not None
    assert report.steps.incremental_sync.status == "completed"
    generated = report.steps.stash_generate
    assert generated is not None
    assert generated.result is not None
    assert generated.result["scenes_updated_count"] == len(services.readable)
    assert marked(database, "video_analyzed") == len(services.readable)
    # The final sync knows the markers of the analysis as our own.
    assert marked(database, "generated") == len(services.readable)
    assert locks(database) == []
    wait_until(lambda: not processes_of(run.id), "the end of its process")
