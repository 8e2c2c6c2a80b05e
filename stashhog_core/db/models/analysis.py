"""Plans, what was seen, what was rejected."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.models.columns import Base, Facts, Moment, Now, RowId, StashId


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
    skipped | undone. `failed` needs a person: until somebody has it tried again or
    rejects it, its plan is not done. `attempts` counts the runs that could not bring an
    approved change to Stash; `effect` with the key `intended` says that a run was about
    to. `base` is the scene's value when the change was proposed.
    """

    __tablename__ = "plan_change"

    id: Mapped[RowId]
    plan_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("analysis_plan.id", ondelete="CASCADE")
    )
    scene_id: Mapped[int] = mapped_column(BigInteger, index=True)
    # tags | performers | studio | title | details | date | markers
    field: Mapped[str] = mapped_column(Text)
    # add | remove | set
    action: Mapped[str] = mapped_column(Text)
    # What makes two changes of one field the same: a name, a marker's place.
    value_key: Mapped[str] = mapped_column(Text)
    base: Mapped[Any] = mapped_column(JSONB, nullable=True)
    proposed: Mapped[Any] = mapped_column(JSONB)
    confidence: Mapped[float]
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
    )


class ReviewMemory(Base):
    """A value that a person rejected for a scene; it is not proposed again."""

    __tablename__ = "review_memory"

    scene_id: Mapped[StashId]
    field: Mapped[str] = mapped_column(Text, primary_key=True)
    value_key: Mapped[str] = mapped_column(Text, primary_key=True)
    detector: Mapped[str] = mapped_column(Text, primary_key=True)
    rejected_at: Mapped[Now]


class TaggerResult(Base):
    """Raw output of a tagger for one content, so that nothing is inferred twice."""

    __tablename__ = "tagger_result"

    content_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    tagger: Mapped[str] = mapped_column(Text, primary_key=True)
    # Model set, interval, threshold: what else the output depends on.
    configuration: Mapped[str] = mapped_column(Text, primary_key=True)
    output: Mapped[Any] = mapped_column(JSONB)
    created_at: Mapped[Now]


class DetectorMark(Base):
    """This version of this detector has seen this content."""

    __tablename__ = "detector_mark"

    content_hash: Mapped[str] = mapped_column(Text, primary_key=True)
    detector: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    seen_at: Mapped[Now]
