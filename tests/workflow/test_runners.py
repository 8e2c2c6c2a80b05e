"""Mapped tasks on threads, processes and Dask: outcomes, bounds, stopping."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import flow

from flows.process_new_scenes import process_new_scenes
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
from tests.support.services import Services
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
KINDS = ("threads", "processes", "dask")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_come_in_order(use: Any, kind: str) -> None:
    """Results and errors come in the order of the calls; an error stops nothing."""
    use(kind)

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


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_run_stops_its_tasks(use: Any, tmp_path: Path, kind: str) -> None:
    """Tasks under way are told to stop, wherever they run; no further one starts."""
    use(kind)

    with pytest.raises(Interrupted):
        work_and_be_interrupted(str(tmp_path))

    names = {path.name for path in tmp_path.glob("st*-*")}
    assert names == {"started-0", "started-1", "stopped-0", "stopped-1"}


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_a_process_that_dies_once_costs_no_call(
    use: Any, tmp_path: Path, kind: str
) -> None:
    """What happened to the pool says nothing about the calls: all of them come."""
    use(kind)

    outcomes = halve_and_die(
        [0, 2, 4, 6, 8, 10], deadly=6, folder=str(tmp_path), always=False
    )

    assert outcomes == [0, 1, 2, 3, 4, 5]


def test_a_call_that_ends_its_process_twice_is_the_only_one_that_fails(
    use: Any, tmp_path: Path
) -> None:
    """Its neighbours are tried again alone, and Prefect shows nothing as running."""
    use("processes")

    state: Any = halve_and_die(
        [0, 2, 4, 6, 8, 10],
        deadly=6,
        folder=str(tmp_path),
        always=True,
        return_state=True,
    )

    outcomes = state.result()
    (failed,) = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert "The process of this task died twice" in failed
    assert [o for o in outcomes if o != failed] == [0, 1, 2, 4, 5]
    run_id = str(state.state_details.flow_run_id)
    assert {run.state_name for run in ended_tasks(run_id)} <= {"Crashed", "Completed"}


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


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_signal_to_the_whole_group_lets_tasks_stop(
    use: Any, tmp_path: Path, kind: str
) -> None:
    """A run is cancelled as a process group: its tasks still come to a proper stop."""
    use(kind)
    run = start_run(tmp_path)
    children = psutil.Process(run.pid).children(recursive=True)

    os.killpg(run.pid, signal.SIGTERM)
    run.wait(PATIENCE_SECONDS)

    _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert sorted(path.name for path in tmp_path.glob("stopped-*")) == [
        "stopped-0",
        "stopped-1",
    ]
    assert alive == []


def test_cluster_that_is_away_is_one_sentence(
    use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address where nothing listens fails the step, saying where and what to do."""
    monkeypatch.setenv("STASHHOG_RUNNER__TIMEOUT_SECONDS", "0.5")
    use("dask", "tcp://127.0.0.1:9")

    @flow
    def one() -> None:
        with mapped(halve, [{"number": 2}], 1) as outcomes:
            list(outcomes)

    with pytest.raises(TransientError, match=r"dask cluster does not answer \(tcp:"):
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


def test_analysis_batches_give_the_same_on_dask(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches on Dask's processes find, apply and report what they do on threads.

    Another program may have the port that Dask uses for its pages.
    """
    monkeypatch.setenv("STASHHOG_RUNNER__KIND", "dask")
    get_settings.cache_clear()

    with socket.socket() as other:
        with suppress(OSError):
            other.bind(("", 8787))
            other.listen()
        state = process_new_scenes(batch_size=5, return_state=True)

    report: WorkflowReport = state.result(raise_on_failure=False)
    first, second = report.steps.analysis_batches
    assert (first.batch_num, second.batch_num) == (1, 2)
    assert first.errors == second.errors == ()
    assert first.scenes_analyzed == 5
    assert second.scenes_analyzed == len(services.readable) - 5
    assert first.changes_applied == first.changes_approved > 0
    assert second.changes_applied == second.changes_approved > 0
    assert report.summary.total_scenes_analyzed == len(services.readable)
