"""From spans in which tags were seen to proposals: tags and markers.

What was seen is kept as it is; names, gaps and least lengths are applied to that, so
that changing them needs no second look.
"""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from stashhog_core.detection.ai_spans import (
    Span,
    confidence_of,
    length,
    merge,
    read_spans,
    span_confidence,
    total_seconds,
)
from stashhog_core.detection.reader import Knowledge
from stashhog_core.detection.scenes import SceneFacts
from stashhog_core.plans.proposals import (
    Proposal,
    add_marker,
    add_member,
    member_key,
)
from stashhog_core.settings.taggers import TaggerSettings

# Two markers of one tag nearer than this are the same.
_SAME_MARKER_SECONDS = 1.0


class SpanProposals:
    """Proposes what spans say, by the settings of whoever saw them.

    Args:
        detector: Name of the detector.
        rule: What stands as evidence, such as `seen by the AI server`.
        settings: Names, gaps and least lengths.
    """

    def __init__(self, detector: str, rule: str, settings: TaggerSettings) -> None:
        self._detector = detector
        self._rule = rule
        self._settings = settings

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return the tags that were seen long enough, and a marker per merged span.

        Args:
            scene: The scene.
            output: `duration` in seconds, `spans` by category and tag, and `tags` by
                category where the seer has judged by itself which ones count.
            knowledge: What Stash knows.
        """
        duration = output["duration"] or (scene.file and scene.file.duration_seconds)
        spans = {
            (category, tag): read_spans(raw)
            for category, tags in output["spans"].items()
            for tag, raw in tags.items()
        }
        return [
            *self._tags(scene, output, spans, duration or 0.0, knowledge),
            *self._markers(scene, spans, knowledge),
        ]

    def _tags(
        self,
        scene: SceneFacts,
        output: Mapping[str, Any],
        spans: Mapping[tuple[str, str], list[Span]],
        duration: float,
        knowledge: Knowledge,
    ) -> Iterator[Proposal]:
        interval = self._settings.frame_interval_seconds
        for category, tag in self._long_enough(output, spans):
            seen = spans.get((category, tag), [])
            member = self._member(tag, knowledge)
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
        """Return category and name of the tags that were seen long enough."""
        if "tags" in output:
            return [(c, tag) for c, tags in output["tags"].items() for tag in tags]
        interval = self._settings.frame_interval_seconds
        least = self._settings.required_tag_seconds
        return [
            key for key, seen in spans.items() if total_seconds(seen, interval) >= least
        ]

    def _member(self, tag: str, knowledge: Knowledge) -> tuple[int | None, str] | None:
        """Return id and name of the tag; None if Stash lacks it and may not get it."""
        name = self._settings.tag_names.get(tag, tag)
        if not name:
            return None
        suffix = self._settings.tag_suffix
        if suffix and not name.endswith(suffix):
            name += suffix
        found = knowledge.find_tag(name)
        if found is not None:
            return found
        return (None, name) if knowledge.create_missing_tags else None

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
        knowledge: Knowledge,
    ) -> Iterator[Proposal]:
        if not self._settings.markers:
            return
        for (category, tag), seen in spans.items():
            member = self._member(tag, knowledge)
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
            if member_key(tag) in (marker.tag, marker.title)
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
            sure = span_confidence(span)
            yield add_marker(
                tag_id, tag, span.start, span.end, sure, self._detector, evidence
            )
