"""Work of other threads, which a stopped job does not wait for, and of processes."""

import ctypes
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2
_PR_SET_PDEATHSIG = 1


class Background:
    """A few threads, for a `with` block that does not wait for them when it ends.

    Python's own executors are waited for, at the latest when the program ends: a
    stopped job would go on until Stash, or a model, has answered.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            SimpleQueue()
        )
        for _ in range(threads):
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have this called after the calls that were submitted before."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Cancel the calls that have not begun; nobody waits for the others."""
        try:
            while waiting := self._calls.get_nowait():
                waiting[0].cancel()
        except Empty:
            pass
        for _ in range(self._threads):
            self._calls.put(None)

    def _run(self) -> None:
        while (waiting := self._calls.get()) is not None:
            future, call = waiting
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                future.set_exception(error)


def map_in_threads(
    call: Callable[[T], R], items: Iterable[T], threads: int, name: str
) -> Generator[R, None, None]:
    """Yield the result of each call in the order of the items.

    Two calls for each thread are under way or wait, so that a slow one does not block
    the others; further items are taken as results are used. So memory stays flat.

    Raises:
        Exception: What a call raised; the calls that have not begun are cancelled.
    """
    rest = iter(items)
    with Background(threads, name) as background:
        results: deque[Future[R]] = deque()
        while True:
            for item in islice(rest, 2 * threads - len(results)):
                results.append(background.submit(partial(call, item)))
            if not results:
                return
            yield results.popleft().result()


def read_ahead(items: Iterable[T], name: str) -> Generator[T, None, None]:
    """Yield items while another thread, which iterates alone, gets the next two.

    It is for items that take time to get, such as pages of a listing.
    """
    rest = iter(items)
    end: Any = object()

    def following() -> Any:
        return next(rest, end)

    with Background(1, name) as background:
        coming = deque(background.submit(following) for _ in range(_AHEAD))
        while (item := coming.popleft().result()) is not end:
            coming.append(background.submit(following))
            yield item


def leave_process_group(parent: int) -> None:
    """Make this process one that ends with its parent, not with its parent's group.

    A run that is cancelled, or gets Ctrl-C, gets that as a group: its children would
    be gone before it could tell them to finish what they are at.
    """
    os.setpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
