"""The tables of plans, of what was examined, and of what was rejected."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Computed,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.columns import (
    Base,
    Facts,
    Key,
    Moment,
    Now,
    RowId,
    StashId,
    reference,
)

_NAME = "COALESCE(proposed ->> 'name', proposed ->> 'title')"


class AnalysisPlan(Base):
    """A set of proposed changes: pending → draft → reviewing → applied | cancelled."""

    __tablename__ = "analysis_plan"

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="pending", index=True)
    run_id: Mapped[str | None] = mapped_column(Text)
    detectors: Mapped[Facts]
    facts: Mapped[Facts]
    created_at: Mapped[Now]
    applied_at: Mapped[Moment | None]


class PlanChange(Base):
    """One value of one field of one scene.

    States: pending → approved | rejected → applied | already | conflict | failed |
    skipped | undone. A plan with a `failed` change is not done before a person decides.
    `attempts` counts the runs that could not bring an approved change to Stash. The key
    `intended` of `effect` says that a run was about to. `base`: before the proposal.
    """

    __tablename__ = "plan_change"

    id: Mapped[RowId]
    plan_id: Mapped[int] = reference("analysis_plan")
    scene_id: Mapped[int] = mapped_column(BigInteger, index=True)
    # Tells the scene from another one that has its id later, as in a restored Stash.
    scene_created_at: Mapped[Moment | None]
    # In the same way, of the proposed tag, performer or studio: see migration 0025.
    object_created_at: Mapped[Moment | None]
    # tags | performers | studio | title | details | date | markers
    field: Mapped[str] = mapped_column(Text)
    # add | remove | set
    action: Mapped[str] = mapped_column(Text)
    # What makes two changes of one field the same: a name, a marker's place.
    value_key: Mapped[str] = mapped_column(Text)
    # What all changes with one value share: the key of a name; empty for a text.
    group_key: Mapped[str] = mapped_column(
        Text,
        Computed(
            f"CASE WHEN {_NAME} IS NULL THEN '' "
            f"WHEN field = 'markers' THEN lower({_NAME}) ELSE value_key END",
            persisted=True,
        ),
    )
    base: Mapped[Any] = mapped_column(JSONB, nullable=True)
    proposed: Mapped[Any] = mapped_column(JSONB)
    confidence: Mapped[float] = mapped_column()
    detector: Mapped[str] = mapped_column(Text)
    evidence: Mapped[Facts]
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    approved_by: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="0")
    effect: Mapped[Any] = mapped_column(JSONB, nullable=True)
    error: Mapped[str | None] = mapped_column(Text)
    applied_at: Mapped[Moment | None]

    __table_args__ = (
        UniqueConstraint("plan_id", "scene_id", "field", "action", "value_key"),
        Index("ix_plan_change_state", "plan_id", "state"),
        Index("ix_plan_change_confidence", "plan_id", "confidence", "id"),
        Index(
            "ix_plan_change_value",
            "plan_id",
            "field",
            "group_key",
            "action",
            "state",
            confidence.desc(),
            "id",
        ),
    )


class ValueCount(Base):
    """How many changes of a plan have a value; the rows of a value add up.

    Triggers keep the counts, whoever writes changes: see migration 0021.
    """

    __tablename__ = "value_count"

    id: Mapped[RowId]
    plan_id: Mapped[int] = reference("analysis_plan")
    field: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    group_key: Mapped[str] = mapped_column(Text)
    # As it is spelled; empty for a text.
    name: Mapped[str] = mapped_column(Text)
    detector: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    # Negative: so many changes have it no longer.
    changes: Mapped[int]

    __table_args__ = (
        Index("ix_value_count_value", "plan_id", "field", "action", "group_key"),
    )


class ReviewDecision(Base):
    """What a reviewer decided in one act, in words; kept so that it can be taken back.

    The states are those of the plan before and after the decision.
    """

    __tablename__ = "review_decision"

    id: Mapped[RowId]
    plan_id: Mapped[int] = reference("analysis_plan", index=True)
    what: Mapped[str] = mapped_column(Text)
    plan_before: Mapped[str] = mapped_column(Text)
    plan_after: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[Now]
    taken_back_at: Mapped[Moment | None]


class ReviewedChange(Base):
    """A change that a decision changed: what the decision found, and what it left."""

    __tablename__ = "reviewed_change"

    decision_id: Mapped[int] = reference("review_decision", primary_key=True)
    change_id: Mapped[int] = reference("plan_change", primary_key=True, index=True)
    before: Mapped[Any] = mapped_column(JSONB)
    after: Mapped[Any] = mapped_column(JSONB)


class ReviewMemory(Base):
    """A value that a person rejected for a scene; it is not proposed again.

    `scene_created_at` is set when the mirror loses the scene: another scene that has
    the id later, as in a restored Stash, does not inherit the rejection.
    """

    __tablename__ = "review_memory"

    scene_id: Mapped[StashId]
    field: Mapped[Key]
    value_key: Mapped[Key]
    detector: Mapped[Key]
    scene_created_at: Mapped[Moment | None]
    rejected_at: Mapped[Now]


class RejectedMatch(Base):
    """A scene of a stash-box that a person rejected for a file that Stash had once.

    While the mirror has a scene with the file, `review_memory` says what was rejected.
    """

    __tablename__ = "rejected_match"

    content_hash: Mapped[Key]
    value_key: Mapped[Key]
    rejected_at: Mapped[Now]


class Picture(Base):
    """A cover that is proposed for a scene, or that was replaced in Stash."""

    __tablename__ = "picture"

    sha256: Mapped[Key]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Now]


class TaggerResult(Base):
    """Raw output of a tagger for one content, so that nothing is inferred twice."""

    __tablename__ = "tagger_result"

    content_hash: Mapped[Key]
    tagger: Mapped[Key]
    # Model set, interval, threshold: what else the output depends on.
    configuration: Mapped[Key]
    output: Mapped[Any] = mapped_column(JSONB)
    created_at: Mapped[Now]


class DetectorMark(Base):
    """This version of this detector has seen this content."""

    __tablename__ = "detector_mark"

    content_hash: Mapped[Key]
    detector: Mapped[Key]
    version: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[Now]
