"""Three-way decisions: base, proposal and Stash's live value of an approved change.

A change is compared before it is sent, again after a request without a readable
success, and before it is undone.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from stashhog_core.errors import ItemError
from stashhog_core.plans.covers import LiveCovers
from stashhog_core.plans.new_objects import KINDS, NewObject, NewObjects
from stashhog_core.plans.proposals import (
    TEXT_FIELDS,
    BoxIdValue,
    CoverValue,
    MarkerValue,
    NamedValue,
    TextValue,
    Value,
)
from stashhog_core.plans.tags import LiveTags
from stashhog_core.stash.documents import NamedKind
from stashhog_core.stash.payloads import StashMarker, StashScene

SAME_MARKER_SECONDS = 1.0
"""Stash keeps a marker's media by its whole second: nearer markers are the same."""

_NOBODY = -1
"""An id that nothing in Stash has."""

SCENE_GONE = "Stash no longer has this scene"
OBJECT_GONE = "Something else has the id of this value in Stash by now"

Slot = Literal["add_tag", "remove_tag", "add_performer", "remove_performer", "studio"]

_SLOTS: dict[tuple[str, str], Slot] = {
    ("tags", "add"): "add_tag",
    ("tags", "remove"): "remove_tag",
    ("performers", "add"): "add_performer",
    ("performers", "remove"): "remove_performer",
    ("studio", "set"): "studio",
}
_UNDO_SLOTS: dict[tuple[str, str], Slot] = {
    ("tags", "add"): "remove_tag",
    ("tags", "remove"): "add_tag",
    ("performers", "add"): "remove_performer",
    ("performers", "remove"): "add_performer",
}
_SAME_SECOND = 0.01


@dataclass(frozen=True)
class MemberEffect:
    """The effect of adding or removing a tag or performer.

    Attributes:
        id: The id in Stash; None: a tag that Stash does not have yet.
        present_before: Whether the scene had the tag or performer before.
    """

    id: int | None
    present_before: bool


@dataclass(frozen=True)
class FieldEffect:
    """The effect of setting a studio, by its id, a cover, by its SHA-256, or a text.

    Attributes:
        before: The value before; None: the scene had no studio.
        after: The value that was set.
    """

    before: int | str | None
    after: int | str | None


@dataclass(frozen=True)
class MarkerEffect:
    """The effect of adding a marker.

    Attributes:
        marker_id: The marker's id in Stash; None: not known yet.
        tag_id: The id of the primary tag. Earlier versions kept none.
    """

    marker_id: int | None
    tag_id: int | None = None


@dataclass(frozen=True)
class ItemEffect:
    """The effect of adding a URL, or the id of a scene at a stash-box.

    Attributes:
        item: The URL or the id.
    """

    item: str


Effect = MemberEffect | FieldEffect | MarkerEffect | ItemEffect
"""What applying a change changes in Stash, kept so that it can be undone exactly.

The database keeps an effect as a JSON object of its attributes. Until the outcome is
known, the object has `intended: true` as well.
"""


def read_effect(stored: Mapping[str, Any]) -> Effect:
    """Return an effect that was read from the database."""
    if "id" in stored:
        return MemberEffect(stored["id"], stored.get("present_before", False))
    if "item" in stored:
        return ItemEffect(stored["item"])
    if "before" in stored:
        return FieldEffect(stored["before"], stored["after"])
    return MarkerEffect(stored.get("marker_id"), stored.get("tag_id"))


def is_intended(stored: Mapping[str, Any] | None) -> bool:
    """Tell whether a run was about to have a stored effect, and has not recorded it."""
    return stored is not None and stored.get("intended") is True


@dataclass(frozen=True)
class ApprovedChange:
    """A change that people or settings have approved.

    Attributes:
        scene_created_at: When Stash created the scene that the change was proposed
            for; None: not known.
        object_created_at: When Stash created the tag, performer or studio that is
            proposed; None: not known, or Stash did not have it.
        intent: The effect that an earlier run was about to have when it was killed;
            None: no run has come that far.
    """

    id: int
    scene_id: int
    field: str
    action: str
    value_key: str
    base: Value | None
    proposed: Value
    intent: Effect | None = None
    scene_created_at: datetime | None = None
    object_created_at: datetime | None = None


@dataclass(frozen=True)
class AppliedChange:
    """A change that was applied, or was about to be applied when its run died.

    Attributes:
        recorded: Whether the run lived to record that the change was applied.
        scene_created_at: When Stash created the scene; None: not known.
        object_created_at: When Stash created the tag, performer or studio; None: not
            known.
    """

    id: int
    plan_id: int
    scene_id: int
    field: str
    action: str
    proposed: Value
    effect: Effect
    recorded: bool = True
    scene_created_at: datetime | None = None
    object_created_at: datetime | None = None


