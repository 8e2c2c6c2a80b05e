"""A directory scan that is killed at any point and run again."""

import subprocess
import sys
from pathlib import Path

import pytest

from stashhog_core.db.session import Database
from stashhog_core.file_index import job as scan_job
from tests.support.library import Library
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

FILES = 40


def kill_at(library: Library, url: str, line: str) -> None:
    """Start a scan and kill it when it says `line`."""
    scan = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.programs", "scan"),
            *(url, str(library.folder), str(library.home), line),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert scan.stdout is not None
    with scan.stdout:
        said = any(line in reported for reported in scan.stdout)
        scan.kill()
    scan.wait()
    assert said


def test_killed_scans_end_as_one_clean_run(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    """Killed while listing, comparing and looking: one more run completes the index."""
    folder = tmp_path / "library"
    folder.mkdir()
    library = Library(folder, tmp_path / "home", database, tmp_path / "clips")
    for number in range(FILES):
        library.video(f"{number % 3}/{number}.mp4", number)
    moments = ["files listed", "to probe", f" 5/{FILES}", " 2/"]

    for line in moments:
        kill_at(library, database_url, line)
        _wait_for_lock(library)
    last = library.scan()
    again = library.scan()

    rows = library.rows()
    assert len(rows) == FILES
    assert {row.state for row in rows.values()} == {"ok"}
    assert {row.missing_since for row in rows.values()} == {None}
    assert all(Path(row.thumbnail_path or "").is_file() for row in rows.values())
    assert last.new + last.skipped == FILES
    assert (again.skipped, again.new, again.updated) == (FILES, 0, 0)


def _wait_for_lock(library: Library) -> None:
    """Wait until the database has noticed that the killed scan is gone."""
    with scan_job.job_lock(
        library.database, scan_job.JOB, wait_seconds=PATIENCE_SECONDS
    ):
        pass
