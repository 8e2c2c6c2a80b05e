"""The index in the database: what differs from the disk, and what was found out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from stashhog_core.db.session import Database
from stashhog_core.file_index import statements
from stashhog_core.file_index.file_systems import NUMBERED
from stashhog_core.file_index.names import to_text
from stashhog_core.file_index.probe import Outcome, Request, Wanted


@dataclass(frozen=True)
class Difference:
    """How the disk differs from the index, in files."""

    new: int
    changed: int
    missing: int
    """Indexed files that were not seen; `away` are those out of reach."""

    away: int


@dataclass(frozen=True)
class Gone:
    """Files of the folder: all, those proved missing, those missing earlier too."""

    files: int
    missing: int
    earlier: int


class Index:
    """The part of the index that lies in one folder.

    It works on a connection of its own, on which the listing stays between the short
    transactions.
    """

    def __init__(
        self,
        database: Database,
        connection: "psycopg.Connection[Any]",
        paths: tuple[str, str],
    ) -> None:
        self._database = database
        self._connection = connection
        self._range = {"low": paths[0], "high": paths[1]}

    def start_listing(self, *, by_parts: bool = False) -> None:
        """Make room for the listing of the disk, unless parts of the scan make it."""
        # Both sides of the comparison fit into memory up to a million files; compiling
        # it would take longer than running it.
        self._connection.execute(
            "SET jit = off; SET temp_buffers = '64MB'; SET work_mem = '128MB'"
        )
        if by_parts:
            self.forget_parts()
            self._connection.execute(
                "CREATE TEMP VIEW listed AS TABLE public.library_listing"
            )
        else:
            self._connection.execute(
                'CREATE TEMP TABLE listed (path text COLLATE "C", file_system text, '
                "inode bigint, size_bytes bigint, mtime_ns bigint, ctime_ns bigint)"
            )
        self._connection.execute(
            'CREATE TEMP TABLE unknown (path text COLLATE "C"); '
            "CREATE TEMP TABLE gone (id bigint)"
        )

    def add_listed(self, lines: Iterable[bytes]) -> None:
        """Copy the lines of a walk into the listing."""
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY listed (path, {statements.STAT}) FROM STDIN") as copy,
        ):
            for block in lines:
                copy.write(block)

    def share_listed(self, part: int) -> None:
        """Put the listing of a part to where all parts' come together.

        Should the part be run once more, what it lists then takes the place of this.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtext('library_listing'), %s)", [part]
            )
            cursor.execute("DELETE FROM library_listing WHERE part = %s", [part])
            cursor.execute(
                f"INSERT INTO library_listing (part, path, {statements.STAT}) "
                f"SELECT %s, path, {statements.STAT} FROM listed",
                [part],
            )

    def forget_parts(self) -> None:
        """Empty the table that the parts list into."""
        self._connection.execute("TRUNCATE library_listing")

    def compare(
        self,
        unknown: Sequence[str] | None,
        wanted: Wanted,
        is_gone: Callable[[str, str], bool],
    ) -> Difference:
        """Bring the index's stat keys up to the listing; note what is to be opened.

        A file counts as missing only where the listing proves it: its path is not
        below one of `unknown` (None: too many to tell), and the file system it was on
        is still there: another file that the index has on it is where it was, or it is
        known by more than a number and holds the place where the file was. Otherwise
        the file is out of reach. Files that lack something `wanted` are to be opened,
        too.

        Args:
            unknown: Paths of which the listing says nothing.
            wanted: What is made of each file.
            is_gone: Tells whether nothing is at a path, on a file system, any longer.
        """
        with self._writing():
            options = {
                "thumbnails": wanted.thumbnails,
                "sprites": wanted.sprites,
                "phashes": wanted.phashes,
            }
            # PostgreSQL knows nothing of tables this new, nor of an index that it last
            # saw empty: it would compare each row with each.
            self._connection.execute("SET LOCAL enable_nestloop = off")
            self._connection.execute(statements.COMPARE, {**self._range, **options})
            counts = dict(
                self._connection.execute(
                    "SELECT what, count(*) FROM difference GROUP BY what"
                ).fetchall()
            )
            is_proof = bool(counts.get("missing")) and unknown is not None
            if is_proof:
                # It compares with what the index had before.
                self._connection.execute(statements.STILL_THERE, self._range)
            for statement in statements.TAKE_OVER if counts else ():
                self._connection.execute(statement)
            away = self._mark_missing(unknown or (), is_gone) if is_proof else 0
        return Difference(
            counts.get("new", 0),
            counts.get("changed", 0),
            counts.get("missing", 0),
            away,
        )

    def _mark_missing(
        self, unknown: Sequence[str], is_gone: Callable[[str, str], bool]
    ) -> int:
        """Mark what is gone, and what is out of reach; return how many are not gone.

        File systems are looked at while the transaction is open: it is the scan's own,
        and holds up only other scans.
        """
        with self._connection.cursor() as cursor:
            with cursor.copy("COPY unknown FROM STDIN") as copy:
                for path in unknown:
                    copy.write_row((path,))
            cursor.execute(statements.CANDIDATES)
            cursor.execute(statements.FIND_GONE)
            last = {"last": 0, "most": _MOST_MOVED, "numbered": NUMBERED}
            while rows := cursor.execute(statements.UNPROVED, last).fetchall():
                gone = [row[0] for row in rows if is_gone(row[1], row[2])]
                cursor.execute("INSERT INTO gone SELECT unnest(%s::bigint[])", [gone])
                last["last"] = rows[-1][0]
            cursor.execute(statements.MARK_MISSING)
            cursor.execute(statements.MARK_UNREACHABLE, {"numbered": NUMBERED})
            away = cursor.execute(statements.AWAY).fetchone()
            return away[0] if away else 0

    def mark_moved_away(self, is_gone: Callable[[str, str], bool]) -> int:
        """Mark as missing what is gone from other folders and may have come here.

        It is of the size of a file that is new here. Those of the folder itself are
        the comparison's.

        Args:
            is_gone: Tells whether nothing is at a path, on a file system, any longer.
        """
        rows = self._connection.execute(
            statements.PERHAPS_MOVED_HERE, {**self._range, "most": _MOST_MOVED}
        ).fetchall()
        gone = [file_id for file_id, path, where in rows if is_gone(path, where)]
        with self._writing():
            return self._connection.execute(
                "UPDATE library_file SET missing_since = now() WHERE id = ANY(%s)",
                [gone],
            ).rowcount

    def count_pending(self) -> int:
        """Return how many files are to be opened."""
        count: int = self._one(
            "SELECT count(*) FROM library_file "
            f"WHERE {statements.PENDING} AND {statements.IN_RANGE}"
        )
        return count

    def pending(self, batch: int) -> Iterator[Request]:
        """Yield the files to be opened, in the order they were found."""
        last = 0
        while True:
            rows = self._connection.execute(
                statements.NEXT_PENDING, {**self._range, "last": last, "batch": batch}
            ).fetchall()
            for file_id, path, size, mtime, state, known in rows:
                yield Request(file_id, path, size, mtime, state == "new", tuple(known))
            if len(rows) < batch:
                return
            last = rows[-1][0]

    def store(self, outcomes: Iterable[Outcome]) -> set[int]:
        """Write what was found of files; return the ids of those that had moved.

        A new file with the hash and size of a missing one is that one: its row goes
        on under the new path.
        """
        found = [_found_row(o) for o in outcomes if o.verdict in _SETTLED]
        vanished = [o.id for o in outcomes if o.verdict == "vanished"]
        with self._writing(), self._connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TEMP TABLE found ({statements.FOUND}) ON COMMIT DROP"
            )
            with cursor.copy("COPY found FROM STDIN") as copy:
                for row in found:
                    copy.write_row(row)
            # Parts of a scan that run side by side must not take the same row.
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtext('library_file moves'))"
            )
            cursor.execute(statements.MOVE)
            cursor.execute(
                "DELETE FROM library_file WHERE id IN (SELECT new_id FROM moved)"
            )
            moved = {row[0] for row in cursor.execute(statements.MOVE_ROWS)}
            cursor.execute("DROP TABLE moved")
            cursor.execute(statements.STORE_SAME)
            cursor.execute(statements.STORE_FOUND)
            # What was never opened leaves no trace; of the rest the next scan knows
            # more.
            cursor.execute(
                "DELETE FROM library_file WHERE id = ANY(%s) AND state = 'new'",
                [vanished],
            )
        return moved

    def gone(self, before: datetime) -> Gone:
        """Return what is still missing after this run's moves."""
        row = self._connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE missing_since < %s) "
            "FROM library_file WHERE id IN (SELECT id FROM gone) "
            "AND missing_since IS NOT NULL",
            [before],
        ).fetchone()
        missing, earlier = row or (0, 0)
        files = self._one(
            f"SELECT count(*) FROM library_file WHERE {statements.IN_RANGE}"
        )
        return Gone(files, missing, earlier)

    def remove_gone(self, before: datetime) -> int:
        """Remove what was missing before, and is proved to be so again."""
        with self._writing():
            return self._connection.execute(
                "DELETE FROM library_file WHERE id IN (SELECT id FROM gone) "
                "AND missing_since < %s",
                [before],
            ).rowcount

    def count_missing(self) -> int:
        """Return how many files of the folder are marked as missing."""
        count: int = self._one(
            "SELECT count(*) FROM library_file "
            f"WHERE missing_since IS NOT NULL AND {statements.IN_RANGE}"
        )
        return count

    def remove_unreachable(self, before: datetime) -> int:
        """Remove what was out of reach before, and is again: somebody says so."""
        with self._writing():
            return self._connection.execute(
                "DELETE FROM library_file "
                f"WHERE unreachable_since < %(before)s AND {statements.IN_RANGE}",
                {**self._range, "before": before},
            ).rowcount

    def pending_ranges(self, parts: int) -> list[tuple[str, str]]:
        """Return ranges of paths that hold the same number of pending files each."""
        rows = self._connection.execute(
            statements.RANGES, {**self._range, "parts": parts}
        ).fetchall()
        lows = [self._range["low"], *(path for (path,) in rows)]
        return list(zip(lows, [*lows[1:], self._range["high"]], strict=True))

    def seconds_until(self, moment: datetime) -> float:
        """Return how far off a moment is, by the database's clock."""
        row = self._connection.execute(
            "SELECT extract(epoch FROM %s - clock_timestamp())", [moment]
        ).fetchone()
        return float(row[0]) if row else 0.0

    def now(self) -> datetime:
        """Return the database's time, by which files are marked."""
        moment: datetime = self._one("SELECT now()")
        return moment

    def unknown_hashes(self, hashes: Sequence[str]) -> set[str]:
        """Return those of `hashes` that no file of the whole index has."""
        rows = self._connection.execute(
            "SELECT h FROM unnest(%s::text[]) h WHERE NOT EXISTS "
            "(SELECT 1 FROM library_file WHERE oshash = h)",
            [list(hashes)],
        ).fetchall()
        return {row[0] for row in rows}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Begin a transaction, unless another scan may have begun meanwhile."""
        with self._connection.transaction():
            self._database.make_sure(self._connection)
            yield

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query, self._range).fetchone()
        return row[0] if row else None


@contextmanager
def open_index(
    database: Database, folder: Path, paths: tuple[str, str] | None = None
) -> Iterator[Index]:
    """Open the index of a folder.

    Args:
        database: Where it is.
        folder: Resolved.
        paths: Only those from the first to before the second, as the index has them.

    Raises:
        TransientError: The database is away.
    """
    with database.translated(), database.connect() as connection:
        yield Index(database, connection, paths or _below(folder))


def _below(folder: Path) -> tuple[str, str]:
    prefix = to_text(str(folder)).rstrip("/")
    # "0" follows "/".
    return f"{prefix}/", f"{prefix}0"


_MOST_MOVED = 10_000
_SETTLED = ("video", "same", "unreadable")


def _found_row(outcome: Outcome) -> tuple[Any, ...]:
    state = {"video": "ok", "same": "same"}.get(outcome.verdict, "unreadable")
    values: dict[str, Any] = asdict(outcome.facts) if outcome.facts else {}
    values |= {
        "id": outcome.id,
        "state": state,
        "problem": outcome.problem or "; ".join(outcome.warnings) or None,
        "oshash": outcome.oshash,
        "phash": outcome.phash,
        "rotation": outcome.rotation,
        "thumbnail_path": outcome.thumbnail_path,
        "sprite_path": outcome.sprite_path,
        "media_created_at": values.get("created"),
        "subtitles": list(values.get("subtitles", ())),
        "facts": Jsonb(
            {
                "streams": values.get("streams", ()),
                "chapters": values.get("chapters", ()),
            }
            if values
            else {}
        ),
    }
    return tuple(values.get(name) for name in statements.FOUND_COLUMNS)