@dataclass(frozen=True, order=True)
class MemberEdit:
    """One value that a bulk update adds to or removes from a scene."""

    slot: Slot
    id: int


@dataclass(frozen=True)
class ChangeResult:
    """What the database records of a change.

    Attributes:
        state: The new state; None: the change stays approved.
        effect: What was changed. With state None, the effect that a request is about to
            have or may have had; None: the change had no effect. With state `conflict`,
            the effect that the change would have had.
        error: Why the change was not applied.
        object_created_at: When Stash created the tag, performer or studio of the
            effect; None: as it was proposed, or not known.
    """

    id: int
    state: str | None
    effect: Effect | None = None
    error: str | None = None
    object_created_at: datetime | None = None

    @property
    def stored_effect(self) -> dict[str, Any] | None:
        """The effect as the database keeps it."""
        if self.effect is None:
            return None
        return asdict(self.effect) | ({} if self.state else {"intended": True})


@dataclass(frozen=True)
class ApplyDecision:
    """Whether to apply a change, and the effect that applying has."""

    kind: Literal["apply", "already", "conflict"]
    effect: Effect
    reason: str | None = None


@dataclass(frozen=True)
class UndoDecision:
    """Whether to undo a change, and how.

    The change is undone by an edit, by other values of fields, by another cover, or by
    removing a marker, a URL or an id at a stash-box. A change of kind `already` has
    been undone in Stash.
    """

    kind: Literal["undo", "already", "conflict"]
    reason: str | None = None
    edit: MemberEdit | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    marker_id: int | None = None
    removed: TextValue | BoxIdValue | None = None
    cover: str | None = None


@dataclass(frozen=True)
class OutgoingChange:
    """A change that is sent to Stash now."""

    change: ApprovedChange
    member_id: int | None
    effect: Effect
    object_created_at: datetime | None = None

    @property
    def edit(self) -> MemberEdit | None:
        """The edit of a bulk update; None: the change needs a request of its own."""
        slot = _SLOTS.get((self.change.field, self.change.action))
        if slot is None or self.member_id is None:
            return None
        return MemberEdit(slot, self.member_id)

    @property
    def place(self) -> tuple[int, str, str] | None:
        """What one value fills: scene, field and stash-box; None: there is room."""
        change = self.change
        if isinstance(change.proposed, BoxIdValue):
            return change.scene_id, change.field, change.proposed.endpoint
        return (change.scene_id, change.field, "") if change.action == "set" else None

    @property
    def intent(self) -> ChangeResult:
        """The record that the change is about to be sent."""
        return ChangeResult(self.change.id, None, self.effect)

    def applied(self, marker_id: int | None = None) -> ChangeResult:
        """Return the record that the change was applied.

        Args:
            marker_id: The id of the created marker, if the change is one.
        """
        effect = self.effect
        if isinstance(effect, MarkerEffect):
            effect = replace(effect, marker_id=marker_id)
        return ChangeResult(
            self.change.id,
            "applied",
            effect,
            object_created_at=self.object_created_at,
        )


@dataclass(frozen=True)
class FoundChange:
    """A change that StashHog applied although no response confirmed it.

    The run was killed between sending and recording, or the response was lost.
    """

    outgoing: OutgoingChange
    marker_id: int | None = None


def scene_of(
    change: ApprovedChange | AppliedChange, live: StashScene | None
) -> StashScene | None:
    """Return the scene of a change; None: Stash no longer has the scene.

    `live` is what Stash has under the id of the scene, which may be another scene's.
    """
    if live is None or live.was_created_at(change.scene_created_at):
        return live
    return None


