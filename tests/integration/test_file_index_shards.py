"""A directory scan in shards does what one in a single piece does."""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stashhog_core.db.session import Database
from stashhog_core.file_index import shards as scan_parts
from stashhog_core.file_index.pool import ProbePool
from stashhog_core.progress import Progress
from tests.support import poisoned
from tests.support.library import Library
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OF_THE_FILE = (
    "file_system",
    "inode",
    "size_bytes",
    "mtime_ns",
    "state",
    "problem",
    "oshash",
    "duration_seconds",
    "width",
    "thumbnail_path",
)


@pytest.fixture
def library(tmp_path: Path, database: Database) -> Library:
    folder = tmp_path / "library"
    folder.mkdir()
    clips = tmp_path / "clips"
    return Library(folder, tmp_path / "home", database, clips)


def indexed(library: Library) -> dict[str, dict[str, Any]]:
    """Return what the index says of the files, without its own numbers and times."""
    return {
        path: {name: getattr(row, name) for name in OF_THE_FILE}
        | {"missing": row.missing_since is not None}
        for path, row in library.rows().items()
    }


def fill(library: Library) -> None:
    """A tree of several depths, with copies, broken files and odd names."""
    for number in range(6):
        library.video(f"{number % 3}/{number % 2}/deep/{number}.mp4", number)
    library.video("at-the-top.mp4", 6)
    library.video("0/copy.mp4", 3)
    library.video(os.fsdecode(b"caf\xe9/one.mp4"), 7)
    (library.folder / "1" / "broken.mp4").write_bytes(b"no video")
    (library.folder / "2" / "notes.txt").write_text("none")
    (library.folder / "link").symlink_to(library.folder)


def change(library: Library) -> None:
    """Move, copy, delete, touch and exchange files, across the shards too."""
    root = library.folder
    (root / "new").mkdir()
    (root / "0/0/deep/0.mp4").rename(root / "new" / "moved.mp4")
    (root / "1/1/deep/1.mp4").unlink()
    (root / "2/0/deep/2.mp4").chmod(0o600)
    library.video("0/1/deep/3.mp4", 8)
    library.video("new/other.mp4", 4)


@pytest.mark.parametrize("shards", [2, 5])
def test_index_is_the_same(library: Library, shards: int) -> None:
    """However many shards: the same rows and the same counts, scan after scan."""
    fill(library)
    alone = [library.scan()]
    rows = [indexed(library)]
    with library.database.transaction() as session:
        session.execute(text("TRUNCATE library_file"))

    together = [library.scan(shards=shards)]
    same = [indexed(library)]
    change(library)
    together += [library.scan(shards=shards), library.scan(shards=shards)]
    same.append(indexed(library))
    # The same changes, seen by a scan in one piece.
    again = library.scan()

    assert same[0] == rows[0]
    assert counts(together[0]) == counts(alone[0])
    second, third = together[1:]
    assert (second.moved, second.new, second.updated) == (1, 1, 2)
    assert (second.missing, second.removed) == (1, 0)
    assert (third.missing, third.removed, third.new) == (0, 1, 0)
    assert (again.skipped, again.new, again.updated, again.missing) == (
        len(same[1]),
        0,
        0,
        0,
    )
    with library.database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM library_listing")) == 0


def counts(result: Any) -> dict[str, Any]:
    left_out = {"duration_seconds", "errors", "warnings"}
    counts: dict[str, Any] = result.model_dump(exclude=left_out)
    return counts | {"failed": {error.item for error in result.errors}}


