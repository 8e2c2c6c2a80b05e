"""Mapped tasks on threads, processes and Dask: outcomes, bounds, stopping."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import flow
from sqlalchemy import select

from flows.process_new_scenes import process_new_scenes
from stashhog_core.db.models import PlanChange, Scene
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, ItemError, TransientError
from stashhog_core.results import WorkflowReport
from stashhog_core.settings import get_settings
from tasks.task_runners import mapped, task_runner
from tests.conftest import UsedDatabase
from tests.support.mapped_tasks import (
    Interrupted,
    count_all,
    halve,
    halve_all,
    halve_and_die,
    wait_for,
    work_and_be_interrupted,
)
from tests.support.prefect import ended_tasks
from tests.support.processes import kill_all, workers_of_pools
from tests.support.services import Services
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
TWO_OF_THREE = {"started-0", "started-1", "stopped-0", "stopped-1"}

CLUSTERS = ["dask", *(["ray"] if "STASHHOG_TEST_RAY" in os.environ else [])]
"""`make ray` installs Ray, and tests both."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def use(
    database_url: str, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Set the runner's kind and address."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("STASHHOG_HOME", str(tmp_path / "home"))

    def use(kind: str, address: str = "") -> None:
        monkeypatch.setenv("STASHHOG_RUNNER__KIND", kind)
        if address:
            monkeypatch.setenv("STASHHOG_RUNNER__ADDRESS", address)
        get_settings.cache_clear()

    return use