def decide_change(
    change: ApprovedChange,
    live: StashScene | None,
    tags: LiveTags,
    objects: NewObjects | None = None,
    covers: LiveCovers | None = None,
) -> ChangeResult | FoundChange | OutgoingChange:
    """Decide what to do with an approved change.

    Args:
        change: The change.
        live: The scene as Stash has it; None: Stash no longer has the scene.
        tags: Tags of Stash. A tag that the change needs and Stash lacks is created.
        objects: Creates what a stash-box knows and Stash lacks.
        covers: The covers of Stash. What a change replaces is stored.

    Raises:
        ItemError: What the change needs cannot be created now, or is not stored.
    """
    live = scene_of(change, live)
    if live is None:
        return ChangeResult(change.id, "skipped", error=SCENE_GONE)
    if isinstance(change.proposed, CoverValue):
        return _decide_cover_change(change, change.proposed, covers)
    member_id, value = None, _named_by(change)
    if value is not None:
        member_id = _find_member(change, value, tags, objects)
        if member_id is None:
            # Nothing is created for a change that is a conflict.
            member_id = _NOBODY
            if decide_apply(change, live, _NOBODY).kind == "apply":
                member_id = _create_member(change, value, tags, objects)
    decision = decide_apply(change, live, member_id)
    created_at = tags.known.created_at(_kind_of(change), member_id)
    if decision.kind == "apply":
        return OutgoingChange(change, member_id, decision.effect, created_at)
    if decision.kind == "already" and change.intent is not None:
        outgoing = OutgoingChange(change, member_id, change.intent, created_at)
        return FoundChange(outgoing, _marker_id(decision))
    return _as_found(change, decision)


def _decide_cover_change(
    change: ApprovedChange, proposed: CoverValue, covers: LiveCovers | None
) -> ChangeResult | FoundChange | OutgoingChange:
    if covers is None or not covers.is_stored(proposed.sha256):
        raise ItemError(
            "The picture of this cover is no longer stored",
            remedy="analyze the scene again",
        )
    decision = _decide_cover(change, proposed, covers.keep(change.scene_id))
    if decision.kind == "apply":
        return OutgoingChange(change, None, decision.effect)
    if decision.kind == "already" and change.intent is not None:
        return FoundChange(OutgoingChange(change, None, change.intent))
    return _as_found(change, decision)


def decide_sent(
    outgoing: OutgoingChange,
    live: StashScene | None,
    covers: LiveCovers | None = None,
) -> ChangeResult | FoundChange | None:
    """Decide about a change that was sent, but that no response confirmed.

    Args:
        outgoing: The change, as it was sent.
        live: The scene as Stash has it afterwards; None: Stash no longer has the scene.
        covers: The covers of Stash.

    Returns:
        None if the request had no effect.
    """
    change = outgoing.change
    live = scene_of(change, live)
    if live is None:
        return ChangeResult(change.id, "skipped", error=SCENE_GONE)
    if isinstance(change.proposed, CoverValue) and covers is not None:
        now = covers.now(change.scene_id)
        decision = _decide_cover(change, change.proposed, now)
    else:
        decision = decide_apply(change, live, outgoing.member_id)
    if decision.kind == "already":
        return FoundChange(outgoing, _marker_id(decision))
    if decision.kind == "conflict":
        return _as_found(change, decision)
    return None


def _as_found(change: ApprovedChange, decision: ApplyDecision) -> ChangeResult:
    """Return the record of a change that is not sent.

    A conflict keeps the effect that the change would have had: its `before` is what
    Stash has, so that a reviewer can decide between the two values.
    """
    effect = decision.effect if decision.kind == "conflict" else None
    return ChangeResult(change.id, decision.kind, effect, decision.reason)


def _marker_id(decision: ApplyDecision) -> int | None:
    """Return the id of the marker that Stash has already, if the change is one."""
    effect = decision.effect
    return effect.marker_id if isinstance(effect, MarkerEffect) else None


def _find_member(
    change: ApprovedChange,
    value: NamedValue,
    tags: LiveTags,
    objects: NewObjects | None,
) -> int | None:
    """Return the id of what a change adds, removes or sets; None: Stash lacks it."""
    new = NewObject.of(change.field, value)
    if new is not None and objects is not None:
        return objects.find(new)
    return tags.known.find(_kind_of(change), value, change.object_created_at)


def _create_member(
    change: ApprovedChange,
    value: NamedValue,
    tags: LiveTags,
    objects: NewObjects | None,
) -> int:
    """Create what a change needs and Stash lacks; return its id.

    Raises:
        ItemError: It cannot or must not be created.
    """
    new, kind = NewObject.of(change.field, value), _kind_of(change)
    if new is not None and objects is not None:
        return objects.ensure(new)
    if kind == "tag":
        return tags.ensure(value)
    raise ItemError(
        f"Stash no longer has the {kind} {value.name!r}",
        remedy=f"create the {kind} in Stash, or reject the change",
    )


def _named_by(change: ApprovedChange | AppliedChange) -> NamedValue | None:
    """Return the tag, performer or studio of a change; None: it has none."""
    value = change.proposed
    if isinstance(value, MarkerValue):
        return value.tag
    return value if isinstance(value, NamedValue) else None


