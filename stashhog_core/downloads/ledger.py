"""The import ledger: what became of each file of each download."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from stashhog_core.db.merge import insert_rows, merge_rows
from stashhog_core.db.models import DownloadItem
from stashhog_core.downloads.files import Method
from stashhog_core.downloads.sources import SourceFile
from stashhog_core.paths import from_printable

LOCK = "process_downloads"
"""Name of the lock of whoever writes into the ledger."""

State = Literal["found", "placed", "scanned", "seen", "failed", "blocked", "left_out"]
IN_LIBRARY: frozenset[str] = frozenset({"placed", "scanned", "seen"})
COPIES: frozenset[str | None] = frozenset({"copy", "reflink"})
"""Ways into the library that make a file of its own."""

_BITS = 2**63 - 1
"""What the database holds of a number."""

_CLOCK_SECONDS = 1.0
"""By how much a file system's clock may be late."""

_FIRST_PAUSE = timedelta(minutes=5)
_LONGEST_PAUSE = timedelta(hours=24)
_PAUSE_FACTOR = 3

FileKey = tuple[str, int]
"""A file's path below its entry, and its size in bytes."""

WHOLE_ENTRY: FileKey = ("", 0)
"""The row of what keeps an entry as a whole from being taken."""


class ImportRecord(NamedTuple):
    """A row of the ledger. `relative_path` and names are printable."""

    entry_key: str
    entry_name: str
    relative_path: str
    size_bytes: int
    state: State = "found"
    target_path: str | None = None
    method: Method | None = None
    oshash: str | None = None
    reason: str | None = None
    tries: int = 0
    next_try_at: datetime | None = None
    placed_at: datetime | None = None
    inode: int | None = None
    mtime_ns: int | None = None
    changed_ns: int | None = None

    @property
    def key(self) -> FileKey:
        """What it is known by within its entry."""
        return self.relative_path, self.size_bytes

    @property
    def is_placed(self) -> bool:
        """Whether it is in the library, perhaps given up for not being in Stash."""
        return self.state in IN_LIBRARY or (
            self.state == "blocked" and self.method is not None
        )

    @property
    def is_trouble(self) -> bool:
        """Whether it, or its entry as a whole, could not even be read."""
        return self.size_bytes == 0 and self.state in ("failed", "blocked")

    def placed_from(self, file: SourceFile) -> "ImportRecord":
        """Return it with what a file is at the moment that it is placed, or compared.

        Later, `is_another` and `has_changed` compare it with the file.
        """
        if not file.changed_ns:
            return self
        return self._replace(
            inode=file.inode & _BITS,
            mtime_ns=file.mtime_ns & _BITS,
            changed_ns=file.changed_ns & _BITS,
        )

    def is_another(self, file: SourceFile) -> bool:
        """Tell whether a file is another one than was placed under its name.

        A file that is written to stays at its inode, and one that is moved to another
        disk keeps its time.
        """
        return (
            self.inode is not None
            and file.inode & _BITS != self.inode
            and file.mtime_ns & _BITS != self.mtime_ns
        )

    def has_changed(self, file: SourceFile) -> bool:
        """Tell whether a file has perhaps changed since it was copied.

        Times are only compared for being equal, so that no clock has to be right.
        """
        if self.method not in COPIES:
            return False
        if self.changed_ns is not None:
            return file.changed_ns & _BITS != self.changed_ns
        # It was placed by an earlier version.
        return (
            self.placed_at is not None
            and file.changed_ns / 1e9 > self.placed_at.timestamp() - _CLOCK_SECONDS
        )

    def failed(self, reason: str, now: datetime, max_tries: int) -> "ImportRecord":
        """Return it after one more failed try: to be tried later, or blocked."""
        tries = self.tries + 1
        if tries >= max_tries:
            return self._replace(
                state="blocked", reason=reason, tries=tries, next_try_at=None
            )
        pause = min(_FIRST_PAUSE * _PAUSE_FACTOR ** (tries - 1), _LONGEST_PAUSE)
        return self._replace(
            state="failed", reason=reason, tries=tries, next_try_at=now + pause
        )

    def waits(self, now: datetime) -> bool:
        """Tell whether the next try is still to come.

        No pause is as long as one that a wrong clock has noted: such a try is due.
        """
        return (
            self.state == "failed"
            and self.next_try_at is not None
            and now < self.next_try_at <= now + _LONGEST_PAUSE
        )


