"""What it takes to undo an applied change, given the scene as it is in Stash now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stashhog_core.plans.grouping import Edit
from stashhog_core.plans.three_way import TEXT_FIELDS
from stashhog_core.stash.payloads import StashMarker, StashScene

_SAME_SECOND = 0.01


@dataclass(frozen=True)
class Applied:
    """A change that was brought to Stash, or was about to be when its run died.

    Attributes:
        effect: What applying changed.
        recorded: Whether the run lived to record it.
    """

    id: int
    plan_id: int
    scene_id: int
    field: str
    action: str
    proposed: Any
    effect: Mapping[str, Any]
    recorded: bool = True


@dataclass(frozen=True)
class Reversal:
    """A verdict, and one of: an edit of a set, texts, or a marker to go.

    With `undo` it is to be sent to Stash; with `already` it has come about there.
    """

    verdict: Literal["undo", "already", "conflict"]
    reason: str | None = None
    edit: Edit | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    marker_id: int | None = None


ALREADY = Reversal("already")


def judge(change: Applied, live: StashScene) -> Reversal:
    """Compare what applying left with what is there now.

    As we left it: undo. As it was before: nothing is left to be done. Anything else is
    somebody's later work, and a conflict.
    """
    if change.field in ("tags", "performers"):
        return _member(change, live)
    if change.field == "markers":
        return _marker(change, live)
    if change.field == "studio":
        now: Any = live.studio.id if live.studio else None
        wire = "studio_id"
    elif change.field in TEXT_FIELDS:
        now, wire = getattr(live, change.field) or "", change.field
    else:
        raise ValueError(f"{change.action} {change.field}")
    before, after = change.effect["before"], change.effect["after"]
    # None clears: Stash has no empty dates.
    fields = {wire: before or None}
    if now == after:
        return Reversal("undo", fields=fields)
    if now == before:
        return Reversal("already", fields=fields)
    return Reversal("conflict", f"{change.field} was changed since, to {now!r}")


def _member(change: Applied, live: StashScene) -> Reversal:
    members = live.tags if change.field == "tags" else live.performers
    member_id = int(change.effect["id"])
    present = any(member.id == member_id for member in members)
    was_added = change.action == "add"
    if change.field == "tags":
        edit = Edit("remove_tag" if was_added else "add_tag", member_id)
    else:
        edit = Edit("remove_performer" if was_added else "add_performer", member_id)
    return Reversal("undo" if present == was_added else "already", edit=edit)


def _marker(change: Applied, live: StashScene) -> Reversal:
    for marker in live.scene_markers:
        same = _is_as_made(marker, change)
        if marker.id == change.effect.get("marker_id") or (
            not change.recorded and same
        ):
            if same:
                return Reversal("undo", marker_id=marker.id)
            return Reversal("conflict", "the marker was edited since")
    return Reversal("already", marker_id=change.effect.get("marker_id"))


def _is_as_made(marker: StashMarker, change: Applied) -> bool:
    """Tell whether nobody has changed any field of a marker."""
    proposed = change.proposed
    end, proposed_end = marker.end_seconds, proposed["end_seconds"]
    # Earlier versions kept the tag only where it was known when it was proposed.
    tag_id = change.effect.get("tag_id") or proposed["tag"]["id"]
    return (
        marker.title == proposed["title"]
        and not marker.tags
        and tag_id in (None, marker.primary_tag.id)
        and abs(marker.seconds - proposed["seconds"]) < _SAME_SECOND
        and (end is None) == (proposed_end is None)
        and abs((end or 0) - (proposed_end or 0)) < _SAME_SECOND
    )
