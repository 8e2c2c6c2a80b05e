"""Sync against what it cannot avoid, downloading; and storing against the ORM.

On a made-up library, and on the Stash that `STASHHOG_TEST_STASH_URL` names, if any.
Server, database and sync share the machine: so what is compared is measured in turns,
and the best of each counts.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count

from benchmarks.measurement import Measurement, processor_seconds, seconds
from benchmarks.sync_place import GIVEN_URL, Place, given, stand_in
from benchmarks.sync_store import measure_storing

_SCENES = int(os.environ.get("STASHHOG_TEST_BENCH_SCENES", "100000"))
_ROUNDS = 3
_CHANGED = 10


def measure() -> Iterator[Measurement]:
    """Yield the values that the issue of sync names goals for."""
    with stand_in(_SCENES) as place:
        name = f"{_SCENES} scenes"
        yield from _syncing(place, name)
        yield _few_changed(place, name)
        yield from measure_storing(place, place.scene_ids(), _ROUNDS)
    yield from _growth(_SCENES // 20, 2 * _SCENES)
    sizes = (_SCENES // 5, _SCENES, 2 * _SCENES)
    used = []
    for scenes in sizes:
        with stand_in(scenes) as place:
            used.append(_memory(place))
            print(f"   peak memory, {scenes} scenes: {used[-1]:.0f} MB")
    yield Measurement(f"peak memory, {sizes[1]} scenes", used[1], "MB", 300, "max")
    yield Measurement(
        f"peak memory, {sizes[2]} / {sizes[0]} scenes",
        used[2] / used[0],
        "times",
        1.3,
        "max",
    )
    if GIVEN_URL:
        with given() as place:
            yield from _syncing(place, "the given Stash")


def _syncing(place: Place, library: str) -> Iterator[Measurement]:
    """Measure what only reads the server."""
    ids = place.scene_ids()

    def download() -> None:
        place.download_all(ids)

    # The first requests also warm the server.
    download()
    yield _ratio(
        f"first sync / bare download, {library}",
        *_in_turns(place.sync, download, before=place.forget),
        1.35,
    )
    yield _ratio(
        f"full sync of what is mirrored / bare download, {library}",
        *_in_turns(lambda: place.sync(force=True), download),
        1.15,
    )
    mine, theirs = _in_turns(
        place.sync, place.download_by_stashapp_tools, before=place.forget, rounds=1
    )
    print(f"   first sync {mine:.2f} s, stashapp-tools {theirs:.2f} s")
    yield Measurement(
        f"stashapp-tools, storing nothing / first sync, {library}",
        theirs / mine,
        "times",
        1,
        "min",
    )
    place.sync()
    yield _ratio(
        f"verification of all scenes / bare download, {library}",
        *_in_turns(place.verify, download),
        1.15,
    )
    yield _ratio(
        f"sync with nothing changed / light listings, {library}",
        *_in_turns(place.sync, place.download_listings, rounds=2 * _ROUNDS),
        1.2,
    )


def _few_changed(place: Place, library: str) -> Measurement:
    few = place.scene_ids()[::100]
    numbers = iter(range(_ROUNDS))

    def edit() -> None:
        number = next(numbers)
        for scene_id in few:
            place.stash.update_scene(scene_id, {"title": f"Round {number}"})

    def theirs() -> None:
        place.download_listings()
        place.download(few)

    return _ratio(
        f"sync with 1 % changed / light listings and those, {library}",
        *_in_turns(place.sync, theirs, before=edit),
        1.3,
    )


def _growth(few: int, many: int) -> Iterator[Measurement]:
    """Measure how the work that finds little grows with the library.

    The processor time of this process counts: the stand-in has no index for times of
    change, as Stash has none.
    """
    with stand_in(few) as small, stand_in(many) as large:
        places = (large, small)
        for place in places:
            place.sync()
        numbers = count()

        def edit() -> None:
            number = next(numbers)
            for place in places:
                for scene_id in range(1, 1 + _CHANGED):
                    fields = {"title": f"Time {number}"}
                    place.stash.update_scene(scene_id, fields)

        sizes = f"{many} / {few} scenes"
        yield _ratio(
            f"processor time of a check that finds nothing, {sizes}",
            *_in_turns(
                large.check,
                small.check,
                rounds=5 * _ROUNDS,
                measured=processor_seconds,
            ),
            1.5,
        )
        yield _ratio(
            f"processor time of a sync of {_CHANGED} changed scenes, {sizes}",
            *_in_turns(
                large.sync,
                small.sync,
                before_both=edit,
                rounds=5 * _ROUNDS,
                measured=processor_seconds,
            ),
            1.5,
        )


def _in_turns(
    mine: Callable[[], object],
    theirs: Callable[[], object],
    *,
    before: Callable[[], object] = lambda: None,
    before_both: Callable[[], object] = lambda: None,
    rounds: int = _ROUNDS,
    measured: Callable[[Callable[[], object]], float] = seconds,
) -> tuple[float, float]:
    """Return the shortest time of each; `before` comes before each of `mine`."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        before_both()
        other = measured(theirs)
        before()
        times.append((measured(mine), other))
    return min(t[0] for t in times), min(t[1] for t in times)


def _ratio(name: str, mine: float, theirs: float, goal: float) -> Measurement:
    print(f"   {name}: {mine:.3f} s / {theirs:.3f} s")
    return Measurement(name, mine / theirs, "times", goal, "max")


def _memory(place: Place) -> float:
    """Return the most memory, in MB, that a process syncing everything takes."""
    command = [sys.executable, "-m", "benchmarks.sync_memory"]
    output = subprocess.run(
        [*command, place.stash_url, place.database_url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(output)
