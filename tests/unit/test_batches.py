"""Working through many items in batches."""

from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.batches import batched


@given(st.lists(st.integers()), st.integers(1, 200))
def test_batches_keep_order_and_size(ids: list[int], size: int) -> None:
    """Batches hold every item once, in order, and only the last may be short."""
    batches = list(batched(ids, size))

    assert [scene for batch in batches for scene in batch] == ids
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_items_are_taken_as_they_are_needed() -> None:
    """An iterator is read no further than the batches that were asked for."""
    numbers = iter(range(10))

    first = next(batched(numbers, 3))

    assert (first, next(numbers)) == ([0, 1, 2], 3)
