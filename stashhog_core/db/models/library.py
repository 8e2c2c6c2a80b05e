"""The table of the directory scan."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.models.columns import Base, Facts, Moment, Names, Now, RowId

PENDING_STATES = ("new", "changed", "touched")


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
