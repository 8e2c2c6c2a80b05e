"""Markdown that Prefect's UI shows: text, links and tables.

Names of files, scenes and people are data. Whatever stands in them is shown as it is:
no picture is loaded, no link leads elsewhere, no row ends early.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from stashhog_core.redaction import visible

# What has a meaning anywhere in a line; an underline within a word has none.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")
# What has one at the beginning: headings, lists, quotations.
_AT_START = re.compile(r"^\s*(?:(?=[#+\-=])|\d+(?=[.)]))")
# What the UI would make a link of by itself.
_ADDRESS = re.compile(r"(?i)(?<=https)(?=://)|(?<=http)(?=://)|(?<=ftp)(?=://)")
_TARGET = re.compile(r"\]\([^)]*\)")
_WWW = re.compile(r"(?i)(?<=www)(?=\.)|(?=@)")


# What fits beside Prefect's menu and its column of facts in a window of 1,400 pixels.
# The UI never breaks a line of a table itself, and hides what sticks out.
_TABLE_PIXELS, _COLUMN_PIXELS, _CHARACTER_PIXELS = 810, 24, 7.2
_LEAST_CHARACTERS = 12


class Markdown(str):
    """Text that is Markdown already: what it is made of was escaped."""

    __slots__ = ()


def text(value: object) -> Markdown:
    """Return a value so that it shows as it is, on one line."""
    if isinstance(value, Markdown):
        return value
    escaped = visible("" if value is None else str(value))
    escaped = _SPECIAL.sub(r"\\\g<0>", escaped)
    escaped = _AT_START.sub(r"\g<0>\\", escaped)
    escaped = _ADDRESS.sub(r"\\", escaped)
    return Markdown(_WWW.sub(r"\\", escaped))


def in_lines(value: object, most: int) -> Markdown:
    """Return a value for a table, so that no line has more than `most` characters.

    Markdown stays as it is.
    """
    if isinstance(value, Markdown) or len(str(value)) <= most:
        return text(value)
    return Markdown("<br>".join(map(text, textwrap.wrap(visible(str(value)), most))))


def link(words: object, url: str) -> Markdown:
    """Return a link that has these words, brackets and all."""
    address = quote(url, safe="/:?&=#%+,;@!~*'-._")
    return Markdown(f"[{text(words)}]({address})")


def scene_link(
    words: object, link_base: str | None, scene_id: int, second: float | None = None
) -> Markdown:
    """Return a link to a scene in Stash, played from a second; or the words alone.

    Stash's pages begin with `link_base`; None: there is no link.
    """
    if link_base is None:
        return text(words)
    at = "" if second is None else f"?t={second:g}"
    return link(words, f"{link_base}/scenes/{scene_id}{at}")


def plan_link(words: object, pages: str | None, plan_id: int) -> Markdown:
    """Return a link to the page of a plan; or the words alone.

    The pages for review begin with `pages`; None: there is no link.
    """
    return link(words, plan_address(pages, plan_id)) if pages else text(words)


def plan_address(pages: str, plan_id: int) -> str:
    """Return the address of the page of a plan; it opens for who was let in before."""
    return f"{pages}/plans/{plan_id}"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as a table, headed by the keys of the first.

    The longest texts are broken into lines, so that the table fits its page. Prefect's
    own tables show links as the text they are written in.
    """
    if not rows:
        return "Nothing.\n"
    most = _most_characters(rows)
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[in_lines(value, most) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _most_characters(rows: Sequence[Mapping[str, object]]) -> int:
    """Return the longest line of a cell with which all columns fit beside each other.

    Columns of short texts keep their width; the others share what is left.
    """
    columns = zip(*(row.values() for row in rows), strict=True)
    widths = sorted(
        max(len(name), *(len(_shown(value)) for value in column))
        for name, column in zip(rows[0], columns, strict=True)
    )
    left = (_TABLE_PIXELS - _COLUMN_PIXELS * len(widths)) / _CHARACTER_PIXELS
    for place, width in enumerate(widths):
        share = left / (len(widths) - place)
        if width > share:
            return max(_LEAST_CHARACTERS, int(share))
        left -= width
    return widths[-1]


def _shown(value: object) -> str:
    """Return about what a cell shows; of a link, its words."""
    if isinstance(value, Markdown):
        return _TARGET.sub("", value)
    return "" if value is None else str(value)


def cells(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return rows for Prefect's own tables, which show any text as it is."""
    return [
        {
            name: visible(value) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]
