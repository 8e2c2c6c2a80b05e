"""A Stash in memory: a small library and scripted jobs, asked by the real client.

`FakeStash` is a `StashClient` whose requests are answered here, so that documents,
decoding, pages and errors are those of the product. The library changes as a real one
does: what moves a time of change and what does not is as observed of a real server.
Whether a real Stash answers like that is the matter of the contract suite.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NoReturn

import httpx
import msgspec

from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.documents import GLANCE_KINDS
from stashhog_core.stash.payloads import (
    Fingerprint,
    LibraryListing,
    MarkerStamp,
    Ref,
    SceneStamp,
    StashBoxId,
    StashMarker,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
    VideoFile,
)

START = datetime(2099, 1, 31, 23, 30, tzinfo=UTC)
"""Later than any run of the tests: every change comes after every baseline."""

ADD_TIME = "2026-11-21T04:57:58.430480176Z"
"""When Stash's jobs were added."""

RUNNING = {"status": "RUNNING", "progress": 0.5}
FINISHED = {"status": "FINISHED", "progress": 1}

Hook = httpx.Response | BaseException | Callable[[], object]
"""An answer in place of Stash's, an error, or what is done (and may return either)."""

JobState = dict[str, Any] | httpx.Response | BaseException | None
"""What a poll of a job finds: facts, an HTTP answer, an interruption, or nothing."""

GROUPS: dict[str, frozenset[str]] = {
    "scenes": frozenset({"Scenes", "ScenesBetween"}),
    "writes": frozenset(
        {
            "BulkUpdateScenes",
            "CreateMarker",
            "CreateTag",
            "DestroyMarkers",
            "DestroyTag",
            "UpdateScene",
        }
    ),
}
"""Operations that a hook may name together."""


def refusal(message: str) -> httpx.Response:
    """Return how Stash refuses a request."""
    return httpx.Response(200, json={"errors": [{"message": message}], "data": None})


LIBRARY_PARTS = {
    "scenes": "SceneStamps",
    "markers": "MarkerStamps",
    "tags": "Tags",
    "performers": "Performers",
    "studios": "Studios",
    "files": "Files",
}
"""What `Library` lists, one after another, and the operation that lists it alone."""

WHOLE = {"Library", "Glance", "NewestScene"}
"""Operations that ask for several things at once."""

_DESCRIPTIONS = {
    "scan": "Scanning...",
    "generate": "Generating...",
    "auto_tag": "Auto-tagging...",
    "identify": "Identifying...",
    "clean": "Cleaning...",
    "optimise": "Optimising database...",
}
"""What Stash calls the jobs of each kind."""

OUTAGE = httpx.Response(503)
BUSY = refusal("database is locked")


