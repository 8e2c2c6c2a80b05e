"""Lists page by page: a page begins after the last row of the page before.

So the pages of a long list cost no more than those of a short one, and rows that come
or go in between are neither skipped nor shown twice. A place is text that only the
module of its list reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stashhog_core.errors import JobError

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows, and the place that the next page begins after; None: the last page."""

    rows: Sequence[T]
    after: str | None


def read_place(after: str, *kinds: type[Any]) -> list[Any]:
    """Read the parts of a place, which are separated by blanks.

    Raises:
        JobError: It is no place of this list.
    """
    try:
        return [kind(part) for kind, part in zip(kinds, after.split(), strict=True)]
    except ValueError as error:
        raise JobError(
            "This part of the list is unknown", remedy="open the list from its start"
        ) from error
