"""Asking an AI server about a video: its interfaces 1 and 3, `/ready` and `/health`.

One long request per video; the server tells no progress. Every answer becomes the same
form: duration, spans by category and tag, and per category the model that looked.
"""

import logging
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from stashhog_core.detection.ai_answers import read_answer_1, read_answer_3
from stashhog_core.detection.ai_gate import Gate, gate_of
from stashhog_core.errors import Deferred, ItemError, TransientError
from stashhog_core.http import (
    certificate_fault,
    fault,
    is_loopback,
    tls_context,
    untrusted,
)
from stashhog_core.retries import with_retries
from stashhog_core.settings import AiServerSettings

logger = logging.getLogger(__name__)

_CA_FILE = "STASHHOG_AI_SERVER__CA_FILE"
RETRY_DELAYS_SECONDS = (2.0, 10.0, 30.0)
_CONNECT_TIMEOUT_SECONDS = 10.0
_SHORT_TIMEOUT_SECONDS = 30.0
_SHOWN_CHARACTERS = 200
# Asked once more, it would work for as long again.
_OF_THIS_ALONE = (httpx.ReadTimeout, httpx.DecodingError)


class AiClient:
    """A connection to an AI server. Close it, or use it in a `with` statement.

    Args:
        settings: Its address and how it looks at videos.
        transport: What carries the requests; None: the network.
        gate: Lets requests through; None: the one shared in this process.
        retry_delays_seconds: Pauses before a request is tried again; None: the usual.
    """

    def __init__(
        self,
        settings: AiServerSettings,
        transport: httpx.BaseTransport | None = None,
        gate: Gate | None = None,
        retry_delays_seconds: tuple[float, ...] | None = None,
    ) -> None:
        if settings.url is None:
            raise ValueError("an AI server needs an address")
        self._settings = settings
        self._gate = gate or gate_of(settings.url, settings.parallel_requests)
        self._delays = (
            RETRY_DELAYS_SECONDS
            if retry_delays_seconds is None
            else retry_delays_seconds
        )
        self._asked = threading.Lock()
        self._model_set: str | None = None
        self._client = httpx.Client(
            base_url=settings.url,
            transport=transport,
            # A proxy of the environment cannot know what is on this machine.
            trust_env=not is_loopback(httpx.URL(settings.url).host),
            verify=tls_context(settings.ca_file, _CA_FILE),
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

    def model_set(self) -> str:
        """Return what stands for the models that are loaded; asked for once.

        Raises:
            Deferred: The server is away, or not ready.
        """
        with self._asked:
            if self._model_set is None:
                ready = self._send(
                    "GET", "/ready", timeout_seconds=_SHORT_TIMEOUT_SECONDS
                )
                # Older servers have neither.
                if ready.status_code not in (200, 404):
                    self._refuse(ready, "/ready")
                health = self._send(
                    "GET", "/health", timeout_seconds=_SHORT_TIMEOUT_SECONDS
                )
                self._model_set = _model_set(health)
            return self._model_set

    def process(self, path: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the server sees in the video at `path`, a path of its machine.

        Args:
            path: The video.
            known: What it saw before; categories that are in it are not asked again.

        Raises:
            ItemError: It cannot do this video: it says so, dies of it, or takes longer
                than is allowed.
            Deferred: It is away.
        """
        model_set = self.model_set()
        if self._settings.interface == "v3":
            return {**self._process_3(path, known, model_set), "model_set": model_set}
        return {**self._process_1(path, known), "model_set": model_set}

    def _process_1(self, path: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        before = known.get("json_result") if known else None
        # Interval and threshold are required in fact, and without
        # `return_confidence` the spans come back empty. A null where the server has
        # one as its default is refused: what is not set is left out.
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
        return read_answer_1(content, known, self._settings.frame_interval_seconds)

    def _process_3(
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
        # A category whose model was replaced is looked for again.
        if skipped := [
            category
            for category, model in sorted(before["models"].items())
            if not model_set or f"{model['name']}:{model['version']}" in loaded
        ]:
            body["categories_to_skip"] = skipped
        content = self._post("/v3/process_video/", body, path)
        return read_answer_3(content, before)

    def _post(self, address: str, body: dict[str, Any], path: str) -> bytes:
        with self._gate.request():
            # POST paths end in a slash: the server redirects others, and httpx would
            # not follow.
            response = self._send("POST", address, json=body)
        self._gate.heard(response.headers.get("X-Outstanding-Requests"))
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
        """Send until there is an answer; ride out a short outage.

        Raises:
            Deferred: There is none; nobody asks this server for a while.
            ItemError: There is none to this request alone.
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
                if method == "POST" and isinstance(error, _OF_THIS_ALONE):
                    raise ItemError(
                        f"The AI server {reason}",
                        remedy="see STASHHOG_AI_SERVER__TIMEOUT_SECONDS",
                    ) from error
                broke = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
                raise self._unanswered(reason, broke) from error
            status = response.status_code
            if status >= 500 or status == 429:
                raise self._unanswered(f"answered {status}", status == 500)
            self._gate.found_there()
            return response

        try:
            return with_retries(send_once, self._delays)
        except _UnansweredError as error:
            if error.of_this_request and method == "POST" and self._is_ready():
                raise ItemError(
                    f"The AI server cannot do this video: it {error.reason}"
                ) from error
            raise self._away(str(error)) from error

    def _unanswered(self, reason: str, of_this_request: bool) -> "_UnansweredError":
        logger.warning("The AI server %s", reason)
        return _UnansweredError(reason, of_this_request)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/ready", timeout=10).status_code == 200
        except httpx.RequestError:
            return False

    def _away(self, reason: str) -> Deferred:
        """Have nobody ask this server for a while; return the error that says so."""
        logger.error("%s: the analysis is deferred", reason)
        self._gate.found_away(reason)
        return Deferred(
            reason,
            where=str(self._settings.url),
            remedy="start it, or check STASHHOG_AI_SERVER__URL; the scenes stay "
            "unanalyzed",
        )

    def _refuse(self, response: httpx.Response, address: str) -> None:
        raise Deferred(
            f"The AI server answered {address} with {response.status_code}",
            where=str(self._settings.url),
            remedy="check that STASHHOG_AI_SERVER__URL is an AI server",
        )


class _UnansweredError(TransientError):
    """The server gave no answer of use; perhaps only this request is the reason."""

    def __init__(self, reason: str, of_this_request: bool) -> None:
        super().__init__(f"The AI server {reason}")
        self.reason = reason
        self.of_this_request = of_this_request


def _model_set(health: httpx.Response) -> str:
    """Return the models and their versions; empty where the server does not say."""
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
