"""Running a stand-in: in a thread for tests, or as a program."""

import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from sandbox.stash.app import Site, make_app
from sandbox.stash.clock import Clock
from sandbox.stash.faults import Faults
from sandbox.stash.jobs import JobQueue
from sandbox.stash.library import Library
from sandbox.stash.resolvers import Resolvers
from sandbox.stash.synthetic import fill

_START_SECONDS = 30


class StandIn:
    """A stand-in Stash on loopback, for a `with` block.

    Args:
        home: Its own folder: the library file and the generated media.
        library: The folder it may scan.
        timezone: IANA name of the zone its times are written in.
        api_key: Key that requests must carry; None: none.
        port: 0 takes a free one.
        scenes: How many made-up scenes an empty library is filled with.

    Attributes:
        faults: What it is to do wrong.
        clock: Its clock.
        library: The folder it scans.
        store: Its rows, to look at or change behind the API's back.
        jobs: Its job queue.
        url: Where it answers.
    """

    def __init__(
        self,
        home: Path,
        library: Path,
        timezone: str = "UTC",
        api_key: str | None = None,
        port: int = 0,
        scenes: int = 0,
    ) -> None:
        self.home = home.resolve()
        # Not resolved: a server names its folder as it was configured.
        self.library = library.absolute()
        self.clock = Clock(timezone)
        self.faults = Faults()
        self._api_key = api_key
        self._port = port
        self._scenes = scenes

    @property
    def url(self) -> str:
        """Address without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start answering; the port stays the same over restarts."""
        listener = self._bound()
        self.store = Library(self.home, self.clock)
        if self._scenes:
            fill(self.store, self._scenes, self.library)
        self.jobs = JobQueue(self.clock)
        resolvers = Resolvers(self.store, self.library, self.jobs, self.faults)
        app = make_app(
            Site(self.store, resolvers.answers, self.faults, self._api_key, self.jobs)
        )
        config = uvicorn.Config(
            app,
            log_level="error",
            lifespan="off",
            proxy_headers=False,
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="stand-in", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("The stand-in did not start")
            time.sleep(0.005)

    def _bound(self) -> socket.socket:
        # Named as TCP, or asyncio leaves Nagle's delay on: 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        return listener

    def stop(self) -> None:
        """Stop, as if killed: a running job gets no further and is forgotten."""
        self.jobs.close()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        self.store.close()

    def restart(self) -> None:
        """Die and come back: the library stays; jobs are forgotten, ids restart."""
        self.stop()
        self.start()

    def join(self) -> None:
        """Wait until it is stopped from elsewhere."""
        while self._thread.is_alive():
            self._thread.join(1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
