"""The tables, by subject: mirror, sync, jobs, downloads, library, and plans."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.columns import (
    Base,
    Count,
    Duration,
    Facts,
    Flag,
    Key,
    Moment,
    Names,
    Now,
    Records,
    RowId,
    StashId,
    Words,
    reference,
)
from stashhog_core.db.plan_models import AnalysisPlan as AnalysisPlan
from stashhog_core.db.plan_models import DetectorMark as DetectorMark
from stashhog_core.db.plan_models import Picture as Picture
from stashhog_core.db.plan_models import PlanChange as PlanChange
from stashhog_core.db.plan_models import RejectedMatch as RejectedMatch
from stashhog_core.db.plan_models import ReviewDecision as ReviewDecision
from stashhog_core.db.plan_models import ReviewedChange as ReviewedChange
from stashhog_core.db.plan_models import ReviewMemory as ReviewMemory
from stashhog_core.db.plan_models import TaggerResult as TaggerResult
from stashhog_core.db.plan_models import ValueCount as ValueCount

# --- the mirror of Stash, by its ids --------------------------------------------------


class Studio(Base):
    """A studio."""

    __tablename__ = "studio"

    id: Mapped[StashId]
    name: Mapped[Words]
    aliases: Mapped[Names]
    parent_id: Mapped[int | None] = reference("studio", ondelete="SET NULL")
    urls: Mapped[Names]
    details: Mapped[Words]
    rating100: Mapped[int | None]
    favorite: Mapped[Flag]
    ignore_auto_tag: Mapped[Flag]
    stash_ids: Mapped[Records]
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]
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
    death_date: Mapped[str | None] = mapped_column(Text)
    ethnicity: Mapped[Words]
    country: Mapped[Words]
    eye_color: Mapped[Words]
    hair_color: Mapped[Words]
    height_cm: Mapped[int | None]
    # In kilograms.
    weight: Mapped[int | None]
    measurements: Mapped[Words]
    fake_tits: Mapped[Words]
    penis_length: Mapped[float | None]
    circumcised: Mapped[str | None] = mapped_column(Text)
    career_length: Mapped[Words]
    tattoos: Mapped[Words]
    piercings: Mapped[Words]
    urls: Mapped[Names]
    details: Mapped[Words]
    rating100: Mapped[int | None]
    favorite: Mapped[Flag]
    ignore_auto_tag: Mapped[Flag]
    stash_ids: Mapped[Records]
    custom_fields: Mapped[Facts]
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]
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
    stash_ids: Mapped[Records]
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]
    missing_since: Mapped[Moment | None]

    __table_args__ = (Index("ix_tag_name_lower", func.lower(text("name"))),)


class TagParent(Base):
    """`tag_id` lies under `parent_id`."""

    __tablename__ = "tag_parent"

    tag_id: Mapped[int] = reference("tag", primary_key=True)
    parent_id: Mapped[int] = reference("tag", primary_key=True)


class PerformerTag(Base):
    """A tag of a performer."""

    __tablename__ = "performer_tag"

    performer_id: Mapped[int] = reference("performer", primary_key=True)
    tag_id: Mapped[int] = reference("tag", primary_key=True, index=True)


class StudioTag(Base):
    """A tag of a studio."""

    __tablename__ = "studio_tag"

    studio_id: Mapped[int] = reference("studio", primary_key=True)
    tag_id: Mapped[int] = reference("tag", primary_key=True, index=True)


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
    last_played_at: Mapped[Moment | None]
    resume_time_seconds: Mapped[Duration]
    play_duration_seconds: Mapped[Duration]
    interactive: Mapped[Flag]
    interactive_speed: Mapped[int | None]
    studio_id: Mapped[int | None] = reference("studio", ondelete="SET NULL", index=True)
    groups: Mapped[Records]
    galleries: Mapped[Records]
    stash_ids: Mapped[Records]
    captions: Mapped[Records]
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]
    # As Stash wrote it: local time with the offset of its zone, whole seconds.
    stash_updated_text: Mapped[Words]
    # The hash of all that Stash had of it; none: to be fetched, whatever Stash says.
    content: Mapped[int | None] = mapped_column(BigInteger)

    generated: Mapped[Flag]
    video_analyzed: Mapped[Flag]
    analyzed: Mapped[Flag]
    created_at: Mapped[Now]
    synced_at: Mapped[Now]
    missing_since: Mapped[Moment | None]

    __table_args__ = (
        Index("ix_scene_to_fetch", "id", postgresql_where=text("content IS NULL")),
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

    scene_id: Mapped[int] = reference("scene", primary_key=True)
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
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]


class SceneFingerprint(Base):
    """A hash of a scene's file: oshash, phash or md5."""

    __tablename__ = "scene_fingerprint"

    scene_id: Mapped[int] = reference("scene", primary_key=True)
    file_id: Mapped[StashId]
    kind: Mapped[Key]
    value: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_scene_fingerprint_value", "kind", "value"),)


