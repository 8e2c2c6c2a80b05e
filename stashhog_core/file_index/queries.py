"""Reading the index: listing, one file, duplicates, what is missing where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    PENDING_STATES,
    LibraryFile,
    SceneFile,
    SceneFingerprint,
)
from stashhog_core.db.paging import read_place
from stashhog_core.errors import ConfigurationError

MOST_COMPARED = 100_000
"""Perceptual hashes are compared each with each; more would take minutes."""

_BLOCK = 1000
_READ_TOGETHER = 1000
"""Files that are fetched from the database at once."""

_WORD = 2**64


@dataclass(frozen=True)
class FileFilter:
    """Which files to list; None leaves a property open."""

    text: str | None = None
    folder: str | None = None
    state: str | None = None
    codec: str | None = None
    min_height: int | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    hdr: bool | None = None
    in_stash: bool | None = None
    missing: bool | None = False


@dataclass(frozen=True)
class Duplicates:
    """Files of the same content, or that look alike by the distance given."""

    paths: tuple[str, ...]
    size_bytes: tuple[int, ...]
    distance: int = 0


@dataclass(frozen=True)
class StashOnly:
    """A file that Stash has and the index lacks, by its hash."""

    scene_id: int
    path: str
    oshash: str

    @property
    def place(self) -> str:
        """What the part of the list that follows comes after."""
        return f"{self.scene_id} {self.path}"


def list_files(
    session: Session, which: FileFilter, limit: int = 50, after: str | None = None
) -> Iterator[LibraryFile]:
    """Yield the files that match, in the order of their paths.

    They are read as they are asked for; the session must stay open meanwhile.

    Args:
        session: Open session; nothing is written.
        which: What they must match, all of it.
        limit: At most so many.
        after: Only files whose paths come after this one.
    """
    query = (
        select(LibraryFile)
        .where(*_conditions(which))
        .order_by(LibraryFile.path)
        .limit(limit)
        .execution_options(yield_per=_READ_TOGETHER)
    )
    if after is not None:
        query = query.where(LibraryFile.path > after)
    yield from session.scalars(query)


def has_files(session: Session) -> bool:
    """Tell whether the index has any file, also one that is missing by now."""
    return session.scalar(select(LibraryFile.id).limit(1)) is not None


def find_file(session: Session, which: str) -> LibraryFile:
    """Return the file with this id or path.

    Raises:
        ConfigurationError: The index has none.
    """
    known: ColumnElement[bool] = LibraryFile.path == which
    if which.isdecimal() and int(which) < 2**63:
        known = or_(known, LibraryFile.id == int(which))
    file = session.scalars(select(LibraryFile).where(known)).first()
    if file is None:
        raise ConfigurationError(
            f"The index has no file {which!r}",
            remedy="`stashhog library list` shows what it has",
        )
    return file


def exact_duplicates(session: Session, limit: int = 50) -> list[Duplicates]:
    """Return files of the same hash and size, those that waste most space first."""
    size = LibraryFile.size_bytes
    query = (
        select(
            func.array_agg(LibraryFile.path).label("paths"),
            size,
            func.count().label("copies"),
        )
        .where(LibraryFile.oshash.is_not(None), LibraryFile.missing_since.is_(None))
        .group_by(LibraryFile.oshash, size)
        .having(func.count() > 1)
        .order_by(((func.count() - 1) * size).desc())
        .limit(limit)
    )
    return [
        Duplicates(tuple(sorted(paths)), (bytes_each,) * copies)
        for paths, bytes_each, copies in session.execute(query)
    ]


def similar_files(session: Session, distance: int, limit: int = 50) -> list[Duplicates]:
    """Return pairs that look alike, the most alike first; exact copies left out.

    Raises:
        ConfigurationError: There are too many to compare.
    """
    rows = session.execute(
        select(
            LibraryFile.phash,
            LibraryFile.path,
            LibraryFile.size_bytes,
            LibraryFile.oshash,
        )
        .where(LibraryFile.phash.is_not(None), LibraryFile.missing_since.is_(None))
        .order_by(LibraryFile.path)
        .limit(MOST_COMPARED + 1)
    ).all()
    if len(rows) > MOST_COMPARED:
        raise ConfigurationError(
            f"More than {MOST_COMPARED} perceptual hashes cannot be compared at once",
            remedy="leave --distance out: equal files are found in any number",
        )
    pairs = sorted(_pairs(rows, distance), key=lambda pair: pair.distance)
    return pairs[:limit]


def _pairs(rows: Sequence[Any], distance: int) -> Iterator[Duplicates]:
    import numpy as np

    hashes = np.array([row.phash % _WORD for row in rows], dtype=np.uint64)
    for start in range(0, len(rows), _BLOCK):
        block = hashes[start : start + _BLOCK, None]
        far = np.bitwise_count(block ^ hashes[None, start:])
        for one, other in np.argwhere(far <= distance):
            if other <= one:
                continue
            first, second = rows[start + one], rows[start + other]
            if first.oshash == second.oshash:
                continue
            yield Duplicates(
                (first.path, second.path),
                (first.size_bytes, second.size_bytes),
                int(far[one, other]),
            )


def stash_only(
    session: Session, limit: int = 50, after: str | None = None
) -> list[StashOnly]:
    """Return the files in the mirror of Stash whose hash no indexed file has.

    Raises:
        JobError: `after` is no `place` of a file.
    """
    indexed = exists().where(
        LibraryFile.oshash == SceneFingerprint.value,
        LibraryFile.missing_since.is_(None),
    )
    query = (
        select(SceneFingerprint.scene_id, SceneFile.path, SceneFingerprint.value)
        .join(
            SceneFile,
            and_(
                SceneFile.scene_id == SceneFingerprint.scene_id,
                SceneFile.file_id == SceneFingerprint.file_id,
            ),
        )
        .where(SceneFingerprint.kind == "oshash", ~indexed)
        .order_by(SceneFile.path, SceneFile.scene_id)
        .limit(limit)
    )
    if after is not None:
        number, _, path = after.partition(" ")
        (scene_id,) = read_place(number, int)
        place = tuple_(literal(path, Text()), literal(scene_id, BigInteger()))
        query = query.where(tuple_(SceneFile.path, SceneFile.scene_id) > place)
    return [StashOnly(*row) for row in session.execute(query)]


def _conditions(which: FileFilter) -> Iterator[ColumnElement[bool]]:
    file = LibraryFile
    if which.text:
        yield file.path.icontains(which.text, autoescape=True)
    if which.folder:
        prefix = which.folder.rstrip("/")
        yield file.path >= f"{prefix}/"
        yield file.path < f"{prefix}0"
    if which.state == "pending":
        yield file.state.in_(PENDING_STATES)
    elif which.state:
        yield file.state == which.state
    if which.codec:
        yield file.video_codec == which.codec.lower()
    if which.min_height is not None:
        yield file.height >= which.min_height
    if which.min_seconds is not None:
        yield file.duration_seconds >= which.min_seconds
    if which.max_seconds is not None:
        yield file.duration_seconds <= which.max_seconds
    if which.hdr is not None:
        yield file.hdr.is_not(None) if which.hdr else file.hdr.is_(None)
    if which.missing is not None:
        gone = file.missing_since
        yield gone.is_not(None) if which.missing else gone.is_(None)
    if which.in_stash is not None:
        known = exists().where(
            SceneFingerprint.kind == "oshash", SceneFingerprint.value == file.oshash
        )
        yield known if which.in_stash else and_(file.oshash.is_not(None), ~known)
