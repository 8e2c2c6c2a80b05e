"""Detector `ai_server`: tags and markers by an AI server.

With `STASHHOG_AI_SERVER__URL` set this is what `detect_video_tags` means. What the
server saw is kept as it is; names, gaps and least lengths are applied to that, so that
changing them needs no second look.
"""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from stashhog_core.analysis.ai_client import AiClient
from stashhog_core.analysis.ai_gate import Gate
from stashhog_core.analysis.ai_spans import (
    Span,
    confidence_of,
    length,
    merge,
    read_spans,
    span_confidence,
    total_seconds,
)
from stashhog_core.analysis.proposals import (
    Proposal,
    add_marker,
    add_member,
    member_key,
    remove_member,
)
from stashhog_core.analysis.scenes import SceneFacts
from stashhog_core.analysis.video import Knowledge
from stashhog_core.errors import Deferred, ItemError
from stashhog_core.paths import PathMap
from stashhog_core.settings import AiServerSettings

NAME = "ai_server"
VERSION = "2"

ASKED_FOR = "AI_TagMe"
TAGGED = "AI_Tagged"
ERRORED = "AI_Errored"

# Two markers of one tag nearer than this are the same.
_SAME_MARKER_SECONDS = 1.0


class AiServer(AiClient):
    """An AI server as something that looks at videos.

    Args:
        settings: Its address, how it looks at videos, what is made of its answers.
        transport: What carries the requests; None: the network.
        gate: Lets requests through; None: the one shared in this process.
        retry_delays_seconds: Pauses before a request is tried again; None: the usual.
    """

    name = NAME
    version = VERSION

    def __init__(
        self,
        settings: AiServerSettings,
        transport: httpx.BaseTransport | None = None,
        gate: Gate | None = None,
        retry_delays_seconds: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(settings, transport, gate, retry_delays_seconds)
        self._paths = PathMap(settings.path_map)

    @property
    def parallel(self) -> int:
        """How many videos may be looked at at a time."""
        return self._settings.parallel_requests

    @property
    def configuration(self) -> str:
        """What the server's answer depends on beside the video and its models."""
        return (
            f"{self._settings.interface}"
            f";interval={self._settings.frame_interval_seconds:g}"
            f";threshold={self._settings.threshold:g}"
            f"{';vr' if self._settings.vr_video else ''}"
        )

    def is_complete(self, output: Mapping[str, Any]) -> bool:
        """Tell whether all models that are loaded now have seen the video.

        While the server is away, what was seen is taken for all there is.
        """
        try:
            return bool(output["model_set"] == self.model_set())
        except Deferred:
            return True

    def look(
        self, scene: SceneFacts, known: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Return the server's tags and spans; categories in `known` stay."""
        if scene.file is None:
            raise ItemError("The scene has no file")
        return self.process(self._paths.to_local(scene.file.path), known)

    look_again = look

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return the tags the server is content with, and a marker per merged span."""
        duration = output["duration"] or (scene.file and scene.file.duration_seconds)
        interval = self._settings.frame_interval_seconds
        spans = {
            (category, tag): read_spans(raw)
            for category, tags in output["spans"].items()
            for tag, raw in tags.items()
        }
        proposals: list[Proposal] = []
        for category, tag in self._tags(output, spans):
            seen = spans.get((category, tag), [])
            member = self._member(tag, knowledge)
            if member is not None and member[0] not in scene.tag_ids:
                proposals.append(
                    add_member(
                        "tags",
                        *member,
                        confidence_of(seen, duration or 0.0, interval),
                        NAME,
                        self._evidence(category, seen, duration or 0.0),
                    )
                )
        for (category, tag), seen in spans.items():
            member = self._member(tag, knowledge)
            if member is not None and self._settings.markers:
                proposals += self._markers(scene, category, member, seen)
        return proposals + self._status(scene, TAGGED, (ASKED_FOR, ERRORED), knowledge)

    def propose_failure(
        self, scene: SceneFacts, reason: str, knowledge: Knowledge
    ) -> list[Proposal]:
        """Return the status tags of a scene that the server could not do."""
        return self._status(scene, ERRORED, (ASKED_FOR,), knowledge, reason)

    def _tags(
        self, output: Mapping[str, Any], spans: Mapping[tuple[str, str], list[Span]]
    ) -> list[tuple[str, str]]:
        """Return category and name of the tags that were seen long enough."""
        if "tags" in output:
            # Interface 1 has judged by the server's own required lengths.
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
            "rule": "seen by the AI server",
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
                "rule": "seen by the AI server",
                "category": category,
                "second": span.start,
            }
            sure = span_confidence(span)
            yield add_marker(tag_id, tag, span.start, span.end, sure, NAME, evidence)

    def _status(
        self,
        scene: SceneFacts,
        wanted: str,
        unwanted: tuple[str, ...],
        knowledge: Knowledge,
        reason: str = "",
    ) -> list[Proposal]:
        if not self._settings.status_tags:
            return []
        evidence = {"rule": "state of the AI server's work"}
        if reason:
            evidence["reason"] = reason
        proposals = []
        found = knowledge.find_tag(wanted)
        if found is None or found[0] not in scene.tag_ids:
            tag_id = found[0] if found else None
            proposals.append(add_member("tags", tag_id, wanted, 1.0, NAME, evidence))
        for name in unwanted:
            tag = knowledge.find_tag(name)
            if tag is not None and tag[0] in scene.tag_ids:
                proposals.append(remove_member("tags", *tag, 1.0, NAME, evidence))
        return proposals
