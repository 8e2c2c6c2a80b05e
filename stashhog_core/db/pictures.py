"""Pictures by their content: covers that are proposed or that were replaced."""

import hashlib
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.db.models import Picture


def picture_key(content: bytes) -> str:
    """Return what a picture is stored by: the SHA-256 of its content."""
    return hashlib.sha256(content).hexdigest()


def store_pictures(session: Session, contents: Iterable[bytes]) -> None:
    """Store pictures; those that are stored already stay."""
    rows = {picture_key(content): content for content in contents}
    if rows:
        session.execute(
            insert(Picture).on_conflict_do_nothing(),
            [{"sha256": key, "content": content} for key, content in rows.items()],
        )


def stored_picture(session: Session, key: str) -> bytes | None:
    """Return the content of a picture; None: it is not stored, or no longer."""
    return session.scalar(select(Picture.content).where(Picture.sha256 == key))
