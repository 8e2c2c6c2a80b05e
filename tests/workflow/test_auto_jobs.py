"""The jobs that run by themselves: what they take, and when they are preempted."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Crashed, Running
from sqlalchemy import select, update

from flows.auto_plan_apply import auto_plan_apply
from flows.auto_stash_generate import auto_stash_generate
from flows.auto_video_analysis import auto_video_analysis
from flows.jobs import analysis, stash_scan, sync, sync_scenes
from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.detection.job import next_scenes
from stashhog_core.server_jobs.preemption import preemptible
from stashhog_core.settings import get_settings
from stashhog_core.stash.client import StashClient
from tests.support.media import write_video
from tests.support.services import Services
from tests.support.stand_in import (
    a_plan,
    generating_until_stopped,
    new_scene,
    until,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nothing_else_goes(prefect_api: str) -> None:
    """Runs that other tests have killed are over."""
    del prefect_api
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=running)):
            client.set_flow_run_state(run.id, Crashed(), force=True)


@pytest.fixture
def stash(services: Services) -> Iterator[StashClient]:
    """The product's client of the stand-in."""
    with StashClient(get_settings().stash) as client:
        yield client


@pytest.fixture
def videos(services: Services, stash: StashClient) -> list[int]:
    """Three scenes with short videos, scanned and mirrored."""
    del stash
    for number in range(3):
        write_video(services.library / f"{number}.mp4", seconds=2 + number)
    stash_scan(
        scanGeneratePhashes=False,
        scanGenerateSprites=False,
        scanGeneratePreviews=False,
        scanGenerateCovers=False,
    )
    return list(sync().scene_ids)


@contextmanager
def going(flow: Flow[..., Any], name: str = "another run") -> Iterator[UUID]:
    """A run of a flow that is under way elsewhere."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(flow, name=name, state=Running())
        yield run.id
        client.set_flow_run_state(run.id, Completed(), force=True)


def scalars(database: Database, query: Any) -> list[Any]:
    with database.transaction() as session:
        return list(session.scalars(query))


def test_the_newest_scenes_are_analyzed_into_a_plan_to_review(
    videos: list[int], database: Database
) -> None:
    """Batch by batch; nothing is approved, and nothing changes in Stash."""
    with database.transaction() as session:
        expected = next_scenes(session, 2, failed_since=datetime.now(UTC))

    state = auto_video_analysis(batch_size=2, return_state=True)
    seen = scalars(database, select(Scene.id).where(Scene.video_analyzed))
    rest = auto_video_analysis(batch_size=2, return_state=True)
    nothing = auto_video_analysis(return_state=True)

    result = state.result()
    assert sorted(expected) == sorted(seen)
    assert (result.scenes_analyzed, result.changes_approved) == (2, 0)
    assert rest.result().scenes_analyzed == 1
    assert (nothing.name, nothing.message) == (
        "Skipped",
        "Skipped - No unanalyzed scenes",
    )
    names = scalars(database, select(AnalysisPlan.name))
    assert all(name.startswith("Auto Video Analysis - ") for name in names)
    assert set(scalars(database, select(PlanChange.state))) <= {"pending"}


def test_scenes_are_not_analyzed_twice_at_once(
    videos: list[int], database: Database
) -> None:
    """While a person's analysis goes, the scheduled one is left out, and says why."""
    with going(analysis):
        state = auto_video_analysis(return_state=True)

    assert (state.name, state.message) == (
        "Skipped",
        "Skipped - another run is analyzing scenes",
    )
    assert scalars(database, select(Scene.id).where(Scene.video_analyzed)) == []


def test_approved_changes_are_applied_by_schedule(
    services: Services, stash: StashClient, database: Database
) -> None:
    """Of plans whose name starts right; what is pending waits for a person."""
    scene_id = new_scene(services.stash, "Scene")
    with database.transaction() as session:
        session.add(Scene(id=scene_id))
    plan_id = a_plan(database, [scene_id])
    with database.transaction() as session:
        session.execute(
            update(PlanChange)
            .where(PlanChange.field == "details")
            .values(state="pending")
        )

    other = auto_plan_apply(plan_prefix_filter=["Auto "], return_state=True)
    applied = auto_plan_apply(plan_prefix_filter=["Auto ", "Pl"], return_state=True)
    again = auto_plan_apply(return_state=True)

    assert (other.name, other.message) == ("Skipped", "Skipped - No approved changes")
    assert applied.result().plan_ids == (plan_id,)
    assert applied.result().applied == 3
    assert again.name == "Skipped"
    (scene,), _ = stash.scenes([scene_id])
    assert len(scene.tags) == 2
    assert scene.details == ""


