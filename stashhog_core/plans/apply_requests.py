"""The requests that bring changes to Stash, and how each is repeated in the mirror."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.orm import Session

from stashhog_core.plans.effects import Task
from stashhog_core.plans.grouping import Edit, Group, group_edits
from stashhog_core.plans.mirror_update import (
    mirror_group,
    mirror_marker,
    mirror_texts,
)
from stashhog_core.plans.three_way import TEXT_FIELDS
from stashhog_core.stash.client import SceneEditor


class MarkerEditor(SceneEditor, Protocol):
    """The part of Stash that holds scenes and their markers."""

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
        """Create a marker and return its id."""


class Request(Protocol):
    """One request to Stash, for one change or many."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The changes that it carries."""

    def send(self, stash: MarkerEditor) -> int | None:
        """Send it; return the id of what was created, if anything was."""

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat in the mirror what it did."""


@dataclass(frozen=True)
class SetsRequest:
    """Puts tags, performers and a studio into scenes, or takes them out."""

    group: Group
    tasks: Sequence[Task]

    def send(self, stash: MarkerEditor) -> None:
        """Send the bulk update."""
        stash.bulk_update_scenes(
            self.group.scene_ids,
            add_tag_ids=self.group.ids("add_tag"),
            remove_tag_ids=self.group.ids("remove_tag"),
            add_performer_ids=self.group.ids("add_performer"),
            remove_performer_ids=self.group.ids("remove_performer"),
            studio_id=self.group.studio_id,
        )

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat it in the mirror."""
        mirror_group(session, self.group)


@dataclass(frozen=True)
class TextsRequest:
    """Sets texts of one scene."""

    scene_id: int
    tasks: Sequence[Task]

    @property
    def _fields(self) -> dict[str, Any]:
        return {task.change.field: task.change.proposed for task in self.tasks}

    def send(self, stash: MarkerEditor) -> None:
        """Send the update."""
        stash.update_scene(self.scene_id, self._fields)

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Repeat it in the mirror."""
        mirror_texts(session, self.scene_id, self._fields)


@dataclass(frozen=True)
class MarkerRequest:
    """Creates one marker."""

    tasks: Sequence[Task]

    @property
    def _tag_id(self) -> int:
        (task,) = self.tasks
        if task.member_id is None:
            raise RuntimeError("a marker was to be made without a tag")
        return task.member_id

    def send(self, stash: MarkerEditor) -> int:
        """Create the marker; return its id."""
        (task,) = self.tasks
        return stash.create_marker(
            scene_id=task.change.scene_id,
            title=task.change.proposed["title"],
            seconds=task.change.proposed["seconds"],
            primary_tag_id=self._tag_id,
            end_seconds=task.change.proposed["end_seconds"],
        )

    def mirror(self, session: Session, created_id: int | None) -> None:
        """Add the marker to the mirror."""
        (task,) = self.tasks
        if created_id is not None:
            mirror_marker(
                session,
                created_id,
                task.change.scene_id,
                task.change.proposed,
                self._tag_id,
            )


def requests_for(tasks: Sequence[Task]) -> list[Request]:
    """Return the fewest requests that carry these changes."""
    # Two names of one tag are two changes and one edit.
    same: dict[tuple[int, Edit | None], list[Task]] = defaultdict(list)
    for task in tasks:
        same[task.change.scene_id, task.edit].append(task)
    requests: list[Request] = [
        SetsRequest(
            group,
            [t for i in group.scene_ids for e in group.edits for t in same[i, e]],
        )
        for group in group_edits(
            (scene_id, edit) for scene_id, edit in same if edit is not None
        )
    ]
    by_scene: dict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.change.field in TEXT_FIELDS:
            by_scene[task.change.scene_id].append(task)
    requests += [TextsRequest(scene_id, texts) for scene_id, texts in by_scene.items()]
    requests += [
        MarkerRequest([task]) for task in tasks if task.change.field == "markers"
    ]
    return requests


def parts_of(request: Request) -> list[Request]:
    """Return a request for each value or field of one; none if it has only one.

    Stash refuses a request as a whole for one value in it that it does not take.
    """
    if isinstance(request, SetsRequest):
        parts = [
            [task for task in request.tasks if task.edit == edit]
            for edit in sorted(request.group.edits)
        ]
    else:
        parts = [[task] for task in request.tasks]
    return [r for part in parts for r in requests_for(part)] if len(parts) > 1 else []
