"""A run in a thread of its own that stops, or goes wrong, at one of its steps.

A step is a request that changes something in Stash, or the commit of a transaction that
wrote. What a run does between two steps only reads, so that nothing else tells apart
the moments at which a run can die: before step 1, before step 2, and so on.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import psycopg
from sqlalchemy import event

from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from tests.support.faults import FAULTS
from tests.support.locks import locks
from tests.support.waiting import PATIENCE_SECONDS, wait_until

Trouble = Literal["", "killed", "paused", "Ctrl-C", "lost", "not sent", "refused"]
"""What becomes of a run at a step; the last three are what becomes of a request."""

_OF_REQUESTS = {"lost": "connection cut", "not sent": "time limit"}
_READS = ("SELECT", "SHOW", "SET", "BEGIN")


class Killed(BaseException):
    """The run is dead: nothing that it still does reaches the world."""


class MortalDatabase(Database):
    """A database whose user may die: all its connections end then.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.run: Run | None = None
        self._beside: list[psycopg.Connection] = []
        event.listen(self.engine, "before_cursor_execute", self._execute)
        event.listen(self.engine, "commit", self._commit)

    def connect(self, *, application_name: str | None = None) -> psycopg.Connection:
        """Open a connection beside the pool."""
        connection = super().connect(application_name=application_name)
        self._beside.append(connection)
        return connection

    def cut(self) -> None:
        """End the connections that hold locks."""
        for connection in self._beside:
            connection.close()
        self._beside.clear()

    def _execute(self, connection: Any, _: Any, statement: str, *__: Any) -> None:
        if self.run is not None:
            self.run.check_alive()
        if not statement.lstrip().upper().startswith(_READS):
            connection.info["has written"] = True

    def _commit(self, connection: Any) -> None:
        if connection.info.pop("has written", False) and self.run is not None:
            self.run.step("commit")


@dataclass
class Run(httpx.BaseTransport):
    """One run of a job.

    Args:
        database: Its own connections; of no other living run.
        inner: What carries its requests.
        trouble: What happens to it ...
        at: ... before its step of this number, from 1. A trouble of requests waits for
            the next request, and a pause for the next moment without a transaction.
        on_read: Called after each read from Stash, with the name of the request.
        on_change: Called after Stash has carried out a change, with its name.
    """

    database: MortalDatabase
    inner: httpx.BaseTransport
    trouble: Trouble = ""
    at: int = 0
    on_read: Callable[[str], None] = lambda _: None
    on_change: Callable[[str], None] = lambda _: None
    steps: int = 0
    error: BaseException | None = None
    result: Any = None
    ended: bool = False
    paused: bool = False
    dead: bool = False

    def start(self, work: Callable[["Run"], Any]) -> None:
        """Run until the end, or until it pauses."""
        self.database.run = self
        self._wake = threading.Semaphore(0)
        self._rests = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, args=[work])
        self._thread.start()
        self._wait()

    def go_on(self, *, then: Trouble = "") -> None:
        """Let a paused run go on to its end; `then`: it dies at once, or not."""
        self.trouble, self.at = then, self.steps
        self.paused = False
        self._wake.release()
        self._wait()

    def _wait(self) -> None:
        assert self._rests.acquire(timeout=PATIENCE_SECONDS)
        if self.ended:
            self._thread.join()
            self.database.run = None
            if self.dead:
                self.database.close()

    def _work(self, work: Callable[["Run"], Any]) -> None:
        try:
            self.result = work(self)
        except BaseException as error:  # noqa: BLE001 - judged by who started the run
            self.error = error
        self.ended = True
        self._rests.release()

    def check_alive(self) -> None:
        """Raise if the run is dead."""
        if self.dead:
            raise Killed

    def step(self, kind: str) -> None:
        """Count a step; go wrong before the one that was chosen."""
        self.check_alive()
        self.steps += 1
        if not self.trouble or self.steps < self.at:
            return
        if self.trouble == "killed":
            self.trouble = ""
            self.dead = True
            self.database.cut()
            raise Killed
        if self.trouble == "Ctrl-C":
            self.trouble = ""
            raise KeyboardInterrupt
        if self.trouble == "paused" and kind == "request":
            self.trouble = ""
            self.paused = True
            self._rests.release()
            assert self._wake.acquire(timeout=PATIENCE_SECONDS)
            if self.trouble == "killed":
                self.step(kind)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request, or not."""
        self.check_alive()
        body = json.loads(request.read()) if request.method == "POST" else {}
        name = str(body.get("operationName"))
        if not str(body.get("query")).startswith("mutation"):
            response = self.inner.handle_request(request)
            response.read()
            self.on_read(name)
            return response
        # Promised: nothing of the database is held while a server is waited for.
        assert self.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        # Whatever comes between the last look at a thing and its removal is lost.
        self.step("removal" if name.startswith("Destroy") else "request")
        fault = ""
        if self.trouble in ("lost", "not sent", "refused") and self.steps >= self.at:
            fault, self.trouble = self.trouble, ""
        if fault == "refused":
            answer: httpx.Response = FAULTS["refused"](request)
            return answer
        if fault != "not sent":
            response = self.inner.handle_request(request)
            response.read()
            self.on_change(name)
        if fault:
            FAULTS[_OF_REQUESTS[fault]](request)
        return response

    @property
    def ended_as_expected(self) -> bool:
        """Whether the run ended as a run may: well, with a sentence, or killed."""
        return self.error is None or isinstance(
            self.error, StashHogError | Killed | KeyboardInterrupt
        )


@contextmanager
def two_databases(url: str) -> Iterator[list[MortalDatabase]]:
    """Open a database for each of two runs that may be under way at once."""
    databases = [MortalDatabase(url), MortalDatabase(url)]
    yield databases
    for database in databases:
        database.cut()
        database.close()


def wait_for_locks(database: Database, held: int) -> None:
    """Wait until only so many locks are left: those of runs that pause."""
    wait_until(lambda: len(locks(database)) == held, lambda: locks(database))
