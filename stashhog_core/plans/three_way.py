"""What becomes of an approved change, given the scene as it is in Stash now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stashhog_core.stash.payloads import StashScene

SAME_MARKER_SECONDS = 1.0
"""Stash keeps a marker's media by its whole second: nearer ones are the same."""

TEXT_FIELDS = ("title", "details", "date", "code")

Verdict = Literal["apply", "already", "conflict"]


@dataclass(frozen=True)
class Change:
    """An approved change.

    Attributes:
        intent: What an earlier run, killed in between, was about to do; None: no run
            came so far.
    """

    id: int
    scene_id: int
    field: str
    action: str
    base: Any
    proposed: Any
    intent: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Ruling:
    """A verdict; `effect` is what applying changes, for undoing it exactly."""

    verdict: Verdict
    effect: dict[str, Any]
    reason: str | None = None


def judge(change: Change, live: StashScene, member_id: int | None) -> Ruling:
    """Compare base, proposed and live.

    Args:
        change: The change.
        live: Its scene, as Stash has it now.
        member_id: Stash's id of the tag, performer or studio in question; None for a
            tag that is still to be created, and for texts.

    Raises:
        ValueError: The change is of a kind that nobody proposes.
    """
    if change.field in ("tags", "performers") and change.action in ("add", "remove"):
        return _member(change, live, member_id)
    if change.field == "studio" and change.action == "set":
        return _studio(change, live, member_id)
    if change.field in TEXT_FIELDS and change.action == "set":
        return _text(change, live)
    if change.field == "markers" and change.action == "add":
        return _marker(change, live, member_id)
    raise ValueError(f"{change.action} {change.field}")


def _member(change: Change, live: StashScene, member_id: int | None) -> Ruling:
    members = live.tags if change.field == "tags" else live.performers
    present = any(member.id == member_id for member in members)
    effect = {"id": member_id, "present_before": present}
    if present == (change.action == "add"):
        return Ruling("already", effect)
    return Ruling("apply", effect)


def _studio(change: Change, live: StashScene, studio_id: int | None) -> Ruling:
    now = live.studio.id if live.studio else None
    effect = {"before": now, "after": studio_id}
    if now == studio_id:
        return Ruling("already", effect)
    if now == (change.base["id"] if change.base else None):
        return Ruling("apply", effect)
    return Ruling(
        "conflict",
        effect,
        f"Stash has studio {now} now" if now else "Stash has no studio now",
    )


def _text(change: Change, live: StashScene) -> Ruling:
    now = getattr(live, change.field) or ""
    effect = {"before": now, "after": change.proposed}
    if now == change.proposed:
        return Ruling("already", effect)
    if now == (change.base or ""):
        return Ruling("apply", effect)
    return Ruling("conflict", effect, f"Stash has another {change.field} now: {now!r}")


def _marker(change: Change, live: StashScene, tag_id: int | None) -> Ruling:
    for marker in live.scene_markers:
        near = abs(marker.seconds - change.proposed["seconds"]) < SAME_MARKER_SECONDS
        if near and marker.primary_tag.id == tag_id:
            return Ruling("already", {"marker_id": marker.id})
    return Ruling("apply", {"marker_id": None, "tag_id": tag_id})
