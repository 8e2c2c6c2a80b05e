"""Progress moves forward and is where a job may be stopped."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.errors import JobCancelled
from stashhog_core.progress import Progress

fractions = st.lists(st.floats(-1, 2, allow_nan=False))


@given(fractions)
def test_a_bar_never_goes_back(reported: list[float]) -> None:
    """Whatever a job reports, what is shown only grows and stays within 0 and 1."""
    shown: list[float] = []
    progress = Progress(lambda fraction, _: shown.append(fraction or 0.0))

    for fraction in reported:
        progress.update(fraction, "")

    assert shown == sorted(shown)
    assert all(0 <= fraction <= 1 for fraction in shown)


def test_unknown_stays_unknown() -> None:
    """A share that nobody knows is not invented."""
    shown: list[float | None] = []
    progress = Progress(lambda fraction, _: shown.append(fraction))

    progress.update(0.5, "")
    progress.update(None, "")

    assert shown == [0.5, None]


def test_a_part_fills_its_place_in_the_whole() -> None:
    """The 0-1 of a part are its start and end in the whole."""
    shown: list[float | None] = []
    part = Progress(lambda fraction, _: shown.append(fraction)).within(0.2, 0.6)

    part.update(0.0, "")
    part.items(1, 2, "item")
    part.update(1.0, "")

    assert shown == pytest.approx([0.2, 0.4, 0.6])


def test_a_stop_ends_the_job_at_its_next_report() -> None:
    """Once a stop is asked for, no further report goes out, in parts neither."""
    stop = threading.Event()
    shown: list[str] = []
    progress = Progress(lambda _, message: shown.append(message), stop)
    progress.update(0.1, "before")
    stop.set()

    with pytest.raises(JobCancelled):
        progress.update(0.2, "after")
    with pytest.raises(JobCancelled):
        progress.within(0, 1).checkpoint()

    assert shown == ["before"]


def test_a_stop_ends_a_sleep() -> None:
    """A sleep asks for a stop before each of its parts, whoever does the waiting."""
    stop = threading.Event()
    parts: list[float] = []

    def wait(seconds: float) -> bool:
        parts.append(seconds)
        stop.set()
        return False

    with pytest.raises(JobCancelled):
        Progress(stop=stop).sleep(3600, wait)

    assert len(parts) == 1


def test_a_sleep_ends_early_when_its_reason_is_gone() -> None:
    """A waiter that returns True ends the sleep at once."""
    answers = iter([False, True])

    Progress().sleep(3600, lambda _: next(answers))

    assert list(answers) == []
