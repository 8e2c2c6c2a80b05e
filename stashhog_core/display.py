"""Making text fit to be looked at: names come from files and servers, and are data."""

import re

REPLACEMENT = "\ufffd"

# Control characters could steer a terminal; marks of direction, and what has no width,
# could make a name look like another one; halves of characters cannot be written.
_UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff]"
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
