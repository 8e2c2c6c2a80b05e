"""Deciding what becomes of each approved change, by what Stash has.

Before anything is sent, and again after a request that Stash did not say yes to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from stashhog_core.errors import BusyError, TransientError, UnreadableError
from stashhog_core.plans.change_records import Record
from stashhog_core.plans.grouping import Edit, Slot
from stashhog_core.plans.live_tags import LiveTags
from stashhog_core.plans.three_way import Change, judge
from stashhog_core.stash.payloads import StashScene

SCENE_GONE = "Stash has no such scene any more"

UNPROVEN_IN_A_ROW = 3
"""After so many requests without a readable answer a run ends: that is an outage,
although Stash can be read, and each further one may take the whole time limit."""

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

    def applied(self, marker_id: int | None = None) -> Record:
        """Return the record that it was done; a marker's with the marker's id."""
        effect = dict(self.effect)
        if self.change.field == "markers":
            effect["marker_id"] = marker_id
        return Record(self.change.id, "applied", effect)


class Answers:
    """Counts the requests in a row that nobody has answered readably."""

    def __init__(self) -> None:
        self._unproven: list[BaseException] = []

    def note(self, error: BaseException | None) -> None:
        """Note what became of a request; None: it was answered.

        Raises:
            TransientError, UnreadableError: The error, if it is one too many.
        """
        if isinstance(error, BusyError) or not isinstance(
            error, TransientError | UnreadableError
        ):
            self._unproven.clear()
            return
        # Several changes may need what one request was to create.
        if not any(error is earlier for earlier in self._unproven):
            self._unproven.append(error)
        if len(self._unproven) >= UNPROVEN_IN_A_ROW:
            raise error


@dataclass(frozen=True)
class Found:
    """A change of ours that Stash has, although no answer has said so.

    Its run was killed between sending and recording, or the answer was lost.
    """

    task: Task
    marker_id: int | None = None


def settle(
    change: Change, live: StashScene | None, tags: LiveTags
) -> Record | Found | Task:
    """Return what became of a change already, or what is to be done for it.

    Args:
        change: The change.
        live: Its scene as Stash has it; None: it is gone.
        tags: Stash's tags. A tag that is needed and missing is created here.

    Raises:
        ItemError: A tag that it needs cannot be created now.
    """
    if live is None:
        return Record(change.id, "skipped", error=SCENE_GONE)
    tag = _tag(change)
    member_id = tags.find(tag) if tag else _person_or_studio_id(change)
    ruling = judge(change, live, member_id)
    if ruling.verdict == "apply" and tag and member_id is None:
        member_id = tags.ensure(tag)
        ruling = judge(change, live, member_id)
    if ruling.verdict == "apply":
        return Task(change, member_id, ruling.effect)
    if ruling.verdict == "already" and change.intent is not None:
        before = {k: v for k, v in change.intent.items() if k != "intended"}
        return Found(Task(change, member_id, before), ruling.effect.get("marker_id"))
    return Record(change.id, ruling.verdict, error=ruling.reason)


def settle_sent(task: Task, live: StashScene | None) -> Record | Found | None:
    """Return what became of a change that was sent without a readable yes.

    Args:
        task: The change, as it was sent.
        live: Its scene as Stash has it after that; None: it is gone.

    Returns:
        None if nothing has come of it.
    """
    if live is None:
        return Record(task.change.id, "skipped", error=SCENE_GONE)
    ruling = judge(task.change, live, task.member_id)
    if ruling.verdict == "already":
        return Found(task, ruling.effect.get("marker_id"))
    if ruling.verdict == "conflict":
        return Record(task.change.id, "conflict", error=ruling.reason)
    return None


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
