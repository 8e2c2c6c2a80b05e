"""What `check_stash_generate` found, per scene."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.models import MediaCheck

_ROWS_PER_STATEMENT = 5_000


@dataclass(frozen=True)
class Checked:
    """A scene that was looked at: nothing missing means complete."""

    scene_id: int
    key: int
    missing: tuple[str, ...] = ()


def complete_keys(session: Session) -> dict[int, int]:
    """Return the key of each scene that was complete when it was last looked at."""
    query = select(MediaCheck.scene_id, MediaCheck.key).where(
        func.cardinality(MediaCheck.missing) == 0
    )
    return {row.scene_id: row.key for row in session.execute(query)}


def incomplete_scenes(session: Session) -> Mapping[int, Sequence[str]]:
    """Return what is missing of each scene that was found incomplete."""
    return {i: list(check.missing) for i, check in incomplete_checks(session).items()}


def incomplete_checks(session: Session) -> dict[int, Checked]:
    """Return the last finding of each scene that was found incomplete."""
    query = select(MediaCheck.scene_id, MediaCheck.key, MediaCheck.missing).where(
        MediaCheck.missing != literal([], MediaCheck.missing.type)
    )
    return {
        row.scene_id: Checked(row.scene_id, row.key, tuple(row.missing))
        for row in session.execute(query)
    }


def store_checks(session: Session, checks: Iterable[Checked]) -> None:
    """Store what was found; an older finding of the same scene is replaced."""
    rows = [
        {"scene_id": c.scene_id, "key": c.key, "missing": list(c.missing)}
        for c in checks
    ]
    for batch in batched(rows, _ROWS_PER_STATEMENT):
        statement = insert(MediaCheck).values(batch)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[MediaCheck.scene_id],
                set_={
                    "key": statement.excluded.key,
                    "missing": statement.excluded.missing,
                    "checked_at": func.now(),
                },
            )
        )
