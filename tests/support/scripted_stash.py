"""A Stash of which a test decides, look by look, what becomes of its job.

It answers only what the two server jobs ask. Whether a real Stash answers like that is
the matter of the contract suite.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

ADD_TIME = "2026-11-21T04:57:58.430480176Z"
OUTAGE = httpx.Response(503)

Look = dict[str, Any] | httpx.Response | BaseException | None
"""What a look at the job finds: facts, an HTTP answer, an interruption, or nothing."""


@dataclass
class ScriptedStash:
    """Starts jobs as number 1, 2, …; each look at a job finds the next of `looks`."""

    scenes: set[int] = field(default_factory=set)
    looks: list[Look] = field(default_factory=lambda: [{"status": "FINISHED"}])
    # Scene id to the kinds of media that are missing when the job is over.
    lacking: dict[int, set[str]] = field(default_factory=dict)
    hash_of: Callable[[int], str] = lambda scene_id: f"{scene_id:016x}"
    on_start: Callable[[], httpx.Response | None] = lambda: None
    on_stop: Callable[[], httpx.Response | None] = lambda: None
    on_probe: Callable[[], None] = lambda: None
    started: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    # Paths of files that Stash knows.
    files: set[str] = field(default_factory=set)
    # Marker id to the id of its scene.
    markers: dict[int, int] = field(default_factory=dict)
    # Marker id to the kinds of media that are missing.
    lacking_markers: dict[int, set[str]] = field(default_factory=dict)
    # Settings that differ from those below.
    changes: dict[str, Any] = field(default_factory=dict)
    probes: int = 0
    version: str = "v0.30.1"
    # Errors in its log, the newest first.
    log: list[str] = field(default_factory=list)
    add_time: str = ADD_TIME

    @property
    def settings(self) -> StashSettings:
        """Settings that fit."""
        defaults = {
            "url": "http://stash:9999",
            "poll_interval_seconds": 0.001,
            "outage_limit_seconds": 0.01,
            "websocket": False,
        }
        return StashSettings.model_validate({**defaults, **self.changes})

    def client(self) -> StashClient:
        """Return a client of it, which does not repeat reads by itself."""
        transport = httpx.MockTransport(self._handle)
        return StashClient(self.settings, transport, retry_delays_seconds=())

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            _, what, id_, kind = request.url.path.split("/")
            lacking = self.lacking if what == "scene" else self.lacking_markers
            missing = kind in lacking.get(int(id_), ())
            # The file itself is no media: Stash serves it where it can read it.
            if (what, kind) != ("scene", "stream"):
                self.probes += 1
                self.on_probe()
            return httpx.Response(404) if missing else httpx.Response(206, content=b"x")
        sent = json.loads(request.content)
        answer = self._answer(sent["operationName"], sent["variables"])
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json={"data": {"answer": answer}})

    def _answer(self, operation: str, variables: dict[str, Any]) -> Any:
        match operation:
            case "SceneCount":
                return {"count": len(self.scenes)}
            case "LibraryRoots":
                return {"general": {"stashes": [{"path": "/data"}]}}
            case "JobQueue":
                return self._queue()
            case "FindJob":
                return self._look(int(variables["id"]))
            case "StopJob":
                self.stopped.append(int(variables["id"]))
                return self.on_stop() or True
            case "StartScan":
                return self._start("scan", variables["input"])
            case "StartGenerate":
                return self._start("generate", variables["input"])
            case "SceneIds":
                return _rows(self.scenes, **variables)
            case "LackingPhash":
                lacking = {i for i, kinds in self.lacking.items() if "phash" in kinds}
                return _rows(lacking, **variables)
            case "SceneMedia":
                return {"rows": [self._media(int(i)) for i in variables["ids"]]}
            case "SceneMediaPage":
                after, size = variables["after"], variables["size"]
                page = sorted(i for i in self.scenes if i > after)[:size]
                return {"rows": [self._media(i) for i in page]}
            case "SceneStamps":
                ids = sorted(i for i in self.scenes if i > variables["after"])
                return {"rows": [{"id": str(i), "updated_at": ""} for i in ids]}
            case "MarkerStamps":
                return {
                    "rows": [
                        {"id": str(i), "updated_at": "", "scene": {"id": str(scene)}}
                        for i, scene in self.markers.items()
                    ]
                }
            case "Version":
                return {"version": self.version}
            case "RecentLog":
                return [
                    {"time": "", "level": "Error", "message": message}
                    for message in self.log
                ]
            case "ScenesAt":
                found = {variables["path"]} & self.files
                return {"rows": [{"id": "1", "files": [{"path": p}]} for p in found]}
        raise NotImplementedError(operation)

    def _media(self, scene_id: int) -> Any:
        kinds = ("screenshot", "preview", "webp", "sprite", "vtt")
        places = ("stream", "preview", "screenshot")
        return {
            "id": str(scene_id),
            "paths": {k: f"/scene/{scene_id}/{k}" for k in kinds},
            "files": [
                {"fingerprints": [{"type": "oshash", "value": self.hash_of(scene_id)}]}
            ],
            "scene_markers": [
                {"id": str(i), "seconds": 1, **{p: f"/marker/{i}/{p}" for p in places}}
                for i, scene in self.markers.items()
                if scene == scene_id
            ],
        }

    def _queue(self) -> Any:
        look = self.looks[0]
        running = isinstance(look, dict) and look["status"] == "RUNNING"
        return [self._job(len(self.started), {})] if self.started and running else None

    def _look(self, job_id: int) -> Any:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, BaseException):
            raise look
        return self._job(job_id, look) if isinstance(look, dict) else look

    def _start(self, kind: str, asked: dict[str, Any]) -> Any:
        self.started.append((kind, asked))
        return self.on_start() or str(len(self.started))

    def _job(self, job_id: int, facts: dict[str, Any]) -> dict[str, Any]:
        kind = self.started[job_id - 1][0]
        description = {"scan": "Scanning...", "generate": "Generating..."}[kind]
        return {
            "id": str(job_id),
            "status": "RUNNING",
            "description": description,
            "progress": 1,
            "addTime": self.add_time,
            **facts,
        }


def _rows(ids: set[int], low: int, high: int) -> Any:
    return {"rows": [{"id": str(i)} for i in sorted(ids) if low <= i <= high]}
