"""Spans of time: reading, merging and measuring them."""

import math

import pytest

from stashhog_core.detection.spans import (
    Span,
    confidence_of,
    merge,
    read_spans,
    total_seconds,
)


def test_neighbours_are_merged() -> None:
    """Gaps up to the limit and overlaps are joined; confidence is a mean by length."""
    spans = [Span(10, 12, 0.4), Span(0, 6, 0.8), Span(20, 22, 0.9), Span(5, 7, 0.8)]

    merged = merge(spans, gap_seconds=4, frame_seconds=2)

    assert [(s.start, s.end) for s in merged] == [(0, 12), (20, 22)]
    assert merged[0].confidence == pytest.approx((6 * 0.8 + 2 * 0.8 + 2 * 0.4) / 10)


def test_single_frame_stays_open_until_it_is_merged() -> None:
    """A span without an end is one frame: it gets an end from its neighbours only."""
    assert merge([Span(5)], 4, 2) == [Span(5)]
    assert merge([Span(5), Span(8)], 4, 2) == [Span(5, 8)]
    assert total_seconds([Span(5), Span(10, 13)], 2) == 5


def test_contained_span_does_not_end_its_hull() -> None:
    """A long span with a short one inside reaches to its own end."""
    assert merge([Span(0, 60), Span(1, 2), Span(62, 63)], 4, 2) == [Span(0, 63)]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({"start": math.nan, "end": 3.0}, id="nan"),
        pytest.param({"start": 1.0, "end": math.inf}, id="infinite"),
        pytest.param({"start": -1.0, "end": 3.0}, id="negative"),
        pytest.param({"start": 5.0, "end": 3.0}, id="backwards"),
        pytest.param({"end": 3.0}, id="no start"),
    ],
)
def test_senseless_spans_are_left_out(raw: dict[str, float]) -> None:
    """The others of the tag count."""
    assert read_spans([raw, {"start": 0, "end": 1}]) == [Span(0, 1)]


def test_confidence_is_between_the_best_span_and_certainty() -> None:
    """The more of the video, the surer; never more than 1, also for odd numbers."""
    spans = [Span(0, 50, 0.6)]

    assert confidence_of(spans, 100, 2) == pytest.approx(0.8)
    assert confidence_of(spans, 0, 2) == 0.6
    assert confidence_of([Span(0, 500, 1.7)], 100, 2) == 1
