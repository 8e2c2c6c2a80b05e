"""The report of all measurements, and what it is made from."""

from pathlib import Path

import pytest

from benchmarks import history
from benchmarks.measurement import Measurement
from benchmarks.report import html_page, markdown_page

GROWTH = Measurement(
    "check", 0.02, "exponent", 0.2, "max", ((1_000, 0.01), (1_000_000, 0.011))
)


def memory(value: float) -> Measurement:
    return Measurement("memory <peak> | all", value, "MB", 150, "max")


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, list[history.Kept]]:
    """Three runs; the last of them measured one subject only."""
    file = tmp_path / "results" / "history.jsonl"
    for measured in ([memory(120), GROWTH], [memory(140)], [memory(160.5)]):
        history.keep(measured, file)
    return {name: list(rows) for name, rows in history.read(file).items()}


def test_what_was_measured_is_kept_whole(kept: dict[str, list[history.Kept]]) -> None:
    """Values, goals and points come back as they were, with day and commit."""
    assert [row.measurement for row in kept["check"]] == [GROWTH]
    values = [row.measurement.value for row in kept[memory(0).name]]
    assert values == [120, 140, 160.5]
    assert all(row.day and row.commit for rows in kept.values() for row in rows)


def test_the_page_has_the_newest_values_and_their_past(
    kept: dict[str, list[history.Kept]],
) -> None:
    """A run of one subject takes no other from the page; names are written safely."""
    page = html_page(kept)

    assert "memory &lt;peak&gt; | all<td>160 MB" in page
    assert "<td>140, 120<td>" in page
    assert page.count('class="missed"') == 1
    assert 'aria-label="from 120 to 160"' in page
    assert page.count("<figure>") == 1


def test_the_table_in_markdown_says_the_same(
    kept: dict[str, list[history.Kept]],
) -> None:
    """A row for each value, whatever signs its name has."""
    rows = markdown_page(kept).splitlines()[4:]

    assert [row.count(" | ") for row in rows] == [5, 5]
    assert rows[0].startswith(r"| memory \<peak\> \| all | 160 MB | ≤ 150 | missed | ")
    assert rows[0].endswith(" | 140, 120 |")
