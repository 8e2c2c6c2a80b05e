"""The bars of runs and of their tasks."""

import threading
from collections.abc import Iterator
from io import StringIO

import httpx
import pytest
from prefect import flow
from rich.console import Console

from stashhog.cli.display import RunDisplay
from tasks.run_progress import (
    LOG_INTERVAL_SECONDS,
    LOG_LEAST_SECONDS,
    StepLog,
    line_listeners,
    listeners,
    task_progress,
    workflow_progress,
)
from tests.support.services import Services
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

Reports = list[tuple[float, str]]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged, milestones with their per cent."""
    reported: list[str] = []

    def listen(percent: float | None, message: str) -> None:
        reported.append(message if percent is None else f"{percent:.0f} {message}")

    line_listeners.append(listen)
    yield reported
    line_listeners.remove(listen)


@pytest.fixture
def reports() -> Iterator[Reports]:
    """What is told to whoever listens."""
    reported: Reports = []

    def listen(percent: float, message: str) -> None:
        reported.append((percent, message))

    listeners.append(listen)
    yield reported
    listeners.remove(listen)


@pytest.mark.usefixtures("services")
def test_tasks_move_the_bar_within_their_span(reports: Reports) -> None:
    """Tasks side by side add up; the bar passes no milestone that was not reached."""

    @flow
    def run() -> None:
        with workflow_progress("a-bar") as bar:
            bar.move(35, "batch 0/2")
            bar.span(35, 20)
            with task_progress("one") as one, task_progress("two") as two:
                one.items(15, 60, "Analyzed")
                two.items(30, 60, "Analyzed")
                one.items(60, 60, "Analyzed")
            with task_progress("apply") as apply:
                apply.items(1, 2, "Applied")
            bar.move(55, "batch 1/2")
            with task_progress("late") as late:
                late.items(1, 1, "Done")

    run()

    assert reports == [
        (35, "batch 0/2"),
        (40, "Analyzed 15/60"),
        (50, "Analyzed 30/60"),
        (55, "Analyzed 60/60"),
        (55, "Applied 1/2"),
        (55, "batch 1/2"),
        (55, "Done 1/1"),
    ]


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

    monkeypatch.setattr("tasks.run_progress.update_progress_artifact", refuse)
    monkeypatch.setattr(threading, "excepthook", broken.append)

    @flow
    def run() -> None:
        with workflow_progress("a-bar") as bar:
            bar.move(10, "start")
            bar.move(20, "more")
            assert sent.wait(PATIENCE_SECONDS)
            bar.move(30, "the end")

    run()

    assert broken == []
    said = "Prefect does not show the progress of this run: refused"
    assert caplog.text.count(said) == 2


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_log_tells_how_far_a_long_step_is(
    lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A nine-minute scan is told at each tenth, not at each of its 1,080 reports."""
    caplog.set_level("INFO", "stashhog_core.progress")
    clock = Clock()
    log = StepLog("stash_scan", clock)
    for half_second in range(1081):
        clock.now = 1000 + half_second / 2
        log.tell(half_second / 1080, f"Scanning {half_second}")

    expected = [
        f"stash_scan, {10 * tenth} % done: Scanning {108 * tenth}"
        for tenth in range(1, 11)
    ]
    assert lines == expected
    assert [record.getMessage() for record in caplog.records] == expected


def test_log_tells_once_a_minute_what_a_slow_step_does(lines: list[str]) -> None:
    """A share that is not known is not invented, and one that was is not repeated."""
    clock = Clock()
    log = StepLog("stash_scan", clock)
    for second in range(4 * 60):
        clock.now = 1000 + second
        log.tell(0.01 if 60 < second <= 125 else None, "Walking")

    assert len(lines) == 4 * 60 / LOG_INTERVAL_SECONDS - 1
    assert lines == [
        "stash_scan: Walking",
        "stash_scan, 1 % done: Walking",
        "stash_scan: Walking",
    ]


def test_log_says_nothing_of_a_step_that_ends_soon(lines: list[str]) -> None:
    """Ten tenths within ten seconds would only be noise."""
    clock = Clock()
    log = StepLog("sync", clock)
    for tenth in range(11):
        clock.now = 1000 + tenth * (LOG_LEAST_SECONDS - 1) / 10
        log.tell(tenth / 10, "Syncing")

    assert lines == []


def show(*, is_terminal: bool) -> str:
    console = Console(
        file=StringIO(), force_terminal=is_terminal, width=80, color_system=None
    )
    with RunDisplay(console) as display:
        display.say(20, "Stash metadata scan …")
        display(20, "Scanning... (a.mp4)")
        display.say(None, "stash_scan, 30 % done: Scanning... [b].mp4")
        display.say(30, "Stash metadata scan: done")
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_without_a_terminal_a_line_says_now_and_then_how_far_a_step_is() -> None:
    """Where there is no bar, each line of the log is shown."""
    assert show(is_terminal=False).splitlines() == [
        " 20 %  Stash metadata scan …",
        "       stash_scan, 30 % done: Scanning... [b].mp4",
        " 30 %  Stash metadata scan: done",
    ]


def test_in_a_terminal_the_bar_says_how_far_a_step_is() -> None:
    """The lines are the milestones."""
    shown = show(is_terminal=True)

    assert "30 % done" not in shown
    assert " 30 %  Stash metadata scan: done" in shown


@pytest.mark.usefixtures("services")
def test_a_long_task_of_a_run_is_logged(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the milestones of the run, by the task's own name and share."""
    monkeypatch.setattr("tasks.run_progress.LOG_LEAST_SECONDS", 0)

    @flow
    def run() -> None:
        with workflow_progress("a-bar") as bar:
            bar.move(20, "scan …")
            with task_progress("stash_scan") as progress:
                for hundredth in range(0, 40, 3):
                    progress.update(hundredth / 100, f"{hundredth}")
            bar.move(30, "scan: done")

    run()

    assert lines == [
        "20 scan …",
        "stash_scan, 12 % done: 12",
        "stash_scan, 21 % done: 21",
        "stash_scan, 30 % done: 30",
        "30 scan: done",
    ]
