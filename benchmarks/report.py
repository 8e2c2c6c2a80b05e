"""The pages that show all measurements, how they changed, and how costs grow."""

import html
from collections.abc import Mapping, Sequence

from benchmarks.growth import plot
from benchmarks.history import Kept
from benchmarks.measurement import Measurement
from stashhog_core.markdown import table

_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:72em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;"
    "border-bottom:1px solid #ccc}.missed{color:#b00020}"
    "figure{display:inline-block;margin:.5em}svg{font-size:11px}"
    ".grid{stroke:#ddd}.fit{stroke:#888;stroke-dasharray:4}"
    ".line{fill:none;stroke:#0a58ca;stroke-width:2}"
)
_HEADINGS = ("What", "Value", "Goal", "", "Measured", "Earlier, the newest first")
_EARLIER = 5
_WIDTH, _HEIGHT, _MARGIN = 120, 24, 3

History = Mapping[str, Sequence[Kept]]


def html_page(history: History) -> str:
    """Return a page with the newest of all values, their past, and a plot of growths.

    Args:
        history: Name of what was measured → its values, the oldest first; at least one.
    """
    rows = "".join(map(_row, history.values()))
    newest = [kept[-1].measurement for kept in history.values()]
    plots = "".join(_figure(m) for m in newest if m.points)
    return (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
        f"<title>Measurements</title><style>{_STYLE}</style>"
        f"<h1>Measurements</h1><table><tr><th>{'<th>'.join(_HEADINGS)}<th>Course"
        f"{rows}</table>{plots}</html>\n"
    )


def markdown_page(history: History) -> str:
    """Return the same as a table in Markdown, without the plots."""
    rows = [
        dict(zip(_HEADINGS, _cells(kept), strict=True)) for kept in history.values()
    ]
    return f"# Measurements\n\n{table(rows)}"


def _cells(kept: Sequence[Kept]) -> list[str]:
    newest = kept[-1]
    m = newest.measurement
    earlier = [f"{k.measurement.value:.3g}" for k in kept[-2::-1][:_EARLIER]]
    return [
        m.name,
        f"{m.value:.3g} {m.unit}".strip(),
        f"{m.sign} {m.goal:g}",
        "met" if m.met else "missed",
        f"{newest.day}, {newest.commit}",
        ", ".join(earlier),
    ]


def _row(kept: Sequence[Kept]) -> str:
    cells = list(map(html.escape, _cells(kept)))
    missed = "" if kept[-1].measurement.met else ' class="missed"'
    cells[3] = f"<span{missed}>{cells[3]}</span>"
    return f"<tr><td>{'<td>'.join(cells)}<td>{_course(kept)}"


def _course(kept: Sequence[Kept]) -> str:
    """Draw the values from the oldest to the newest, beside the goal."""
    values = [k.measurement.value for k in kept]
    if len(values) == 1:
        return ""
    goal = kept[-1].measurement.goal
    low, high = min(*values, goal), max(*values, goal)

    def y(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return _MARGIN + (1 - share) * (_HEIGHT - 2 * _MARGIN)

    step = (_WIDTH - 2 * _MARGIN) / (len(values) - 1)
    places = " ".join(
        f"{_MARGIN + number * step:.1f},{y(value):.1f}"
        for number, value in enumerate(values)
    )
    label = "from " + " to ".join(f"{values[at]:.3g}" for at in (0, -1))
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f'<line class="fit" x1="0" x2="{_WIDTH}" y1="{y(goal):.1f}" '
        f'y2="{y(goal):.1f}"/><polyline class="line" points="{places}"/></svg>'
    )


def _figure(m: Measurement) -> str:
    title = f"{m.name}: exponent {m.value:.2f} ({m.sign} {m.goal:g})"
    return (
        f"<figure>{plot(m.points, title)}"
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
    )
