"""Stash's timestamps."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.stash.times import parse_stash_time
from stashhog_core.sync.rows import text_surely_before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-11-21T04:57:59Z", (4, 57, 59), id="utc"),
        pytest.param("2026-11-21T10:27:59+05:30", (4, 57, 59), id="Kolkata"),
        pytest.param("2026-11-20T23:57:59-05:00", (4, 57, 59), id="New York"),
        pytest.param("2026-11-21T04:57:59.25Z", (4, 57, 59, 250_000), id="fraction"),
        pytest.param("2026-11-21T04:57:59", (4, 57, 59), id="no zone"),
    ],
)
def test_times_are_aware_utc(text: str, expected: tuple[int, ...]) -> None:
    """Whatever the server's zone, the moment comes out in UTC."""
    assert parse_stash_time(text) == datetime(2026, 11, 21, *expected, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00+05:30"])
def test_what_is_no_time_is_none(text: str) -> None:
    """Text that is no moment of the calendar does not stop a sync."""
    assert parse_stash_time(text) is None


@given(
    seconds=st.integers(0, 4_000_000_000),
    later=st.timedeltas(timedelta(0), timedelta(days=400)),
    zone=st.timedeltas(timedelta(hours=-12), timedelta(hours=14)),
)
def test_margin_covers_every_zone(
    seconds: int, later: timedelta, zone: timedelta
) -> None:
    """No zone writes a later moment as a text that the comparison would miss."""
    moment = datetime.fromtimestamp(seconds, UTC)
    whole_minutes = timedelta(minutes=zone // timedelta(minutes=1))
    written = (moment + later).astimezone(timezone(whole_minutes))

    assert written.isoformat(timespec="seconds") > text_surely_before(moment)
