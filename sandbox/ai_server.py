"""A stand-in for an AI tagging server that keeps the traps of the real one.

`python -m sandbox.ai_server --port 8000` answers interfaces 1 and 3; the videos are
what is written beside them as `<video>.tags.json`: `{category: {tag: [[start, end,
confidence], …]}}`, else two made-up tags.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.serving import Served, StandInServer

Spans = Mapping[str, Mapping[str, list[tuple[float, float | None, float | None]]]]

DEFAULT: Spans = {
    "actions": {"Dancing": [(0.0, 30.0, 0.8)]},
    "places": {"Outdoor": [(10.0, 40.0, 0.9), (60.0, None, 0.5)]},
}
DURATION = 120.0

# Where the real one's default is a null, it refuses one that is sent.
_NEVER_NULL = {"pipeline_name", "frame_interval", "threshold", "return_confidence"}
_NEVER_NULL |= {"categories_to_skip"}


class AiStandIn(StandInServer):
    """A running stand-in on loopback, for a `with` block.

    Attributes:
        videos: Path → what is seen in it; other paths do not exist.
        categories: What its models look for, with their versions.
        seconds: How long it takes for a video.
        capacity: Videos it works on at a time; others wait.
        requests: The bodies it got, in order.
        inferred: (path, category) for each inference it made.
        busy_seconds: Time spent on videos, of all its places together.
        fault: Answers instead of the server; None: nothing is wrong.
        ready: Whether its models are loaded.
        others: Requests of others that it says it is busy with.
        on_video: Called with the path as it begins with a video.
        at_once: For each video, how many it was at when it began with it.
    """

    def __init__(self, capacity: int = 1, port: int = 0) -> None:
        self.videos: dict[str, Spans] = {}
        self.categories = {"actions": 1.0, "places": 1.0}
        self.renamed: dict[str, str] = {}
        self.seconds = 0.0
        self.capacity = capacity
        self.requests: list[dict[str, Any]] = []
        self.inferred: list[tuple[str, str]] = []
        self.busy_seconds = 0.0
        self.fault: Callable[[], Response] | None = None
        self.ready = True
        self.others = 0
        self.on_video: Callable[[str], object] = lambda path: None
        self.at_once: list[int] = []
        self._videos_now = 0
        self._served = Served("ai", port)
        self._outstanding = 0
        self._places = threading.Semaphore(capacity)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Address without a slash at its end."""
        return self._served.url

    # --- what it answers -------------------------------------------------------------

    def _process_1(self, body: dict[str, Any]) -> dict[str, Any]:
        known = body.get("existing_json_data")
        before = known["metadata"]["models"] if known else {}
        asked = [c for c in self.categories if c not in before]
        if known and not asked:
            return {"result": {"json_result": None, "video_tag_info": _info({}, {})}}
        spans = self._find_spans(body["path"], asked)
        # Null here fails only after all the work.
        interval, threshold = _floats(body)
        timespans: dict[str, Any] = dict(known["timespans"]) if known else {}
        for category, tags in spans.items():
            timespans[category] = {
                tag: [_plain(span, threshold) for span in of_tag]
                for tag, of_tag in tags.items()
            }
        result = {
            "schema_version": 1,
            "metadata": {
                "duration": DURATION,
                "models": {
                    **before,
                    **{
                        category: {
                            "frame_interval": interval,
                            "threshold": threshold,
                            "version": self.categories[category],
                            "ai_model_id": 1,
                            "file_name": category,
                        }
                        for category in asked
                    },
                },
            },
            "timespans": timespans,
        }
        with_confidence = body.get("return_confidence") is True
        return {
            "result": {
                "json_result": json.dumps(result),
                "video_tag_info": _info(
                    self._judged(timespans, interval),
                    {
                        category: {
                            self._name(tag): [
                                _merged(span, interval) for span in of_tag
                            ]
                            for tag, of_tag in tags.items()
                        }
                        for category, tags in timespans.items()
                    }
                    if with_confidence
                    else {},
                ),
            }
        }

    def _process_3(self, body: dict[str, Any]) -> dict[str, Any]:
        skipped = body.get("categories_to_skip") or []
        asked = [c for c in self.categories if c not in skipped]
        spans = self._find_spans(body["path"], asked)
        interval, _ = _floats(body)
        return {
            "result": {
                "schema_version": 3,
                "duration": DURATION,
                "models": [
                    {
                        "name": category,
                        "identifier": 1,
                        "version": self.categories[category],
                        "categories": [category],
                        "type": "video",
                    }
                    for category in asked
                ],
                "frame_interval": interval,
                "timespans": {
                    category: {
                        # Confidence is always left out here.
                        tag: [
                            {"start": start, "end": end, "confidence": None}
                            for start, end, _ in of_tag
                        ]
                        for tag, of_tag in tags.items()
                    }
                    for category, tags in spans.items()
                },
            },
            "metrics": {"total_runtime_seconds": self.seconds},
        }

    def _find_spans(self, path: str, categories: list[str]) -> Spans:
        with self._lock:
            self._videos_now += 1
            self.at_once.append(self._videos_now)
        try:
            self.on_video(path)
            return self._spans(path, categories)
        finally:
            with self._lock:
                self._videos_now -= 1

    def _spans(self, path: str, categories: list[str]) -> Spans:
        if path not in self.videos:
            raise FileNotFoundError(f"File not found: {path}")
        with self._places:
            started = time.perf_counter()
            time.sleep(self.seconds)
            with self._lock:
                self.busy_seconds += time.perf_counter() - started
                self.inferred += [(path, category) for category in categories]
        return {c: self.videos[path].get(c, {}) for c in categories}

    def _judged(
        self, timespans: Mapping[str, Any], interval: float
    ) -> dict[str, list[str]]:
        """Return the tags that were seen for 20 seconds."""
        judged: dict[str, list[str]] = {}
        for category, tags in timespans.items():
            for tag, of_tag in tags.items():
                seconds = sum(
                    s.get("end", s["start"]) - s["start"] + interval for s in of_tag
                )
                if seconds >= 20:
                    judged.setdefault(category, []).append(self._name(tag))
        return judged

    def _name(self, tag: str) -> str:
        return self.renamed.get(tag, tag)

    # --- HTTP ------------------------------------------------------------------------

    def _app(self) -> Starlette:
        # No redirect of a path without its slash to one with it: 307, as the real one.
        routes = [
            Route("/process_video/", self._video(self._process_1), methods=["POST"]),
            Route("/v3/process_video/", self._video(self._process_3), methods=["POST"]),
            Route("/ready", self._is_ready),
            Route("/health", self._health),
        ]
        return Starlette(routes=routes)

    def _video(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
        async def endpoint(request: Request) -> Response:
            if self.fault is not None:
                return self.fault()
            try:
                body = json.loads(await request.body())
                if not isinstance(body["path"], str) or _NEVER_NULL & {
                    name for name, value in body.items() if value is None
                }:
                    raise TypeError
            except (ValueError, KeyError, TypeError):
                return JSONResponse({"detail": [{"type": "missing"}]}, 422)
            with self._lock:
                self.requests.append(body)
                self._outstanding += 1
            try:
                status, content = 200, await run_in_threadpool(answer, body)
            except Exception as error:  # noqa: BLE001 - the real one does just that
                status, content = 400, {"detail": f"400: {error}"}
            finally:
                with self._lock:
                    self._outstanding -= 1
            outstanding = str(self._outstanding + self.others)
            return JSONResponse(
                content, status, {"X-Outstanding-Requests": outstanding}
            )

        return endpoint

    async def _is_ready(self, request: Request) -> Response:
        if not self.ready:
            return JSONResponse({"ready": False}, 503)
        return JSONResponse({"ready": True, "loaded_pipelines": ["video"]})

    async def _health(self, request: Request) -> Response:
        models = [
            {"name": category, "version": version}
            for category, version in self.categories.items()
        ]
        pipeline = {
            "version": 1.0,
            "short_name": "video",
            "ai_models_count": len(models),
            "ai_models": models,
        }
        return JSONResponse(
            {
                "status": "ok",
                "time": 0.0,
                "pipelines": {"video": pipeline},
                "total_ai_models": len(self.categories),
                "outstanding_requests": self._outstanding + self.others,
                "cuda_available": False,
            }
        )

    # --- running ---------------------------------------------------------------------

    def start(self) -> None:
        """Start answering; the port stays the same over restarts."""
        self._served.start(self._app())


class _SidecarTags(dict[str, Spans]):
    """Looks for `<video>.tags.json`; every file that exists is a video."""

    def __contains__(self, path: object) -> bool:
        return Path(str(path)).is_file()

    def __getitem__(self, path: str) -> Spans:
        sidecar = Path(f"{path}.tags.json")
        if not sidecar.is_file():
            return DEFAULT
        found: Spans = json.loads(sidecar.read_text())
        return found


def _floats(body: Mapping[str, Any]) -> tuple[float, float]:
    # A null is float(None), and 0 counts as not set.
    return float(body.get("frame_interval")), float(body.get("threshold") or 0.5)  # type: ignore[arg-type]


def _plain(
    span: tuple[float, float | None, float | None], threshold: float
) -> dict[str, float]:
    start, end, confidence = span
    named = {"start": start, "end": end, "confidence": confidence}
    return {name: value for name, value in named.items() if value is not None}


def _merged(span: Mapping[str, float], interval: float) -> dict[str, float]:
    """Return a span as the real one merges it: confidence is a sum over seconds."""
    end = span.get("end", span["start"])
    seconds = end - span["start"] + interval
    total = span["confidence"] * seconds
    return {"start": span["start"], "end": end, "totalConfidence": total}


def _info(tags: Any, spans: Any) -> dict[str, Any]:
    return {
        "video_duration": DURATION,
        "video_tags": tags,
        "tag_totals": {},
        "tag_timespans": spans,
    }


def main() -> None:
    """Run until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--capacity", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5)
    chosen = parser.parse_args()
    server = AiStandIn(chosen.capacity, chosen.port)
    server.videos = _SidecarTags()
    server.seconds = chosen.seconds
    server.start()
    print(f"AI server on {server.url}")
    server.join()


if __name__ == "__main__":
    main()
