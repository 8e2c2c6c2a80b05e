"""A run in a thread of its own that stops, or goes wrong, at one of its steps.

A step is a request that changes something in Stash, or the commit of a transaction that
wrote. What a run does between two steps only reads, so that nothing else tells apart
the moments at which a run can die: before step 1, before step 2, and so on.

Where others may act meanwhile, as a job of Stash does, reads from Stash and the begin
of a transaction are steps as well.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import psycopg
from sqlalchemy import event

from stashhog_core.db.session import Database
from stashhog_core.errors import StashHogError
from tests.support.faults import FAULTS
from tests.support.locks import locks
from tests.support.waiting import PATIENCE_SECONDS, wait_until

Trouble = Literal[
    *("", "killed", "paused", "lock lost", "Ctrl-C", "restarted", "away"),
    *("lost", "not sent", "refused", "interrupted"),
]
"""What becomes of a run at a step; the last four are what becomes of a request.

A run whose lock is lost pauses, and Stash is away for a few requests.
"""

_OF_REQUESTS = {
    "lost": "connection cut",
    "not sent": "time limit",
    "interrupted": "Ctrl-C",
}
_AWAY_REQUESTS = 3
_WITHOUT_TRANSACTION = {"request", "read", "begin"}
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
        event.listen(self.engine, "begin", self._begin)

    def connect(self, *, application_name: str | None = None) -> psycopg.Connection:
        """Open a connection beside the pool."""
        connection = super().connect(application_name=application_name)
        self._beside.append(connection)
        return connection

    def cut(self) -> None:
        """End the connections that hold locks, and wait until the server knows."""
        numbers = self._numbers()
        for connection in self._beside:
            connection.close()
        self._beside.clear()
        if not numbers:
            return
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)"
        with super().connect() as other:
            wait_until(
                lambda: not other.execute(query, [numbers]).fetchall(),
                "the end of connections that were closed",
            )

    def lose_locks(self) -> bool:
        """Have the server end the connections that hold locks, as a restart does.

        Returns:
            Whether there were any.
        """
        numbers = self._numbers()
        with super().connect() as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS pid",
                [numbers],
            )
        return bool(numbers)

    def _numbers(self) -> list[int]:
        return [c.info.backend_pid for c in self._beside if not c.closed]

    def _begin(self, _: Any) -> None:
        if self.run is not None and self.run.counts_reads:
            self.run.step("begin")

    def _execute(self, connection: Any, _: Any, statement: str, *__: Any) -> None:
        if self.run is not None:
            self.run.check_alive()
        if not statement.lstrip().upper().startswith(_READS):
            connection.info["has written"] = True

    def _commit(self, connection: Any) -> None:
        if connection.info.pop("has written", False) and self.run is not None:
            self.run.step("commit")
            self.run.on_commit()


@dataclass
class Run(httpx.BaseTransport):
    """One run of a job.

    Args:
        database: Its own connections; of no other living run.
        inner: What carries its requests.
        trouble: What happens to it ...
        at: ... before its step of this number, from 1. A trouble of requests waits for
            the next request, and a pause for the next moment without a transaction.
        then: One more trouble, and how many steps after the first one.
        counts_reads: Whether reads from Stash, and transactions that begin, are steps.
        on_read: Called after each read from Stash, with the name of the request.
        on_change: Called after Stash has carried out a change, with its name;
            `variables` and `answer` are those of the request.
        on_commit: Called before each commit of a transaction that wrote.
        restart_stash: Has Stash start again.
    """

    database: MortalDatabase
    inner: httpx.BaseTransport
    trouble: Trouble = ""
    at: int = 0
    then: tuple[Trouble, int] = ("", 0)
    counts_reads: bool = False
    on_read: Callable[[str], None] = lambda _: None
    on_change: Callable[[str], None] = lambda _: None
    on_commit: Callable[[], None] = lambda: None
    restart_stash: Callable[[], None] = lambda: None
    steps: int = 0
    error: BaseException | None = None
    result: Any = None
    ended: bool = False
    paused: bool = False
    dead: bool = False
    has_lost_lock: bool = False
    is_replaced: bool = False
    """Whether another run has worked under the lock that this one has lost."""

    happened: list[Trouble] = field(default_factory=list)
    away: int = 0
    """How many of the next requests Stash does not get."""

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
        if then:
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
        if self.counts_reads and threading.current_thread() is not self._thread:
            # Its helpers only read, and end with it.
            return
        self.steps += 1
        if not self.trouble or self.steps < self.at:
            return
        match self.trouble:
            case "killed":
                self._next_trouble()
                self.dead = True
                self.database.cut()
                raise Killed
            case "Ctrl-C":
                self._next_trouble()
                raise KeyboardInterrupt
            case "restarted":
                self._next_trouble()
                self.restart_stash()
            case "away":
                self._next_trouble()
                self.away = _AWAY_REQUESTS
            case "paused" if kind in _WITHOUT_TRANSACTION:
                self._pause(kind)
            # A request that is under way when the lock is lost still does its work.
            case "lock lost" if kind in _WITHOUT_TRANSACTION - {"request"}:
                self.has_lost_lock = self.database.lose_locks()
                self._pause(kind)

    def _pause(self, kind: str) -> None:
        self._next_trouble()
        self.paused = True
        self._rests.release()
        assert self._wake.acquire(timeout=PATIENCE_SECONDS)
        if self.trouble == "killed" and self.steps >= self.at:
            self.step(kind)

    def _next_trouble(self) -> None:
        """Go over to the trouble that comes after this one."""
        self.happened.append(self.trouble)
        self.trouble, after = self.then
        self.at, self.then = self.steps + after, ("", 0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request, or not."""
        self.check_alive()
        body = json.loads(request.read()) if request.method == "POST" else {}
        name = str(body.get("operationName"))
        if not str(body.get("query")).startswith("mutation"):
            if self.counts_reads:
                self.step("read")
            self._reach_stash(request)
            response = self.inner.handle_request(request)
            response.read()
            self.on_read(name)
            return response
        # Promised: nothing of the database is held while a server is waited for.
        assert self.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        # Whatever comes between the last look at a thing and its removal is lost.
        self.step("removal" if name.startswith("Destroy") else "request")
        self._reach_stash(request)
        fault = ""
        if self.trouble in ("refused", *_OF_REQUESTS) and self.steps >= self.at:
            fault = self.trouble
            self._next_trouble()
        if fault == "refused":
            answer: httpx.Response = FAULTS["refused"](request)
            return answer
        if fault != "not sent":
            response = self.inner.handle_request(request)
            self.variables = body["variables"]
            self.answer = json.loads(response.read())
            self.on_change(name)
        if fault:
            FAULTS[_OF_REQUESTS[fault]](request)
        return response

    def _reach_stash(self, request: httpx.Request) -> None:
        if self.away > 0:
            self.away -= 1
            raise httpx.ConnectError("away", request=request)

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
