"""Client of an AI server: its interfaces v1 and v3, `/ready` and `/health`.

A video takes one long request, and the server reports no progress. Answers of both
interfaces are converted to one form: `duration` in seconds, `spans` (category → tag →
start, end and confidence, in seconds and 0 to 1), and what the next request must send
back so that the server detects only new categories.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import httpx
import msgspec

from stashhog_core.errors import Deferred, ItemError, TransientError
from stashhog_core.http import (
    certificate_fault,
    fault,
    tls_context,
    untrusted,
)
from stashhog_core.loopback import is_loopback
from stashhog_core.retries import with_retries
from stashhog_core.settings import AiServerSettings

logger = logging.getLogger(__name__)

_CA_FILE = "STASHHOG_AI_SERVER__CA_FILE"
RETRY_DELAYS_SECONDS = (2.0, 10.0, 30.0)
_CONNECT_TIMEOUT_SECONDS = 10.0
_SHORT_TIMEOUT_SECONDS = 30.0
_SHOWN_CHARACTERS = 200
_SEE_ITS_LOG = "see the log of the AI server"
# A second request would take as long again.
_NOT_RETRIED = (httpx.ReadTimeout, httpx.DecodingError)
OPEN_SECONDS = 60.0
"""Time for which an unavailable server gets no further requests."""

_POLL_SECONDS = 0.5

T = TypeVar("T")


class RequestGate:
    """Limits the requests in flight, and stops requests to an unavailable server.

    All batches of this process share the gate of an address.

    Args:
        limit: Maximum number of our requests in flight.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._changed = threading.Condition()
        self._in_flight = 0
        self._others = 0
        self._unavailable: tuple[float, str] | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for a free place and hold the place during one request.

        Raises:
            Deferred: The server was unavailable a moment ago.
        """
        with self._changed:
            self.check()
            while self._in_flight >= self.allowed:
                self._changed.wait(_POLL_SECONDS)
                self.check()
            self._in_flight += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    @property
    def allowed(self) -> int:
        """Number of our requests that may be in flight now, at least one.

        Requests of other programs reduce the number: the server's queue has no limit,
        so that more requests would only wait there.
        """
        return max(1, self._limit - self._others)

    def note_outstanding(self, outstanding: str | None) -> None:
        """Use the value of the header `X-Outstanding-Requests`."""
        if outstanding is None or not outstanding.strip().isdecimal():
            return
        with self._changed:
            # The answered request is not outstanding any more.
            self._others = max(0, int(outstanding) - self._in_flight)
            self._changed.notify_all()

    def check(self) -> None:
        """Return, unless the server was unavailable a moment ago.

        Raises:
            Deferred: The server was unavailable; gives the reason.
        """
        since = self._unavailable
        if since is not None and self._clock() - since[0] < OPEN_SECONDS:
            raise Deferred(since[1], remedy="the scenes stay unanalyzed")

    def mark_unavailable(self, reason: str) -> None:
        """Stop requests for `OPEN_SECONDS`."""
        self._unavailable = (self._clock(), reason)

    def mark_available(self) -> None:
        """Allow requests again."""
        self._unavailable = None


_gates: dict[str, RequestGate] = {}
_lock = threading.Lock()


def gate_of(url: str, limit: int) -> RequestGate:
    """Return the gate that this process uses for the server at an address."""
    with _lock:
        return _gates.setdefault(f"{url} {limit}", RequestGate(limit))


class AiClient:
    """A connection to an AI server. Close it, or use it in a `with` statement.

    Args:
        settings: Address of the server, and how it examines videos.
        transport: Carries the requests; None: the network.
        gate: Limits the requests; None: the gate of this process.
        retry_delays_seconds: Pauses before further tries of a request; None: the
            default pauses.
    """

    def __init__(
        self,
        settings: AiServerSettings,
        transport: httpx.BaseTransport | None = None,
        gate: RequestGate | None = None,
        retry_delays_seconds: tuple[float, ...] | None = None,
    ) -> None:
        if settings.url is None:
            raise ValueError("the AI server has no address")
        self._settings = settings
        self._gate = gate or gate_of(settings.url, settings.parallel_requests)
        self._delays = (
            RETRY_DELAYS_SECONDS
            if retry_delays_seconds is None
            else retry_delays_seconds
        )
        self._model_set_lock = threading.Lock()
        self._model_set: str | None = None
        self._client = httpx.Client(
            base_url=settings.url,
            transport=transport,
            # A proxy from the environment cannot reach services on this machine.
            trust_env=not is_loopback(httpx.URL(settings.url).host),
            verify=tls_context(settings.ca_file, _CA_FILE),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def model_set(self) -> str:
        """Return names and versions of the loaded models; the server is asked once.

        Raises:
            Deferred: The server is unavailable, or not ready.
        """
        with self._model_set_lock:
            if self._model_set is None:
                ready = self._send(
                    "GET", "/ready", timeout_seconds=_SHORT_TIMEOUT_SECONDS
                )
                # Older servers have neither `/ready` nor `/health`.
                if ready.status_code not in (200, 404):
                    raise Deferred(
                        f"The AI server answered /ready with {ready.status_code}",
                        where=str(self._settings.url),
                        remedy="check that STASHHOG_AI_SERVER__URL is the address of "
                        "an AI server",
                    )
                health = self._send(
                    "GET", "/health", timeout_seconds=_SHORT_TIMEOUT_SECONDS
                )
                self._model_set = _model_set(health)
            return self._model_set

    def process(self, path: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the tags and spans that the server detects in a video.

        Args:
            path: Path of the video on the server's machine.
            known: An earlier output; its categories are not detected again.

        Raises:
            ItemError: The server cannot process this video: it refuses the video,
                crashes on it, or exceeds the time limit.
            Deferred: The server is unavailable.
        """
        model_set = self.model_set()
        if self._settings.interface == "v3":
            return {**self._process_v3(path, known, model_set), "model_set": model_set}
        return {**self._process_v1(path, known), "model_set": model_set}

    def _process_v1(self, path: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        before = known.get("json_result") if known else None
        # Servers require interval and threshold, and return empty spans without
        # `return_confidence`. They refuse null even where null is their default, so
        # values that are not set are left out.
        body = {
            "path": path,
            "returnTimestamps": True,
            "frame_interval": self._settings.frame_interval_seconds,
            "threshold": self._settings.threshold,
            "return_confidence": True,
            "vr_video": self._settings.vr_video,
        }
        if before is not None:
            body["existing_json_data"] = before
        content = self._post("/process_video/", body, path)
        return _read_answer_v1(content, known, self._settings.frame_interval_seconds)

    def _process_v3(
        self, path: str, known: Mapping[str, Any] | None, model_set: str
    ) -> dict[str, Any]:
        before: dict[str, Any] = {"duration": 0.0, "spans": {}, "models": {}}
        before.update(known or {})
        body = {
            "path": path,
            "frame_interval": self._settings.frame_interval_seconds,
            "threshold": self._settings.threshold,
            "vr_video": self._settings.vr_video,
        }
        loaded = model_set.split(",")
        # A category whose model was replaced is detected again.
        if skipped := [
            category
            for category, model in sorted(before["models"].items())
            if not model_set or f"{model['name']}:{model['version']}" in loaded
        ]:
            body["categories_to_skip"] = skipped
        content = self._post("/v3/process_video/", body, path)
        return _read_answer_v3(content, before)

    def _post(self, address: str, body: dict[str, Any], path: str) -> bytes:
        with self._gate.request():
            # POST paths end in a slash: the server redirects other paths, and httpx
            # does not follow.
            response = self._send("POST", address, json=body)
        self._gate.note_outstanding(response.headers.get("X-Outstanding-Requests"))
        if response.status_code != 200:
            raise ItemError(
                f"The AI server refused {path} ({response.status_code}): "
                f"{response.text[:_SHOWN_CHARACTERS]}",
                remedy="the path must exist on the AI server: see "
                "STASHHOG_AI_SERVER__PATH_MAP",
            )
        return response.content

    def _send(
        self,
        method: str,
        address: str,
        *,
        json: Any = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        """Return the answer to a request; try again during a short outage.

        Raises:
            Deferred: The server does not answer; it gets no requests for a while.
            ItemError: The server does not answer this request only.
        """
        limit = timeout_seconds or self._settings.timeout_seconds
        timeout = httpx.Timeout(limit, connect=min(limit, _CONNECT_TIMEOUT_SECONDS))

        def send_once() -> httpx.Response:
            self._gate.check()
            try:
                response = self._client.request(
                    method, address, json=json, timeout=timeout
                )
            except httpx.RequestError as error:
                if why := certificate_fault(error):
                    raise untrusted(
                        "the AI server",
                        why,
                        str(self._settings.url),
                        _CA_FILE,
                    ) from error
                reason = fault(error, address, limit)
                if method == "POST" and isinstance(error, _NOT_RETRIED):
                    raise ItemError(
                        f"The AI server {reason}",
                        remedy="see STASHHOG_AI_SERVER__TIMEOUT_SECONDS",
                    ) from error
                broke = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
                raise self._unanswered(reason, broke) from error
            status = response.status_code
            if status >= 500 or status == 429:
                raise self._unanswered(f"answered {status}", status == 500)
            self._gate.mark_available()
            return response

        try:
            return with_retries(send_once, self._delays)
        except _UnansweredError as error:
            if error.of_this_request and method == "POST" and self._is_ready():
                raise ItemError(
                    "The AI server cannot process this video: the server "
                    f"{error.reason}",
                    remedy=_SEE_ITS_LOG,
                ) from error
            raise self._unavailable(str(error)) from error

    def _unanswered(self, reason: str, of_this_request: bool) -> "_UnansweredError":
        logger.warning("The AI server %s", reason)
        return _UnansweredError(reason, of_this_request)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/ready", timeout=10).status_code == 200
        except httpx.RequestError:
            return False

    def _unavailable(self, reason: str) -> Deferred:
        """Stop requests to the server for a while; return the error to raise."""
        logger.error("%s: the analysis is deferred", reason)
        self._gate.mark_unavailable(reason)
        return Deferred(
            reason,
            where=str(self._settings.url),
            remedy="start the AI server, or check STASHHOG_AI_SERVER__URL; the scenes "
            "stay unanalyzed",
        )


class _UnansweredError(TransientError):
    """The server gave no usable answer, perhaps because of this request only."""

    def __init__(self, reason: str, of_this_request: bool) -> None:
        super().__init__(f"The AI server {reason}")
        self.reason = reason
        self.of_this_request = of_this_request


def _model_set(health: httpx.Response) -> str:
    """Return the models and their versions; empty if the server does not state them."""
    if health.status_code != 200:
        return ""
    try:
        pipelines = health.json()["pipelines"].values()
        models = {
            f"{model['name']}:{model['version']}"
            for pipeline in pipelines
            for model in pipeline["ai_models"]
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return ",".join(sorted(models))


class _SpanV1Raw(msgspec.Struct):
    start: float
    end: float | None = None
    confidence: float | None = None


class _SpanV1Merged(msgspec.Struct):
    start: float
    end: float | None = None
    total: float | None = msgspec.field(name="totalConfidence", default=None)


class _TagsV1(msgspec.Struct):
    video_duration: float = 0.0
    video_tags: dict[str, list[str]] = {}
    tag_timespans: dict[str, dict[str, list[_SpanV1Merged]]] = {}


class _ResultV1(msgspec.Struct):
    json_result: str | None = None
    video_tag_info: _TagsV1 | None = None


class _AnswerV1(msgspec.Struct):
    result: _ResultV1


class _JsonV1(msgspec.Struct):
    timespans: dict[str, dict[str, list[_SpanV1Raw]]] = {}


class _ModelV3(msgspec.Struct):
    name: str = ""
    identifier: int | str | None = None
    version: float | str | None = None
    categories: list[str] = []


class _ResultV3(msgspec.Struct):
    timespans: dict[str, dict[str, list[_SpanV1Raw]]]
    duration: float = 0.0
    models: list[_ModelV3] = []


class _AnswerV3(msgspec.Struct):
    result: _ResultV3


def _read_answer_v1(
    content: bytes, known: Mapping[str, Any] | None, frame_seconds: float
) -> dict[str, Any]:
    """Return the output for an answer of interface v1.

    Args:
        content: The answer.
        known: The earlier output that was sent with the request.
        frame_seconds: Seconds between two examined frames.

    Raises:
        ItemError: The answer cannot be read, or has no result.
    """
    answer = _decoded(content, _AnswerV1).result
    if answer.json_result is None and known is not None:
        # The earlier output was complete.
        return dict(known)
    if answer.json_result is None or answer.video_tag_info is None:
        raise ItemError("The AI server answered without a result", remedy=_SEE_ITS_LOG)
    info, text = answer.video_tag_info, answer.json_result.encode()
    raw = _decoded(text, _JsonV1).timespans
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


def _read_answer_v3(content: bytes, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the output for an answer of interface v3, merged with an earlier output.

    Raises:
        ItemError: The answer cannot be read.
    """
    answer = _decoded(content, _AnswerV3).result
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
    merged: list[_SpanV1Merged],
    raw: Mapping[str, list[_SpanV1Raw]],
    frame_seconds: float,
) -> Iterator[dict[str, float | None]]:
    """Yield the spans of a tag with their mean confidence.

    The server's `totalConfidence` is a sum over seconds, and merging counts the earlier
    part twice. The spans before merging have the correct values, but under the name
    that the tag had before the server renamed it.
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
            confidence = sum(length * value for length, value in within) / seconds
        elif span.total is not None:
            confidence = min(1.0, span.total / (end - span.start + frame_seconds))
        yield {
            "start": span.start,
            "end": end if end > span.start else None,
            "confidence": None if confidence is None else round(confidence, 4),
        }


def _before_merging(
    tag: str, merged: Iterable[_SpanV1Merged], raw: Mapping[str, list[_SpanV1Raw]]
) -> list[_SpanV1Raw]:
    """Return the raw spans of a tag: they start and end where the merged spans do."""
    starts = {span.start for span in merged}
    ends = {span.start if span.end is None else span.end for span in merged}
    # A tag of the same name comes first.
    for name in sorted(raw, key=lambda name: name != tag):
        parts = raw[name]
        if starts <= {p.start for p in parts} and ends <= {_last(p) for p in parts}:
            return parts
    return []


def _last(span: _SpanV1Raw) -> float:
    return span.start if span.end is None else span.end


def _decoded(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        shown = text[:_SHOWN_CHARACTERS].decode(errors="replace")
        raise ItemError(
            f"The AI server's answer cannot be read ({error}): {shown}",
            remedy=_SEE_ITS_LOG,
        ) from error