@pytest.mark.parametrize("step", ["list", "probe"])
def test_failed_part_is_reported(library: Library, step: str) -> None:
    """The others go on; nothing that the lost shard may have seen counts as gone."""
    fill(library)
    library.scan()
    (library.folder / "at-the-top.mp4").unlink()
    library.video("2/new.mp4", 9)
    library.video("1/new.mp4", 10)
    library.broken_shards.add((step, 1))

    result = library.scan(shards=2)
    library.broken_shards.clear()
    mended = library.scan(shards=2)

    (error,) = [e for e in result.errors if "shard 1/2" in e.item]
    assert error.reason == "the machine is gone"
    assert result.status == "completed_with_errors"
    assert result.removed == 0
    assert result.missing == (0 if step == "list" else 1)
    assert result.pending == 0
    assert mended.missing + mended.removed == 1
    assert mended.error_count == 0
    assert {"2/new.mp4", "1/new.mp4"} <= set(library.rows())


def test_removal_limit_counts_the_whole(library: Library) -> None:
    """Too many gone in all shards together are held, though no shard alone has many."""
    for number in range(30):
        path = library.folder / str(number) / "empty.mp4"
        path.parent.mkdir()
        path.touch()
    library.scan(shards=3)
    for number in range(24):
        (library.folder / str(number) / "empty.mp4").unlink()
    library.scan(shards=3)

    held = library.scan(shards=3)
    confirmed = library.scan(shards=3, confirm_removals=True)

    assert held.held is not None
    assert (held.removed, confirmed.removed) == (0, 24)


def test_time_limit_holds_for_all_parts(library: Library) -> None:
    """Shards that run out of time leave the rest to the next scan; nothing is gone."""
    fill(library)

    cut = library.scan(shards=2, timeout_seconds=0.001)
    rest = library.scan(shards=2)

    assert cut.status == "timeout"
    assert (cut.missing, cut.removed) == (0, 0)
    assert rest.status == "completed_with_errors"
    assert len(library.rows()) == rest.scanned


@contextmanager
def held_back(database: Database, writers: int) -> Iterator[Callable[[], None]]:
    """Give a call that lets nobody write to the index until so many wait to do so."""
    with ThreadPoolExecutor(1) as pool, database.connect() as connection:
        let_go: list[Future[None]] = []

        def wait_and_let_go() -> None:
            wait_until(lambda: len(waiting(database)) == writers, "the last writer")
            connection.commit()

        def hold_back() -> None:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE library_file IN SHARE MODE")
            let_go.append(pool.submit(wait_and_let_go))

        yield hold_back
        (ended,) = let_go
        ended.result()


def waiting(database: Database) -> list[Any]:
    """Return the processes of the server that wait for a lock in this database."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database()"
        ).fetchall()


def test_copies_of_one_moved_file_in_two_parts(library: Library) -> None:
    """Two shards that find the same lost content at once: one row moves, one is new."""
    old = library.video("old.mp4", 1)
    library.video("other.mp4", 2)
    library.scan()
    (known,) = [row.id for path, row in library.rows().items() if path == "old.mp4"]
    old.unlink()
    library.video("a/copy.mp4", 1)
    library.video("b/copy.mp4", 1)

    with held_back(library.database, writers=2) as hold_back:

        def both_at_once(fraction: float | None, message: str) -> None:
            if message.endswith("files to probe"):
                hold_back()

        result = library.scan(Progress(both_at_once), shards=2)

    rows = library.rows()
    assert set(rows) == {"a/copy.mp4", "b/copy.mp4", "other.mp4"}
    assert known in {rows["a/copy.mp4"].id, rows["b/copy.mp4"].id}
    assert {row.state for row in rows.values()} == {"ok"}
    assert (result.moved, result.new) == (1, 1)


def test_a_file_that_cannot_be_read_is_one_error(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan itself does not probe again what a shard has left to the next scan."""
    library.video("raise.mp4", 0)
    library.video("whole.mp4", 1)
    monkeypatch.setattr(
        scan_parts, "ProbePool", functools.partial(ProbePool, probe=poisoned.probe)
    )

    result = library.scan(shards=2)

    assert [Path(error.item).name for error in result.errors] == ["raise.mp4"]
    assert (result.error_count, result.new, result.pending) == (1, 1, 1)
