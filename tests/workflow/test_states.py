"""The names of states: what is skipped, put off, held or left is said as such."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.objects import State, StateType
from sqlalchemy import func, select
from starlette.responses import PlainTextResponse

from flows.jobs import analysis, sync
from flows.outcome import result_of
from flows.process_new_scenes import process_new_scenes
from sandbox.ai_server import AiStandIn, Spans
from stashhog_core.db.models import JobReport, Scene
from stashhog_core.db.session import Database
from stashhog_core.detection import ai_client
from stashhog_core.errors import Deferred
from stashhog_core.results import StepResult, WorkflowReport
from stashhog_core.settings import get_settings
from tasks.downloads import process_downloads
from tests.support.prefect import ended_tasks
from tests.support.services import Services
from tests.support.stand_in import add_scenes, asking

pytestmark = pytest.mark.slow

AWAY = PlainTextResponse("no models", 503)
SEEN: Spans = {"actions": {"Dancing": [(0.0, 1.0, 0.9)]}}


@pytest.fixture
def ai(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[AiStandIn]:
    """An AI server that sees something in every sample, asked without any pause."""
    monkeypatch.setattr(ai_client, "RETRY_DELAYS_SECONDS", (0.0,))
    monkeypatch.setattr(ai_client, "OPEN_SECONDS", 0.0)
    with AiStandIn() as server:
        server.videos = {str(services.placed(s)): SEEN for s in services.readable}
        monkeypatch.setenv("STASHHOG_AI_SERVER__URL", server.url)
        monkeypatch.setenv("STASHHOG_ANALYSIS__PARALLEL_BATCHES", "1")
        get_settings.cache_clear()
        yield server


def go_away_after(ai: AiStandIn, videos: int) -> None:
    """Have the server look at so many videos, and answer nothing afterwards."""
    begun: set[str] = set()

    def note(path: str) -> None:
        begun.add(path)
        if len(begun) == videos:
            ai.fault = lambda: AWAY

    ai.on_video = note


def run(**parameters: Any) -> tuple[State[Any], WorkflowReport]:
    state: Any = process_new_scenes(**parameters, return_state=True)
    report = result_of(state)
    assert isinstance(report, WorkflowReport), report
    return state, report


def shown_step(run_id: str, name: str) -> tuple[str, str]:
    """Return state and message of the task of this name."""
    (state,) = (t.state for t in ended_tasks(run_id, name) if t.name == name)
    return (state and state.name) or "", (state and state.message) or ""


def step(report: WorkflowReport, name: str) -> StepResult:
    result = getattr(report.steps, name)
    assert isinstance(result, StepResult)
    return result


def unanalyzed(database: Database) -> int:
    with database.transaction() as session:
        query = select(func.count()).where(~Scene.video_analyzed)
        return session.scalar(query) or 0


def kept_status(database: Database, state: State[Any]) -> str:
    run_id = str(state.state_details.flow_run_id)
    with database.transaction() as session:
        return session.get_one(JobReport, run_id).status


def test_an_ai_server_that_goes_away_defers_the_rest(
    services: Services, database: Database, ai: AiStandIn
) -> None:
    """What was seen is applied and counted, the rest stays for the next run."""
    seen = 7
    go_away_after(ai, seen)

    state, report = run(batch_size=5)
    left = len(services.readable) - seen
    left_by_the_first = unanalyzed(database)
    ai.fault = None
    _, second = run()

    assert state.name == "CompletedWithErrors"
    assert step(report, "analysis").status == "deferred"
    assert step(report, "analysis").message.startswith("Deferred - ")
    assert (report.summary.total_scenes_analyzed, left_by_the_first) == (seen, left)
    assert report.summary.total_scenes_deferred == left
    first_batch, second_batch = report.steps.analysis_batches[:2]
    assert (first_batch.scenes_analyzed, first_batch.deferred) == (5, None)
    assert second_batch.scenes_analyzed == 2
    assert second_batch.changes_applied == second_batch.changes_approved > 0
    assert "503" in (second_batch.deferred or "")
    name, message = shown_step(report.job_id, "analysis")
    assert (name, message) == ("Deferred", step(report, "analysis").message)
    assert second.summary.total_scenes_analyzed == left
    assert unanalyzed(database) == 0


def test_steps_and_batches_with_errors_say_so(
    services: Services, ai: AiStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """CompletedWithErrors, how many, and a warning for each batch; never plain green.

    Each step is a task run of its own name.
    """
    ai.fault = lambda: PlainTextResponse("no such video", 422)

    state, report = run(batch_size=5)

    batches = report.steps.analysis_batches
    errors = [len(batch.errors) for batch in batches]
    assert errors == [5, len(services.readable) - 5]
    job_id = report.job_id
    partly = "CompletedWithErrors"
    assert shown_step(job_id, "process_downloads") == (partly, "1 error")
    assert shown_step(job_id, "incremental_sync") == ("Completed", "")
    assert shown_step(job_id, "analysis") == (partly, f"{sum(errors)} errors")
    assert shown_step(job_id, "final_incremental_sync") == ("Completed", "")
    for number, count in enumerate(errors, 1):
        shown = shown_step(job_id, f"analysis batch {number}")
        assert shown == (partly, f"{count} errors")
    total = report.summary.total_errors
    assert (state.name, state.message) == (partly, f"{total} errors")
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    for number, batch in enumerate(batches, 1):
        warning = f"Analysis batch {number} ended with {errors[number - 1]} errors: "
        assert warning + batch.errors[0] in warnings


def test_a_job_called_by_another_gives_its_result(services: Services) -> None:
    """Whatever the name of its task's state, to the caller as to a run tried again."""

    @flow(persist_result=True)
    def twice() -> list[Any]:
        return [process_downloads(), process_downloads()]

    first, again = twice()

    assert first.status == "completed_with_errors"
    assert again == first


