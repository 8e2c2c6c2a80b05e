"""Charts as SVG text, without scripts and without styles of their own.

A small function draws them: a chart here is one line or a row of bars, which a library
would draw with a megabyte of script or of Python. Colours come from the style sheet.
"""

from collections.abc import Callable, Sequence
from datetime import date

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 420, 120
_LEFT, _BOTTOM, _TOP = 6, 18, 8


def line_chart(
    title: str,
    series: Sequence[tuple[date, float]],
    words: Callable[[float], str],
    top: float | None = None,
) -> Markup:
    """Return a line through values by day; bars would hide how they go on.

    Args:
        title: What it shows, for screen readers.
        series: Days in order, and a value for each.
        words: Words a value.
        top: The value at the upper edge; None: the highest one.
    """
    place = _Place(series, top)
    points = " ".join(f"{place.x(day):.1f},{place.y(v):.1f}" for day, v in series)
    marks = Markup("").join(
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>')
        .format(place.x(day), place.y(value), f"{day}: {words(value)}")
        for day, value in series
    )  # fmt: skip
    line = Markup('<polyline points="{}"/>').format(points)
    return _frame(title, series, words, line + marks)


def bar_chart(
    title: str, series: Sequence[tuple[date, float]], words: Callable[[float], str]
) -> Markup:
    """Return a bar for each day that has a value. Arguments as of `line_chart`."""
    place = _Place(series)
    width = max(2.0, min(14.0, place.day_width * 0.8))
    bars = Markup("").join(
        Markup(
            '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
            "<title>{}</title></rect>"
        ).format(
            place.x(day) - width / 2,
            place.y(value),
            width,
            max(1.0, _HEIGHT - _BOTTOM - place.y(value)),
            f"{day}: {words(value)}",
        )
        for day, value in series
    )
    return _frame(title, series, words, bars)


class _Place:
    """Where days and values lie in the picture."""

    def __init__(
        self, series: Sequence[tuple[date, float]], top: float | None = None
    ) -> None:
        days = [day for day, _ in series]
        self._first = min(days)
        self._days = max(1, (max(days) - self._first).days)
        self._most = top or max(value for _, value in series) or 1.0
        self.day_width = (_WIDTH - 4 * _LEFT) / (self._days + 1)

    def x(self, day: date) -> float:
        share = (day - self._first).days / self._days
        return 2 * _LEFT + share * (_WIDTH - 4 * _LEFT)

    def y(self, value: float) -> float:
        height = _HEIGHT - _BOTTOM - _TOP
        return _TOP + height * (1 - value / self._most)


def _frame(
    title: str,
    series: Sequence[tuple[date, float]],
    words: Callable[[float], str],
    content: Markup,
) -> Markup:
    first, last = series[0], series[-1]
    most = max(value for _, value in series)
    label = (
        f"{title}: {words(first[1])} on {first[0]}, {words(last[1])} on {last[0]}, "
        f"at most {words(most)}"
    )
    baseline = _HEIGHT - _BOTTOM
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        '<line class="axis" x1="{l}" y1="{b}" x2="{r}" y2="{b}"/>{content}'
        '<text x="{l}" y="{t}">{first}</text>'
        '<text x="{r}" y="{t}" text-anchor="end">{last}</text></svg>'
    ).format(
        w=_WIDTH,
        h=_HEIGHT,
        label=escape(label),
        l=_LEFT,
        r=_WIDTH - _LEFT,
        b=baseline,
        t=_HEIGHT - 4,
        content=content,
        first=first[0],
        last=last[0],
    )
