"""When a file that failed is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from stashhog_core.downloads.ledger import ImportRecord

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