def _kind_of(change: ApprovedChange | AppliedChange) -> NamedKind:
    """Return what a change with a name adds, removes or sets; markers have tags."""
    return KINDS.get(change.field, "tag")


def decide_apply(
    change: ApprovedChange, live: StashScene, member_id: int | None
) -> ApplyDecision:
    """Compare base, proposal and live value.

    Live equals base: apply. Live equals the proposal: already. Otherwise: conflict.

    Args:
        change: The change.
        live: The scene as Stash has it now.
        member_id: Stash's id of the tag, performer or studio in question; None for a
            tag that Stash lacks, and for texts.

    Raises:
        ValueError: No detector proposes a change of this kind.
    """
    value = change.proposed
    match change.field, change.action:
        case (("tags" | "performers"), ("add" | "remove")):
            members = live.tags if change.field == "tags" else live.performers
            present = any(member.id == member_id for member in members)
            is_done = present == (change.action == "add")
            return ApplyDecision(
                "already" if is_done else "apply",
                MemberEffect(member_id, present),
            )
        case "studio", "set":
            return _decide_studio(change, live, member_id)
    match value:
        case TextValue() if change.field in TEXT_FIELDS and change.action == "set":
            return _decide_text(change, value, live)
        case TextValue() if (change.field, change.action) == ("urls", "add"):
            is_there = value.text in live.urls
            return ApplyDecision(
                "already" if is_there else "apply", ItemEffect(value.text)
            )
        case BoxIdValue() if change.action == "add":
            return _decide_box_id(value, live)
        case MarkerValue() if change.action == "add":
            return _decide_marker(value, live, member_id)
    raise ValueError(f"Unknown kind of change: {change.action} {change.field}")


def _decide_studio(
    change: ApprovedChange, live: StashScene, studio_id: int | None
) -> ApplyDecision:
    now = live.studio.id if live.studio else None
    effect = FieldEffect(now, studio_id)
    if now == studio_id:
        return ApplyDecision("already", effect)
    if now == (change.base.id if isinstance(change.base, NamedValue) else None):
        return ApplyDecision("apply", effect)
    reason = f"Stash now has studio {now}" if now else "Stash now has no studio"
    return ApplyDecision("conflict", effect, reason)


def _decide_text(
    change: ApprovedChange, proposed: TextValue, live: StashScene
) -> ApplyDecision:
    now = getattr(live, change.field) or ""
    effect = FieldEffect(now, proposed.text)
    if now == proposed.text:
        return ApplyDecision("already", effect)
    if now == (change.base.as_text if change.base else ""):
        return ApplyDecision("apply", effect)
    reason = f"The field {change.field} in Stash now is {now!r}"
    return ApplyDecision("conflict", effect, reason)


def _decide_cover(
    change: ApprovedChange, proposed: CoverValue, now: str | None
) -> ApplyDecision:
    effect = FieldEffect(now, proposed.sha256)
    if now == proposed.sha256:
        return ApplyDecision("already", effect)
    if now is None:
        # Stash cannot be without a cover again.
        reason = "Stash has no cover of this scene, so that this could not be undone"
        return ApplyDecision("conflict", effect, reason)
    if isinstance(change.base, CoverValue) and now == change.base.sha256:
        return ApplyDecision("apply", effect)
    reason = "The scene has another cover in Stash by now"
    return ApplyDecision("conflict", effect, reason)


def _decide_box_id(proposed: BoxIdValue, live: StashScene) -> ApplyDecision:
    effect = ItemEffect(proposed.stash_id)
    now = box_id(live, proposed.endpoint)
    if now == proposed.stash_id:
        return ApplyDecision("already", effect)
    if now is None:
        return ApplyDecision("apply", effect)
    reason = f"The scene now has the id {now} at {proposed.endpoint}"
    return ApplyDecision("conflict", effect, reason)


def box_id(scene: StashScene, endpoint: str) -> str | None:
    """Return the id of a scene at a stash-box; None: the scene has none there."""
    ids = {box.endpoint: box.stash_id for box in scene.stash_ids}
    return ids.get(endpoint)


def _decide_marker(
    proposed: MarkerValue, live: StashScene, tag_id: int | None
) -> ApplyDecision:
    for marker in live.scene_markers:
        is_near = abs(marker.seconds - proposed.seconds) < SAME_MARKER_SECONDS
        if is_near and marker.primary_tag.id == tag_id:
            return ApplyDecision("already", MarkerEffect(marker.id, tag_id))
    return ApplyDecision("apply", MarkerEffect(None, tag_id))