_COLUMNS = ImportRecord._fields
_KEY = ("source", "entry_key", "relative_path", "size_bytes")

Known = dict[FileKey, ImportRecord]


def known_files(
    session: Session, source: str, entry_keys: Collection[str]
) -> dict[str, Known]:
    """Return what the ledger holds of these entries; each has a value, maybe empty."""
    known: dict[str, Known] = {key: {} for key in entry_keys}
    columns = [getattr(DownloadItem, name) for name in _COLUMNS]
    query = select(*columns).where(
        DownloadItem.source == source, DownloadItem.entry_key.in_(known)
    )
    for row in session.execute(query):
        record = ImportRecord._make(row)
        known[record.entry_key][record.key] = record
    return known


def write(session: Session, source: str, records: Iterable[ImportRecord]) -> None:
    """Insert or update rows; the last record of a file counts.

    Only one run at a time may write: of entries that have no row yet, all are new.
    """
    latest = {
        (record.entry_key, record.relative_path, record.size_bytes): record
        for record in records
    }
    entry_keys = {record.entry_key for record in latest.values()}
    query = select(DownloadItem.entry_key).where(
        DownloadItem.source == source, DownloadItem.entry_key.in_(entry_keys)
    )
    known = frozenset(session.scalars(query.distinct()))
    new: list[tuple[Any, ...]] = []
    other: list[tuple[Any, ...]] = []
    for record in latest.values():
        rows = other if record.entry_key in known else new
        rows.append((source, *record))
    if new:
        insert_rows(session, DownloadItem, ["source", *_COLUMNS], new)
    if other:
        columns = ["source", *_COLUMNS]
        merge_rows(session, DownloadItem, columns, other, keys=_KEY)


@dataclass(frozen=True)
class Renamed:
    """A file in the library that was perhaps renamed in the watch folder since.

    Attributes:
        id: Its row.
        entry_key: Its entry then.
        relative_path: Its path below the entry then.
        number: Its position among the files that were asked about.
    """

    id: int
    entry_key: str
    relative_path: str
    number: int


def same_files(
    session: Session, source: str, files: Sequence[SourceFile]
) -> list[Renamed]:
    """Return what was placed, under whatever name, that is one of these files."""
    known = [(n, file) for n, file in enumerate(files) if file.inode]
    if not known:
        return []
    rows = session.execute(
        text(
            "SELECT i.id, i.entry_key, i.relative_path, f.number "
            "FROM unnest(CAST(:numbers AS int[]), CAST(:inodes AS bigint[]), "
            "CAST(:times AS bigint[]), CAST(:sizes AS bigint[])) "
            "AS f (number, inode, mtime_ns, size_bytes) "
            "JOIN download_item i USING (inode, mtime_ns, size_bytes) "
            "WHERE i.source = :source AND i.state = ANY(:states) ORDER BY i.id"
        ),
        {
            "source": source,
            "states": sorted(IN_LIBRARY),
            "numbers": [n for n, _ in known],
            "inodes": [file.inode & _BITS for _, file in known],
            "times": [file.mtime_ns & _BITS for _, file in known],
            "sizes": [file.size_bytes for _, file in known],
        },
    )
    return [Renamed(*row) for row in rows]


def rename(session: Session, source: str, names: Mapping[int, ImportRecord]) -> None:
    """Give rows, by their ids, the entries and paths of these records."""
    for id_, record in names.items():
        # A killed run may have noted the new name already.
        session.execute(
            delete(DownloadItem).where(
                DownloadItem.source == source,
                DownloadItem.entry_key == record.entry_key,
                DownloadItem.relative_path == record.relative_path,
                DownloadItem.size_bytes == record.size_bytes,
            )
        )
        session.execute(
            update(DownloadItem)
            .where(DownloadItem.id == id_)
            .values(
                entry_key=record.entry_key,
                entry_name=record.entry_name,
                relative_path=record.relative_path,
            )
        )


