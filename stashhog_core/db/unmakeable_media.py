"""What Stash could not make of which content: kept, so that it is not asked again."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from stashhog_core.batches import batched
from stashhog_core.db.generated import basis_of_media
from stashhog_core.db.models import Scene, SceneFile, UnmakeableMedia
from stashhog_core.db.reading import any_of

TRIES_IN_DOUBT = 3
"""Failures after which media is given up that Stash may have failed at for a while."""

_ROWS_PER_STATEMENT = 2_000


@dataclass(frozen=True)
class Unmakeable:
    """What a scene lacks that Stash was asked for and could not make.

    `asked` and `missing` are kinds of media.
    """

    asked: frozenset[str]
    missing: tuple[str, ...]
    reason: str

    def explains(self, missing: Collection[str]) -> bool:
        """Tell whether nothing more is missing than what could not be made."""
        return set(missing) <= set(self.missing)

    def covers(self, asked: Collection[str]) -> bool:
        """Tell whether Stash has been asked for all of these kinds."""
        return self.asked >= set(asked)


@dataclass(frozen=True)
class Failed:
    """A scene for which Stash did not make all that it was asked for.

    `content` is what its media would be made of. `is_doubtful`: Stash may be able to
    make it another time, so it is given up only after some tries.
    """

    content: int
    found: Unmakeable
    is_doubtful: bool = False


def has_unmakeable(session: Session) -> bool:
    """Tell whether Stash ever failed at anything: mostly it did not."""
    return bool(session.scalar(select(exists(UnmakeableMedia.content))))


def unmakeable_of(
    session: Session, scene_ids: Iterable[int], version: str
) -> dict[int, Unmakeable]:
    """Return what this version of Stash cannot make of the present content of scenes.

    Only what was given up; scenes of which nothing was are left out.
    """
    rows = session.execute(
        select(
            Scene.id,
            UnmakeableMedia.asked,
            UnmakeableMedia.missing,
            UnmakeableMedia.reason,
        )
        .join(UnmakeableMedia, UnmakeableMedia.content == basis_of_media())
        .where(
            Scene.id == any_of(scene_ids),
            UnmakeableMedia.given_up,
            UnmakeableMedia.stash_version == version,
        )
        .order_by(Scene.id)
    )
    return {
        row.id: Unmakeable(frozenset(row.asked), tuple(row.missing), row.reason)
        for row in rows
    }


def note_unmakeable(
    session: Session, version: str, failures: Sequence[Failed]
) -> set[int]:
    """Store what Stash failed at; return the contents that are given up by now.

    What another version failed at is replaced.
    """
    if not failures:
        return set()
    contents = [failure.content for failure in failures]
    query = select(UnmakeableMedia).where(
        UnmakeableMedia.content == any_of(contents),
        UnmakeableMedia.stash_version == version,
    )
    known = {row.content: row for row in session.scalars(query)}
    rows = {
        failure.content: {
            **_merged(known.get(failure.content), failure),
            "content": failure.content,
            "stash_version": version,
        }
        for failure in failures
    }
    values = list(rows.values())
    for batch in batched(values, _ROWS_PER_STATEMENT):
        statement = insert(UnmakeableMedia).values(batch)
        new = {name: statement.excluded[name] for name in values[0]}
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[UnmakeableMedia.content],
                set_={**new, "noted_at": func.now()},
            )
        )
    session.expire_all()
    return {content for content, row in rows.items() if row["given_up"]}


def _merged(known: UnmakeableMedia | None, failure: Failed) -> dict[str, object]:
    found = failure.found
    asked, missing, tries, was_given_up = found.asked, set(found.missing), 1, False
    if known is not None:
        # Of kinds that were not asked for this time, what was known still holds.
        missing |= set(known.missing) - asked
        asked |= set(known.asked)
        tries, was_given_up = known.tries + 1, known.given_up
    return {
        "asked": sorted(asked),
        "missing": sorted(missing),
        "reason": found.reason,
        "tries": tries,
        "given_up": was_given_up or not failure.is_doubtful or tries >= TRIES_IN_DOUBT,
    }


def forget_unmakeable(session: Session, scene_ids: Sequence[int]) -> None:
    """Forget what was noted of the present content of these scenes."""
    if not scene_ids:
        return
    contents = select(basis_of_media()).where(Scene.id == any_of(scene_ids))
    session.execute(
        delete(UnmakeableMedia).where(UnmakeableMedia.content.in_(contents))
    )


def primary_files(
    session: Session, scene_ids: Iterable[int]
) -> Mapping[int, tuple[str, float | None]]:
    """Return path and seconds of the primary file of each scene that has one."""
    rows = session.execute(
        select(SceneFile.scene_id, SceneFile.path, SceneFile.duration_seconds).where(
            SceneFile.scene_id == any_of(scene_ids), SceneFile.position == 0
        )
    )
    return {row.scene_id: (row.path, row.duration_seconds) for row in rows}
