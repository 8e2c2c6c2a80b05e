"""A Stash held in memory, for tests of what is written to it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stashhog_core.errors import BusyError, RefusedError, TransientError
from stashhog_core.stash.payloads import Ref, StashMarker, StashScene, StashTag

EMPTY = StashScene(
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


class Killed(BaseException):
    """The process died."""


class MemoryStash:
    """A Stash in memory. It can die before or after any of its writes."""

    def __init__(self, *scene_ids: int) -> None:
        self.library = {i: msgspec.structs.replace(EMPTY, id=i) for i in scene_ids}
        self.known_tags = {1: StashTag(id=1, name="Outdoor", aliases=("Open Air",))}
        self.writes: list[str] = []
        self.die_at: tuple[int, str] | None = None
        self.vanish_on_write: int | None = None
        self.away = False
        self.writes_fail = False
        self.busy_for = 0

    def edit(self, scene_id: int, **facts: Any) -> None:
        self.library[scene_id] = msgspec.structs.replace(
            self.library[scene_id], **facts
        )

    def _write(self, what: str, moment: str) -> None:
        if moment == "before":
            self.writes.append(what)
            self.busy_for -= 1
            if self.busy_for >= 0:
                raise BusyError("Stash's database is busy")
            if self.writes_fail or self.away:
                raise TransientError("Stash does not answer")
        if self.die_at == (len(self.writes), moment):
            raise Killed

    def scenes(self, ids: Sequence[int]) -> tuple[list[StashScene], list[int]]:
        if self.away:
            raise TransientError("Stash does not answer")
        return (
            [self.library[i] for i in ids if i in self.library],
            [i for i in ids if i not in self.library],
        )

    def tags(self) -> list[StashTag]:
        return list(self.known_tags.values())

    def find_tag(self, name: str) -> StashTag | None:
        wanted = name.casefold()
        return next((t for t in self.tags() if t.name.casefold() == wanted), None)

    def create_tag(self, name: str) -> StashTag:
        self._write(f"create tag {name}", "before")
        if self.find_tag(name):
            raise RefusedError(f"tag with name '{name}' already exists")
        tag = StashTag(id=max(self.known_tags) + 1, name=name)
        self.known_tags[tag.id] = tag
        self._write(name, "after")
        return tag

    def bulk_update_scenes(
        self,
        ids: Sequence[int],
        *,
        add_tag_ids: Sequence[int] = (),
        remove_tag_ids: Sequence[int] = (),
        add_performer_ids: Sequence[int] = (),
        remove_performer_ids: Sequence[int] = (),
        studio_id: int | None = None,
    ) -> None:
        self._write(f"bulk {list(ids)}", "before")
        if self.vanish_on_write in ids:
            self.library.pop(self.vanish_on_write or 0, None)
        if any(i not in self.library for i in ids):
            raise RefusedError("sql: no rows in result set")
        if 99 in add_performer_ids:
            raise RefusedError("FOREIGN KEY constraint failed")
        for i in ids:
            scene = self.library[i]
            self.edit(
                i,
                tags=_changed(scene.tags, add_tag_ids, remove_tag_ids),
                performers=_changed(
                    scene.performers, add_performer_ids, remove_performer_ids
                ),
                studio=Ref(id=studio_id) if studio_id else scene.studio,
            )
        self._write("", "after")

    def update_scene(self, scene_id: int, fields: Mapping[str, Any]) -> None:
        self._write(f"update {scene_id}", "before")
        self.edit(scene_id, **fields)
        self._write("", "after")

    def create_marker(
        self,
        *,
        scene_id: int,
        title: str,
        seconds: float,
        primary_tag_id: int,
        tag_ids: Sequence[int] = (),
        end_seconds: float | None = None,
    ) -> int:
        self._write(f"marker {scene_id}", "before")
        marker = StashMarker(
            id=1000 + len(self.writes),
            title=title,
            seconds=seconds,
            end_seconds=end_seconds,
            primary_tag=Ref(id=primary_tag_id),
            tags=(),
            created_at="",
            updated_at="",
        )
        self.edit(
            scene_id, scene_markers=(*self.library[scene_id].scene_markers, marker)
        )
        self._write("", "after")
        return marker.id


def _changed(
    members: Sequence[Ref], added: Sequence[int], removed: Sequence[int]
) -> tuple[Ref, ...]:
    ids = [m.id for m in members if m.id not in removed]
    return tuple(Ref(id=i) for i in dict.fromkeys([*ids, *added]))
