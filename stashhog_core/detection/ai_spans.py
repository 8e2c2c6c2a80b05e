"""Spans of time in which an AI server saw a tag: read, merged, measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SpansByTag = Mapping[str, Mapping[str, Sequence["Span"]]]
"""Category → tag → spans."""

_UNSAID_CONFIDENCE = 0.7
"""The server's own thresholds let a tag through that it gives no confidence for."""


@dataclass(frozen=True)
class Span:
    """A tag was seen from `start` to `end` seconds; no end: in one frame."""

    start: float
    end: float | None = None
    confidence: float | None = None


def read_spans(raw: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Return the spans that make sense, in order."""
    spans = []
    for span in raw:
        start, end, confidence = (
            span.get("start"),
            span.get("end"),
            span.get("confidence"),
        )
        if start is None or not _is_time(start):
            continue
        if end is not None and not (_is_time(end) and end >= start):
            continue
        if confidence is not None and not math.isfinite(confidence):
            confidence = None
        spans.append(Span(start, end, confidence))
    return sorted(spans, key=lambda span: span.start)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def merge(
    spans: Iterable[Span], gap_seconds: float, frame_seconds: float
) -> list[Span]:
    """Join spans that lie no further apart than `gap_seconds`, or overlap.

    The confidence of what was joined is the mean by length; a single frame counts
    `frame_seconds`.
    """
    merged: list[list[Span]] = []
    reach = -math.inf
    for span in sorted(spans, key=lambda span: span.start):
        if merged and span.start - reach <= gap_seconds:
            merged[-1].append(span)
        else:
            merged.append([span])
            reach = -math.inf
        reach = max(reach, span.end if span.end is not None else span.start)
    return [_joined(group, frame_seconds) for group in merged]


def _joined(group: list[Span], frame_seconds: float) -> Span:
    if len(group) == 1:
        return group[0]
    weights = [
        (length(span, frame_seconds) or frame_seconds, span.confidence)
        for span in group
        if span.confidence is not None
    ]
    total = sum(weight for weight, _ in weights)
    mean = sum(w * c for w, c in weights) / total if total else None
    end = max(s.start if s.end is None else s.end for s in group)
    return Span(group[0].start, end, mean)


def length(span: Span, frame_seconds: float) -> float:
    """Return how long a span is; one without an end is one frame."""
    return frame_seconds if span.end is None else span.end - span.start


def total_seconds(spans: Iterable[Span], frame_seconds: float) -> float:
    """Return how long a tag was seen in all."""
    return sum(length(span, frame_seconds) for span in spans)


def confidence_of(
    spans: Sequence[Span], duration_seconds: float, frame_seconds: float
) -> float:
    """Return how sure a tag is: its best span, and the more of the video the surer.

    Coverage closes part of what is left to certainty; it never lowers.
    """
    best = max((span_confidence(span) for span in spans), default=_UNSAID_CONFIDENCE)
    share = 0.0
    if duration_seconds > 0:
        share = min(1.0, total_seconds(spans, frame_seconds) / duration_seconds)
    return best + (1 - best) * share


def span_confidence(span: Span) -> float:
    """Return how sure a span is, between 0 and 1."""
    if span.confidence is None:
        return _UNSAID_CONFIDENCE
    return min(1.0, max(0.0, span.confidence))
