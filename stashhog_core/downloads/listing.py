"""The import ledger as people read it, and what they ask of it: retry and forget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.orm import Session

from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import DownloadItem
from stashhog_core.db.paging import Page, read_place
from stashhog_core.db.reading import any_of
from stashhog_core.db.session import Database
from stashhog_core.downloads.ledger import LOCK, State
from stashhog_core.errors import JobError

ITEMS_A_PAGE = 100

TROUBLED: tuple[State, ...] = ("failed", "blocked")
"""States that carry a reason, and in which a person may ask for another try."""


@dataclass(frozen=True)
class LedgerItem:
    """A file of a download; or a download as a whole, without a relative path.

    Attributes:
        id: Its id in the ledger.
        entry_name: The download, printable.
        relative_path: The file below it, printable; empty: the download as a whole.
        size_bytes: Its size.
        state: How far it is.
        target_path: Where it is, or is to be, in the library.
        method: How it was placed: link, reflink, copy or existing.
        reason: Why it is not further.
        tries: Failed tries so far.
        next_try_at: When a run may try again; None: at the next run, or never.
        found_at: When a run first saw it.
        placed_at: When it was placed.
    """

    id: int
    entry_name: str
    relative_path: str
    size_bytes: int
    state: str
    target_path: str | None
    method: str | None
    reason: str | None
    tries: int
    next_try_at: datetime | None
    found_at: datetime
    placed_at: datetime | None

    @property
    def name(self) -> str:
        """The download and the file in it."""
        if self.relative_path in {"", self.entry_name}:
            return self.entry_name
        return f"{self.entry_name}/{self.relative_path}"

    @property
    def is_troubled(self) -> bool:
        """Whether another try can be asked for."""
        return self.state in TROUBLED


_COLUMNS = [getattr(DownloadItem, name) for name in LedgerItem.__dataclass_fields__]


def ledger_page(
    session: Session,
    states: Sequence[str] = (),
    text: str = "",
    after: str | None = None,
    size: int = ITEMS_A_PAGE,
    *,
    is_waiting: bool = False,
) -> Page[LedgerItem]:
    """Return rows of the ledger, the newest first.

    Args:
        session: The database.
        states: Only rows in one of these states; none: all.
        text: Only rows whose download, file, place or reason contains this.
        after: Where the page before has ended.
        size: Maximum number of rows.
        is_waiting: Whether to return only what `not_in_stash` selects.
    """
    query = select(*_COLUMNS).order_by(DownloadItem.id.desc()).limit(size + 1)
    query = query.where(*_matching(states, text))
    if is_waiting:
        query = query.where(not_in_stash())
    if after is not None:
        (last,) = read_place(after, int)
        query = query.where(DownloadItem.id < last)
    rows = [LedgerItem(*row) for row in session.execute(query)]
    return Page(rows[:size], str(rows[size - 1].id) if len(rows) > size else None)


def ledger_item(session: Session, item_id: int) -> LedgerItem:
    """Return a row of the ledger.

    Raises:
        JobError: There is no such row.
    """
    query = select(*_COLUMNS).where(DownloadItem.id == item_id)
    row = session.execute(query).first()
    if row is None:
        raise JobError(
            f"The ledger has no file {item_id}", remedy="see `stashhog downloads list`"
        )
    return LedgerItem(*row)


def matching_ids(session: Session, states: Sequence[str], text: str) -> list[int]:
    """Return the ids of the rows that `ledger_page` would list, on all pages."""
    query = select(DownloadItem.id).where(*_matching(states, text))
    return list(session.scalars(query.order_by(DownloadItem.id)))


def _matching(states: Sequence[str], text: str) -> Iterator[ColumnElement[bool]]:
    if states:
        yield DownloadItem.state.in_(states)
    if text:
        columns = (
            DownloadItem.entry_name,
            DownloadItem.relative_path,
            DownloadItem.target_path,
            DownloadItem.reason,
        )
        yield or_(*(c.icontains(text, autoescape=True) for c in columns))


def not_in_stash() -> ColumnElement[bool]:
    """Return what selects the videos in the library that Stash does not have yet."""
    item = DownloadItem
    return and_(item.state.in_(("placed", "scanned")), item.oshash.is_not(None))


def state_counts(session: Session) -> dict[str, int]:
    """Return the number of rows in each state; states without rows are left out."""
    query = select(DownloadItem.state, func.count()).group_by(DownloadItem.state)
    return {row[0]: row[1] for row in session.execute(query)}


def retry(database: Database, ids: Sequence[int]) -> int:
    """Have the next run try these again at once; return how many that were.

    A file that failed counts as never tried. One that is in the library, and was given
    up because Stash cannot have it, is looked up in Stash again. Others stay as they
    are.

    Raises:
        TransientError: A run of process_downloads is under way.
    """
    item = DownloadItem
    is_placed = and_(item.state == "blocked", item.method.is_not(None))
    change = (
        update(item)
        .where(item.id == any_of(ids), item.state.in_(TROUBLED))
        .values(
            state=case((is_placed, "scanned"), else_="failed"),
            tries=0,
            next_try_at=None,
        )
        .returning(item.id)
    )
    with job_lock(database, LOCK), database.transaction() as session:
        return len(session.execute(change).all())


def forget(database: Database, ids: Sequence[int]) -> int:
    """Take these out of the ledger; return how many that were.

    No file is touched. If the download is still there, and its source does not show it
    as done, the next run imports it as a new one.

    Raises:
        TransientError: A run of process_downloads is under way.
    """
    rows = delete(DownloadItem).where(DownloadItem.id == any_of(ids))
    with job_lock(database, LOCK), database.transaction() as session:
        return len(session.execute(rows.returning(DownloadItem.id)).all())
