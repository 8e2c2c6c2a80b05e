"""The exponent of a growth, and its plot."""

import re

import pytest

from benchmarks.growth import HEIGHT, WIDTH, exponent, plot

SIZES = (1_000, 10_000, 100_000, 1_000_000)


@pytest.mark.parametrize("power", [0, 0.2, 1, 1.05, 2])
def test_exponent_of_a_power(power: float) -> None:
    """The exponent of a power is found whatever the unit of the costs is."""
    points = [(size, 3.7 * size**power) for size in SIZES]

    assert exponent(points) == pytest.approx(power)


def test_exponent_of_scattered_costs() -> None:
    """Costs that scatter around a power have its exponent."""
    points = [(1, 2.0), (10, 5.0), (100, 200.0), (1000, 500.0)]

    assert exponent(points) == pytest.approx(0.88, abs=0.01)


def test_a_plot_has_a_point_for_each_size() -> None:
    """And each of them lies within the picture."""
    points = [(1_000, 0.04), (100_000, 0.5), (1_000_000, 5.0)]

    places = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', plot(points, "<growth>"))

    assert len(places) == 3
    for x, y in places:
        assert 0 < float(x) < WIDTH
        assert 0 < float(y) < HEIGHT
    assert "&lt;growth&gt;" in plot(points, "<growth>")
