"""The tables of what sync knows beside the mirror: proofs, and edits not yet pushed."""

from typing import Any

from sqlalchemy import BigInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from stashhog_core.db.models.columns import Base, Facts, Moment, Now, RowId, SceneRef


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

    scene_id: Mapped[SceneRef]
    field: Mapped[str] = mapped_column(Text, primary_key=True)
    base: Mapped[Any] = mapped_column(JSONB, nullable=True)
    value: Mapped[Any] = mapped_column(JSONB, nullable=True)
    theirs: Mapped[Any] = mapped_column(JSONB, nullable=True)
    edited_at: Mapped[Now]
    conflict_since: Mapped[Moment | None]
