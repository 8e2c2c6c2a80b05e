"""Trusted values: what people have accepted often enough, by detector.

Votes are the decisions of people in all plans: a value was accepted, rejected, or
removed in Stash after it was applied. A value has one vote for each scene, the newest,
in however many plans it was proposed. Each run counts the votes anew, so that later
rejections end the trust without further action.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import PlanChange, ReviewMemory
from stashhog_core.plans.plans import AUTOMATIC, TRUSTED
from stashhog_core.plans.proposals import (
    MarkerValue,
    NamedValue,
    Proposal,
)
from stashhog_core.plans.rejections import SAME_VALUE
from stashhog_core.settings import AnalysisSettings

VOTES_THAT_COUNT = 500
"""Number of votes on a value that count, the newest first.

With older votes, its past would still vouch for a detector that has got worse.
"""

_Z_95 = 1.96

VoteKey = tuple[str, str, str, str]
"""Detector, field, action, value."""


@dataclass(frozen=True)
class Acceptance:
    """How often people accepted a detector's value, and whether it is trusted.

    Attributes:
        bound: Share of acceptances that the votes prove with 95 % certainty, 0 to 1.
    """

    detector: str
    field: str
    action: str
    value: str
    accepted: int
    rejected: int
    bound: float
    trusted: bool

    @property
    def key(self) -> VoteKey:
        """What the votes are counted by."""
        return self.detector, self.field, self.action, self.value


def wilson_lower_bound(accepted: int, votes: int, z: float = _Z_95) -> float:
    """Return the share of acceptances that is certain to 95 %, 0 to 1."""
    if votes == 0:
        return 0.0
    share = accepted / votes
    centre = share + z * z / (2 * votes)
    spread = z * math.sqrt((share * (1 - share) + z * z / (4 * votes)) / votes)
    return max(0.0, (centre - spread) / (1 + z * z / votes))


def acceptances(session: Session, settings: AnalysisSettings) -> list[Acceptance]:
    """Return the acceptance of every value that people have voted on."""
    rejected = or_(PlanChange.state == "rejected", ReviewMemory.scene_id.is_not(None))
    by = (
        PlanChange.detector,
        PlanChange.field,
        PlanChange.action,
        # Texts differ from scene to scene: all texts of a field are one value.
        PlanChange.group_key.label("value"),
    )
    decisions = (
        select(*by, rejected.label("rejected"), PlanChange.id)
        .outerjoin(ReviewMemory, SAME_VALUE)
        .where(or_(rejected, PlanChange.approved_by.not_in([AUTOMATIC, TRUSTED])))
        .distinct(
            PlanChange.detector,
            PlanChange.field,
            PlanChange.action,
            PlanChange.scene_id,
            PlanChange.value_key,
        )
        .order_by(
            PlanChange.detector,
            PlanChange.field,
            PlanChange.action,
            PlanChange.scene_id,
            PlanChange.value_key,
            PlanChange.id.desc(),
        )
        .subquery()
    )
    columns = [decisions.c[name] for name in ("detector", "field", "action", "value")]
    age = func.row_number().over(partition_by=columns, order_by=decisions.c.id.desc())
    votes = select(*columns, decisions.c.rejected, age.label("age")).subquery()
    value = (votes.c.detector, votes.c.field, votes.c.action, votes.c.value)
    rows = session.execute(
        select(
            *value,
            func.count().filter(~votes.c.rejected),
            func.count().filter(votes.c.rejected),
        )
        .where(votes.c.age <= VOTES_THAT_COUNT)
        .group_by(*value)
        .order_by(*value)
    )
    found = []
    for detector, field, action, name, accepted, refused in rows:
        total = accepted + refused
        bound = wilson_lower_bound(accepted, total)
        trusted = total >= settings.trust_votes and bound >= settings.trust_bound
        found.append(
            Acceptance(detector, field, action, name, accepted, refused, bound, trusted)
        )
    return found


class Trust:
    """Approves values that people have accepted often enough, but for a random sample.

    Args:
        trusted: The values that are trusted.
        audit_share: Share of the trusted changes that people review all the same.
        draw: Returns a random number between 0 and 1.
    """

    def __init__(
        self,
        trusted: frozenset[VoteKey],
        audit_share: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._trusted = trusted
        self._audit_share = audit_share
        self._draw = draw

    def approves(self, proposal: Proposal) -> bool:
        """Tell whether a new change needs no review."""
        value = proposal.proposed
        name = ""
        if isinstance(value, MarkerValue):
            name = value.title.lower()
        elif isinstance(value, NamedValue):
            name = value.key
        key = (proposal.detector, proposal.field, proposal.action, name)
        return key in self._trusted and self._draw() >= self._audit_share


def trust_of(session: Session, settings: AnalysisSettings) -> Trust | None:
    """Return what may be approved; None: the setting for it is off."""
    if not settings.auto_approve_trusted:
        return None
    trusted = frozenset(a.key for a in acceptances(session, settings) if a.trusted)
    return Trust(trusted, settings.audit_share)