class FakeStash(StashClient):
    """Holds a library and jobs, and answers what the client asks.

    Jobs get the numbers 1, 2, …; each poll of a job finds the next of `job_states`, the
    last one again and again.

    Args:
        scenes: Ids of scenes that are there from the start, with nothing but a file.
        tags: Tags that are there from the start: id → name.
        lacking: Scene → the kinds of media that are missing, also when a job is over.
        zone: The zone that its timestamps are written in.
        page_size: How many scenes or markers a listing has in one page.
        settings: Settings of Stash that differ from those that fit tests.
    """

    def __init__(
        self,
        scenes: Iterable[int] = (),
        tags: Mapping[int, str] | None = None,
        *,
        lacking: Mapping[int, set[str]] | None = None,
        zone: tzinfo = UTC,
        page_size: int = 3,
        **settings: Any,
    ) -> None:
        self.settings = StashSettings.model_validate({**_SETTINGS, **settings})
        transport = httpx.MockTransport(self._handle)
        # It does not repeat reads by itself.
        super().__init__(self.settings, transport, retry_delays_seconds=())
        self.zone = zone
        self.page_size = page_size
        self.now = START
        self.scene_rows: dict[int, StashScene] = {}
        self.tag_rows: dict[int, StashTag] = {}
        self.performer_rows: dict[int, StashPerformer] = {}
        self.studio_rows: dict[int, StashStudio] = {}
        self.file_times: dict[int, str] = {}
        self.broken_scenes: set[int] = set()
        """Scenes at which Stash fails."""
        self.hidden_scenes: set[int] = set()
        """Scenes that Stash counts, and does not list."""

        self.job_states: list[JobState] = [{"status": "FINISHED"}]
        self.started: list[tuple[str, dict[str, Any]]] = []
        """Kind and input of each job."""
        self.add_time = ADD_TIME
        self.lacking = dict(lacking or {})
        self.lacking_markers: dict[int, set[str]] = {}
        """Marker → the kinds of media that are missing."""
        self.stash_version = "v0.30.1"
        self.boxes: list[str] = []
        """The stash-boxes that Stash knows."""
        self.log: list[str] = []
        """Errors, the newest first."""
        self.log_time = ""
        """When Stash has written these."""

        self.requests: list[tuple[str, dict[str, Any]]] = []
        """Operation (or `Media`) and variables of each request."""
        self._hooks: dict[str, tuple[Hook | None, Hook | None]] = {}
        self._last_id = 0
        self.replace_scenes(scenes)
        for id_, name in (tags or {}).items():
            self.add_tag(name, id=id_)

    def configure(self, **changes: Any) -> None:
        """Change settings that the jobs are run with."""
        self.settings = self.settings.model_copy(update=changes)

    # --- hooks, and what was asked ---------------------------------------------------

    def on(
        self, name: str, *, before: Hook | None = None, after: Hook | None = None
    ) -> None:
        """Have something happen at requests from now on; without hooks, nothing.

        Args:
            name: An operation of the client's documents, a part of a listing such as
                `Library.tags`, `Media`, one of `GROUPS`, or `any`.
            before: What happens before Stash does anything.
            after: What happens when Stash has done it, before it answers.
        """
        self._hooks[name] = (before, after)

    def asked(self, *names: str) -> list[dict[str, Any]]:
        """Return the variables of all requests of these operations or groups."""
        wanted = frozenset(names).union(*(GROUPS.get(name, ()) for name in names))
        return [variables for name, variables in self.requests if name in wanted]

    @property
    def writes(self) -> list[str]:
        """The operations that wrote to the library, or were meant to."""
        return [name for name, _ in self.requests if name in GROUPS["writes"]]

    @property
    def stopped(self) -> list[int]:
        """The jobs that were to stop."""
        return [int(variables["id"]) for variables in self.asked("StopJob")]

    # --- the listings, in small pages ------------------------------------------------

    def library(
        self, files_changed_since: str = "", page_size: int | None = None
    ) -> LibraryListing:
        return super().library(files_changed_since, page_size or self.page_size)

    def scene_stamps(
        self, page_size: int | None = None
    ) -> Iterator[Sequence[SceneStamp]]:
        return super().scene_stamps(page_size or self.page_size)

    def marker_stamps(self, page_size: int | None = None) -> Iterator[MarkerStamp]:
        return super().marker_stamps(page_size or self.page_size)

    # --- answers ---------------------------------------------------------------------

    def _handle(self, request: httpx.Request) -> httpx.Response:
        try:
            if request.method == "GET":
                return self._media(request.url.path)
            sent = msgspec.json.decode(request.content)
            name, variables = sent["operationName"], sent["variables"]
            self.requests.append((name, variables))
            answer = self._ask(name, variables)
        except _InsteadError as error:
            return error.response
        data = answer if name in WHOLE else {"answer": answer}
        return httpx.Response(200, content=msgspec.json.encode({"data": data}))

    def _ask(self, name: str, variables: Mapping[str, Any]) -> Any:
        self._befall(name, 0)
        answer = self._answer(name, variables)
        self._befall(name, 1)
        return answer

    def _befall(self, name: str, moment: int) -> None:
        groups = (group for group, members in GROUPS.items() if name in members)
        for hooked in (name, *groups, "any"):
            hook: Any = self._hooks.get(hooked, (None, None))[moment]
            if callable(hook):
                hook = hook()
            if isinstance(hook, httpx.Response):
                raise _InsteadError(hook)
            if isinstance(hook, BaseException):
                raise hook

    def _media(self, path: str) -> httpx.Response:
        _, what, id_, kind = path.split("/")
        lacking = self.lacking if what == "scene" else self.lacking_markers
        missing = kind in lacking.get(int(id_), ())
        # The file itself is no media: Stash serves it where it can read it.
        if (what, kind) != ("scene", "stream"):
            self.requests.append(("Media", {"path": path}))
            self._befall("Media", 0)
            self._befall("Media", 1)
        return httpx.Response(404) if missing else httpx.Response(206, content=b"x")

    def _answer(self, name: str, variables: Mapping[str, Any]) -> Any:
        scenes = self.scene_rows
        match name:
            case "Library":
                return self._library(variables)
            case "Glance":
                # Without a log, a glance shows nothing: everything is listed.
                kinds = {kind: {"count": 0, "rows": []} for kind in GLANCE_KINDS}
                last: dict[str, Any] = {f"{kind}_id": _rows(()) for kind in kinds}
                return {**kinds, **last, "logs": []}
            case "NewestScene":
                times = [scene.updated_at for scene in list(scenes.values())]
                newest = [{"id": 1, "updated_at": max(times)}] if times else []
                return {
                    "scene": {"count": len(times), "rows": newest},
                    "scene_id": _rows({"id": id_} for id_ in sorted(scenes)[-1:]),
                }
            case "SceneCount":
                return {"count": len(scenes)}
            case "SceneStamps":
                return _rows(
                    {"id": scene.id, "updated_at": scene.updated_at}
                    for scene in self._page(variables, self.hidden_scenes)
                )
            case "SceneMediaPage":
                return _rows(self._media_of(row) for row in self._page(variables))
            case "MarkerStamps":
                end = variables["page"] * variables["size"]
                return {"rows": self._marker_stamps()[end - variables["size"] : end]}
            case "Files":
                return _rows(
                    {"id": scene.id, "files": scene.files}
                    for scene in list(scenes.values())
                    if any(
                        self.file_times.get(file.id, "") > variables["since"]
                        for file in scene.files
                    )
                )
            case "Scenes":
                return _rows(self._known(variables["ids"]))
            case "ScenesBetween":
                shown = set(self._between(**variables)) - self.hidden_scenes
                return _rows(self._known(sorted(shown)))
            case "SceneMedia":
                return _rows(map(self._media_of, self._known(variables["ids"])))
            case "SceneIds":
                return _rows({"id": id_} for id_ in self._between(**variables))
            case "LackingPhash":
                lacking = {i for i, kinds in self.lacking.items() if "phash" in kinds}
                found = lacking.intersection(self._between(**variables))
                return _rows({"id": id_} for id_ in sorted(found))
            case "ScenesAt":
                return _rows(
                    {"id": scene.id, "files": scene.files}
                    for scene in list(scenes.values())
                    if any(file.path == variables["path"] for file in scene.files)
                )
            case "Tags":
                return _rows(list(self.tag_rows.values()))
            case "Performers":
                return _rows(list(self.performer_rows.values()))
            case "Studios":
                return _rows(list(self.studio_rows.values()))
            case "ListTags":
                return _rows(map(_named, list(self.tag_rows.values())))
            case "ListPerformers":
                return _rows(map(_named, list(self.performer_rows.values())))
            case "ListStudios":
                return _rows(map(_named, list(self.studio_rows.values())))
            case "FindTag":
                return _rows(self._tags_called(variables["name"]))
            case "TypeFields":
                names = ("id", "name", "aliases", "scene_count")
                return {"fields": [{"name": n, "type": {"kind": "X"}} for n in names]}
            case "TagUse":
                return self._tag_use_of(int(variables["id"]))
            case "SceneBoxIds":
                scene = self.scene_rows.get(int(variables["id"]))
                return scene and {"stash_ids": scene.stash_ids}
            case "BulkUpdateScenes":
                return self._bulk_update(variables["input"])
            case "UpdateScene":
                return self._update(dict(variables["input"]))
            case "CreateTag":
                wanted = variables["input"]["name"]
                if self._tags_called(wanted):
                    _refuse(f"tag with name '{wanted}' already exists")
                return self.tag_rows[self.add_tag(wanted)]
            case "DestroyTag":
                del self.tag_rows[int(variables["id"])]
                return True
            case "CreateMarker":
                return {"id": self._create_marker(variables["input"])}
            case "StartScan":
                return self._start("scan", variables["input"])
            case "StartGenerate":
                return self._start("generate", variables["input"])
            case "StartAutoTag":
                return self._start("auto_tag", variables["input"])
            case "StartIdentify":
                return self._start("identify", variables["input"])
            case "StartOptimise":
                return self._start("optimise", {})
            case "BackUp":
                return None
            case "StashBoxes":
                boxes = [{"endpoint": endpoint} for endpoint in self.boxes]
                return {"general": {"stashBoxes": boxes}}
            case "FindJob":
                return self._poll(int(variables["id"]))
            case "JobQueue":
                return self._queue()
            case "StopJob":
                return True
            case "LibraryRoots":
                return {"general": {"stashes": [{"path": "/data"}]}}
            case "Version":
                return {"version": self.stash_version}
            case "RecentLog":
                facts = {"time": self.log_time, "level": "Error"}
                return [{"message": line, **facts} for line in self.log]
        raise NotImplementedError(name)

    def _library(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        listings = {}
        for name, part in LIBRARY_PARTS.items():
            self._befall(f"Library.{name}", 0)
            listings[name] = self._answer(part, variables)
            self._befall(f"Library.{name}", 1)
        return listings

    def _page(
        self, variables: Mapping[str, Any], hidden: Iterable[int] = ()
    ) -> list[StashScene]:
        later = [id_ for id_ in list(self.scene_rows) if id_ > variables["after"]]
        ids = sorted(set(later).difference(hidden))[: variables["size"]]
        return [self.scene_rows[id_] for id_ in ids]

    def _between(self, low: int, high: int) -> list[int]:
        return [id_ for id_ in sorted(self.scene_rows) if low <= id_ <= high]

    def _known(self, ids: Iterable[int | str]) -> list[StashScene]:
        found = []
        for id_ in map(int, ids):
            if id_ not in self.scene_rows:
                _refuse(f"scene with id {id_} not found")
            if id_ in self.broken_scenes:
                _refuse(f"Stash fails at scene {id_}")
            found.append(self.scene_rows[id_])
        return found

    def _marker_stamps(self) -> list[dict[str, Any]]:
        rows = [
            {"id": m.id, "updated_at": m.updated_at, "scene": {"id": scene.id}}
            for scene in list(self.scene_rows.values())
            for m in scene.scene_markers
        ]
        return sorted(rows, key=lambda row: row["id"])

    def _media_of(self, scene: StashScene) -> dict[str, Any]:
        kinds = ("screenshot", "preview", "webp", "sprite", "vtt")
        places = ("stream", "preview", "screenshot")
        return {
            "id": scene.id,
            "paths": {kind: f"/scene/{scene.id}/{kind}" for kind in kinds},
            "files": [{"fingerprints": file.fingerprints} for file in scene.files],
            "scene_markers": [
                {"id": m.id, "seconds": m.seconds}
                | {place: f"/marker/{m.id}/{place}" for place in places}
                for m in scene.scene_markers
            ],
        }

    def _tags_called(self, name: str) -> list[StashTag]:
        wanted = name.casefold()
        return [
            tag
            for tag in list(self.tag_rows.values())
            if wanted in {each.casefold() for each in (tag.name, *tag.aliases)}
        ]

    def _tag_use_of(self, tag_id: int) -> dict[str, Any] | None:
        tag = self.tag_rows.get(tag_id)
        if tag is None:
            return None
        uses = sum(Ref(id=tag_id) in scene.tags for scene in self.scene_rows.values())
        facts = {"id": tag_id, "name": tag.name, "aliases": tag.aliases}
        return facts | {"scene_count": uses}

    def _bulk_update(self, update: Mapping[str, Any]) -> list[dict[str, Any]]:
        ids = [int(id_) for id_ in update["ids"]]
        if any(id_ not in self.scene_rows for id_ in ids):
            _refuse("sql: no rows in result set")
        rows: dict[str, Container[int]] = {
            "tag": self.tag_rows,
            "performer": self.performer_rows,
        }
        for scene_id in ids:
            scene = self.scene_rows[scene_id]
            fields: dict[str, Any] = {}
            for kind, known in rows.items():
                change = update.get(f"{kind}_ids")
                if change is None:
                    continue
                named = [int(id_) for id_ in change["ids"]]
                has = [ref.id for ref in getattr(scene, f"{kind}s")]
                if change["mode"] == "REMOVE":
                    has = [id_ for id_ in has if id_ not in named]
                elif any(id_ not in known for id_ in named):
                    _refuse("FOREIGN KEY constraint failed")
                else:
                    has = list(dict.fromkeys([*has, *named]))
                fields[f"{kind}s"] = refs(*has)
            if urls := update.get("urls"):
                kept = [url for url in scene.urls if url not in urls["values"]]
                more = urls["values"] if urls["mode"] == "ADD" else ()
                fields["urls"] = (*kept, *more)
            if "studio_id" in update:
                fields["studio"] = self._studio(update["studio_id"])
            self.edit(scene_id, **fields)
        return [{"id": id_} for id_ in ids]

    def _studio(self, studio_id: str | int | None) -> Ref | None:
        if studio_id is None:
            return None
        if int(studio_id) not in self.studio_rows:
            _refuse("FOREIGN KEY constraint failed")
        return Ref(id=int(studio_id))

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        scene_id = int(fields.pop("id"))
        if "studio_id" in fields:
            fields["studio"] = self._studio(fields.pop("studio_id"))
        if "urls" in fields:
            fields["urls"] = tuple(fields["urls"])
        if "stash_ids" in fields:
            fields["stash_ids"] = tuple(
                StashBoxId(endpoint=box["endpoint"], stash_id=box["stash_id"])
                for box in fields["stash_ids"]
            )
        self.edit(scene_id, **fields)
        return {"id": scene_id}

    def _create_marker(self, marker: Mapping[str, Any]) -> int:
        return self.add_marker(
            int(marker["scene_id"]),
            int(marker["primary_tag_id"]),
            marker["seconds"],
            title=marker["title"],
            end_seconds=marker["end_seconds"],
            tags=refs(*map(int, marker["tag_ids"])),
        )

    def _start(self, kind: str, job_input: dict[str, Any]) -> int:
        self.started.append((kind, job_input))
        return len(self.started)

    def _poll(self, job_id: int) -> dict[str, Any] | None:
        states = self.job_states
        state = states.pop(0) if len(states) > 1 else states[0]
        if isinstance(state, BaseException):
            raise state
        if isinstance(state, httpx.Response):
            raise _InsteadError(state)
        return None if state is None else self._job(job_id, state)

    def _queue(self) -> list[dict[str, Any]] | None:
        state = self.job_states[0]
        runs = isinstance(state, dict) and state["status"] == "RUNNING"
        return [self._job(len(self.started), {})] if self.started and runs else None

    def _job(self, job_id: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        kind = self.started[job_id - 1][0]
        job = {"status": "RUNNING", "description": _DESCRIPTIONS[kind], "progress": 1}
        return {"id": job_id, **job, "addTime": self.add_time, **facts}

    # --- changes ---------------------------------------------------------------------

    def tick(self, seconds: float = 7) -> str:
        """Let time pass; return the new time as Stash writes it."""
        self.now += timedelta(seconds=seconds)
        return self.text()

    def text(self) -> str:
        local = self.now.astimezone(self.zone)
        return local.isoformat(timespec="seconds").replace("+00:00", "Z")

    def new_id(self, id_: int | None = None) -> int:
        """Return the next id, or this one, which is not given again."""
        self._last_id = max(self._last_id, id_ or self._last_id + 1)
        return id_ or self._last_id

    def add_scene(self, title: str = "", **fields: Any) -> int:
        """Scan a new file: a scene with it, and nothing else unless told.

        Args:
            title: Its title; empty: one with its id.
            fields: Further fields, also an id.
        """
        id_ = self.new_id(fields.pop("id", None))
        now = self.tick()
        fields.setdefault("files", (self.new_file(f"/data/{id_}.mp4"),))
        times = {"created_at": now, "updated_at": now}
        self.scene_rows[id_] = bare_scene(
            id=id_, title=title or f"Scene {id_}", **(times | fields)
        )
        return id_

    def replace_scenes(self, ids: Iterable[int]) -> None:
        """Have bare scenes of these ids and no others."""
        self.scene_rows = {id_: _bare_scene(id_) for id_ in ids}
        self._last_id = max(self.scene_rows, default=self._last_id)

    def new_file(self, path: str, oshash: str = "") -> VideoFile:
        id_ = self.new_id()
        self.file_times[id_] = self.text()
        hashes = {"oshash": oshash or f"{id_:016x}", "phash": f"{id_:x}"}
        return _file(id_, path, self.text(), hashes)

    def edit(self, scene_id: int, **fields: Any) -> None:
        """Update a scene as an editor does: its time of change moves."""
        self.change_silently(scene_id, updated_at=self.tick(), **fields)

    def change_silently(self, scene_id: int, **fields: Any) -> None:
        """Change a scene in a way that does not move its time of change."""
        self.scene_rows[scene_id] = msgspec.structs.replace(
            self.scene_rows[scene_id], **fields
        )

    def destroy_scene(self, scene_id: int) -> None:
        self.tick()
        del self.scene_rows[scene_id]

    def move_file(self, scene_id: int, path: str) -> None:
        """Find the primary file moved, as a rescan does."""
        self.replace_file(scene_id, path=path)

    def replace_file(self, scene_id: int, **fields: Any) -> None:
        """Find the primary file changed, as a rescan does."""
        first, *others = self.scene_rows[scene_id].files
        now = self.tick()
        self.file_times[first.id] = now
        changed = msgspec.structs.replace(first, updated_at=now, **fields)
        self.change_silently(scene_id, files=(changed, *others))

    def add_tag(self, name: str, **fields: Any) -> int:
        id_ = self.new_id(fields.pop("id", None))
        self.tag_rows[id_] = StashTag(id=id_, name=name, **fields)
        return id_

    def add_performer(self, name: str, **fields: Any) -> int:
        id_ = self.new_id(fields.pop("id", None))
        self.performer_rows[id_] = StashPerformer(id=id_, name=name, **fields)
        return id_

    def add_studio(self, name: str, **fields: Any) -> int:
        id_ = self.new_id(fields.pop("id", None))
        self.studio_rows[id_] = StashStudio(id=id_, name=name, **fields)
        return id_

    def edit_tag(self, tag_id: int, **fields: Any) -> None:
        """Change a tag; no scene's time of change moves."""
        self.tag_rows[tag_id] = msgspec.structs.replace(self.tag_rows[tag_id], **fields)

    def edit_performer(self, performer_id: int, **fields: Any) -> None:
        """Change a performer; no scene's time of change moves."""
        self.performer_rows[performer_id] = msgspec.structs.replace(
            self.performer_rows[performer_id], **fields
        )

    def merge_tag(self, source: int, into: int) -> None:
        """Merge one tag into another; no scene's time of change moves."""
        self.tick()
        gone = self.tag_rows.pop(source)
        target = self.tag_rows[into]
        aliases = (*target.aliases, gone.name, *gone.aliases)
        self.edit_tag(into, aliases=aliases)
        for tag in list(self.tag_rows.values()):
            self.edit_tag(tag.id, parents=_swapped(tag.parents, source, None))
        for scene in list(self.scene_rows.values()):
            self.change_silently(
                scene.id,
                tags=_swapped(scene.tags, source, into),
                scene_markers=tuple(
                    msgspec.structs.replace(
                        m,
                        primary_tag=_swapped((m.primary_tag,), source, into)[0],
                        tags=_swapped(m.tags, source, into),
                    )
                    for m in scene.scene_markers
                ),
            )

    def destroy_studio(self, studio_id: int) -> None:
        """Destroy a studio; its scenes lose it, their time of change does not move."""
        self.tick()
        del self.studio_rows[studio_id]
        for studio in list(self.studio_rows.values()):
            if studio.parent_studio == Ref(id=studio_id):
                self.studio_rows[studio.id] = msgspec.structs.replace(
                    studio, parent_studio=None
                )
        for scene in list(self.scene_rows.values()):
            if scene.studio == Ref(id=studio_id):
                self.change_silently(scene.id, studio=None)

    def add_marker(
        self, scene_id: int, tag_id: int, seconds: float = 1.5, **fields: Any
    ) -> int:
        """Create a marker; the scene's time of change does not move.

        Args:
            scene_id: Its scene.
            tag_id: Its primary tag.
            seconds: Where it is.
            fields: Further fields, also an id.
        """
        id_ = self.new_id(fields.pop("id", None))
        facts = {"title": "Marker", "end_seconds": None, "tags": ()} | fields
        marker = StashMarker(
            id=id_,
            seconds=seconds,
            primary_tag=Ref(id=tag_id),
            created_at=self.tick(),
            updated_at=self.text(),
            **facts,
        )
        markers = self.scene_rows[scene_id].scene_markers
        self.change_silently(scene_id, scene_markers=(*markers, marker))
        return id_

    def edit_markers(self, scene_id: int, **fields: Any) -> None:
        """Change all markers of a scene; the scene's time of change does not move."""
        now = self.tick()
        self.change_silently(
            scene_id,
            scene_markers=tuple(
                msgspec.structs.replace(m, updated_at=now, **fields)
                for m in self.scene_rows[scene_id].scene_markers
            ),
        )

    def remove_markers(self, scene_id: int) -> None:
        self.tick()
        self.change_silently(scene_id, scene_markers=())


def refs(*ids: int) -> tuple[Ref, ...]:
    """Return references to these ids."""
    return tuple(Ref(id=id_) for id_ in ids)


def _swapped(rows: tuple[Ref, ...], source: int, into: int | None) -> tuple[Ref, ...]:
    ids = [into if ref.id == source else ref.id for ref in rows]
    return refs(*dict.fromkeys(id_ for id_ in ids if id_ is not None))


def bare_scene(**fields: Any) -> StashScene:
    """Return a scene that has nothing but these fields."""
    return msgspec.structs.replace(_BARE_SCENE, **fields)


class _InsteadError(Exception):
    """Another answer than that of a Stash that does as it is asked."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self.response = response


def _refuse(message: str) -> NoReturn:
    raise _InsteadError(refusal(message))


def _named(row: StashTag | StashPerformer | StashStudio) -> dict[str, Any]:
    aliases = row.alias_list if isinstance(row, StashPerformer) else row.aliases
    names = {"id": row.id, "name": row.name, "aliases": aliases}
    return {**names, "created_at": row.created_at}


def _rows(rows: Iterable[Any]) -> dict[str, list[Any]]:
    return {"rows": list(rows)}


def _file(id_: int, path: str, time: str, hashes: Mapping[str, str]) -> VideoFile:
    return VideoFile(
        id=id_,
        path=path,
        size=1000 + id_,
        mod_time="2025-06-01T12:00:00.5+02:00",
        duration=61.5,
        format="mp4",
        width=1920,
        height=1080,
        frame_rate=29.97,
        bit_rate=5_000_000,
        video_codec="h264",
        audio_codec="aac",
        created_at=time,
        updated_at=time,
        fingerprints=tuple(Fingerprint(type=k, value=v) for k, v in hashes.items()),
    )


def _bare_scene(id_: int) -> StashScene:
    file = _file(id_, f"/data/{id_}.mp4", "", {"oshash": f"{id_:016x}"})
    return bare_scene(id=id_, files=(file,))


_SETTINGS = {
    "url": "http://stash:9999",
    "poll_interval_seconds": 0.001,
    "outage_limit_seconds": 0.01,
    "websocket": False,
}
"""Settings that fit a Stash which answers at once."""

_BARE_SCENE = StashScene(
    id=0,
    title="",
    code="",
    details="",
    director="",
    urls=(),
    date=None,
    rating100=None,
    organized=False,
    play_count=0,
    o_counter=0,
    last_played_at=None,
    resume_time=0,
    play_duration=0,
    interactive=False,
    interactive_speed=None,
    created_at="",
    updated_at="",
    studio=None,
    performers=(),
    tags=(),
    groups=(),
    galleries=(),
    stash_ids=(),
    captions=None,
    files=(),
    scene_markers=(),
)