def decide_undo(
    change: AppliedChange, live: StashScene, covers: LiveCovers | None = None
) -> UndoDecision:
    """Compare what applying left in Stash with the live value.

    The value that applying left: undo. The value from before: already. Any other value
    is somebody's later edit: conflict.
    """
    match change.effect, change.proposed:
        case FieldEffect() as effect, CoverValue():
            return _undo_cover(change, effect, covers)
        case FieldEffect() as effect, _:
            return _undo_field(change, effect, live)
        case MemberEffect(id=int(member_id)), _:
            return _undo_member(change, member_id, live)
        case ItemEffect(), (TextValue() | BoxIdValue()) as added:
            return _undo_item(added, live)
        case MarkerEffect() as effect, MarkerValue() as proposed:
            return _undo_marker(change, effect, proposed, live)
    raise ValueError(f"The effect of change {change.id} does not fit {change.field}")


def object_of(change: AppliedChange) -> tuple[NamedKind, int] | None:
    """Return the kind and the id of what applying has added, removed or set.

    None: the change is of none, or no run lived to note the id.
    """
    match change.effect:
        case MemberEffect(id=int(id_)):
            return _kind_of(change), id_
        case MarkerEffect(tag_id=int(id_)):
            return "tag", id_
        case FieldEffect(after=int(id_)):
            return "studio", id_
    return None


def _undo_field(
    change: AppliedChange, effect: FieldEffect, live: StashScene
) -> UndoDecision:
    if change.field == "studio":
        name = "studio_id"
        now: int | str | None = live.studio.id if live.studio else None
    else:
        name, now = change.field, getattr(live, change.field) or ""
    # None clears the field: Stash has no empty dates.
    fields = {name: effect.before or None}
    if now == effect.after:
        return UndoDecision("undo", fields=fields)
    if now == effect.before:
        return UndoDecision("already", fields=fields)
    reason = f"The field {change.field} in Stash now is {now!r}"
    return UndoDecision("conflict", reason)


def _undo_cover(
    change: AppliedChange, effect: FieldEffect, covers: LiveCovers | None
) -> UndoDecision:
    now = covers.now(change.scene_id) if covers else None
    before = str(effect.before)
    if now == before:
        return UndoDecision("already")
    if now != effect.after:
        return UndoDecision("conflict", "the scene has another cover in Stash by now")
    if covers is None or not covers.is_stored(before):
        return UndoDecision("conflict", "the earlier cover is no longer stored")
    return UndoDecision("undo", cover=before)


def _undo_member(
    change: AppliedChange, member_id: int, live: StashScene
) -> UndoDecision:
    members = live.tags if change.field == "tags" else live.performers
    is_present = any(member.id == member_id for member in members)
    edit = MemberEdit(_UNDO_SLOTS[change.field, change.action], member_id)
    is_as_left = is_present == (change.action == "add")
    return UndoDecision("undo" if is_as_left else "already", edit=edit)


def _undo_item(added: TextValue | BoxIdValue, live: StashScene) -> UndoDecision:
    if isinstance(added, TextValue):
        is_there = added.text in live.urls
        return UndoDecision("undo" if is_there else "already", removed=added)
    now = box_id(live, added.endpoint)
    if now in (None, added.stash_id):
        return UndoDecision("already" if now is None else "undo", removed=added)
    reason = f"The scene now has the id {now} at {added.endpoint}"
    return UndoDecision("conflict", reason)


def _undo_marker(
    change: AppliedChange,
    effect: MarkerEffect,
    proposed: MarkerValue,
    live: StashScene,
) -> UndoDecision:
    for marker in live.scene_markers:
        is_same = _is_as_created(marker, proposed, effect)
        is_ours = marker.id == effect.marker_id
        if is_ours or (is_same and not change.recorded):
            if is_same:
                return UndoDecision("undo", marker_id=marker.id)
            return UndoDecision("conflict", "the marker was edited since")
    return UndoDecision("already", marker_id=effect.marker_id)


def _is_as_created(
    marker: StashMarker, proposed: MarkerValue, effect: MarkerEffect
) -> bool:
    """Tell whether nobody has changed any field of a marker."""
    end, proposed_end = marker.end_seconds, proposed.end_seconds
    # Earlier versions kept the tag only if Stash had it when it was proposed.
    tag_id = effect.tag_id or proposed.tag.id
    return (
        marker.title == proposed.title
        and not marker.tags
        and tag_id in (None, marker.primary_tag.id)
        and abs(marker.seconds - proposed.seconds) < _SAME_SECOND
        and (end is None) == (proposed_end is None)
        and abs((end or 0) - (proposed_end or 0)) < _SAME_SECOND
    )
