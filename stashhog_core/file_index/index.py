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
from stashhog_core.file_index.file_systems import NUMBERED
from stashhog_core.file_index.probe import ProbeOutcome, ProbeRequest, Wanted
from stashhog_core.paths import to_text

_MOST_MOVED = 10_000
_STORED = ("video", "same", "unreadable")

# The statements each treat all files of a folder at once.
_STAT = "file_system, inode, size_bytes, mtime_ns, ctime_ns"
_FOUND = (
    "id bigint, state text, problem text, oshash text, phash bigint, container text, "
    "duration_seconds float8, bit_rate bigint, video_codec text, profile text, "
    "width bigint, height bigint, rotation bigint, pixel_aspect float8, "
    "frame_rate float8, real_frame_rate float8, hdr text, audio_codec text, "
    "audio_channels bigint, subtitles text[], facts jsonb, "
    "media_created_at timestamptz, thumbnail_path text, sprite_path text"
)
_FOUND_COLUMNS = tuple(column.split()[0] for column in _FOUND.split(", "))
_PENDING = (
    "state IN ('new', 'changed', 'touched') AND missing_since IS NULL "
    "AND unreachable_since IS NULL"
)
_IN_RANGE = "path >= %(low)s AND path < %(high)s"

# An option that failed is tried again only if time was too short, and is not now.
# Rows of earlier versions do not say which option failed.
_LACKING = " OR ".join(
    f"""(%({option})s AND {column} IS NULL AND CASE
            WHEN facts ? 'not_made' THEN NOT facts->'not_made' ? '{option}'
                OR (facts->'not_made'->>'{option}')::float8 < %(file_limit_seconds)s
            ELSE problem IS NULL END)"""
    for option, column in (
        ("thumbnails", "thumbnail_path"),
        ("sprites", "sprite_path"),
        ("phashes", "phash"),
    )
)
# One pass over both sides. A file is the same by path, size and both times: inode
# numbers change by themselves on pools and on FAT. One whose size and mtime are the
# same was only touched.
_COMPARE = f"""
CREATE TEMP TABLE difference ON COMMIT DROP AS
SELECT f.id, l.path, l.file_system, l.inode, l.size_bytes, l.mtime_ns, l.ctime_ns,
    CASE
        WHEN f.id IS NULL THEN 'new'
        WHEN l.path IS NULL THEN 'missing'
        WHEN f.size_bytes = l.size_bytes AND f.mtime_ns = l.mtime_ns
            AND f.ctime_ns = l.ctime_ns
            THEN CASE WHEN f.lacking THEN 'lacking' ELSE 'same' END
        WHEN f.size_bytes = l.size_bytes AND f.mtime_ns = l.mtime_ns
            AND f.state IN ('ok', 'touched') AND NOT f.lacking THEN 'touched'
        ELSE 'changed'
    END AS what
FROM listed l
FULL JOIN (
    SELECT id, path, file_system, size_bytes, mtime_ns, ctime_ns, state,
        missing_since, unreachable_since,
        state = 'ok' AND coalesce({_LACKING}, false) AS lacking
    FROM library_file WHERE path >= %(low)s AND path < %(high)s
) f ON f.path = l.path
WHERE f.id IS NULL OR l.path IS NULL OR f.missing_since IS NOT NULL OR f.lacking
    OR f.unreachable_since IS NOT NULL OR f.file_system <> l.file_system
    OR f.size_bytes <> l.size_bytes OR f.mtime_ns <> l.mtime_ns
    OR f.ctime_ns <> l.ctime_ns
"""
_TAKE_OVER = (
    """
    INSERT INTO library_file
        (path, file_system, inode, size_bytes, mtime_ns, ctime_ns)
    SELECT path, file_system, inode, size_bytes, mtime_ns, ctime_ns
    FROM difference WHERE what = 'new' ORDER BY path
    """,
    """
    UPDATE library_file f SET
        file_system = d.file_system, inode = d.inode, size_bytes = d.size_bytes,
        mtime_ns = d.mtime_ns, ctime_ns = d.ctime_ns, missing_since = NULL,
        unreachable_since = NULL,
        state = CASE
            WHEN d.what = 'same' OR f.state = 'new' THEN f.state
            WHEN d.what = 'lacking' THEN 'changed'
            ELSE d.what END
    FROM difference d
    WHERE f.id = d.id AND d.what IN ('same', 'lacking', 'touched', 'changed')
    """,
)
# File systems that are proved to be there: by a file that the index has on them, and
# that is where it was. Whatever name or number they have now.
_STILL_THERE = """
CREATE TEMP TABLE still_there ON COMMIT DROP AS
SELECT f.file_system AS old, min(l.file_system) AS new
FROM library_file f JOIN listed l USING (path)
WHERE f.size_bytes = l.size_bytes AND f.mtime_ns = l.mtime_ns
    AND path >= %(low)s AND path < %(high)s
GROUP BY f.file_system
"""
# Missing from folders that could be read.
_CANDIDATES = """
CREATE TEMP TABLE candidates ON COMMIT DROP AS
SELECT d.id, f.path, f.file_system FROM difference d JOIN library_file f USING (id)
WHERE d.what = 'missing' AND NOT EXISTS (
    SELECT 1 FROM unknown u
    WHERE f.path = u.path OR starts_with(f.path, rtrim(u.path, '/') || '/')
)
"""
_FIND_GONE = """
INSERT INTO gone
SELECT id FROM candidates WHERE file_system IN (SELECT old FROM still_there)
"""
# For the rest, the file system itself may be known, though no file is left on it. A
# folder in which there is no file at all proves nothing.
_UNPROVED = """
SELECT id, path, file_system FROM candidates
WHERE id > %(last)s AND file_system NOT IN (SELECT old FROM still_there)
    AND NOT starts_with(file_system, %(numbered)s)
    AND NOT starts_with(file_system, 'lost:') AND EXISTS (SELECT 1 FROM listed)
ORDER BY id LIMIT %(most)s
"""
# Files of other folders that what is new here may have been before.
_PERHAPS_MOVED_HERE = f"""
SELECT o.id, o.path, o.file_system FROM library_file o
WHERE o.missing_since IS NULL AND o.oshash IS NOT NULL
AND NOT (o.path >= %(low)s AND o.path < %(high)s)
AND o.size_bytes IN (
    SELECT size_bytes FROM library_file
    WHERE state = 'new' AND {_PENDING} AND {_IN_RANGE} AND size_bytes > 0
)
ORDER BY o.id LIMIT %(most)s
"""
_MARK_MISSING = """
UPDATE library_file f SET
    missing_since = coalesce(f.missing_since, now()), unreachable_since = NULL,
    file_system = coalesce(
        (SELECT new FROM still_there WHERE old = f.file_system), f.file_system)
WHERE id IN (SELECT id FROM gone)
"""
# A mere number may be given to another file system tomorrow: it is made one that no
# other can have.
_MARK_UNREACHABLE = """
UPDATE library_file f SET
    unreachable_since = coalesce(f.unreachable_since, now()),
    file_system = CASE
        WHEN starts_with(f.file_system, %(numbered)s)
            AND f.file_system NOT IN (SELECT old FROM still_there)
        THEN 'lost:' || txid_current() || ':' || f.file_system
        ELSE f.file_system END
WHERE f.id IN (SELECT id FROM candidates EXCEPT SELECT id FROM gone)
"""
_AWAY = """
SELECT count(*) FROM difference d
WHERE d.what = 'missing' AND d.id NOT IN (SELECT id FROM gone)
"""
_NEXT_PENDING = f"""
SELECT p.id, p.path, p.size_bytes, p.mtime_ns, p.state,
    CASE p.state
        WHEN 'touched' THEN array_remove(ARRAY[p.oshash], NULL)
        WHEN 'new' THEN ARRAY(
            SELECT DISTINCT m.oshash FROM library_file m
            WHERE m.missing_since IS NOT NULL AND m.size_bytes = p.size_bytes
                AND m.oshash IS NOT NULL AND m.state IN ('ok', 'unreadable')
            LIMIT 1000)
        ELSE ARRAY[]::text[]
    END
FROM library_file p
WHERE {_PENDING} AND {_IN_RANGE} AND p.id > %(last)s
ORDER BY p.id LIMIT %(batch)s
"""
# The first path of each shard but the first.
_RANGES = f"""
SELECT min(path) FROM (
    SELECT path, ntile(%(shards)s) OVER (ORDER BY path) AS part
    FROM library_file WHERE {_PENDING} AND {_IN_RANGE}
) pending
WHERE part > 1 GROUP BY part ORDER BY part
"""
_MOVE = """
CREATE TEMP TABLE moved ON COMMIT DROP AS
SELECT n.new_id, m.old_id, n.path, n.file_system, n.inode, n.mtime_ns, n.ctime_ns
FROM (
    SELECT f.id AS new_id, f.oshash AS hash, l.path, l.file_system, l.inode,
        l.size_bytes, l.mtime_ns, l.ctime_ns,
        row_number() OVER (PARTITION BY f.oshash, l.size_bytes ORDER BY l.path) AS nth
    FROM found f JOIN library_file l USING (id)
    WHERE l.state = 'new' AND f.oshash IS NOT NULL
) n
JOIN (
    SELECT id AS old_id, oshash AS hash, size_bytes,
        row_number() OVER (PARTITION BY oshash, size_bytes ORDER BY path) AS nth
    FROM library_file WHERE missing_since IS NOT NULL
        AND state IN ('ok', 'unreadable')
        AND oshash IN (SELECT oshash FROM found)
) m USING (hash, size_bytes, nth)
"""
_MOVE_ROWS = """
UPDATE library_file f SET
    path = m.path, file_system = m.file_system, inode = m.inode,
    mtime_ns = m.mtime_ns, ctime_ns = m.ctime_ns, missing_since = NULL,
    unreachable_since = NULL
FROM moved m WHERE f.id = m.old_id
RETURNING m.new_id
"""
# A "same" without a missing row to become (two files found at once) is read in full
# by the next run.
_STORE_SAME = """
UPDATE library_file f SET state = 'ok'
FROM found WHERE f.id = found.id AND found.state = 'same' AND f.state = 'touched'
"""
_OF_CONTENT = ("phash", "thumbnail_path", "sprite_path", "rotation")
_STORE_FOUND = (
    "UPDATE library_file f SET "
    + ", ".join(
        # What an earlier run made of the same content stays.
        f"{name} = CASE WHEN f.oshash = found.oshash "
        f"THEN coalesce(found.{name}, f.{name}) ELSE found.{name} END"
        if name in _OF_CONTENT
        else f"{name} = found.{name}"
        for name in _FOUND_COLUMNS
        if name != "id"
    )
    + ", probed_at = now() FROM found "
    "WHERE f.id = found.id AND found.state IN ('ok', 'unreadable')"
)


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

    def start_listing(self, *, by_shards: bool = False) -> None:
        """Make room for the listing of the disk, unless shards make the listing."""
        # Both sides of the comparison fit into memory up to a million files; compiling
        # it would take longer than running it.
        self._connection.execute(
            "SET jit = off; SET temp_buffers = '64MB'; SET work_mem = '128MB'"
        )
        if by_shards:
            self.forget_shards()
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
            cursor.copy(f"COPY listed (path, {_STAT}) FROM STDIN") as copy,
        ):
            for block in lines:
                copy.write(block)

    def share_listed(self, shard: int) -> None:
        """Copy the listing of a shard to the table that all shards share.

        If the shard runs once more, its new listing takes the place of this one.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtext('library_listing'), %s)", [shard]
            )
            cursor.execute("DELETE FROM library_listing WHERE part = %s", [shard])
            cursor.execute(
                f"INSERT INTO library_listing (part, path, {_STAT}) "
                f"SELECT %s, path, {_STAT} FROM listed",
                [shard],
            )

    def forget_shards(self) -> None:
        """Empty the table that the shards list into."""
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
        known by more than a number and holds the place where the file was, at which
        `is_gone` finds nothing. Otherwise the file is out of reach. Files that lack
        something `wanted` are to be opened, too.
        """
        with self._writing():
            # PostgreSQL knows nothing of tables this new, nor of an index that it last
            # saw empty: it would compare each row with each.
            self._connection.execute("SET LOCAL enable_nestloop = off")
            self._connection.execute(_COMPARE, {**vars(wanted), **self._range})
            counts = dict(
                self._connection.execute(
                    "SELECT what, count(*) FROM difference GROUP BY what"
                ).fetchall()
            )
            is_verified = bool(counts.get("missing")) and unknown is not None
            if is_verified:
                # It compares with what the index had before.
                self._connection.execute(_STILL_THERE, self._range)
            for statement in _TAKE_OVER if counts else ():
                self._connection.execute(statement)
            away = self._mark_missing(unknown or (), is_gone) if is_verified else 0
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

        File systems are checked while the transaction is open: it is the scan's own,
        and holds up only other scans.
        """
        with self._connection.cursor() as cursor:
            with cursor.copy("COPY unknown FROM STDIN") as copy:
                for path in unknown:
                    copy.write_row((path,))
            cursor.execute(_CANDIDATES)
            cursor.execute(_FIND_GONE)
            last = {"last": 0, "most": _MOST_MOVED, "numbered": NUMBERED}
            while rows := cursor.execute(_UNPROVED, last).fetchall():
                gone = [row[0] for row in rows if is_gone(row[1], row[2])]
                cursor.execute("INSERT INTO gone SELECT unnest(%s::bigint[])", [gone])
                last["last"] = rows[-1][0]
            cursor.execute(_MARK_MISSING)
            cursor.execute(_MARK_UNREACHABLE, {"numbered": NUMBERED})
            away = cursor.execute(_AWAY).fetchone()
            return away[0] if away else 0

    def mark_moved_away(self, is_gone: Callable[[str, str], bool]) -> int:
        """Mark as missing what `is_gone` from other folders and may have come here.

        It is of the size of a file that is new here. Those of the folder itself are
        the comparison's.
        """
        rows = self._connection.execute(
            _PERHAPS_MOVED_HERE, {**self._range, "most": _MOST_MOVED}
        ).fetchall()
        gone = [file_id for file_id, path, where in rows if is_gone(path, where)]
        with self._writing():
            return self._connection.execute(
                "UPDATE library_file SET missing_since = now() WHERE id = ANY(%s)",
                [gone],
            ).rowcount

    def count_pending(self) -> int:
        """Return how many files are to be opened."""
        return self._count(f"{_PENDING} AND {_IN_RANGE}")

    def pending(self, batch: int) -> Iterator[ProbeRequest]:
        """Yield the files to be opened, in the order they were found."""
        last = 0
        while True:
            rows = self._connection.execute(
                _NEXT_PENDING, {**self._range, "last": last, "batch": batch}
            ).fetchall()
            for file_id, path, size, mtime, state, known in rows:
                yield ProbeRequest(
                    file_id, path, size, mtime, state == "new", tuple(known)
                )
            if len(rows) < batch:
                return
            last = rows[-1][0]

    def store(self, outcomes: Iterable[ProbeOutcome]) -> set[int]:
        """Write what was found of files; return the ids of those that had moved.

        A new file with the hash and size of a missing one is that one: its row goes
        on under the new path.
        """
        found = [_found_row(o) for o in outcomes if o.verdict in _STORED]
        vanished = [o.id for o in outcomes if o.verdict == "vanished"]
        with self._writing(), self._connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMP TABLE found ({_FOUND}) ON COMMIT DROP")
            with cursor.copy("COPY found FROM STDIN") as copy:
                for row in found:
                    copy.write_row(row)
            # Shards that run in parallel must not take the same row.
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtext('library_file moves'))"
            )
            cursor.execute(_MOVE)
            cursor.execute(
                "DELETE FROM library_file WHERE id IN (SELECT new_id FROM moved)"
            )
            moved = {row[0] for row in cursor.execute(_MOVE_ROWS)}
            cursor.execute("DROP TABLE moved")
            cursor.execute(_STORE_SAME)
            cursor.execute(_STORE_FOUND)
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
        return Gone(self._count(_IN_RANGE), missing, earlier)

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
        return self._count(f"missing_since IS NOT NULL AND {_IN_RANGE}")

    def remove_unreachable(self, before: datetime) -> int:
        """Remove what was out of reach before, and is again: somebody says so."""
        with self._writing():
            return self._connection.execute(
                "DELETE FROM library_file "
                f"WHERE unreachable_since < %(before)s AND {_IN_RANGE}",
                {**self._range, "before": before},
            ).rowcount

    def pending_ranges(self, shards: int) -> list[tuple[str, str]]:
        """Return ranges of paths that hold the same number of pending files each."""
        rows = self._connection.execute(
            _RANGES, {**self._range, "shards": shards}
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

    def _count(self, condition: str) -> int:
        return int(self._one(f"SELECT count(*) FROM library_file WHERE {condition}"))

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query, self._range).fetchone()
        return row[0] if row else None


@contextmanager
def open_index(
    database: Database, folder: Path, paths: tuple[str, str] | None = None
) -> Iterator[Index]:
    """Open the index of a resolved folder.

    With `paths`, only from the first to before the second, as the index has them.

    Raises:
        TransientError: The database is away.
    """
    with database.translated(), database.connect() as connection:
        yield Index(database, connection, paths or _below(folder))


def _below(folder: Path) -> tuple[str, str]:
    prefix = to_text(str(folder)).rstrip("/")
    # "0" follows "/".
    return f"{prefix}/", f"{prefix}0"


def _found_row(outcome: ProbeOutcome) -> tuple[Any, ...]:
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
                "not_made": outcome.not_made,
            }
            if values
            else {}
        ),
    }
    return tuple(values.get(name) for name in _FOUND_COLUMNS)
