"""The tables. Ids of scenes, tags and so on are Stash's own.

Stash's ids are decimal strings on the wire and integers everywhere in here.
"""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

StashId = Annotated[
    int, mapped_column(BigInteger, primary_key=True, autoincrement=False)
]
RowId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Words = Annotated[str, mapped_column(Text, server_default="")]
Flag = Annotated[bool, mapped_column(server_default=text("false"))]
Count = Annotated[int, mapped_column(BigInteger, server_default=text("0"))]
Names = Annotated[
    list[str], mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
]
Records = Annotated[
    list[dict[str, Any]], mapped_column(JSONB, server_default=text("'[]'::jsonb"))
]
Facts = Annotated[
    dict[str, Any], mapped_column(JSONB, server_default=text("'{}'::jsonb"))
]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Now = Annotated[
    datetime, mapped_column(DateTime(timezone=True), server_default=func.now())
]
SceneRef = Annotated[
    int,
    mapped_column(
        BigInteger, ForeignKey("scene.id", ondelete="CASCADE"), primary_key=True
    ),
]


class Base(DeclarativeBase):
    """Base of all tables."""

    # Migrations name what they change, so every constraint needs a known name.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# --- the mirror of Stash -------------------------------------------------------------


class Studio(Base):
    """A studio."""

    __tablename__ = "studio"

    id: Mapped[StashId]
    name: Mapped[Words]
    aliases: Mapped[Names]
    parent_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("studio.id", ondelete="SET NULL")
    )
    urls: Mapped[Names]
    details: Mapped[Words]
    rating100: Mapped[int | None]
    favorite: Mapped[Flag]
    ignore_auto_tag: Mapped[Flag]
    stash_ids: Mapped[Records]
    missing_since: Mapped[Moment | None]


class Performer(Base):
    """A performer."""

    __tablename__ = "performer"

    id: Mapped[StashId]
    name: Mapped[Words]
    disambiguation: Mapped[Words]
    aliases: Mapped[Names]
    gender: Mapped[str | None] = mapped_column(Text)
    birthdate: Mapped[str | None] = mapped_column(Text)
    country: Mapped[Words]
    urls: Mapped[Names]
    details: Mapped[Words]
    rating100: Mapped[int | None]
    favorite: Mapped[Flag]
    ignore_auto_tag: Mapped[Flag]
    stash_ids: Mapped[Records]
    missing_since: Mapped[Moment | None]


class Tag(Base):
    """A tag. Names are not unique here: a name may move to another id in Stash."""

    __tablename__ = "tag"

    id: Mapped[StashId]
    name: Mapped[Words]
    sort_name: Mapped[Words]
    description: Mapped[Words]
    aliases: Mapped[Names]
    favorite: Mapped[Flag]
    ignore_auto_tag: Mapped[Flag]
    missing_since: Mapped[Moment | None]

    __table_args__ = (Index("ix_tag_name_lower", func.lower(text("name"))),)


class TagParent(Base):
    """`tag_id` lies under `parent_id`."""

    __tablename__ = "tag_parent"

    tag_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True
    )
    parent_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True
    )


class Scene(Base):
    """A scene. The flags at the end are local knowledge that sync never overwrites."""

    __tablename__ = "scene"

    id: Mapped[StashId]
    title: Mapped[Words]
    code: Mapped[Words]
    details: Mapped[Words]
    director: Mapped[Words]
    urls: Mapped[Names]
    # Stash's dates may be partial (2024, 2024-05): text.
    date: Mapped[str | None] = mapped_column(Text)
    rating100: Mapped[int | None]
    organized: Mapped[Flag]
    play_count: Mapped[Count]
    o_counter: Mapped[Count]
    interactive: Mapped[Flag]
    interactive_speed: Mapped[int | None]
    studio_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("studio.id", ondelete="SET NULL"), index=True
    )
    groups: Mapped[Records]
    galleries: Mapped[Records]
    stash_ids: Mapped[Records]
    captions: Mapped[Records]
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]
    # As Stash wrote it: local time with the offset of its zone, whole seconds.
    stash_updated_text: Mapped[Words]

    generated: Mapped[Flag]
    video_analyzed: Mapped[Flag]
    analyzed: Mapped[Flag]
    created_at: Mapped[Now]
    synced_at: Mapped[Now]
    missing_since: Mapped[Moment | None]

    __table_args__ = (
        Index("ix_scene_not_generated", "id", postgresql_where=text("NOT generated")),
        Index(
            "ix_scene_not_video_analyzed",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("NOT video_analyzed"),
        ),
    )


