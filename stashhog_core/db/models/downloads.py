"""The import ledger."""

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.models.columns import Base, Count, Moment, Now, RowId


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
    target_path: Mapped[str | None] = mapped_column(Text)
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
