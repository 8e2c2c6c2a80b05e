"""Putting changes of sets together, so that few requests carry many of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Slot = Literal["add_tag", "remove_tag", "add_performer", "remove_performer", "studio"]


@dataclass(frozen=True, order=True)
class Edit:
    """One value put into or taken out of a scene."""

    slot: Slot
    id: int


@dataclass(frozen=True)
class Group:
    """Edits that the same request makes in several scenes."""

    edits: frozenset[Edit]
    scene_ids: tuple[int, ...]

    def ids(self, slot: Slot) -> list[int]:
        """Return the ids of one kind of edit, in order."""
        return sorted(edit.id for edit in self.edits if edit.slot == slot)

    @property
    def studio_id(self) -> int | None:
        """The studio to set; None: none."""
        return next(iter(self.ids("studio")), None)


def group_edits(edits: Iterable[tuple[int, Edit]]) -> list[Group]:
    """Return the fewest groups: scenes that get the same set, or one value each.

    Title cards give every scene its own set; an AI server gives many scenes each of a
    few tags. Which of the two ways needs fewer requests depends on the plan.

    Args:
        edits: (scene id, edit). A scene has at most one studio edit.
    """
    by_scene: dict[int, set[Edit]] = defaultdict(set)
    by_value: dict[Edit, set[int]] = defaultdict(set)
    for scene_id, edit in edits:
        by_scene[scene_id].add(edit)
        by_value[edit].add(scene_id)
    by_set: dict[frozenset[Edit], list[int]] = defaultdict(list)
    for scene_id, its_edits in by_scene.items():
        by_set[frozenset(its_edits)].append(scene_id)
    if len(by_set) <= len(by_value):
        return [Group(key, tuple(sorted(ids))) for key, ids in by_set.items()]
    return [
        Group(frozenset([edit]), tuple(sorted(by_value[edit])))
        for edit in sorted(by_value)
    ]
