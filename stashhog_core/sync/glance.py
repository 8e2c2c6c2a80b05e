"""The rules of the glance: what it shows, and when it shows nothing. Pure: no I/O.

A glance holds the number of rows, the newest time of change and the highest id of each
kind. Together with what is known since an earlier glance it shows one of three things:
nothing has changed; all that has changed is among the rows changed since some time; or
only a listing of everything can tell.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from stashhog_core.stash.payloads import Glance, KindGlance

KINDS = frozenset({"scene", "marker", "tag", "performer", "studio", "file"})

_OFFSET_CHANGE = timedelta(hours=2)
"""By so much the offset of a zone may be less than the last line of the log says: that
line may be older than the last night in which clocks were changed."""

_CLOCK_TOLERANCE = timedelta(minutes=5)
"""By so much Stash's clock may run apart from ours between two glances."""

_LONGEST_WRITE = timedelta(minutes=55)
"""Stash takes the time of a change before it waits for its database, and stores it when
other writes are done. No wait is longer."""

_MARGIN = _OFFSET_CHANGE + _CLOCK_TOLERANCE + _LONGEST_WRITE


@dataclass(frozen=True)
class KeptGlance:
    """A glance, and what is needed to compare a later one with it.

    All that Stash had when it answered is mirrored, or marked to be fetched.

    Attributes:
        kinds: What it showed of each of `KINDS`.
        clock: Stash's clock then.
        uptime_seconds: Our own clock then; any that nobody sets, such as the time since
            this machine was started.
        log_time: When the newest line of Stash's log was written, as Stash wrote it.
        listed_at: Stash's clock when everything was listed last.
        has_missing: Whether mirrored rows that are gone from Stash wait to be removed.
    """

    kinds: Mapping[str, KindGlance]
    clock: datetime
    uptime_seconds: float
    log_time: str
    listed_at: datetime
    has_missing: bool

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "KeptGlance":
        """Return what `facts` returned."""
        return cls(
            kinds={kind: KindGlance(*row) for kind, row in facts["kinds"].items()},
            clock=datetime.fromisoformat(facts["clock"]),
            uptime_seconds=facts["uptime_seconds"],
            log_time=facts["log_time"],
            listed_at=datetime.fromisoformat(facts["listed_at"]),
            has_missing=facts["has_missing"],
        )

    def facts(self) -> dict[str, Any]:
        """Return all of it as values of JSON."""
        return {
            "kinds": {kind: list(row) for kind, row in self.kinds.items()},
            "clock": self.clock.isoformat(),
            "uptime_seconds": self.uptime_seconds,
            "log_time": self.log_time,
            "listed_at": self.listed_at.isoformat(),
            "has_missing": self.has_missing,
        }

    @property
    def lowest_since(self) -> str:
        """A text below the time of any change that Stash stored after this glance.

        Stash's times are local and compared as text. This holds as long as the process
        of Stash is the same and its clock is not set: see `reason_to_list`.
        """
        offset = _offset(self.log_time) or timedelta()
        local = self.clock.astimezone(timezone(offset)) - _MARGIN
        return local.strftime("%Y-%m-%dT%H:%M:%S")

    @property
    def is_conclusive(self) -> bool:
        """Whether any later change gives its kind another newest time.

        It does not if rows of that kind were changed shortly before, or in the future:
        a later change may then carry the same time, or an earlier one.
        """
        since = self.lowest_since
        return all(kind.newest_text < since for kind in self.kinds.values())


def why_unusable(glance: Glance) -> str | None:
    """Return why a glance shows nothing, in words; None: it does."""
    if glance.kinds.keys() != KINDS:
        return "this version of Stash does not list files"
    if glance.clock is None:
        return "Stash does not tell its time"
    if not glance.log_times or _offset(glance.log_times[0]) is None:
        return "Stash's log is empty, so nothing tells which process of Stash answers"
    if datetime.fromisoformat(glance.log_times[0]) > glance.clock + _CLOCK_TOLERANCE:
        return "the time of Stash's answer is earlier than that of its log"
    return None


def reason_to_list(
    kept: KeptGlance,
    glance: Glance,
    uptime_seconds: float,
    listing_interval: timedelta,
) -> str | None:
    """Return why only a listing of everything shows what has changed, in words.

    Args:
        kept: The glance to compare with.
        glance: The glance of now; it is usable.
        uptime_seconds: Our own clock now.
        listing_interval: After so long everything is listed in any case.
    """
    clock = glance.clock
    if clock is None:
        raise ValueError("the glance is not usable")
    if kept.log_time not in glance.log_times:
        # Another process may have another zone, or a backup of the database.
        return "Stash was started again, or has written many lines to its log"
    passed = timedelta(seconds=uptime_seconds - kept.uptime_seconds)
    if clock < kept.clock or abs(clock - kept.clock - passed) > _CLOCK_TOLERANCE:
        return "Stash's clock was set"
    if clock - kept.listed_at >= listing_interval:
        return "the last listing of everything is too long ago"
    for kind, now in glance.kinds.items():
        before = kept.kinds[kind]
        if now.newest_text < before.newest_text:
            return f"the newest time of change of a {kind} is earlier than before"
        if now.total < before.total or now.newest_id < before.newest_id:
            return f"there are fewer {kind}s than before"
    return None


def shows_no_change(kept: KeptGlance, glance: Glance) -> bool:
    """Tell whether nothing has changed, given that there is no reason to list."""
    return kept.is_conclusive and kept.kinds == glance.kinds


def adds_up(before: KindGlance, now: KindGlance, changed_ids: Collection[int]) -> bool:
    """Tell whether rows of a kind were changed and created, and none removed.

    Ids are never given twice, so each row above the highest id of before is new.

    Args:
        before: The kind in the kept glance.
        now: The kind in the glance of now.
        changed_ids: All rows changed since, listed after the glance of now.
    """
    created = {id_ for id_ in changed_ids if before.newest_id < id_ <= now.newest_id}
    highest = max(created, default=before.newest_id)
    return before.total + len(created) == now.total and highest == now.newest_id


def _offset(log_time: str) -> timedelta | None:
    """Return the offset of a time of the log from UTC; None: it says none."""
    try:
        return datetime.fromisoformat(log_time).utcoffset()
    except ValueError:
        return None
