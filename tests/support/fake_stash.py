"""A Stash library in memory, changed as a real one changes: for the rules of sync.

What moves a time of change and what does not is as observed of a real server.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

from stashhog_core.errors import JobError
from stashhog_core.stash.payloads import (
    Fingerprint,
    LibraryListing,
    MarkerStamp,
    Ref,
    SceneFiles,
    SceneStamp,
    StashMarker,
    StashPerformer,
    StashScene,
    StashStudio,
    StashTag,
    VideoFile,
)

START = datetime(2099, 1, 31, 23, 30, tzinfo=UTC)
"""Later than any run of the tests: every change comes after every baseline."""


class FakeStash:
    """Holds a library; satisfies what sync needs of a server.

    Args:
        zone: The zone that its timestamps are written in.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self.zone = zone
        self.now = START
        self.scene_rows: dict[int, StashScene] = {}
        self.tag_rows: dict[int, StashTag] = {}
        self.performer_rows: dict[int, StashPerformer] = {}
        self.studio_rows: dict[int, StashStudio] = {}
        self.file_times: dict[int, str] = {}
        self.requests: list[str] = []
        self.broken_scenes: set[int] = set()
        self.hidden_scenes: set[int] = set()
        self.last_id = 0

    # --- what sync reads -------------------------------------------------------------

    def library(self, files_changed_since: str) -> LibraryListing:
        return LibraryListing(
            pages=self.scene_stamps(),
            marker_pages=self.marker_pages(),
            tags=tuple(self.tags()),
            performers=tuple(self.performers()),
            studios=tuple(self.studios()),
            files=tuple(
                self.scene_file_stamps(files_changed_since)
                if files_changed_since
                else ()
            ),
        )

    def newest_scene(self) -> tuple[int, str]:
        self.requests.append("newest_scene")
        times = [scene.updated_at for scene in self.scene_rows.values()]
        return len(self.scene_rows), max(times, default="")

    def scene_stamps(self) -> Iterator[list[SceneStamp]]:
        self.requests.append("scene_stamps")
        rows = [
            SceneStamp(id=scene.id, updated_at=scene.updated_at)
            for id_, scene in sorted(self.scene_rows.items())
            if id_ not in self.hidden_scenes
        ]
        for start in range(0, len(rows), 3):
            yield rows[start : start + 3]

    def marker_stamps(self) -> Iterator[MarkerStamp]:
        return chain.from_iterable(self.marker_pages())

    def marker_pages(self) -> Iterator[list[MarkerStamp]]:
        self.requests.append("marker_stamps")
        rows = [
            MarkerStamp(id=m.id, updated_at=m.updated_at, scene=Ref(id=scene.id))
            for scene in self.scene_rows.values()
            for m in scene.scene_markers
        ]
        rows.sort(key=attrgetter("id"))
        for start in range(0, len(rows), 3):
            yield rows[start : start + 3]

    def scene_file_stamps(self, changed_since: str) -> list[SceneFiles]:
        self.requests.append("scene_file_stamps")
        return [
            msgspec.convert(
                {"id": scene.id, "files": scene.files},
                SceneFiles,
                from_attributes=True,
            )
            for scene in self.scene_rows.values()
            if any(self.file_times[file.id] > changed_since for file in scene.files)
        ]

    def count_scenes(self) -> int:
        self.requests.append("count_scenes")
        return len(self.scene_rows)

    def scenes(self, ids: Sequence[int]) -> tuple[list[StashScene], list[int]]:
        self.requests.append("scenes")
        if broken := self.broken_scenes.intersection(ids):
            raise JobError(f"Stash fails at scene {min(broken)}")
        found = [self.scene_rows[id_] for id_ in ids if id_ in self.scene_rows]
        return found, [id_ for id_ in ids if id_ not in self.scene_rows]

    def scenes_between(self, low: int, high: int) -> list[StashScene]:
        ids = [id_ for id_ in sorted(self.scene_rows) if low <= id_ <= high]
        return self.scenes(ids)[0]

    def tags(self) -> list[StashTag]:
        self.requests.append("tags")
        return list(self.tag_rows.values())

    def performers(self) -> list[StashPerformer]:
        self.requests.append("performers")
        return list(self.performer_rows.values())

    def studios(self) -> list[StashStudio]:
        self.requests.append("studios")
        return list(self.studio_rows.values())

    # --- changes ---------------------------------------------------------------------

    def tick(self, seconds: float = 7) -> str:
        """Let time pass; return the new time as Stash writes it."""
        self.now += timedelta(seconds=seconds)
        return self.text()

    def text(self) -> str:
        local = self.now.astimezone(self.zone)
        return local.isoformat(timespec="seconds").replace("+00:00", "Z")

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def add_scene(self, title: str = "", **fields: Any) -> int:
        """Scan a new file: a scene with it, and nothing else unless told."""
        id_ = self.new_id()
        now = self.tick()
        fields.setdefault("files", (self.new_file(f"/data/{id_}.mp4"),))
        times = {"created_at": now, "updated_at": now}
        self.scene_rows[id_] = StashScene(
            id=id_, title=title or f"Scene {id_}", **(_EMPTY_SCENE | times | fields)
        )
        return id_

    def new_file(self, path: str, oshash: str = "") -> VideoFile:
        id_ = self.new_id()
        self.file_times[id_] = self.text()
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
            created_at=self.text(),
            updated_at=self.text(),
            fingerprints=(
                Fingerprint(type="oshash", value=oshash or f"{id_:016x}"),
                Fingerprint(type="phash", value=f"{id_:x}"),
            ),
        )

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
        id_ = self.new_id()
        self.tag_rows[id_] = StashTag(id=id_, name=name, **fields)
        return id_

    def add_performer(self, name: str, **fields: Any) -> int:
        id_ = self.new_id()
        self.performer_rows[id_] = StashPerformer(id=id_, name=name, **fields)
        return id_

    def add_studio(self, name: str, **fields: Any) -> int:
        id_ = self.new_id()
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

    def add_marker(self, scene_id: int, tag_id: int, seconds: float = 1.5) -> int:
        """Create a marker; the scene's time of change does not move."""
        id_ = self.new_id()
        marker = StashMarker(
            id=id_,
            title="Marker",
            seconds=seconds,
            end_seconds=None,
            primary_tag=Ref(id=tag_id),
            tags=(),
            created_at=self.tick(),
            updated_at=self.text(),
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

    def destroy_markers(self, scene_id: int) -> None:
        self.tick()
        self.change_silently(scene_id, scene_markers=())


def refs(*ids: int) -> tuple[Ref, ...]:
    """Return references to these ids."""
    return tuple(Ref(id=id_) for id_ in ids)


def _swapped(rows: tuple[Ref, ...], source: int, into: int | None) -> tuple[Ref, ...]:
    ids = [into if ref.id == source else ref.id for ref in rows]
    return refs(*dict.fromkeys(id_ for id_ in ids if id_ is not None))


_EMPTY_SCENE: dict[str, Any] = {
    "code": "",
    "details": "",
    "director": "",
    "urls": (),
    "date": None,
    "rating100": None,
    "organized": False,
    "play_count": 0,
    "o_counter": 0,
    "last_played_at": None,
    "resume_time": 0,
    "play_duration": 0,
    "interactive": False,
    "interactive_speed": None,
    "studio": None,
    "performers": (),
    "tags": (),
    "groups": (),
    "galleries": (),
    "stash_ids": (),
    "captions": None,
    "scene_markers": (),
}
