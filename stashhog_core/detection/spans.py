"""Spans of time in which a video shows a tag, and the proposals made from the spans.

The detectors store raw spans. Tag names, gaps and minimum lengths are applied to the
stored spans, so that a change of these settings needs no new look at the video.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.plans.proposals import (
    Proposal,
    add_marker,
    add_member,
    name_key,
)
from stashhog_core.settings.taggers import TaggerSettings

_DEFAULT_CONFIDENCE = 0.7
"""Confidence of a span for which the AI server states none. The tag has passed the
server's own threshold."""

# Two markers of one tag that are closer together than this count as the same marker.
_SAME_MARKER_SECONDS = 1.0


@dataclass(frozen=True)
class Span:
    """A tag is visible from `start` to `end` seconds; without an end, in one frame."""

    start: float
    end: float | None = None
    confidence: float | None = None


def read_spans(raw: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Return the valid spans in order of their start."""
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
    """Join spans that overlap or lie at most `gap_seconds` apart.

    The confidence of a joined span is the mean of its parts weighted by their length;
    a single frame has the length `frame_seconds`.
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
    """Return the length of a span in seconds; a span without an end is one frame."""
    return frame_seconds if span.end is None else span.end - span.start


def total_seconds(spans: Iterable[Span], frame_seconds: float) -> float:
    """Return the seconds during which the video shows a tag."""
    return sum(length(span, frame_seconds) for span in spans)


def confidence_of(
    spans: Sequence[Span], duration_seconds: float, frame_seconds: float
) -> float:
    """Return the confidence of a tag: that of its best span, raised by its coverage.

    The share of the video that shows the tag closes the same share of the distance to
    1; coverage never lowers a confidence.
    """
    best = max((span_confidence(span) for span in spans), default=_DEFAULT_CONFIDENCE)
    share = 0.0
    if duration_seconds > 0:
        share = min(1.0, total_seconds(spans, frame_seconds) / duration_seconds)
    return best + (1 - best) * share


def span_confidence(span: Span) -> float:
    """Return the confidence of a span, between 0 and 1."""
    if span.confidence is None:
        return _DEFAULT_CONFIDENCE
    return min(1.0, max(0.0, span.confidence))


class SpanProposals:
    """Turns the spans of a detector into proposals of tags and markers.

    Args:
        detector: Name of the detector.
        rule: Rule shown as evidence, such as `seen by the AI server`.
        settings: Tag names, gaps and minimum lengths.
    """

    def __init__(self, detector: str, rule: str, settings: TaggerSettings) -> None:
        self._detector = detector
        self._rule = rule
        self._settings = settings

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        """Return the tags that the video shows long enough, and the merged markers.

        Args:
            scene: The scene.
            output: `duration` in seconds, `spans` by category and tag, and optionally
                `tags` by category: the tags that the detector has already chosen by
                its own minimum lengths.
            names: The names that Stash has.
        """
        duration = output["duration"] or (scene.file and scene.file.duration_seconds)
        spans = {
            (category, tag): read_spans(raw)
            for category, tags in output["spans"].items()
            for tag, raw in tags.items()
        }
        return [
            *self._tags(scene, output, spans, duration or 0.0, names),
            *self._markers(scene, spans, names),
        ]

    def _tags(
        self,
        scene: SceneFacts,
        output: Mapping[str, Any],
        spans: Mapping[tuple[str, str], list[Span]],
        duration: float,
        names: StashNames,
    ) -> Iterator[Proposal]:
        interval = self._settings.frame_interval_seconds
        for category, tag in self._long_enough(output, spans):
            seen = spans.get((category, tag), [])
            member = self._member(tag, names)
            if member is not None and member[0] not in scene.tag_ids:
                yield add_member(
                    "tags",
                    *member,
                    confidence_of(seen, duration, interval),
                    self._detector,
                    self._evidence(category, seen, duration),
                )

    def _long_enough(
        self, output: Mapping[str, Any], spans: Mapping[tuple[str, str], list[Span]]
    ) -> list[tuple[str, str]]:
        """Return category and name of the tags that reach the minimum length."""
        if "tags" in output:
            return [(c, tag) for c, tags in output["tags"].items() for tag in tags]
        interval = self._settings.frame_interval_seconds
        least = self._settings.required_tag_seconds
        return [
            key for key, seen in spans.items() if total_seconds(seen, interval) >= least
        ]

    def _member(self, tag: str, names: StashNames) -> tuple[int | None, str] | None:
        """Return id and name of the tag; None: StashHog may not create it."""
        name = self._settings.tag_names.get(tag, tag)
        if not name:
            return None
        suffix = self._settings.tag_suffix
        if suffix and not name.endswith(suffix):
            name += suffix
        found = names.find_tag(name)
        if found is not None:
            return found
        return (None, name) if names.create_missing_tags else None

    def _evidence(
        self, category: str, spans: list[Span], duration: float
    ) -> dict[str, Any]:
        known = [s.confidence for s in spans if s.confidence is not None]
        seconds = total_seconds(spans, self._settings.frame_interval_seconds)
        evidence: dict[str, Any] = {
            "rule": self._rule,
            "category": category,
            "seconds": round(seconds, 2),
            "spans": len(spans),
        }
        if duration > 0:
            evidence["share"] = round(min(1.0, seconds / duration), 3)
        if spans:
            best = max(spans, key=lambda s: s.confidence or 0.0)
            evidence["second"] = best.start
        if known:
            evidence["mean_confidence"] = round(statistics.fmean(known), 3)
        return evidence

    def _markers(
        self,
        scene: SceneFacts,
        spans: Mapping[tuple[str, str], list[Span]],
        names: StashNames,
    ) -> Iterator[Proposal]:
        if not self._settings.markers:
            return
        for (category, tag), seen in spans.items():
            member = self._member(tag, names)
            if member is not None:
                yield from self._markers_of(scene, category, member, seen)

    def _markers_of(
        self,
        scene: SceneFacts,
        category: str,
        member: tuple[int | None, str],
        spans: list[Span],
    ) -> Iterator[Proposal]:
        tag_id, tag = member
        present = [
            marker.seconds
            for marker in scene.markers
            if name_key(tag) in (marker.tag, marker.title)
        ]
        interval = self._settings.frame_interval_seconds
        for span in merge(spans, self._settings.merge_gap_seconds, interval):
            if length(span, interval) < self._settings.least_marker_seconds:
                continue
            if any(abs(span.start - at) < _SAME_MARKER_SECONDS for at in present):
                continue
            evidence = {
                "rule": self._rule,
                "category": category,
                "second": span.start,
            }
            confidence = span_confidence(span)
            yield add_marker(
                tag_id, tag, span.start, span.end, confidence, self._detector, evidence
            )