def clear_trouble(session: Session, source: str, entry_keys: Collection[str]) -> None:
    """Forget what kept these entries, or files that are placed by now, from being read.

    Such a file has no size in its row: see `ImportRecord.is_trouble`.
    """
    item, placed = DownloadItem, aliased(DownloadItem)
    is_placed = (
        select(placed.id)
        .where(
            placed.source == item.source,
            placed.entry_key == item.entry_key,
            placed.relative_path == item.relative_path,
            placed.state.in_(IN_LIBRARY),
        )
        .exists()
    )
    session.execute(
        delete(item).where(
            item.source == source,
            item.entry_key.in_(entry_keys),
            item.size_bytes == 0,
            item.state.in_(["failed", "blocked"]),
            or_(item.relative_path == "", is_placed),
        )
    )


def unfinished_folders(session: Session) -> set[Path]:
    """Return the library folders that a killed run may have left something in."""
    query = select(DownloadItem.target_path).where(
        DownloadItem.state.in_(["found", "failed"]),
        DownloadItem.target_path.is_not(None),
    )
    return {from_printable(path).parent for path in session.scalars(query) if path}


@dataclass(frozen=True)
class PlacedFile:
    """A file in the library that Stash is not known to have; a video has an oshash."""

    id: int
    target_path: str
    oshash: str | None
    state: str
    reason: str | None


def files_not_in_stash(session: Session) -> list[PlacedFile]:
    """Return the placed files and the scanned videos, in the order they were placed.

    Stash never tells of other files than videos, so that their scan is the end.
    """
    item = DownloadItem
    query = (
        select(item.id, item.target_path, item.oshash, item.state, item.reason)
        .where(
            item.state.in_(["placed", "scanned"]),
            or_(item.state == "placed", item.oshash.is_not(None)),
        )
        .order_by(item.placed_at, item.id)
    )
    return [
        PlacedFile(id_, path or "", content_hash, state, reason)
        for id_, path, content_hash, state, reason in session.execute(query)
    ]


def mark_in_stash(
    session: Session, ids: Sequence[int], paths: Sequence[str]
) -> set[int]:
    """Mark the videos that the mirror of Stash has, found by path or by oshash.

    `paths` has the path of each of `ids` as Stash writes it. Returns the ids found.
    """
    found = session.scalars(
        text(
            "UPDATE download_item i SET state = 'seen', seen_at = now(), "
            # The end of the scan may not have been seen, as when Stash restarted.
            "scanned_at = coalesce(i.scanned_at, now()), reason = NULL "
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:paths AS text[])) "
            "AS wanted (id, path) WHERE i.id = wanted.id AND ("
            "EXISTS (SELECT 1 FROM scene_file f WHERE f.path = wanted.path) OR "
            "EXISTS (SELECT 1 FROM scene_fingerprint p "
            "WHERE p.kind = 'oshash' AND p.value = i.oshash)) RETURNING i.id"
        ),
        {"ids": list(ids), "paths": list(paths)},
    )
    return set(found)


def blocked_files(session: Session) -> frozenset[int]:
    """Return the ids of the files that are not tried again."""
    query = select(DownloadItem.id).where(DownloadItem.state == "blocked")
    return frozenset(session.scalars(query))


def block(session: Session, reasons: dict[int, str]) -> None:
    """Give up on rows, each for its reason."""
    _set_reasons(session, reasons, "state = 'blocked', ")


def note(session: Session, reasons: dict[int, str]) -> None:
    """Write down what is odd about rows."""
    _set_reasons(session, reasons, "")


def _set_reasons(session: Session, reasons: dict[int, str], also: str) -> None:
    parameters: dict[str, Any] = {
        "ids": list(reasons),
        "reasons": list(reasons.values()),
    }
    session.execute(
        text(
            f"UPDATE download_item i SET {also}reason = given.reason "  # noqa: S608
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) "
            "AS given (id, reason) WHERE i.id = given.id"
        ),
        parameters,
    )
