"""The mirror of Stash. Ids are Stash's own."""

from sqlalchemy import BigInteger, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.models.columns import (
    Base,
    Count,
    Duration,
    Facts,
    Flag,
    Moment,
    Names,
    Now,
    Records,
    SceneRef,
    StashId,
    Words,
)


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

    tag_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True
    )
    parent_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True
    )


class PerformerTag(Base):
    """A tag of a performer."""

    __tablename__ = "performer_tag"

    performer_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("performer.id", ondelete="CASCADE"), primary_key=True
    )
    tag_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("tag.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    )


class StudioTag(Base):
    """A tag of a studio."""

    __tablename__ = "studio_tag"

    studio_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("studio.id", ondelete="CASCADE"), primary_key=True
    )
    tag_id: Mapped[int] = mapped_column(
        BigInteger,
        ForeignKey("tag.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
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
    last_played_at: Mapped[Moment | None]
    resume_time_seconds: Mapped[Duration]
    play_duration_seconds: Mapped[Duration]
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
    # The hash of all that Stash had of it; none: to be fetched, whatever Stash says.
    content: Mapped[int | None] = mapped_column(BigInteger)

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
    stash_created_at: Mapped[Moment | None]
    stash_updated_at: Mapped[Moment | None]


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
    stash_created_at: Mapped[Moment | None]
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
    """The hash of each tag, performer and studio as it was when last stored here.

    For scenes, the mirrored row itself says how it was: by its time of change.
    """

    __tablename__ = "manifest"

    entity: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[StashId]
    hash: Mapped[int] = mapped_column(BigInteger)
