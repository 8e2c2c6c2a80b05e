"""Prefect's history of our runs: dead ones marked, old ones deleted."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect import Task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventResourceFilter,
)
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.states import Completed, Running
from prefect.types.entrypoint import EntrypointType

from flows.jobs import cleanup, review_plan, sync
from stashhog_core.cleanup.findings import Findings
from stashhog_core.db.session import Database
from stashhog_core.progress import Progress
from stashhog_core.settings import get_settings
from tasks import flow_runs
from tasks.cancellation import crash_dead_runs, crash_left_tasks
from tasks.cleanup import forget_old_runs
from tasks.result_storage import close_results_to_others, forget_old_results
from tests.support.prefect import register
from tests.support.services import Services
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LATER = datetime.now(UTC) + timedelta(days=60)


@pytest.fixture
def deployment(no_run: None) -> UUID:
    """A deployment of ours."""
    del no_run
    return register(
        review_plan, "review-plan", entrypoint_type=EntrypointType.MODULE_PATH
    )


def a_run(deployment_id: UUID, state: object) -> UUID:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(
            deployment_id, parameters={"plan_id": 1}
        )
        client.set_flow_run_state(run.id, state, force=True)  # type: ignore[arg-type]
    return run.id


def state_of(run_id: UUID) -> str | None:
    """Return the name of a run's state; None: there is no such run."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(run_id).state_name
        except ObjectNotFound:
            return None


def forget(now: datetime, *, dry_run: bool = False) -> Findings:
    findings = Findings()
    forget_old_runs(get_settings(), findings, Progress(), now=now, dry_run=dry_run)
    return findings


def test_old_runs_of_ours_go_with_their_artifacts(deployment: UUID) -> None:
    """A dry run counts the same; runs that go on, and new ones, stay."""
    old, going = a_run(deployment, Completed()), a_run(deployment, Running())
    with get_client(sync_client=True) as client:
        client.request(
            "POST",
            "/artifacts/",
            json={"key": "old", "type": "markdown", "flow_run_id": str(old)},
        )
    now = forget(datetime.now(UTC))
    listed = forget(LATER, dry_run=True)
    before = state_of(old)

    done = forget(LATER)

    assert now.removed == {}
    assert before == "Completed"
    assert listed.removed["run in Prefect"] == done.removed["run in Prefect"] >= 1
    assert done.removed["artifact in Prefect"] >= 1
    assert (state_of(old), state_of(going)) == (None, "Running")
    with get_client(sync_client=True) as client:
        left = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[old])
            )
        )
    assert left == []


def test_runs_without_work_go_after_a_day(deployment: UUID) -> None:
    """They are many and tell little; others stay for a month. A dry run says so."""
    idle = a_run(deployment, Completed(name="Skipped"))
    busy = a_run(deployment, Completed())
    soon, next_day = (datetime.now(UTC) + timedelta(hours=h) for h in (23, 25))
    forget(soon)
    before = state_of(idle)
    listed = forget(next_day, dry_run=True)

    done = forget(next_day)

    kind = "skipped run in Prefect"
    assert before == "Skipped"
    assert listed.removed[kind] == done.removed[kind] >= 1
    assert "run in Prefect" not in done.removed
    assert (state_of(idle), state_of(busy)) == (None, "Completed")


def test_runs_of_other_projects_stay(prefect_api: str) -> None:
    """A flow of the same name elsewhere is not ours."""
    del prefect_api
    foreign = Flow(fn=lambda: None, name="sync")
    deployment = register(foreign, f"foreign-{uuid4()}")
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(run.id, Completed(), force=True)

    forget(LATER)

    assert state_of(run.id) == "Completed"


def test_a_task_does_not_run_on_when_its_run_has_ended(deployment: UUID) -> None:
    """Its process was killed: Prefect shows it as crashed; tasks of others go on."""
    # Runs that other tests have killed left tasks as well.
    crash_left_tasks(Findings(), now=LATER)
    ended, going = a_run(deployment, Completed()), a_run(deployment, Running())
    with get_client(sync_client=True) as client:
        left, working = (
            client.create_task_run(
                Task(fn=lambda: None, name="left"), run, str(uuid4()), state=Running()
            ).id
            for run in (ended, going)
        )
    now, later = Findings(), Findings()

    # Prefect may not have written down yet how the task has ended.
    crash_left_tasks(now, now=datetime.now(UTC))
    crash_left_tasks(later, now=datetime.now(UTC) + timedelta(minutes=10))

    with get_client(sync_client=True) as client:
        states = [client.read_task_run(id_).state_name for id_ in (left, working)]
    assert states == ["Crashed", "Running"]
    assert (now.reconciled, later.reconciled) == ({}, {"task in Prefect": 1})


