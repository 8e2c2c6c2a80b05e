"""Deciding, before anything is sent, what becomes of each approved change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from stashhog_core.analysis.change_records import Record
from stashhog_core.analysis.grouping import Edit, Slot
from stashhog_core.analysis.live_tags import LiveTags
from stashhog_core.analysis.three_way import Change, judge
from stashhog_core.errors import ItemError
from stashhog_core.stash.payloads import Scene

SCENE_GONE = "Stash has no such scene any more"

_SLOTS: dict[tuple[str, str], Slot] = {
    ("tags", "add"): "add_tag",
    ("tags", "remove"): "remove_tag",
    ("performers", "add"): "add_performer",
    ("performers", "remove"): "remove_performer",
    ("studio", "set"): "studio",
}


@dataclass(frozen=True)
class Task:
    """A change that is to be sent to Stash now."""

    change: Change
    member_id: int | None
    effect: dict[str, object]

    @property
    def edit(self) -> Edit | None:
        """What it is in a bulk update; None: it needs a request of its own."""
        slot = _SLOTS.get((self.change.field, self.change.action))
        if slot is None or self.member_id is None:
            return None
        return Edit(slot, self.member_id)

    @property
    def intent(self) -> Record:
        """The record that it is about to be sent."""
        return Record(self.change.id, None, {**self.effect, "intended": True})

    def applied(self, **effect: object) -> Record:
        """Return the record that it was done."""
        return Record(self.change.id, "applied", {**self.effect, **effect})


def settle(change: Change, live: Scene | None, tags: LiveTags) -> Record | Task:
    """Return what became of a change already, or what is to be done for it.

    Args:
        change: The change.
        live: Its scene as Stash has it; None: it is gone.
        tags: Stash's tags. A tag that is needed and missing is created here.
    """
    if live is None:
        return Record(change.id, "skipped", error=SCENE_GONE)
    tag = _tag(change)
    member_id = tags.find(tag) if tag else _person_or_studio_id(change)
    ruling = judge(change, live, member_id)
    if ruling.verdict == "apply" and tag and member_id is None:
        try:
            member_id = tags.ensure(tag)
        except ItemError as error:
            return Record(change.id, "failed", error=str(error))
        ruling = judge(change, live, member_id)
    if ruling.verdict == "apply":
        return Task(change, member_id, ruling.effect)
    if ruling.verdict == "already" and change.intent is not None:
        # Our own work: an earlier run was killed between doing and recording it.
        before = {k: v for k, v in change.intent.items() if k != "intended"}
        found = {k: v for k, v in ruling.effect.items() if k == "marker_id"}
        return Record(change.id, "applied", {**before, **found})
    return Record(change.id, ruling.verdict, error=ruling.reason)


def _tag(change: Change) -> Mapping[str, Any] | None:
    """Return the tag that a change is about."""
    if change.field == "tags":
        return cast("Mapping[str, Any]", change.proposed)
    if change.field == "markers":
        return cast("Mapping[str, Any]", change.proposed["tag"])
    return None


def _person_or_studio_id(change: Change) -> int | None:
    if change.field in ("performers", "studio"):
        return int(change.proposed["id"])
    return None