class SceneTag(Base):
    """A tag of a scene."""

    __tablename__ = "scene_tag"

    scene_id: Mapped[int] = reference("scene", primary_key=True)
    tag_id: Mapped[int] = reference("tag", primary_key=True, index=True)


class ScenePerformer(Base):
    """A performer of a scene."""

    __tablename__ = "scene_performer"

    scene_id: Mapped[int] = reference("scene", primary_key=True)
    performer_id: Mapped[int] = reference("performer", primary_key=True, index=True)


class Marker(Base):
    """A marker of a scene."""

    __tablename__ = "marker"

    id: Mapped[StashId]
    scene_id: Mapped[int] = reference("scene", index=True)
    title: Mapped[Words]
    seconds: Mapped[float]
    end_seconds: Mapped[float | None]
    primary_tag_id: Mapped[int | None] = reference(
        "tag", ondelete="SET NULL", index=True
    )
    stash_created_at: Mapped[Moment | None]
    stash_updated_text: Mapped[Words]


class MarkerTag(Base):
    """An additional tag of a marker."""

    __tablename__ = "marker_tag"

    marker_id: Mapped[int] = reference("marker", primary_key=True)
    tag_id: Mapped[int] = reference("tag", primary_key=True, index=True)


class Manifest(Base):
    """The hash of each tag, performer and studio as it was when last stored here.

    For scenes, the mirrored row itself says how it was: by its time of change.
    """

    __tablename__ = "manifest"

    entity: Mapped[Key]
    id: Mapped[StashId]
    hash: Mapped[int] = mapped_column(BigInteger)


# --- what sync knows beside the mirror: verifications, and edits not yet pushed -------


class MirrorCheck(Base):
    """A comparison of the mirror with Stash; `proved`: it found no difference."""

    __tablename__ = "mirror_check"

    id: Mapped[RowId]
    run_id: Mapped[str | None] = mapped_column(Text)
    checked_at: Mapped[Now]
    proved: Mapped[bool]
    scenes_checked: Mapped[int] = mapped_column(BigInteger)
    scenes_different: Mapped[int] = mapped_column(BigInteger)
    facts: Mapped[Facts]


class LocalEdit(Base):
    """A field of a scene edited here and not yet pushed to Stash.

    `base` is Stash's value when the edit was made. With `conflict_since` set, Stash
    has changed the field as well, to `theirs`.
    """

    __tablename__ = "local_edit"

    scene_id: Mapped[int] = reference("scene", primary_key=True)
    field: Mapped[Key]
    base: Mapped[Any] = mapped_column(JSONB, nullable=True)
    value: Mapped[Any] = mapped_column(JSONB, nullable=True)
    theirs: Mapped[Any] = mapped_column(JSONB, nullable=True)
    edited_at: Mapped[Now]
    conflict_since: Mapped[Moment | None]


# --- jobs and their history -----------------------------------------------------------


class JobLock(Base):
    """Who holds the lock of a job: each holder has a token that nobody had before."""

    __tablename__ = "job_lock"

    name: Mapped[Key]
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
    sync_run_id: Mapped[int] = reference("sync_run", index=True)
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
    # Name of an additional server; "" is the one that the mirror is of.
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

    run_id: Mapped[Key]
    job: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    started_at: Mapped[Moment]
    finished_at: Mapped[Now]
    report: Mapped[Facts]


# --- the import ledger ----------------------------------------------------------------


