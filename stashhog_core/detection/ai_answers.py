"""Reading an AI server's answers, of both interfaces, into one form.

That is `duration` in seconds, `spans` (category → tag → start, end, confidence, in
seconds and 0 to 1) and what is to be sent back to have only new categories looked for.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from stashhog_core.errors import ItemError

T = TypeVar("T")

_SHOWN_CHARACTERS = 200


class _Raw(msgspec.Struct):
    start: float
    end: float | None = None
    confidence: float | None = None


class _Merged(msgspec.Struct):
    start: float
    end: float | None = None
    total: float | None = msgspec.field(name="totalConfidence", default=None)


class _TagInfo(msgspec.Struct):
    video_duration: float = 0.0
    video_tags: dict[str, list[str]] = {}
    tag_timespans: dict[str, dict[str, list[_Merged]]] = {}


class _Result1(msgspec.Struct):
    json_result: str | None = None
    video_tag_info: _TagInfo | None = None


class _Answer1(msgspec.Struct):
    result: _Result1


class _Json1(msgspec.Struct):
    timespans: dict[str, dict[str, list[_Raw]]] = {}


class _Model3(msgspec.Struct):
    name: str = ""
    identifier: int | str | None = None
    version: float | str | None = None
    categories: list[str] = []


class _Result3(msgspec.Struct):
    timespans: dict[str, dict[str, list[_Raw]]]
    duration: float = 0.0
    models: list[_Model3] = []


class _Answer3(msgspec.Struct):
    result: _Result3


def read_answer_1(
    content: bytes, known: Mapping[str, Any] | None, frame_seconds: float
) -> dict[str, Any]:
    """Return what interface 1 says.

    Args:
        content: Its answer.
        known: What it had said before, and was sent.
        frame_seconds: How long a frame stands for.

    Raises:
        ItemError: It cannot be read, or holds no result.
    """
    answer = _decoded(content, _Answer1).result
    if answer.json_result is None and known is not None:
        # Nothing was left to be done.
        return dict(known)
    if answer.json_result is None or answer.video_tag_info is None:
        raise ItemError("The AI server answered without a result")
    info, text = answer.video_tag_info, answer.json_result.encode()
    raw = _decoded(text, _Json1).timespans
    return {
        "duration": info.video_duration,
        "tags": info.video_tags,
        "spans": {
            category: {
                tag: list(_spans(tag, spans, raw.get(category, {}), frame_seconds))
                for tag, spans in tags.items()
            }
            for category, tags in info.tag_timespans.items()
        },
        "json_result": _decoded(text, dict[str, Any]),
    }


def read_answer_3(content: bytes, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what interface 3 says, together with what it had said before.

    Raises:
        ItemError: It cannot be read.
    """
    answer = _decoded(content, _Answer3).result
    models = {
        category: {"name": model.name, "version": model.version}
        for model in answer.models
        for category in model.categories
    }
    return {
        "duration": answer.duration or known["duration"],
        "spans": {**known["spans"], **msgspec.to_builtins(answer.timespans)},
        "models": {**known["models"], **models},
    }


def _spans(
    tag: str,
    merged: list[_Merged],
    raw: Mapping[str, list[_Raw]],
    frame_seconds: float,
) -> Iterator[dict[str, float | None]]:
    """Yield the spans of a tag with their mean confidence.

    The server's `totalConfidence` is a sum over seconds, and in merging it counts what
    came before once more. The spans it merged say it right, but stand under the tag's
    name before the server renamed it.
    """
    parts = _before_merging(tag, merged, raw)
    for span in merged:
        end = span.start if span.end is None else span.end
        within = [
            (_last(p) - p.start + frame_seconds, p.confidence)
            for p in parts
            if p.confidence is not None and span.start <= p.start and _last(p) <= end
        ]
        confidence: float | None = None
        if within:
            seconds = sum(length for length, _ in within)
            confidence = sum(length * sure for length, sure in within) / seconds
        elif span.total is not None:
            confidence = min(1.0, span.total / (end - span.start + frame_seconds))
        yield {
            "start": span.start,
            "end": end if end > span.start else None,
            "confidence": None if confidence is None else round(confidence, 4),
        }


def _before_merging(
    tag: str, merged: Iterable[_Merged], raw: Mapping[str, list[_Raw]]
) -> list[_Raw]:
    """Return the spans that were merged: those that begin and end where these do."""
    starts = {span.start for span in merged}
    ends = {span.start if span.end is None else span.end for span in merged}
    # A tag of the same name first.
    for name in sorted(raw, key=lambda name: name != tag):
        parts = raw[name]
        if starts <= {p.start for p in parts} and ends <= {_last(p) for p in parts}:
            return parts
    return []


def _last(span: _Raw) -> float:
    return span.start if span.end is None else span.end


def _decoded(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        shown = text[:_SHOWN_CHARACTERS].decode(errors="replace")
        raise ItemError(
            f"The AI server's answer cannot be read ({error}): {shown}"
        ) from error
