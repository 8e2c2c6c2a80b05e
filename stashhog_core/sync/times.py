"""Stash's timestamps: RFC 3339 text in the server's own zone."""

from datetime import UTC, datetime, timedelta

# Stash compares text in its own zone, up to 14 hours from UTC; clocks may differ, too.
_ZONE_MARGIN = timedelta(hours=26)


def parse_stash_time(text: str) -> datetime | None:
    """Return the moment as an aware UTC datetime; None if the text is none.

    A time without a zone, which very old versions wrote, counts as UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # Year 1, Go's zero time, with an offset that leaves the calendar.
        return None


def text_surely_before(moment: datetime) -> str:
    """Return a text below any that Stash writes at `moment` or later, in any zone."""
    return (moment.astimezone(UTC) - _ZONE_MARGIN).strftime("%Y-%m-%dT%H:%M:%S")