def heartbeats_of(resource: str) -> EventFilter:
    return EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[resource]),
    )


def heartbeat(run_id: UUID, number: int = 1) -> None:
    """Have the run send a heartbeat, and wait until Prefect has written it down.

    It is then the heartbeat of this number.
    """
    resource = f"prefect.flow-run.{run_id}"
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": resource},
    }
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event])
        # Events are written in bundles, every few seconds.
        wait_until(
            lambda: (
                client.read_events(heartbeats_of(resource), limit=1).total >= number
            ),
            "the heartbeat",
        )


def test_a_run_whose_heartbeats_have_stopped_is_crashed(
    deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that still sends them goes on; so does one that never sent any."""
    beating, quiet = a_run(deployment, Running()), a_run(deployment, Running())
    heartbeat(beating)
    monkeypatch.setattr(flow_runs, "SIGN_OF_LIFE_SECONDS", 3600.0)
    crash_dead_runs(Findings(), Progress(), 0)
    at_first = state_of(beating)
    monkeypatch.setattr(flow_runs, "SIGN_OF_LIFE_SECONDS", 0.0)
    findings = Findings()

    crash_dead_runs(findings, Progress(), 0.1)

    assert at_first == "Running"
    assert (state_of(beating), state_of(quiet)) == ("Crashed", "Running")
    assert findings.reconciled == {"run in Prefect": 1}


def test_a_run_that_sends_another_heartbeat_lives_whatever_the_clock_says(
    deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All heartbeats look old once a clock has jumped ahead; the next one tells."""
    alive, dead = a_run(deployment, Running()), a_run(deployment, Running())
    for run_id in (alive, dead):
        heartbeat(run_id)
    monkeypatch.setattr(flow_runs, "SIGN_OF_LIFE_SECONDS", 0.0)
    findings = Findings()

    def listening(fraction: float | None, message: str) -> None:
        del fraction
        assert "heartbeat" in message
        heartbeat(alive, number=2)

    crash_dead_runs(findings, Progress(listening), 1.0)

    assert (state_of(alive), state_of(dead)) == ("Running", "Crashed")
    assert findings.reconciled == {"run in Prefect": 1}


def test_a_run_without_any_heartbeat_is_given_a_day(
    deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have them switched off, but it blocks nobody for ever."""
    monkeypatch.setattr(flow_runs, "SIGN_OF_LIFE_SECONDS", 0.0)
    monkeypatch.setattr(flow_runs, "WITHOUT_HEARTBEATS_SECONDS", 0.0)
    quiet = a_run(deployment, Running())

    crash_dead_runs(Findings(), Progress(), 0)

    assert state_of(quiet) == "Crashed"


def test_old_files_of_results_go_from_our_home_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage elsewhere may be another project's as well."""
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path / "home"))
    ours, theirs = tmp_path / "home" / "storage", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / "old").touch()
        os.utime(folder / "old", (0, 0))
        (folder / "new").touch()
    left = {}
    for folder in (theirs, ours):
        with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder}):
            findings = Findings()
            now = datetime.now(UTC)
            forget_old_results(get_settings(), findings, now=now, dry_run=True)
            forget_old_results(get_settings(), findings, now=now, dry_run=False)
        left[folder.name] = sorted(path.name for path in folder.iterdir())

    assert left == {"storage": ["new"], "theirs": ["new", "old"]}
    assert findings.removed == {"result file": 2}


def test_the_flow(services: Services, database: Database) -> None:
    """It keeps a report of what it did, whether it only looked or not."""
    previewed = cleanup(dry_run=True)
    done = cleanup()

    assert (previewed.status, previewed.dry_run) == ("completed", True)
    assert (done.status, done.dry_run) == ("completed", False)


def test_results_are_read_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that Prefect wrote are closed to other accounts, and so is their folder."""
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path))
    get_settings.cache_clear()
    folder = tmp_path / "storage"
    folder.mkdir(mode=0o755)
    (folder / "result").touch(mode=0o644)
    (folder / "link").symlink_to(tmp_path)

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder}):
        close_results_to_others(get_settings())

    assert (folder.stat().st_mode & 0o777) == 0o700
    assert ((folder / "result").stat().st_mode & 0o777) == 0o600
    assert (tmp_path.stat().st_mode & 0o777) == 0o700


def test_a_run_leaves_no_result_open(services: Services) -> None:
    """Whatever it kept can be read by its own account alone."""
    storage = get_settings().home_folder / "storage"

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        sync()

    results = list(storage.iterdir())
    assert results
    assert {path.stat().st_mode & 0o777 for path in results} == {0o600}
    assert (storage.stat().st_mode & 0o777) == 0o700
