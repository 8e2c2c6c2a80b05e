"""Runs of the main job that are disturbed, and one that is not: the end is the same.

`make chaos` draws more histories. A history can be played again by its number:
`STASHHOG_TEST_CHAOS_FIRST=17 STASHHOG_TEST_CHAOS_RUNS=1 make chaos`. Threads and the
time that Stash takes are not drawn, so a history is not repeated to the last request.
`STASHHOG_TEST_CHAOS_VIDEOS=300` adds so many short videos, in batches of a hundred.
"""

import os
from collections.abc import Callable, Sequence
from itertools import zip_longest
from random import Random

import pytest

from stashhog_core.batches import batched
from tests.chaos.conftest import FOLDER, KINDS, QBITTORRENT, Round, Rounds, Undisturbed
from tests.support.chaos import (
    ANYWHERE,
    ENDS,
    KILL,
    MAPPED_KILLED,
    STEPS,
    Disturbance,
    drawn,
    drawn_for,
)
from tests.support.chaos_table import of_disturbance, of_points
from tests.support.end_state import differences
from tests.support.locks import wait_until_unlocked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]

RUNS = int(os.environ.get("STASHHOG_TEST_CHAOS_RUNS", "2"))
FIRST = int(os.environ.get("STASHHOG_TEST_CHAOS_FIRST", "1"))
MOST_RUNS = 3
MOST_AT_ONCE = 2
PARTS = 3
IN_PROCESSES = 3
"""Each third history with a watch folder has its mapped tasks in processes."""

Note = Callable[[str, object], None]


def disturb(
    round_: Round, disturbances: Sequence[Disturbance], note: Note
) -> tuple[str, list[Disturbance]]:
    """Run with disturbances, until the dead hold nothing.

    Returns:
        What happened, and the disturbances that came about.
    """
    outcome = round_.run(*disturbances)
    wait_until_unlocked(round_.database)
    round_.let_time_pass()
    for disturbance in disturbances:
        note(*of_disturbance(disturbance, reached=disturbance in outcome.reached))
    reached = "; ".join(map(str, outcome.reached)) or "nothing"
    line = f"{reached}: {outcome.state or outcome.exit_code}"
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


def together() -> list[tuple[str, ...]]:
    """Return the troubles that come in the same runs: in twos, and then the end."""
    ends = [what for what in ENDS if what != KILL]
    twos = batched([what for what in ANYWHERE if what not in ENDS], 2)
    return [
        (*two, *end) for two, end in zip_longest(twos, batched(ends, 1), fillvalue=())
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_each_step_has_points(kind: str, rounds: Rounds, record_property: Note) -> None:
    """A clean run comes by points of all six steps, so each of them is disturbed."""
    points = rounds.undisturbed(kind).points
    for note in of_points(points):
        record_property(*note)

    assert {point.step for point in points} >= set(STEPS)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_may_be_killed_at_each_point(
    part: int, rounds: Rounds, record_property: Note
) -> None:
    """Each run is killed further on than the one before; the next one goes on.

    What an earlier run of a history has done, a later one need not do again: the points
    that the runs did not reach come in a further history.
    """
    undisturbed = rounds.undisturbed(QBITTORRENT)
    points = list(undisturbed.points)[part::PARTS]
    while points:
        missed = []
        history = []
        with rounds.new(QBITTORRENT) as round_:
            for point in points:
                kill = Disturbance(point, 1, KILL)
                line, reached = disturb(round_, [kill], record_property)
                history.append(line)
                if not reached:
                    missed.append(point)
            check_end(round_, undisturbed, history)

        assert len(missed) < len(points), "\n".join(history)
        points = missed


@pytest.mark.parametrize("troubles", together())
def test_each_trouble_may_come_at_any_point(
    troubles: tuple[str, ...], rounds: Rounds, record_property: Note
) -> None:
    """Whatever happens to a run, to another one or to a server: the end is the same."""
    undisturbed = rounds.undisturbed(QBITTORRENT)
    chance = Random(f"{troubles} {FIRST}")
    left = list(troubles)
    while left:
        disturbances = drawn_for(left, undisturbed.points, chance)
        with rounds.new(QBITTORRENT) as round_:
            line, reached = disturb(round_, disturbances, record_property)
            check_end(round_, undisturbed, [line])
        came = {disturbance.what for disturbance in reached}
        left = [what for what in left if what not in came]


def kill_of_a_process(undisturbed: Undisturbed) -> Disturbance:
    """Return the kill of the first process of mapped tasks that works."""
    before = next(point for point in undisturbed.points if point.step == "sync")
    return Disturbance(before, 1, MAPPED_KILLED)


def test_a_process_of_mapped_tasks_may_be_killed(
    rounds: Rounds, record_property: Note
) -> None:
    """What it worked on is done by another one, and the end is that of threads."""
    undisturbed = rounds.undisturbed(FOLDER)
    with rounds.new(FOLDER, in_processes=True) as round_:
        kill = kill_of_a_process(undisturbed)
        line, _ = disturb(round_, [kill], record_property)
        assert round_.outside.killed
        check_end(round_, undisturbed, [line])


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_disturbed_runs_end_as_one_that_is_not(
    seed: int, rounds: Rounds, record_property: Note
) -> None:
    """Whatever disturbs runs, after one more the end is that of a clean run."""
    chance = Random(seed)
    kind = KINDS[seed % len(KINDS)]
    in_processes = kind == FOLDER and seed % IN_PROCESSES == 0
    undisturbed = rounds.undisturbed(kind)
    with rounds.new(kind, in_processes=in_processes) as round_:
        history = []
        for _ in range(chance.randint(1, MOST_RUNS)):
            at_once = chance.randint(1, MOST_AT_ONCE)
            disturbances = [drawn(undisturbed.points, chance) for _ in range(at_once)]
            if in_processes:
                disturbances.append(kill_of_a_process(undisturbed))
            history.append(disturb(round_, disturbances, record_property)[0])
        check_end(round_, undisturbed, history)
