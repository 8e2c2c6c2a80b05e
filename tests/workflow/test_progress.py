"""The bars of runs and of their tasks."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from prefect import flow

from tasks._progress import listeners, task_progress, workflow_progress
from tests.services import Services

pytestmark = pytest.mark.slow

Reports = list[tuple[float, str]]


@pytest.fixture
def reports() -> Iterator[Reports]:
    """What is told to whoever listens."""
    told: Reports = []

    def listen(percent: float, message: str) -> None:
        told.append((percent, message))

    listeners.append(listen)
    yield told
    listeners.remove(listen)


@pytest.mark.parametrize(
    ("is_one_task", "percents"), [(True, [10, 50, 50, 60]), (False, [10, 10, 10, 10])]
)
@pytest.mark.usefixtures("services")
def test_a_task_moves_the_bar_of_a_flow_that_is_nothing_else(
    reports: Reports, is_one_task: bool, percents: list[float]
) -> None:
    """Forward only; it stays where it is while nobody knows how far the task is."""

    @flow
    def run() -> None:
        with workflow_progress("a-bar", is_one_task=is_one_task) as bar:
            bar.move(10, "start")
            with task_progress("work") as progress:
                progress.update(0.5, "half")
                progress.update(None, "who knows")
                progress.update(0.6, "more")

    run()

    assert reports == list(
        zip(percents, ["start", "half", "who knows", "more"], strict=True)
    )


def test_a_task_alone_has_a_bar_that_does_not_go_back(
    reports: Reports, services: Services
) -> None:
    """Not knowing how far it is does not mean the beginning."""
    with task_progress("work") as progress:
        progress.update(0.5, "half")
        progress.update(None, "who knows")

    assert reports == [(50, "half"), (50, "who knows")]


@pytest.mark.usefixtures("services")
def test_a_server_that_is_gone_breaks_no_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the run nor in the thread that sends what came meanwhile."""
    sent = threading.Event()
    broken: list[threading.ExceptHookArgs] = []

    def refuse(*_: object, **__: object) -> None:
        sent.set()
        raise httpx.ConnectError("refused")

    monkeypatch.setattr("tasks._progress.update_progress_artifact", refuse)
    monkeypatch.setattr(threading, "excepthook", broken.append)

    @flow
    def run() -> None:
        with workflow_progress("a-bar") as bar:
            bar.move(10, "start")
            bar.move(20, "more")
            assert sent.wait(10)
            bar.move(30, "the end")

    run()

    assert broken == []
    said = "Prefect does not show the progress of this run: refused"
    assert caplog.text.count(said) == 2
