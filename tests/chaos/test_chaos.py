"""Runs of the main job that are disturbed, and one that is not: the end is the same.

`make chaos` draws more histories. A history can be played again by its number:
`STASHHOG_TEST_CHAOS_FIRST=17 STASHHOG_TEST_CHAOS_RUNS=1 make chaos`. Threads and the
time that Stash takes are not drawn, so a history is not repeated to the last request.
"""

import os
from collections.abc import Callable
from random import Random

import pytest

from tests.chaos.conftest import NewRound, Round, Undisturbed
from tests.support.chaos import (
    ANYWHERE,
    KILL,
    STEPS,
    Disturbance,
    drawn,
    drawn_for,
)
from tests.support.chaos_table import of_disturbance, of_points
from tests.support.end_state import differences
from tests.support.locks import wait_until_unlocked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

RUNS = int(os.environ.get("STASHHOG_TEST_CHAOS_RUNS", "5"))
FIRST = int(os.environ.get("STASHHOG_TEST_CHAOS_FIRST", "0"))
MOST_DISTURBANCES = 3
PARTS = 6

Note = Callable[[str, object], None]


def disturb(round_: Round, disturbance: Disturbance, note: Note) -> tuple[str, bool]:
    """Run with a disturbance, until the dead hold nothing.

    Returns:
        What happened, and whether the disturbance came about.
    """
    outcome = round_.run(disturbance)
    wait_until_unlocked(round_.database)
    round_.let_time_pass()
    note(*of_disturbance(disturbance, reached=outcome.reached))
    reached = "reached" if outcome.reached else "not reached"
    line = f"{disturbance}: {reached}, {outcome.state or outcome.exit_code}"
    print(line)
    return line, outcome.reached


def check_end(round_: Round, undisturbed: Undisturbed, history: list[str]) -> None:
    """Run undisturbed; the end must be that of a single undisturbed run."""
    last = round_.run()
    wait_until_unlocked(round_.database)
    found = differences(undisturbed.end_state, round_.end_state())
    if found:
        log = round_.setting.log.read_text()
        pytest.fail("\n".join([*history, f"at last: {last.state}", *found, log]))


def test_each_step_has_points(undisturbed: Undisturbed, record_property: Note) -> None:
    """A clean run comes by points of all six steps, so each of them is disturbed."""
    for note in of_points(undisturbed.points):
        record_property(*note)

    assert {point.step for point in undisturbed.points} >= set(STEPS)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_may_be_killed_at_each_point(
    part: int, new_round: NewRound, undisturbed: Undisturbed, record_property: Note
) -> None:
    """Each run is killed further on than the one before; the next one goes on.

    What an earlier run of a history has done, a later one need not do again: the points
    that the runs did not reach come in a further history.
    """
    points = list(undisturbed.points)[part::PARTS]
    readings = undisturbed.readings
    while points:
        missed = []
        history = []
        with new_round(readings) as round_:
            for point in points:
                kill = Disturbance(point, 1, KILL)
                line, reached = disturb(round_, kill, record_property)
                history.append(line)
                if not reached:
                    missed.append(point)
            check_end(round_, undisturbed, history)

        assert len(missed) < len(points), "\n".join(history)
        # Some points come only with a title card that was not read before.
        points, readings = missed, []


@pytest.mark.parametrize("what", [what for what in ANYWHERE if what != KILL])
def test_each_trouble_may_come_at_any_point(
    what: str, new_round: NewRound, undisturbed: Undisturbed, record_property: Note
) -> None:
    """Whatever happens to a run, to another one or to a server: the end is the same."""
    chance = Random(f"{what} {FIRST}")
    reached = False
    while not reached:
        disturbance = drawn_for(what, undisturbed.points, chance)
        with new_round(undisturbed.readings) as round_:
            line, reached = disturb(round_, disturbance, record_property)
            check_end(round_, undisturbed, [line])


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_disturbed_runs_end_as_one_that_is_not(
    seed: int, new_round: NewRound, undisturbed: Undisturbed, record_property: Note
) -> None:
    """Whatever disturbs runs, after one more the end is that of a clean run."""
    chance = Random(seed)
    with new_round(undisturbed.readings) as round_:
        history = [
            disturb(round_, drawn(undisturbed.points, chance), record_property)[0]
            for _ in range(chance.randint(1, MOST_DISTURBANCES))
        ]
        check_end(round_, undisturbed, history)