class SceneFile(Base):
    """A file of a scene; position 0 is the primary one."""

    __tablename__ = "scene_file"

    scene_id: Mapped[SceneRef]
    file_id: Mapped[StashId]
    position: Mapped[int]
    path: Mapped[Words] = mapped_column(index=True)
    size_bytes: Mapped[Count]
    mod_time: Mapped[Moment | None]
    format: Mapped[Words]
    duration_seconds: Mapped[float | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    frame_rate: Mapped[float | None]
    bit_rate: Mapped[int | None] = mapped_column(BigInteger)
    video_codec: Mapped[Words]
    audio_codec: Mapped[Words]


class SceneFingerprint(Base):
    """A hash of a scene's file: oshash, phash or md5."""

    __tablename__ = "scene_fingerprint"

    scene_id: Mapped[SceneRef]
    file_id: Mapped[StashId]
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_scene_fingerprint_value", "kind", "value"),)


class SceneTag(Base):
    """A tag of a scene."""

    __tablename__ = "scene_tag"

    scene_id: Mapped[SceneRef]
    tag_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("tag.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    )


class ScenePerformer(Base):
    """A performer of a scene."""

    __tablename__ = "scene_performer"

    scene_id: Mapped[SceneRef]
    performer_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("performer.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    )


class Marker(Base):
    """A marker of a scene."""

    __tablename__ = "marker"

    id: Mapped[StashId]
    scene_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("scene.id", ondelete="CASCADE"), index=True
    )
    title: Mapped[Words]
    seconds: Mapped[float]
    end_seconds: Mapped[float | None]
    primary_tag_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("tag.id", ondelete="SET NULL"), index=True
    )
    stash_updated_text: Mapped[Words]


class MarkerTag(Base):
    """A further tag of a marker."""

    __tablename__ = "marker_tag"

    marker_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("marker.id", ondelete="CASCADE"), primary_key=True
    )
    tag_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("tag.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    )


class Manifest(Base):
    """The hash of each of Stash's rows as it was when last stored here."""

    __tablename__ = "manifest"

    entity: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[StashId]
    hash: Mapped[int] = mapped_column(BigInteger)


# --- history of jobs -----------------------------------------------------------------


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


class JobReport(Base):
    """The result of a run, kept after Prefect has forgotten it."""

    __tablename__ = "job_report"

    run_id: Mapped[str] = mapped_column(Text, primary_key=True)
    job: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    started_at: Mapped[Moment]
    finished_at: Mapped[Now]
    report: Mapped[Facts]


# --- analysis ------------------------------------------------------------------------


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
    skipped | undone. `base` is the scene's value when the change was proposed.
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
    effect: Mapped[Any] = mapped_column(JSONB, nullable=True)
    error: Mapped[str | None] = mapped_column(Text)
    applied_at: Mapped[Moment | None]

    __table_args__ = (
        UniqueConstraint("plan_id", "scene_id", "field", "action", "value_key"),
        Index("ix_plan_change_state", "plan_id", "state"),
    )


class ReviewMemory(Base):
    """A value that a person turned down; it is not proposed again."""

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


# --- downloads -----------------------------------------------------------------------


class DownloadItem(Base):
    """A file of a finished download on its way into the library.

    States: found → placed → scanned → seen (Stash has it); failed (tried again at
    `next_try_at`) and blocked (not tried again) carry a reason; left_out: too short.
    A row without a relative path is the trouble of an entry as a whole. Names that are
    not UTF-8 are stored with their odd bytes escaped. Only videos have an oshash.
    """

    __tablename__ = "download_item"

    id: Mapped[RowId]
    source: Mapped[str] = mapped_column(Text)
    # Info hash, or the entry's name in the watch folder.
    entry_key: Mapped[str] = mapped_column(Text)
    entry_name: Mapped[str] = mapped_column(Text)
    relative_path: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, server_default="found")
    target_path: Mapped[str | None] = mapped_column(Text, index=True)
    # link | reflink | copy | existing
    method: Mapped[str | None] = mapped_column(Text)
    oshash: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    tries: Mapped[Count]
    next_try_at: Mapped[Moment | None]
    found_at: Mapped[Now]
    placed_at: Mapped[Moment | None]
    scanned_at: Mapped[Moment | None]
    seen_at: Mapped[Moment | None]

    __table_args__ = (
        UniqueConstraint("source", "entry_key", "relative_path", "size_bytes"),
        Index("ix_download_item_state", "state"),
    )
