"""What reviews have taught: which values of which detector people accept.

Votes are the decisions of people in all plans: accepted, rejected, and taken away in
Stash after they were applied. They are counted anew for each run, so that later
rejections end the trust by themselves.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from stashhog_core.settings import AnalysisSettings

_Z_95 = 1.96

# A text is different every time: all texts of a field are one value. The newest votes
# count, so that a detector that got worse is not carried by its past.
_VOTES = text(
    """
    WITH vote AS (
        SELECT c.detector, c.field, c.action,
            CASE c.field WHEN 'markers' THEN lower(c.proposed->>'title')
                WHEN 'tags' THEN c.value_key WHEN 'performers' THEN c.value_key
                WHEN 'studio' THEN c.value_key ELSE '' END AS value,
            NOT (c.state = 'rejected' OR m.scene_id IS NOT NULL) AS yes, c.id
        FROM plan_change c
        LEFT JOIN review_memory m ON m.scene_id = c.scene_id AND m.field = c.field
            AND m.value_key = c.value_key AND m.detector = c.detector
        WHERE c.state = 'rejected' OR m.scene_id IS NOT NULL
            OR c.approved_by NOT IN ('auto', 'trust')
    ), recent AS (
        SELECT *, row_number() OVER (
            PARTITION BY detector, field, action, value ORDER BY id DESC) AS age
        FROM vote
    )
    SELECT detector, field, action, value,
        count(*) FILTER (WHERE yes), count(*) FILTER (WHERE NOT yes)
    FROM recent WHERE age <= :window
    GROUP BY detector, field, action, value
    ORDER BY detector, field, action, value
    """
)
VOTES_THAT_COUNT = 500
"""The newest votes on a value."""

Key = tuple[str, str, str, str]
"""Detector, field, action, value."""


@dataclass(frozen=True)
class Record:
    """How often people accepted a detector's value, and what follows from it."""

    detector: str
    field: str
    action: str
    value: str
    accepted: int
    rejected: int
    bound: float
    trusted: bool

    @property
    def key(self) -> Key:
        """What the votes are counted by."""
        return self.detector, self.field, self.action, self.value


def wilson_lower_bound(accepted: int, votes: int, z: float = _Z_95) -> float:
    """Return the acceptance that is at least there, with 95 % certainty."""
    if votes == 0:
        return 0.0
    share = accepted / votes
    centre = share + z * z / (2 * votes)
    spread = z * math.sqrt((share * (1 - share) + z * z / (4 * votes)) / votes)
    return max(0.0, (centre - spread) / (1 + z * z / votes))


def records(session: Session, settings: AnalysisSettings) -> list[Record]:
    """Return the record of every value that people have voted on."""
    found = []
    rows = session.execute(_VOTES, {"window": VOTES_THAT_COUNT})
    for detector, field, action, value, accepted, rejected in rows:
        votes = accepted + rejected
        bound = wilson_lower_bound(accepted, votes)
        trusted = votes >= settings.trust_votes and bound >= settings.trust_bound
        found.append(
            Record(detector, field, action, value, accepted, rejected, bound, trusted)
        )
    return found


class Trust:
    """Approves what people have accepted often enough, but for a random sample.

    Args:
        trusted: The values that are trusted.
        audit_share: Share of them that is left to people all the same.
        draw: Returns a random number between 0 and 1.
    """

    def __init__(
        self,
        trusted: frozenset[Key],
        audit_share: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._trusted = trusted
        self._audit_share = audit_share
        self._draw = draw

    def approves(self, change: Mapping[str, Any]) -> bool:
        """Tell whether a new change needs no person."""
        key = (
            change["detector"],
            change["field"],
            change["action"],
            _value(change["field"], change["value_key"], change["proposed"]),
        )
        return key in self._trusted and self._draw() >= self._audit_share


def trust_of(session: Session, settings: AnalysisSettings) -> Trust | None:
    """Return what may be approved; None: nothing, that is how it is set."""
    if not settings.auto_approve_trusted:
        return None
    trusted = frozenset(r.key for r in records(session, settings) if r.trusted)
    return Trust(trusted, settings.audit_share)


def _value(field: str, value_key: str, proposed: Any) -> str:
    if field == "markers":
        return str(proposed["title"]).lower()
    return value_key if field in ("tags", "performers", "studio") else ""