def test_an_analysis_alone_is_deferred(
    services: Services, database: Database, ai: AiStandIn
) -> None:
    """The run is red, called Deferred, says how to mend it, and keeps its counts."""
    run(steps=["process_downloads", "stash_scan", "incremental_sync"])
    ai.stop()

    state: Any = analysis(return_state=True)

    assert (state.name, state.type) == ("Deferred", StateType.FAILED)
    assert "STASHHOG_AI_SERVER__URL" in (state.message or "")
    with pytest.raises(Deferred, match="STASHHOG_AI_SERVER__URL"):
        state.result()
    assert kept_status(database, state) == "deferred"
    assert unanalyzed(database) == len(services.readable)
    ai.start()


def test_removals_that_wait_for_a_yes_hold_the_sync(
    services: Services, database: Database
) -> None:
    """Too many scenes are gone: Held, in the main job as alone, and how to confirm."""
    with asking(services.stash.url) as ask:
        ids = add_scenes(ask, 60)
        sync()
        for scene_id in ids[:40]:
            ask("mutation($i:ID!){sceneDestroy(input:{id:$i})}", i=scene_id)
        # The first sync after that marks what is missing.
        sync()
        alone: Any = sync(return_state=True)
        add_scenes(ask, 1)
        _, report = run(steps=["incremental_sync"])

    assert (alone.name, alone.type) == ("Held", StateType.COMPLETED)
    assert "confirm_removals" in (alone.message or "")
    assert (alone.message or "").startswith("Held - ")
    assert kept_status(database, alone) == "held"
    assert (report.status, step(report, "incremental_sync").status) == (
        "completed_with_errors",
        "held",
    )
    assert shown_step(report.job_id, "incremental_sync") == (
        "Held",
        step(report, "incremental_sync").message,
    )


def test_what_there_was_no_time_for_is_left_for_the_next_run(
    services: Services, database: Database
) -> None:
    """The budget ends the analysis cleanly: Completed steps, a count, no error."""
    parameters = {"batch_size": 5, "parallel_batches": 1}

    _, report = run(**parameters, max_minutes=1e-6)
    left = unanalyzed(database)
    _, second = run(**parameters)

    assert left == len(services.readable)
    assert step(report, "analysis").status == "completed"
    assert report.summary.total_scenes_left == left
    assert step(report, "stash_generate").status == "completed"
    assert shown_step(report.job_id, "analysis batch 1") == (
        "Skipped",
        "Skipped - The time limit is reached",
    )
    assert second.summary.total_scenes_analyzed == left
    assert unanalyzed(database) == 0
