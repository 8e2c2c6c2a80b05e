"""What PostgreSQL's planner knows of the mirror's tables."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from stashhog_core.db.models import MarkerTag, Scene
from stashhog_core.sync.mirror import CHILDREN

_TABLES = (Scene, *(table.model for table in CHILDREN.values()), MarkerTag)
_FEW_SCENES = 1000
# In the middle of a sync PostgreSQL may have looked at one of them only.
_ROWS = text(
    "SELECT min(reltuples) FROM pg_class "
    "WHERE oid IN (to_regclass('scene'), to_regclass('scene_file'))"
)


def refresh_statistics(session: Session, scenes: int) -> None:
    """Have the planner look at the mirror's tables if they have grown by a tenth.

    PostgreSQL looks at tables by itself up to a minute after a bulk write, and never
    where a server runs only while a job does. Until then the planner reads all rows of
    a table to find those of a page of scenes.

    Args:
        session: Open session; the caller commits.
        scenes: How many scenes are mirrored.
    """
    # Negative: PostgreSQL has never looked.
    known = max(0.0, session.scalar(_ROWS) or 0.0)
    if scenes > _FEW_SCENES + 1.1 * known:
        session.execute(text(f"ANALYZE {', '.join(map(_keys, _TABLES))}"))


def _keys(table: Any) -> str:
    """Return a table with the columns that rows are looked up by.

    The other columns, which no plan for a page of ids needs, take two thirds of the
    time.
    """
    names = [
        column.name
        for column in table.__table__.columns
        if column.primary_key or column.foreign_keys
    ]
    return f"{table.__tablename__} ({', '.join(names)})"
