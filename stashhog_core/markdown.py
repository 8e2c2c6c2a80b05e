"""Markdown that Prefect's UI shows: text, links and tables.

Names of files, scenes and people are data. Whatever stands in them is shown as it is:
no picture is loaded, no link leads elsewhere, no row ends early.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from stashhog_core.redaction import visible

# What has a meaning anywhere in a line; an underline within a word has none.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")
# What has one at the beginning: headings, lists, quotations.
_AT_START = re.compile(r"^\s*(?:(?=[#+\-=])|\d+(?=[.)]))")
# What the UI would make a link of by itself.
_ADDRESS = re.compile(r"(?i)(?<=https)(?=://)|(?<=http)(?=://)|(?<=ftp)(?=://)")
_WWW = re.compile(r"(?i)(?<=www)(?=\.)|(?=@)")


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

    Prefect's own tables show links as the text they are written in.
    """
    if not rows:
        return "Nothing.\n"
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[text(value) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return rows for Prefect's own tables, which show any text as it is."""
    return [
        {
            name: visible(value) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]
