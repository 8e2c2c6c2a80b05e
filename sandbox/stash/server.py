"""Running a stand-in: in a thread for tests, or as a program."""

from pathlib import Path

from sandbox.serving import Served, StandInServer
from sandbox.stash.app import Site, make_app
from sandbox.stash.clock import Clock
from sandbox.stash.faults import Faults
from sandbox.stash.jobs import JobQueue
from sandbox.stash.library import Library
from sandbox.stash.resolvers import VERSION, Resolvers
from sandbox.stash.scraping import Box
from sandbox.stash.synthetic import fill


class StandIn(StandInServer):
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
        boxes: The stash-boxes that it asks.
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
        host: str = "127.0.0.1",
    ) -> None:
        self.home = home.resolve()
        # Not resolved: a server names its folder as it was configured.
        self.library = library.absolute()
        self.clock = Clock(timezone)
        self.faults = Faults()
        self.boxes: list[Box] = []
        self._api_key = api_key
        self._served = Served(
            "stand-in",
            port,
            host,
            proxy_headers=False,
            ws="websockets-sansio",
            # Answers carry the date of the stand-in's own clock.
            date_header=False,
        )
        self._scenes = scenes

    @property
    def url(self) -> str:
        """Address without a slash at its end."""
        return self._served.url

    def start(self) -> None:
        """Start answering; the port stays the same over restarts."""
        self.store = Library(self.home, self.clock)
        if self._scenes:
            fill(self.store, self._scenes, self.library)
        self.jobs = JobQueue(self.clock)
        resolvers = Resolvers(
            self.store,
            self.library,
            self.jobs,
            self.faults,
            self._api_key or "",
            self.boxes,
        )
        app = make_app(
            Site(self.store, resolvers.answers, self.faults, self._api_key, self.jobs)
        )
        self.store.log("Info", f"stash version: {VERSION}")
        self._served.start(app)
        self.store.log("Info", f"stash is running at {self.url}/")

    def stop(self) -> None:
        """Stop, as if killed: a running job gets no further and is forgotten."""
        self.jobs.close()
        self._served.stop()
        self.store.close()

    def restart(self) -> None:
        """Die and come back: the library stays; jobs are forgotten, ids restart."""
        self.stop()
        self.start()