class DownloadItem(Base):
    """A file of a finished download on its way into the library.

    States: found → placed → scanned → seen (Stash has it); failed (tried again at
    `next_try_at`) and blocked (not tried again) carry a reason; left_out: too short.
    A row without a relative path is the trouble of an entry as a whole. Names that are
    not UTF-8 are stored with their odd bytes escaped. Only videos have an oshash.
    What a file of the watch folder was when it was placed, its inode and times (mtime,
    and the later of mtime and ctime) tell; larger numbers are cut to 63 bits.
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
    target_path: Mapped[str | None] = mapped_column(Text)
    # link | reflink | copy | existing
    method: Mapped[str | None] = mapped_column(Text)
    oshash: Mapped[str | None] = mapped_column(Text)
    inode: Mapped[int | None] = mapped_column(BigInteger)
    mtime_ns: Mapped[int | None] = mapped_column(BigInteger)
    changed_ns: Mapped[int | None] = mapped_column(BigInteger)
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


# --- the directory scan ---------------------------------------------------------------


class LibraryFile(Base):
    """A video file on disk, as the directory scan found it.

    States: new (never opened), changed (content may differ), touched (only its inode
    or change time differs), ok, unreadable (with the problem; not opened again until
    the file changes). It is the same file as long as size and both times are the same;
    what does not fit into 63 bits is stored modulo 2**64. A phash is stored as a signed
    number. Missing: it is gone, which is proved. Unreachable: it was not seen, and
    nothing proves that it is gone.
    """

    __tablename__ = "library_file"

    id: Mapped[RowId]
    # In byte order, so that the files of a folder are one range. Bytes that are no
    # UTF-8 are written \xNN, and a backslash as two.
    path: Mapped[str] = mapped_column(Text(collation="C"), unique=True)
    file_system: Mapped[str] = mapped_column(Text)
    inode: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    ctime_ns: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, server_default="new")
    problem: Mapped[str | None] = mapped_column(Text)
    oshash: Mapped[str | None] = mapped_column(Text)
    phash: Mapped[int | None] = mapped_column(BigInteger)
    container: Mapped[str | None] = mapped_column(Text)
    duration_seconds: Mapped[float | None]
    bit_rate: Mapped[int | None] = mapped_column(BigInteger)
    video_codec: Mapped[str | None] = mapped_column(Text)
    profile: Mapped[str | None] = mapped_column(Text)
    width: Mapped[int | None] = mapped_column(BigInteger)
    height: Mapped[int | None] = mapped_column(BigInteger)
    rotation: Mapped[int | None] = mapped_column(BigInteger)
    pixel_aspect: Mapped[float | None]
    frame_rate: Mapped[float | None]
    real_frame_rate: Mapped[float | None]
    hdr: Mapped[str | None] = mapped_column(Text)
    audio_codec: Mapped[str | None] = mapped_column(Text)
    audio_channels: Mapped[int | None] = mapped_column(BigInteger)
    subtitles: Mapped[Names]
    # All streams and chapters.
    facts: Mapped[Facts]
    media_created_at: Mapped[Moment | None]
    thumbnail_path: Mapped[str | None] = mapped_column(Text)
    sprite_path: Mapped[str | None] = mapped_column(Text)
    found_at: Mapped[Now]
    probed_at: Mapped[Moment | None]
    missing_since: Mapped[Moment | None]
    unreachable_since: Mapped[Moment | None]

    __table_args__ = (
        Index("ix_library_file_oshash", "oshash"),
        Index(
            "ix_library_file_pending",
            "id",
            postgresql_where=text("state IN ('new', 'changed', 'touched')"),
        ),
        Index(
            "ix_library_file_missing",
            "size_bytes",
            postgresql_where=text("missing_since IS NOT NULL"),
        ),
    )


PENDING_STATES = ("new", "changed", "touched")
"""States of a `LibraryFile` that is still to be probed."""

library_listing = Table(
    "library_listing",
    Base.metadata,
    Column("part", BigInteger, nullable=False),
    Column("path", Text(collation="C"), nullable=False),
    Column("file_system", Text, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("inode", "size_bytes", "mtime_ns", "ctime_ns")
    ),
    prefixes=["UNLOGGED"],
)
"""What the parts of a scan list, each on a connection of its own; empty in between."""
