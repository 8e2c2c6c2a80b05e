"""Running checks: each in its own guard, in order, and within a limit of time."""

import threading
import time
from collections.abc import Callable

import pytest

from stashhog_core.errors import ConfigurationError
from stashhog_core.health.checks import (
    Check,
    Checkup,
    Finding,
    good,
    run_checks,
    summarized,
    warning,
)
from stashhog_core.settings import Settings


def check(name: str, result: object, *needs: str) -> Check:
    """Return a check that finds this, or raises it."""

    def run(_: Checkup) -> Finding | None:
        if isinstance(result, Exception):
            raise result
        assert result is None or isinstance(result, Finding)
        return result

    return Check(name, run, needs)


def states(*checks: Check) -> dict[str, str]:
    """Return how each check ended, in order."""
    with Checkup(Settings()) as checkup:
        return {line.name: line.state for line in run_checks(checkup, checks)}


def test_one_error_stays_that_of_its_check() -> None:
    """The others are made, and an error of ours brings its own remedy."""
    wrong = ConfigurationError("It is wrong", where="there", remedy="mend it")
    checks = [check("a", wrong), check("b", good("fine")), check("c", ValueError("x"))]
    with Checkup(Settings()) as checkup:
        a, b, c = run_checks(checkup, checks)

    assert (a.state, a.found, a.remedy) == ("failure", "It is wrong (there)", "mend it")
    assert b.state == "ok"
    assert (c.state, c.found) == ("failure", "ValueError: x")


def test_what_builds_on_a_failure_is_not_made() -> None:
    """Also at second hand; a warning hinders nothing."""
    found = states(
        check("a", ValueError("x")),
        check("b", good("b"), "a"),
        check("c", good("c"), "b"),
        check("d", warning("d", "mend d")),
        check("e", good("e"), "d"),
    )

    assert found == {
        "a": "failure",
        "b": "skipped",
        "c": "skipped",
        "d": "warning",
        "e": "ok",
    }


def test_a_check_that_does_not_apply_is_left_out() -> None:
    """And so is what builds on it."""
    assert states(check("a", None), check("b", good("b"), "a")) == {}


@pytest.mark.parametrize("count", [1, 40])
def test_a_check_that_hangs_is_a_failure(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result comes in time, with all that the others found."""
    is_over = threading.Event()
    now = time.monotonic
    ended: list[float] = []

    def first(_: Checkup) -> Finding:
        ended.append(now())
        return good("x")

    def hang(_: Checkup) -> Finding:
        is_over.wait()
        return good("late")

    def clock() -> float:
        # All but half a second of the limit passes when the first check has ended.
        return now() - ended[0] if ended else -1000.0

    checks = [Check("first", first), *_named(hang, count), check("z", good("z"))]
    with Checkup(Settings()) as checkup, monkeypatch.context() as patched:
        patched.setattr("stashhog_core.health.checks.time.monotonic", clock)
        lines = run_checks(checkup, checks, limit_seconds=1000.5)
    is_over.set()

    assert lines[0].state == "ok"
    assert {line.state for line in lines[1:-1]} == {"failure"}
    assert "did not end in time" in lines[1].found


def _named(run: Callable[[Checkup], Finding], count: int) -> list[Check]:
    return [Check(f"hangs {number}", run) for number in range(count)]


def test_the_summary_counts_the_lines() -> None:
    """A warning or a failure makes the job one with errors."""
    with Checkup(Settings()) as checkup:
        lines = run_checks(
            checkup,
            [
                check("a", ValueError("x")),
                check("b", good("b"), "a"),
                check("c", warning("c", "mend")),
                check("d", good("d")),
            ],
        )
    result = summarized(lines)

    assert (result.passed, result.warnings, result.failed, result.skipped) == (
        1,
        1,
        1,
        1,
    )
    assert result.status == "completed_with_errors"
    assert summarized(lines[3:]).status == "completed"
