"""Calls that other threads carry out, and that a stopped job does not wait for."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from itertools import count

import pytest

from stashhog_core.background import Background, map_in_threads, read_ahead


def test_block_does_not_wait_for_a_call() -> None:
    """A block ends while its call goes on; calls that have not begun are cancelled."""
    begun, may_end = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        may_end.wait()
        return "done"

    with Background(1, "test") as background:
        under_way = background.submit(call)
        waiting = background.submit(call)
        begun.wait()
    is_done_at_the_end_of_the_block = under_way.done()
    may_end.set()

    assert not is_done_at_the_end_of_the_block
    assert under_way.result() == "done"
    with pytest.raises(CancelledError):
        waiting.result()


def test_results_come_in_the_order_of_the_items() -> None:
    """The result of a slow call comes before the results of the items after it."""
    second_is_done = threading.Event()

    def call(number: int) -> int:
        if number == 1:
            second_is_done.wait()
        else:
            second_is_done.set()
        return number * 10

    assert list(map_in_threads(call, [1, 2, 3], 2, "test")) == [10, 20, 30]


def test_items_are_taken_as_results_are_used() -> None:
    """Two calls for each thread are under way, however many items there are."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with closing(map_in_threads(lambda number: number, items(), 2, "test")) as results:
        assert [next(results), next(results)] == [0, 1]
        assert taken == [0, 1, 2, 3, 4]


def test_error_of_a_call_is_raised() -> None:
    """What a call raises reaches the one who waits for its result."""
    results = map_in_threads(lambda text: int(text), ["1", "x"], 2, "test")

    assert next(results) == 1
    with pytest.raises(ValueError, match="'x'"):
        next(results)


def test_items_are_read_ahead() -> None:
    """The next two items are got while one is used, and then the reading waits."""
    read: list[int] = []
    third_is_read = threading.Event()

    def items() -> Iterator[int]:
        for number in range(1, 6):
            read.append(number)
            if number == 3:
                third_is_read.set()
            yield number

    ahead = read_ahead(items(), "test")
    first = next(ahead)
    second = next(ahead)
    third_is_read.wait()
    rest = list(ahead)

    assert [first, second, *rest] == [1, 2, 3, 4, 5]
    assert read == [1, 2, 3, 4, 5]


def test_error_of_the_source_is_raised_in_its_place() -> None:
    """Items before an error are yielded; then the error is raised."""

    def items() -> Iterator[None]:
        yield None
        raise LookupError("the second one")

    with closing(read_ahead(items(), "test")) as ahead:
        assert next(ahead) is None
        with pytest.raises(LookupError, match="the second one"):
            next(ahead)
