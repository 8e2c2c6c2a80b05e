"""The history of jobs."""

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.models.columns import (
    Base,
    Count,
    Facts,
    Flag,
    Moment,
    Names,
    Now,
    RowId,
    StashId,
    Words,
)


class JobLock(Base):
    """Who holds the lock of a job: each holder has a token that nobody had before."""

    __tablename__ = "job_lock"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    token: Mapped[int] = mapped_column(BigInteger, Identity())


class SyncRun(Base):
    """A run of sync. The newest completed full or incremental one is the baseline."""

    __tablename__ = "sync_run"

    id: Mapped[RowId]
    kind: Mapped[str] = mapped_column(Text)
    trigger: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    message: Mapped[Words]
    started_at: Mapped[Now]
    finished_at: Mapped[Moment | None]
    baseline: Mapped[Moment | None]
    created: Mapped[Count]
    updated: Mapped[Count]
    unchanged: Mapped[Count]
    removed: Mapped[Count]
    failed: Mapped[Count]

    __table_args__ = (Index("ix_sync_run_finished", "status", "finished_at"),)


class SyncIssue(Base):
    """A row that one sync run could not store."""

    __tablename__ = "sync_issue"

    id: Mapped[RowId]
    sync_run_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("sync_run.id", ondelete="CASCADE"), index=True
    )
    entity: Mapped[str] = mapped_column(Text)
    entity_id: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)


class StashJob(Base):
    """A job we started on a Stash server; written before the first poll.

    Stash's job ids restart at 1 with the server, so `add_time` tells jobs apart.
    """

    __tablename__ = "stash_job"

    id: Mapped[RowId]
    run_id: Mapped[str] = mapped_column(Text, index=True)
    kind: Mapped[str] = mapped_column(Text)
    stash_job_id: Mapped[int] = mapped_column(BigInteger)
    add_time: Mapped[Words]
    # open | finished | failed | cancelled | lost
    state: Mapped[str] = mapped_column(Text, server_default="open")
    scene_ids: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger), server_default=text("'{}'::bigint[]")
    )
    started_at: Mapped[Now]
    finished_at: Mapped[Moment | None]
    # Name of a further server; "" is the one that the mirror is of.
    server: Mapped[Words]
    # The parameters, by their wire names: what the outcome is judged by.
    asked: Mapped[Facts]


class MediaCheck(Base):
    """What `check_stash_generate` found of a scene the last time it looked.

    `key` changes with the scene's file, its markers and what is looked for.
    """

    __tablename__ = "media_check"

    scene_id: Mapped[StashId]
    key: Mapped[int] = mapped_column(BigInteger)
    missing: Mapped[Names]
    checked_at: Mapped[Now]

    __table_args__ = (
        Index(
            "ix_media_check_incomplete",
            "scene_id",
            postgresql_where=text("missing <> '{}'::text[]"),
        ),
    )


class UnmakeableMedia(Base):
    """Media that Stash could not make, by the content that it would be made of.

    `content` is what `media_basis` tells of a scene, so that another file or other
    markers are asked for again; so is everything when Stash's version changes. `asked`
    and `missing` are kinds of media. Only what is given up is not asked for again.
    """

    __tablename__ = "unmakeable_media"

    content: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False
    )
    stash_version: Mapped[Words]
    asked: Mapped[Names]
    missing: Mapped[Names]
    reason: Mapped[Words]
    tries: Mapped[Count]
    given_up: Mapped[Flag]
    noted_at: Mapped[Now]


class JobReport(Base):
    """The result of a run, kept after Prefect has forgotten it."""

    __tablename__ = "job_report"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    job: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    started_at: Mapped[Moment]
    finished_at: Mapped[Now]
    report: Mapped[Facts]