def test_approving_everything_is_recorded_as_automatic(
    services: Services, stash: StashClient, database: Database
) -> None:
    """Only when it is asked for."""
    scene_id = new_scene(services.stash, "Scene")
    with database.transaction() as session:
        session.add(Scene(id=scene_id))
    a_plan(database, [scene_id])
    with database.transaction() as session:
        session.execute(update(PlanChange).values(state="pending", approved_by=None))

    left = auto_plan_apply(return_state=True)
    state = auto_plan_apply(auto_approve_all_changes=True, return_state=True)

    assert left.name == "Skipped"
    assert state.result().applied == 4
    assert set(scalars(database, select(PlanChange.approved_by))) == {"auto"}


def test_a_plan_of_a_living_run_is_left_to_it(
    services: Services, database: Database
) -> None:
    """process_new_scenes applies its own plans."""
    scene_id = new_scene(services.stash, "Scene")
    a_plan(database, [scene_id])
    with going(analysis) as run_id:
        with database.transaction() as session:
            session.execute(update(AnalysisPlan).values(run_id=str(run_id)))
        during = auto_plan_apply(return_state=True)
    after = auto_plan_apply(return_state=True)

    assert during.name == "Skipped"
    assert after.result().applied == 4


def test_one_plan_that_fails_stops_no_other(
    services: Services, database: Database
) -> None:
    """It is reported; the next schedule tries it again."""
    first = a_plan(database, [new_scene(services.stash, "One")])
    second = a_plan(database, [new_scene(services.stash, "Two")])
    services.stash.faults.add_errors("no space", field="findScenes")

    state = auto_plan_apply(return_state=True)

    result = state.result()
    assert state.name == "CompletedWithErrors"
    assert result.plan_ids == (first, second)
    assert (result.errors[0].item, result.applied) == (f"plan {first}", 4)


def test_what_lacks_media_is_generated_by_schedule(
    videos: list[int], database: Database
) -> None:
    """Then there is nothing to do, and it says so."""
    done = auto_stash_generate(previews=False, sprites=False, return_state=True)
    nothing = auto_stash_generate(return_state=True)

    assert done.result().scenes_updated_count == 3
    assert (nothing.name, nothing.message) == (
        "Skipped",
        "Skipped - No scenes without generated media",
    )


def test_what_stash_cannot_make_starts_no_scheduled_run(
    services: Services, stash: StashClient, database: Database
) -> None:
    """Found out once, as an error; then the schedule has nothing to do for it."""
    write_video(services.library / "blink.mp4", seconds=0.1)
    stash_scan(scanGeneratePhashes=False)
    sync()

    found_out = auto_stash_generate(return_state=True)
    nothing = auto_stash_generate(return_state=True)

    assert found_out.name == "CompletedWithErrors"
    assert found_out.result().unmakeable_count == 1
    assert (nothing.name, nothing.message) == (
        "Skipped",
        "Skipped - No scenes without generated media, except 1 scene with media that "
        "Stash cannot make",
    )


def test_it_does_not_begin_while_something_goes_first(
    services: Services, stash: StashClient, videos: list[int]
) -> None:
    """A scan in Stash, or a run of ours that leads to one."""
    with going(stash_scan, "my scan"):
        behind = auto_stash_generate(return_state=True)
    write_video(services.library / "new.mp4", seconds=2)
    checked = threading.Event()
    services.stash.faults.on_item = until(checked)
    number = stash.start_job("scan", {"paths": [str(services.library)]})
    scanning = auto_stash_generate(return_state=True)
    checked.set()

    assert behind.message == "Skipped - my scan has priority"
    assert scanning.message == f"Skipped - Stash is scanning (Stash job {number})"


def test_it_is_preempted_by_a_scan_that_comes(
    services: Services,
    stash: StashClient,
    database: Database,
    videos: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its job is stopped so that the scan begins; no scene is marked."""
    soon = partial(preemptible, check_interval_seconds=0.1)
    monkeypatch.setattr("tasks.stash_jobs.preemptible", soon)
    services.stash.faults.on_item = generating_until_stopped
    numbers: list[int] = []

    def scan_comes() -> None:
        while not stash.job_queue():
            time.sleep(0.05)
        numbers.append(stash.start_job("scan", {"paths": [str(services.library)]}))

    scan = threading.Thread(target=scan_comes)
    scan.start()
    state = auto_stash_generate(return_state=True)
    scan.join()

    assert state.name == "Skipped"
    assert state.message is not None
    assert state.message.startswith("Skipped - Preempted by a scan")
    assert scalars(database, select(Scene.id).where(Scene.generated)) == []
    queue = [job.id for job in stash.job_queue() if job.status != "STOPPING"]
    assert queue in ([], numbers)


def test_chosen_scenes_are_synced_without_moving_the_baseline(
    videos: list[int], database: Database
) -> None:
    """The history tells them from syncs of the library."""
    result = sync_scenes(scene_ids=videos[:2])

    assert (result.kind, result.unchanged) == ("scenes", 2)
    kinds = scalars(database, select(SyncRun.kind).order_by(SyncRun.id))
    assert kinds == ["incremental", "scenes"]
