"""Making text fit to be looked at: names come from files and servers, and are data."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

REPLACEMENT = "\ufffd"

# Control characters could steer a terminal; marks of direction, and what has no width,
# could make a name look like another one; halves of characters cannot be written.
_UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BREAKS = re.compile(r"[\t\n\r]+")


def visible_lines(text: str) -> str:
    """Return a text in which every character that has an effect unseen is replaced.

    Lines stay lines, and tabs stay tabs.
    """
    return _UNSEEN.sub(REPLACEMENT, text)


def visible(text: str) -> str:
    """Return the same on one line."""
    return visible_lines(_BREAKS.sub(" ", text))


def json_list(rows: Iterable[Any]) -> Iterator[str]:
    """Yield a list as JSON for programs, row by row: there may be very many."""
    before = "[\n  "
    for row in rows:
        yield before + as_json(row).replace("\n", "\n  ")
        before = ",\n  "
    yield "[]\n" if before.startswith("[") else "\n]\n"


def as_json(value: Any) -> str:
    """Return a value as JSON for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
