"""How cost grows with size: the fitted exponent, and its plot."""

import html
import math
import os
from collections.abc import Sequence

from benchmarks.measurement import Point

_LARGEST = int(os.environ.get("STASHHOG_TEST_BENCH_LARGEST", "100000"))
SIZES = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= _LARGEST]
"""The sizes that are measured."""

WIDTH, HEIGHT = 430, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 32, 12, 34


def exponent(points: Sequence[Point]) -> float:
    """Return the power of the size that the costs follow, by least squares.

    0: the cost does not depend on the size; 1: it grows as the size does.
    """
    slope, _ = _fit(points)
    return slope


def _fit(points: Sequence[Point]) -> tuple[float, float]:
    """Return exponent and factor of the power of the size nearest to the costs."""
    xs = [math.log(size) for size, _ in points]
    ys = [math.log(cost) for _, cost in points]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - x_mean) ** 2 for x in xs
    )
    return slope, math.exp(y_mean - slope * x_mean)


def plot(points: Sequence[Point], title: str) -> str:
    """Draw costs against sizes, both in powers of ten, with the fitted line."""
    slope, factor = _fit(points)
    fitted = [(size, factor * size**slope) for size, _ in points]
    sizes = _decades([size for size, _ in points])
    costs = _decades([cost for _, cost in [*points, *fitted]])

    def x(size: float) -> float:
        return _LEFT + _share(size, sizes) * (WIDTH - _LEFT - _RIGHT)

    def y(cost: float) -> float:
        return _TOP + (1 - _share(cost, costs)) * (HEIGHT - _TOP - _BOTTOM)

    def line(along: Sequence[Point], kind: str) -> str:
        places = " ".join(f"{x(size):.1f},{y(cost):.1f}" for size, cost in along)
        return f'<polyline class="{kind}" fill="none" points="{places}"/>'

    parts = []
    for power in range(sizes[0], sizes[1] + 1):
        at = x(10.0**power)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" ')
        parts.append(f'y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - _BOTTOM + 16}" ')
        parts.append(f'text-anchor="middle">{10**power:,}</text>')
    for power in range(costs[0], costs[1] + 1):
        at = y(10.0**power)
        parts.append(f'<line class="grid" y1="{at:.1f}" y2="{at:.1f}" ')
        parts.append(f'x1="{_LEFT}" x2="{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" ')
        parts.append(f'text-anchor="end">{10.0**power:g} s</text>')
    parts += [line(fitted, "fit"), line(points, "line")]
    for size, cost in points:
        parts.append(f'<circle cx="{x(size):.1f}" cy="{y(cost):.1f}" r="3">')
        parts.append(f"<title>{size:,.0f}: {cost:.4g} s</title></circle>")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    )


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten that the values lie between; never the same twice."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def _share(value: float, decades: tuple[int, int]) -> float:
    low, high = decades
    return (math.log10(value) - low) / (high - low)
