"""The statements of the index: each treats all files of a folder at once."""

STAT = "file_system, inode, size_bytes, mtime_ns, ctime_ns"
FOUND = (
    "id bigint, state text, problem text, oshash text, phash bigint, container text, "
    "duration_seconds float8, bit_rate bigint, video_codec text, profile text, "
    "width bigint, height bigint, rotation bigint, pixel_aspect float8, "
    "frame_rate float8, real_frame_rate float8, hdr text, audio_codec text, "
    "audio_channels bigint, subtitles text[], facts jsonb, "
    "media_created_at timestamptz, thumbnail_path text, sprite_path text"
)
FOUND_COLUMNS = tuple(part.split()[0] for part in FOUND.split(", "))
PENDING = (
    "state IN ('new', 'changed', 'touched') AND missing_since IS NULL "
    "AND unreachable_since IS NULL"
)
IN_RANGE = "path >= %(low)s AND path < %(high)s"

# One pass over both sides. A file is the same by path, size and both times: inode
# numbers change by themselves on pools and on FAT. One whose size and mtime are the
# same was only touched.
COMPARE = """
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
        state = 'ok' AND problem IS NULL AND (
            %(thumbnails)s AND thumbnail_path IS NULL
            OR %(sprites)s AND sprite_path IS NULL
            OR %(phashes)s AND phash IS NULL
        ) AS lacking
    FROM library_file WHERE path >= %(low)s AND path < %(high)s
) f ON f.path = l.path
WHERE f.id IS NULL OR l.path IS NULL OR f.missing_since IS NOT NULL OR f.lacking
    OR f.unreachable_since IS NOT NULL OR f.file_system <> l.file_system
    OR f.size_bytes <> l.size_bytes OR f.mtime_ns <> l.mtime_ns
    OR f.ctime_ns <> l.ctime_ns
"""
TAKE_OVER = (
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
STILL_THERE = """
CREATE TEMP TABLE still_there ON COMMIT DROP AS
SELECT f.file_system AS old, min(l.file_system) AS new
FROM library_file f JOIN listed l USING (path)
WHERE f.size_bytes = l.size_bytes AND f.mtime_ns = l.mtime_ns
    AND path >= %(low)s AND path < %(high)s
GROUP BY f.file_system
"""
# Missing from folders that could be read.
CANDIDATES = """
CREATE TEMP TABLE candidates ON COMMIT DROP AS
SELECT d.id, f.path, f.file_system FROM difference d JOIN library_file f USING (id)
WHERE d.what = 'missing' AND NOT EXISTS (
    SELECT 1 FROM unknown u
    WHERE f.path = u.path OR starts_with(f.path, rtrim(u.path, '/') || '/')
)
"""
FIND_GONE = """
INSERT INTO gone
SELECT id FROM candidates WHERE file_system IN (SELECT old FROM still_there)
"""
# For the rest, the file system itself may be known, though no file is left on it. A
# folder in which there is no file at all proves nothing.
UNPROVED = """
SELECT id, path, file_system FROM candidates
WHERE id > %(last)s AND file_system NOT IN (SELECT old FROM still_there)
    AND NOT starts_with(file_system, %(numbered)s)
    AND NOT starts_with(file_system, 'lost:') AND EXISTS (SELECT 1 FROM listed)
ORDER BY id LIMIT %(most)s
"""
# Files of other folders that what is new here may have been before.
PERHAPS_MOVED_HERE = f"""
SELECT o.id, o.path, o.file_system FROM library_file o
WHERE o.missing_since IS NULL AND o.oshash IS NOT NULL
AND NOT (o.path >= %(low)s AND o.path < %(high)s)
AND o.size_bytes IN (
    SELECT size_bytes FROM library_file
    WHERE state = 'new' AND {PENDING} AND {IN_RANGE} AND size_bytes > 0
)
ORDER BY o.id LIMIT %(most)s
"""
MARK_MISSING = """
UPDATE library_file f SET
    missing_since = coalesce(f.missing_since, now()), unreachable_since = NULL,
    file_system = coalesce(
        (SELECT new FROM still_there WHERE old = f.file_system), f.file_system)
WHERE id IN (SELECT id FROM gone)
"""
# A mere number may be given to another file system tomorrow: it is made one that no
# other can have.
MARK_UNREACHABLE = """
UPDATE library_file f SET
    unreachable_since = coalesce(f.unreachable_since, now()),
    file_system = CASE
        WHEN starts_with(f.file_system, %(numbered)s)
            AND f.file_system NOT IN (SELECT old FROM still_there)
        THEN 'lost:' || txid_current() || ':' || f.file_system
        ELSE f.file_system END
WHERE f.id IN (SELECT id FROM candidates EXCEPT SELECT id FROM gone)
"""
AWAY = """
SELECT count(*) FROM difference d
WHERE d.what = 'missing' AND d.id NOT IN (SELECT id FROM gone)
"""
NEXT_PENDING = f"""
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
WHERE {PENDING} AND {IN_RANGE} AND p.id > %(last)s
ORDER BY p.id LIMIT %(batch)s
"""
# The first path of each part but the first.
RANGES = f"""
SELECT min(path) FROM (
    SELECT path, ntile(%(parts)s) OVER (ORDER BY path) AS part
    FROM library_file WHERE {PENDING} AND {IN_RANGE}
) pending
WHERE part > 1 GROUP BY part ORDER BY part
"""
MOVE = """
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
MOVE_ROWS = """
UPDATE library_file f SET
    path = m.path, file_system = m.file_system, inode = m.inode,
    mtime_ns = m.mtime_ns, ctime_ns = m.ctime_ns, missing_since = NULL,
    unreachable_since = NULL
FROM moved m WHERE f.id = m.old_id
RETURNING m.new_id
"""
# A "same" without a missing row to become (two files found at once) is read in full
# by the next run.
STORE_SAME = """
UPDATE library_file f SET state = 'ok'
FROM found WHERE f.id = found.id AND found.state = 'same' AND f.state = 'touched'
"""
_OF_CONTENT = ("phash", "thumbnail_path", "sprite_path", "rotation")
STORE_FOUND = (
    "UPDATE library_file f SET "
    + ", ".join(
        # What an earlier run made of the same content stays.
        f"{name} = CASE WHEN f.oshash = found.oshash "
        f"THEN coalesce(found.{name}, f.{name}) ELSE found.{name} END"
        if name in _OF_CONTENT
        else f"{name} = found.{name}"
        for name in FOUND_COLUMNS
        if name != "id"
    )
    + ", probed_at = now() FROM found "
    "WHERE f.id = found.id AND found.state IN ('ok', 'unreadable')"
)
