"""Working through many items in batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, in their order; the last one may be shorter.

    Items are taken from an iterator only as they are needed. `itertools.batched` does
    the same from Python 3.12 on.
    """
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
