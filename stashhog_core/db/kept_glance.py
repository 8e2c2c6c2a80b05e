"""The glance at Stash's library with which the mirror was last complete."""

from typing import Any

from sqlalchemy import func, select, true
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from stashhog_core.db.columns import Base, Count, StashId
from stashhog_core.db.models import Scene

_ONLY = 1
"""The id of the one row."""


class KeptGlance(Base):
    """The one glance that is kept.

    The facts are those of `stashhog_core.sync.glance.KeptGlance`; none: the next
    comparison lists everything. The revision is raised when they are forgotten.
    """

    __tablename__ = "kept_glance"

    id: Mapped[StashId]
    revision: Mapped[Count]
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


def forget_glance(session: Session) -> None:
    """Have the next comparison list everything that Stash has, and compare every row.

    For changes of the mirror that leave no mark at a scene: a scene without the hash of
    its content is fetched anyway.
    """
    row = insert(KeptGlance).values(id=_ONLY, revision=1, facts=None)
    raised = {"revision": KeptGlance.revision + 1, "facts": None}
    session.execute(row.on_conflict_do_update(index_elements=["id"], set_=raised))


def kept_glance(session: Session) -> tuple[int, dict[str, Any] | None, list[int]]:
    """Return the revision and the facts of the kept glance, and the scenes to fetch.

    The latter are those that are fetched whatever Stash says of them.
    """
    to_fetch = (
        select(func.array_agg(Scene.id))
        .where(Scene.content.is_(None), Scene.missing_since.is_(None))
        .scalar_subquery()
    )
    kept = select(KeptGlance.revision, KeptGlance.facts).subquery()
    one = select(to_fetch.label("to_fetch")).subquery()
    found = session.execute(
        select(kept.c.revision, kept.c.facts, one.c.to_fetch).select_from(
            one.outerjoin(kept, true())
        )
    ).one()
    return found[0] or 0, found[1], found[2] or []


def keep_glance(session: Session, revision: int, facts: dict[str, Any]) -> None:
    """Keep a glance, unless one was forgotten since `revision` was read."""
    row = insert(KeptGlance).values(id=_ONLY, revision=revision, facts=facts)
    session.execute(
        row.on_conflict_do_update(
            index_elements=["id"],
            set_={"facts": row.excluded.facts},
            where=KeptGlance.revision == revision,
        )
    )
