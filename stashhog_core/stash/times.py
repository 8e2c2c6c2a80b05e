"""Times as Stash writes them."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(4096)
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


def is_moment(text: str, moment: datetime | None) -> bool:
    """Tell whether a time as Stash writes it is a moment; what is unknown may be it."""
    return moment is None or parse_stash_time(text) in (None, moment)
