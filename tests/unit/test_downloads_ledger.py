"""When a file that failed is tried again, and whether one is still the same."""

from datetime import UTC, datetime, timedelta

import pytest

from stashhog_core.downloads.files import Method
from stashhog_core.downloads.ledger import ImportRecord
from stashhog_core.downloads.sources import SourceFile

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize("tries", range(7))
def test_a_failed_file_waits_for_its_next_try(tries: int) -> None:
    """Each pause is longer, up to a day, and then the file is due."""
    record = ImportRecord("key", "name", "a.mp4", 1, tries=tries)
    failed = record.failed("why", NOW, max_tries=9)

    assert failed.next_try_at is not None
    assert failed.waits(NOW)
    assert not failed.waits(failed.next_try_at)


def test_a_try_noted_by_a_wrong_clock_is_due() -> None:
    """A clock that was years ahead does not keep a file waiting for years."""
    record = ImportRecord("key", "name", "a.mp4", 1)
    failed = record.failed("why", NOW + timedelta(days=700), max_tries=9)

    assert not failed.waits(NOW)


FILE = SourceFile("a.mp4", "/a.mp4", 1, changed_ns=30, mtime_ns=20, inode=10)


def placed(method: Method = "copy", file: SourceFile = FILE) -> ImportRecord:
    record = ImportRecord("key", "name", "a.mp4", 1, "placed", method=method)
    return record._replace(placed_at=NOW).placed_from(file)


@pytest.mark.parametrize(
    ("changes", "is_another", "has_changed"),
    [
        pytest.param({}, False, False, id="the same"),
        pytest.param({"inode": 11}, False, False, id="moved"),
        pytest.param({"mtime_ns": 21}, False, False, id="time set"),
        pytest.param({"inode": 11, "mtime_ns": 21}, True, False, id="another"),
        pytest.param({"changed_ns": 31}, False, True, id="written to"),
        pytest.param({"changed_ns": 29}, False, True, id="by a clock behind"),
    ],
)
def test_a_file_is_known_by_inode_and_times(
    changes: dict[str, int], is_another: bool, has_changed: bool
) -> None:
    """Equal or not is all that counts; a link is never out of date."""
    file = FILE._replace(**changes)

    assert placed().is_another(file) == placed("link").is_another(file) == is_another
    assert placed().has_changed(file) == has_changed
    assert not placed("link").has_changed(file)


def test_numbers_that_the_database_cannot_hold_are_cut() -> None:
    """A time in the year 2500 or an inode of 64 bits stops nothing."""
    file = SourceFile("a.mp4", "/a.mp4", 1, *[2**64 - 1] * 3)
    record = placed(file=file)

    assert (record.inode, record.mtime_ns, record.changed_ns) == (2**63 - 1,) * 3
    assert not record.has_changed(file)
    assert not record.is_another(file)


def test_a_file_that_was_placed_by_an_earlier_version_is_known_by_its_time() -> None:
    """Nothing else was noted then; of a torrent, nothing is noted at all."""
    torrents = SourceFile("a.mp4", "/a.mp4", 1)
    record = placed(file=torrents)
    second = int(NOW.timestamp())

    assert record.inode is None
    assert not record.has_changed(torrents)
    assert not record.is_another(FILE)
    assert not record.has_changed(FILE._replace(changed_ns=(second - 2) * 10**9))
    assert record.has_changed(FILE._replace(changed_ns=(second + 2) * 10**9))
