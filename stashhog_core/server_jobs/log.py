"""Stash's log, as far as Stash still has it: what went wrong during a job.

Stash keeps the last 30 lines. Most of its jobs end as finished whatever became of the
single scenes; what failed stands in these lines and nowhere else.
"""

import logging
from collections.abc import Iterator
from datetime import datetime

from stashhog_core.errors import JobError
from stashhog_core.results import ItemFailure
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import LogEntry

logger = logging.getLogger(__name__)

LONGEST_REASON = 300
"""Characters that are kept of a text: Stash may repeat a whole answer of a server."""

_TROUBLE = frozenset({"Warning", "Error"})


def log_since(stash: StashClient, since: str) -> list[LogEntry]:
    """Return the lines that Stash's log still has since a time, the newest first.

    Args:
        stash: The server.
        since: A time as Stash writes times; empty: all lines.
    """
    try:
        entries = stash.recent_log()
    except JobError as error:
        logger.info("Could not read Stash's log: %s", error)
        return []
    begun = _moment(since)
    return [
        entry
        for entry in entries
        if begun is None or (at := _moment(entry.time)) is None or at >= begun
    ]


def warnings_since(stash: StashClient, since: str) -> list[LogEntry]:
    """Return the warnings and errors among the lines of `log_since`."""
    return [entry for entry in log_since(stash, since) if entry.level in _TROUBLE]


def failures_since(stash: StashClient, since: str) -> Iterator[ItemFailure]:
    """Yield what Stash's log says of failures since a time, each text once."""
    texts = [_one_line(entry.message) for entry in warnings_since(stash, since)]
    for text in dict.fromkeys(reversed(texts)):
        yield ItemFailure(item="Stash's log", reason=text)


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}…"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
