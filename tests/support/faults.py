"""Faults at each call of a loop in turn: counted, not sampled."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import httpx
import psycopg
from sqlalchemy import event

from stashhog_core.db.session import Database

Moment = Literal["before", "after"]


def answers(status: int, body: bytes, kind: str) -> Callable[[httpx.Request], Any]:
    """Return a fault: another answer than the server's."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"Content-Type": kind})

    return answer


def _raises(error: Callable[[], BaseException]) -> Callable[[httpx.Request], NoReturn]:
    def answer(_: httpx.Request) -> NoReturn:
        raise error()

    return answer


def _dies(_: httpx.Request) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


_JSON = "application/json"

FAULTS: dict[str, Callable[[httpx.Request], Any]] = {
    "status 503": answers(503, b"no answer", "text/plain"),
    "connection cut": _raises(lambda: httpx.ReadError("cut")),
    "time limit": _raises(lambda: httpx.ReadTimeout("late")),
    "locked": answers(
        200, b'{"errors":[{"message":"database is locked"}],"data":null}', _JSON
    ),
    "refused": answers(
        200, b'{"errors":[{"message":"constraint failed"}],"data":null}', _JSON
    ),
    "page of a proxy": answers(200, b"<html><body>Log in</body></html>", "text/html"),
    "empty": answers(200, b"", _JSON),
    "cut off": answers(200, b'{"data":{"answer":{"id":"', _JSON),
    "Ctrl-C": _raises(KeyboardInterrupt),
    "exit": _raises(SystemExit),
    "killed": _dies,
}
"""What may become of a request, by name."""


def plain_transport() -> httpx.HTTPTransport:
    """Return a transport for loopback; reading certificates would take a while."""
    return httpx.HTTPTransport(verify=False)


@dataclass
class FaultyTransport(httpx.BaseTransport):
    """Carries requests to a server; has a fault at the `at`-th one (0: at none).

    `moment`: whether the server got the request before the fault.
    """

    fault: str = ""
    moment: Moment = "before"
    at: int = 0
    chosen: Callable[[httpx.Request], bool] = lambda _: True
    count: int = 0
    inner: httpx.BaseTransport | None = None
    """What carries the requests, left open in the end; None: one of its own."""

    def __post_init__(self) -> None:
        self._own: httpx.BaseTransport | None = None

    def _carry(self, request: httpx.Request) -> httpx.Response:
        if self.inner is not None:
            return self.inner.handle_request(request)
        # Made here, so that it is in the process that uses it.
        self._own = self._own or plain_transport()
        return self._own.handle_request(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.chosen(request):
            return self._carry(request)
        self.count += 1
        if self.count != self.at:
            return self._carry(request)
        if self.moment == "after":
            self._carry(request).read()
        answer: httpx.Response = FAULTS[self.fault](request)
        return answer

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


@dataclass
class FaultyStatements:
    """Counts a database's statements and commits; raises at the `at`-th one."""

    error: Callable[[], BaseException]
    at: int = 0
    count: int = 0

    def watch(self, database: Database) -> Database:
        """Count what is done on this database from now on, and return it."""
        event.listen(database.engine, "before_cursor_execute", self._step)
        event.listen(database.engine, "commit", self._step)
        return database

    def _step(self, *_: object) -> None:
        self.count += 1
        if self.count == self.at:
            raise self.error()


STATEMENT_ERRORS: dict[str, Callable[[], BaseException]] = {
    "connection cut": lambda: psycopg.OperationalError("connection cut"),
    "Ctrl-C": KeyboardInterrupt,
    "exit": SystemExit,
}


def in_turn(calls: int) -> Iterator[int]:
    """Yield the number of each call, of which there must be some."""
    assert calls > 0
    yield from range(1, calls + 1)
