"""Detector `ai_server`: tags and markers by an AI server (its version 1 interface).

With `STASHHOG_AI_SERVER__URL` set this is what `detect_video_tags` means. The server
answers one long request per video and tells no progress. It reads the file itself, so
the path it gets is the one Stash uses.
"""

import statistics
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from stashhog_core.analysis.proposals import (
    Proposal,
    add_marker,
    add_member,
    member_key,
)
from stashhog_core.analysis.scenes import SceneFacts
from stashhog_core.analysis.video import Knowledge
from stashhog_core.errors import ItemError, TransientError
from stashhog_core.settings import AiServerSettings

T = TypeVar("T")

NAME = "ai_server"
VERSION = "1"

_CONNECT_TIMEOUT_SECONDS = 10.0
_SHOWN_CHARACTERS = 200

# The server's own thresholds let a tag through that it gives no confidence for.
_UNSAID_CONFIDENCE = 0.7
# Two markers of one tag nearer than this are the same.
_SAME_MARKER_SECONDS = 1.0


class _Span(msgspec.Struct):
    start: float
    end: float | None = None
    confidence: float | None = msgspec.field(name="totalConfidence", default=None)


class _TagInfo(msgspec.Struct):
    video_duration: float = 0.0
    video_tags: dict[str, list[str]] = {}
    tag_timespans: dict[str, dict[str, list[_Span]]] = {}


class _Result(msgspec.Struct):
    json_result: str | None = None
    video_tag_info: _TagInfo | None = None


class _Answer(msgspec.Struct):
    result: _Result


class AiServer:
    """An AI server. Close it, or use it in a `with` statement.

    Args:
        settings: Its address and how it looks at videos.
        transport: What carries the requests; None: the network.
    """

    name = NAME
    version = VERSION

    def __init__(
        self,
        settings: AiServerSettings,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if settings.url is None:
            raise ValueError("an AI server needs an address")
        self._settings = settings
        self._client = httpx.Client(
            base_url=settings.url,
            transport=transport,
            timeout=httpx.Timeout(
                settings.timeout_seconds, connect=_CONNECT_TIMEOUT_SECONDS
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    @property
    def configuration(self) -> str:
        """What the server's answer depends on beside the video."""
        return (
            f"v1;interval={self._settings.frame_interval_seconds:g}"
            f";threshold={self._settings.threshold:g}"
        )

    def look(self, scene: SceneFacts) -> Mapping[str, Any]:
        """Return the server's tags and spans, and its raw result for asking again."""
        if scene.file is None:
            raise ItemError("The scene has no file")
        answer = self._decoded(self._post(scene.file.path), _Answer).result
        if answer.json_result is None or answer.video_tag_info is None:
            raise ItemError("The AI server answered without a result")
        return {
            "info": msgspec.to_builtins(answer.video_tag_info),
            "json_result": self._decoded(answer.json_result.encode(), dict[str, Any]),
        }

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], knowledge: Knowledge
    ) -> list[Proposal]:
        """Return the tags the server is content with, and a marker per span."""
        info = msgspec.convert(output["info"], _TagInfo)
        duration = info.video_duration or (scene.file and scene.file.duration_seconds)
        proposals: list[Proposal] = []
        for category, tags in info.video_tags.items():
            for tag in tags:
                spans = info.tag_timespans.get(category, {}).get(tag, [])
                member = _member(tag, knowledge)
                if member is not None and member[0] not in scene.tag_ids:
                    proposals.append(
                        add_member(
                            "tags",
                            *member,
                            self._confidence(spans, duration or 0.0),
                            NAME,
                            self._evidence(category, spans),
                        )
                    )
        for category, spans_of_tag in info.tag_timespans.items():
            for tag, spans in spans_of_tag.items():
                member = _member(tag, knowledge)
                if member is not None:
                    proposals += self._markers(scene, category, member, spans)
        return proposals

    def _post(self, path: str) -> bytes:
        # POST paths end in a slash: the server redirects others, and httpx would not
        # follow. Interval and threshold are required in fact, and without
        # `return_confidence` the spans come back empty.
        body = {
            "path": path,
            "returnTimestamps": True,
            "pipeline_name": None,
            "frame_interval": self._settings.frame_interval_seconds,
            "threshold": self._settings.threshold,
            "return_confidence": True,
            "vr_video": False,
            "existing_json_data": None,
        }
        try:
            response = self._client.post("/process_video/", json=body)
        except httpx.TransportError as error:
            raise TransientError(
                "The AI server does not answer",
                where=str(self._settings.url),
                remedy="start it, or check STASHHOG_AI_SERVER__URL; the scenes stay "
                f"unanalysed ({error or type(error).__name__})",
            ) from error
        if response.status_code >= 500 or response.status_code == 429:
            raise TransientError(
                f"The AI server answered {response.status_code}",
                where=str(self._settings.url),
                remedy="see its log; the scenes stay unanalysed",
            )
        if response.status_code != 200:
            raise ItemError(
                f"The AI server refused {path} ({response.status_code}): "
                f"{response.text[:_SHOWN_CHARACTERS]}",
                remedy="the path must exist on the AI server",
            )
        return response.content

    def _decoded(self, text: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError as error:
            shown = text[:_SHOWN_CHARACTERS].decode(errors="replace")
            raise ItemError(
                f"The AI server's answer cannot be read ({error}): {shown}"
            ) from error

    def _confidence(self, spans: list[_Span], duration_seconds: float) -> float:
        """Return how sure a tag is: its best span, and the more of the video the surer.

        Coverage closes part of what is left to certainty; it never lowers.
        """
        known = [s.confidence for s in spans if s.confidence is not None]
        best = min(1.0, max(known)) if known else _UNSAID_CONFIDENCE
        share = (
            min(1.0, self._seconds(spans) / duration_seconds)
            if spans and duration_seconds
            else 0.0
        )
        return best + (1 - best) * share

    def _seconds(self, spans: list[_Span]) -> float:
        # A span without an end is one frame.
        interval = self._settings.frame_interval_seconds
        return sum(s.end - s.start if s.end is not None else interval for s in spans)

    def _evidence(self, category: str, spans: list[_Span]) -> dict[str, Any]:
        known = [s.confidence for s in spans if s.confidence is not None]
        evidence: dict[str, Any] = {
            "rule": "seen by the AI server",
            "category": category,
            "seconds": round(self._seconds(spans), 2),
            "spans": len(spans),
        }
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
        spans: list[_Span],
    ) -> Iterator[Proposal]:
        tag_id, tag = member
        present = [
            marker.seconds
            for marker in scene.markers
            if member_key(tag) in (marker.tag, marker.title)
        ]
        for span in spans:
            if any(abs(span.start - at) < _SAME_MARKER_SECONDS for at in present):
                continue
            confidence = (
                _UNSAID_CONFIDENCE if span.confidence is None else span.confidence
            )
            evidence = {
                "rule": "seen by the AI server",
                "category": category,
                "second": span.start,
            }
            yield add_marker(
                tag_id, tag, span.start, span.end, min(1.0, confidence), NAME, evidence
            )


def _member(tag: str, knowledge: Knowledge) -> tuple[int | None, str] | None:
    """Return id and name of the tag; None if Stash lacks it and may not get it."""
    found = knowledge.find_tag(tag)
    if found is not None:
        return found
    return (None, tag) if knowledge.create_missing_tags else None
