"""Which points of the main job were disturbed, how often, and by what."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from tests.support.chaos import BETWEEN_STEPS, STEPS, Disturbance, Point

POINT, DISTURBED = "point of chaos", "disturbed by chaos"
"""Names of the properties by which tests tell of points and disturbances."""

Property = tuple[str, Any]


def of_points(points: Counter[Point]) -> list[Property]:
    """Return the properties that tell of the points of an undisturbed run."""
    return [
        (POINT, (point.kind, point.detail, point.place, times))
        for point, times in points.items()
    ]


def of_disturbance(disturbance: Disturbance, *, reached: bool) -> Property:
    """Return the property that tells of a disturbance, and whether it came about."""
    point = disturbance.point
    where = (point.kind, point.detail, point.place)
    return DISTURBED, (*where, disturbance.what, reached)


def table(properties: Iterable[Property]) -> list[str]:
    """Return the lines of two tables: by point, and by trouble.

    A point that only a run meets that goes on after a trouble has no number of times.
    """
    times: dict[Point, int] = {}
    disturbed: Counter[Point] = Counter()
    drawn: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for name, facts in properties:
        if name == POINT:
            times[Point(*facts[:3])] = facts[3]
        elif name == DISTURBED:
            *where, what, is_reached = facts
            disturbed[Point(*where)] += is_reached
            drawn[what] += 1
            reached[what] += is_reached
    if not drawn:
        return []
    by_step: defaultdict[str, list[Point]] = defaultdict(list)
    for point in sorted(times.keys() | disturbed.keys()):
        by_step[point.step].append(point)
    lines = ["disturbed  times in a clean run  point"]
    for step in (*STEPS, BETWEEN_STEPS):
        lines.append(f"{step}: {len(by_step[step])} points")
        lines += [
            f"{disturbed[p]:9}  {times.get(p, 0):20}  {p.kind} {p.detail} {p.place}"
            for p in by_step[step]
        ]
    missed = [p for p in times if not disturbed[p]]
    lines.append(f"{len(times)} points, {len(missed)} of them never disturbed")
    lines += ["", "came about  drawn  trouble"]
    lines += [f"{reached[what]:10}  {drawn[what]:5}  {what}" for what in sorted(drawn)]
    return lines