@pytest.fixture(scope="module")
def dask_cluster(
    used_database: UsedDatabase,
    prefect_api: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A Dask cluster with room for more than is asked for, outside of any run."""
    import distributed

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PREFECT_API_URL", prefect_api)
        environment.setenv("STASHHOG_DATABASE__URL", used_database.url)
        environment.setenv("STASHHOG_HOME", str(tmp_path_factory.mktemp("cluster")))
        cluster = distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=8,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            processes=True,
        )
    with cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_outcomes_come_in_order(
    use: Any, request: pytest.FixtureRequest, kind: str
) -> None:
    """Results and errors come in the order of the calls; an error stops nothing.

    The tests of processes that die show it of processes, and of a run's own cluster.
    """
    use(kind, request.getfixturevalue("dask_cluster") if kind == "dask" else "")

    outcomes = halve_all([2, 4, 5, 8])

    assert [o[0] for o in outcomes if isinstance(o, tuple)] == [1, 2, 4]
    assert isinstance(outcomes[2], ItemError)
    processes = {o[1] for o in outcomes if isinstance(o, tuple)}
    assert (processes == {os.getpid()}) == (kind == "threads")


def test_no_more_than_asked_for_run_at_a_time(use: Any, tmp_path: Path) -> None:
    """The bound holds, and it is used."""
    use("threads")
    folder = tmp_path / "under-way"
    folder.mkdir()

    assert max(count_all(str(folder), 8, 2)) == 2


def test_interrupted_run_stops_its_tasks(use: Any, tmp_path: Path) -> None:
    """Tasks under way are told to stop, and no further one starts.

    `test_signal_to_the_whole_group_lets_tasks_stop` shows it of other processes.
    """
    use("threads")

    with pytest.raises(Interrupted):
        work_and_be_interrupted(str(tmp_path))

    assert stops(tmp_path) == TWO_OF_THREE


def stops(folder: Path) -> set[str]:
    """Return which calls have started, and which were stopped."""
    return {path.name for path in folder.glob("st*-*")}


def test_a_process_that_dies_costs_only_the_call_that_ends_it_twice(
    use: Any, tmp_path: Path
) -> None:
    """What happened to the pool says nothing about the other calls: all of them come.

    They are tried again alone, and outcomes come in order, each from another process
    than this one; Prefect shows nothing as running.
    """
    use("processes")

    # The first one is over before the other begins: neither takes the other along.
    state: Any = halve_and_die(
        [8, 0, 5, 2, 10, 6],
        deadly={8: "once", 6: "always"},
        folder=str(tmp_path),
        return_state=True,
    )

    outcomes = state.result()
    assert [o for o in outcomes if isinstance(o, int)] == [4, 0, 1, 5]
    assert "It is odd" in outcomes[2]
    assert "The process of this task died twice" in outcomes[5]
    assert not (tmp_path / f"halved-in-{os.getpid()}").exists()
    run_id = str(state.state_details.flow_run_id)
    assert {run.state_name for run in ended_tasks(run_id, "halve_or_die-")} <= {
        *("Crashed", "Completed", "Failed"),
    }


@pytest.mark.parametrize("kind", CLUSTERS)
def test_a_worker_of_a_cluster_that_dies_costs_no_call(
    use: Any, tmp_path: Path, kind: str
) -> None:
    """The cluster of the run goes on, and all outcomes come, in order.

    A call that ends its worker each time it is tried is said to be lost.
    """
    use(kind)

    outcomes = halve_and_die(
        [0, 2, 5, 6, 8, 10],
        deadly={6: "once", 10: "always"},
        folder=str(tmp_path),
    )

    assert [o for o in outcomes if isinstance(o, int)] == [0, 1, 3, 4]
    assert "It is odd" in str(outcomes[2])
    assert f"The {kind} cluster lost this task" in str(outcomes[5])


def start_run(folder: Path) -> subprocess.Popen[bytes]:
    """Start a run whose two tasks work until they are told to stop."""
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.support.mapped_tasks", str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(str(folder), "started-*", 2)
    return run


def test_cluster_of_ones_own_is_used_within_bounds(
    use: Any, dask_cluster: str, tmp_path: Path
) -> None:
    """With an address the tasks go there, still no more at a time than asked for."""
    use("dask", dask_cluster)
    folder = tmp_path / "under-way"
    folder.mkdir()

    assert max(count_all(str(folder), 8, 3)) == 3


def test_tasks_on_a_cluster_outlive_no_killed_run(
    use: Any, dask_cluster: str, tmp_path: Path
) -> None:
    """A run is killed: its tasks on the cluster notice it and stop."""
    use("dask", dask_cluster)
    run = start_run(tmp_path)

    run.send_signal(signal.SIGKILL)
    run.wait(PATIENCE_SECONDS)

    wait_for(str(tmp_path), "stopped-*", 2)


@pytest.mark.parametrize("kind", ["processes", *CLUSTERS])
def test_signal_to_the_whole_group_lets_tasks_stop(
    use: Any, tmp_path: Path, kind: str
) -> None:
    """A run is cancelled as a process group: its tasks still come to a proper stop.

    No further one starts.
    """
    use(kind)
    run = start_run(tmp_path)
    children = psutil.Process(run.pid).children(recursive=True)

    os.killpg(run.pid, signal.SIGTERM)
    run.wait(PATIENCE_SECONDS)

    _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert stops(tmp_path) == TWO_OF_THREE
    assert alive == []


# Ray's own words, beside its error.
@pytest.mark.filterwarnings("ignore:Ray Client connection timed out:UserWarning")
@pytest.mark.parametrize("kind", CLUSTERS)
def test_cluster_that_is_away_is_one_sentence(
    use: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """An address where nothing listens fails the step, saying where and what to do."""
    monkeypatch.setenv("STASHHOG_RUNNER__TIMEOUT_SECONDS", "0.5")
    use(kind, f"{'tcp' if kind == 'dask' else kind}://127.0.0.1:9")

    @flow
    def one() -> None:
        with mapped(halve, [{"number": 2}], 1) as outcomes:
            list(outcomes)

    with pytest.raises(TransientError, match=rf"{kind} cluster does not answer \(\w+:"):
        one()


@pytest.mark.parametrize(
    ("kind", "package", "remedy"),
    [
        ("dask", "prefect_dask", "`make extras`"),
        ("ray", "prefect_ray", "pip install prefect-ray"),
    ],
)
def test_missing_package_is_named_with_how_to_install_it(
    use: Any, monkeypatch: pytest.MonkeyPatch, kind: str, package: str, remedy: str
) -> None:
    """A runner whose package is not installed is refused with what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    use(kind)

    with pytest.raises(ConfigurationError, match=remedy):
        task_runner(2)


# On a busy machine, four workers take minutes to start.
@pytest.mark.timeout(3600)
def test_a_killed_worker_of_dask_changes_nothing(
    few_services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that a dead worker had begun, or even ended, are harmless when repeated.

    Each scene is analyzed and each change is applied once, as on threads. Another
    program may have the port that Dask uses for its pages.
    """
    monkeypatch.setenv("STASHHOG_RUNNER__KIND", "dask")
    monkeypatch.setenv("STASHHOG_ANALYSIS__PARALLEL_BATCHES", "3")
    get_settings.cache_clear()
    # The cluster of other tests has some too.
    others = workers_of_pools()
    killed: list[psutil.Process] = []
    is_killed = threading.Event()
    first = threading.Lock()

    def hold_after_the_first(fields: set[str]) -> None:
        if "bulkSceneUpdate" in fields and not first.acquire(blocking=False):
            is_killed.wait(PATIENCE_SECONDS)

    def kill_a_worker() -> None:
        def is_applied() -> bool:
            with database.transaction() as session:
                applied = select(PlanChange.id).where(PlanChange.state == "applied")
                return session.scalar(applied.limit(1)) is not None

        # The run may take its time until then; the limit of this test counts.
        wait_until(is_applied, "the first applied change", seconds=3600)
        killed.append(next(one for one in workers_of_pools() if one not in others))
        kill_all(killed)
        is_killed.set()

    few_services.stash.faults.on_request = hold_after_the_first

    with socket.socket() as other, ThreadPoolExecutor(1) as killer:
        with suppress(OSError):
            other.bind(("", 8787))
            other.listen()
        killing = killer.submit(kill_a_worker)
        state = process_new_scenes(batch_size=1, return_state=True)
        killing.result()

    report: WorkflowReport = state.result(raise_on_failure=False)
    assert len(killed) == 1
    assert len(report.steps.analysis_batches) == len(few_services.readable)
    assert [batch.errors for batch in report.steps.analysis_batches] == [
        () for _ in report.steps.analysis_batches
    ]
    with database.transaction() as session:
        scenes = session.scalars(select(Scene.video_analyzed)).all()
        changes = session.execute(
            select(PlanChange.scene_id, PlanChange.field, PlanChange.proposed)
        ).all()
        states = set(session.scalars(select(PlanChange.state)))
    assert scenes == [True] * len(few_services.readable)
    assert len(changes) == len({str(change) for change in changes})
    assert states == {"applied"}
