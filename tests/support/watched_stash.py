"""A stand-in Stash whose time passes as a test wants, and a client that is watched."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import msgspec

from sandbox.stash.server import StandIn
from stashhog_core.db.session import Database
from stashhog_core.results import SyncResult
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.comparison import ListingRule
from stashhog_core.sync.job import Pending, pending_scenes
from tests.support.sync import run
from tests.support.waiting import PATIENCE_SECONDS

Hook = Callable[[], httpx.Response | None]
"""What happens after Stash has answered; it may return another answer."""


class WatchedTransport(httpx.HTTPTransport):
    """Notes which operations are sent, and what happens once they are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.after: dict[str, Hook] = {}
        self.answers: dict[str, bytes] = {}
        """What each operation was answered last."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        name = msgspec.json.decode(request.read())["operationName"]
        self.sent.append(name)
        response = super().handle_request(request)
        self.answers[name] = response.read()
        if hook := self.after.pop(name, None):
            response = hook() or response
        return response


@dataclass
class WatchedStash:
    """A Stash, its mirror, and a client."""

    url: str
    database: Database
    client: StashClient
    transport: WatchedTransport
    stand_in: StandIn | None = None
    listing_interval: timedelta = timedelta(days=365)
    passed: timedelta = field(default_factory=timedelta)

    @property
    def rule(self) -> ListingRule:
        """When everything is listed."""
        return ListingRule(
            self.listing_interval,
            lambda: time.monotonic() + self.passed.total_seconds(),
        )

    @property
    def server(self) -> StandIn:
        """The stand-in: a real Stash is changed over its API alone."""
        assert self.stand_in is not None
        return self.stand_in

    def later(self, **span: float) -> None:
        """Let time pass, for Stash and for us."""
        self.server.clock.offset += timedelta(**span)
        self.passed += timedelta(**span)

    def ask(self, document: str, **variables: Any) -> Any:
        """Send a document the product does not use; return its one answer."""
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": document, "variables": variables},
            timeout=PATIENCE_SECONDS,
        ).json()
        assert not answer.get("errors"), answer
        (value,) = answer["data"].values()
        return value

    def change(self, mutation: str, **given: Any) -> int:
        """Send `mutation(input: …) {id}`; return the id."""
        kind = mutation[0].upper() + mutation[1:]
        document = f"mutation($i:{kind}Input!){{{mutation}(input:$i){{id}}}}"
        return int(self.ask(document, i=given)["id"])

    def execute(self, sql: str, *values: Any) -> None:
        """Change the library behind the API's back, as nothing else could."""
        with self.server.store.transaction() as writer:
            writer.run(sql, values)

    def pending(self) -> Pending:
        """Check for changes; `asked` then has what the check asked."""
        self.transport.sent.clear()
        return pending_scenes(self.client, self.database, self.rule)

    @property
    def asked(self) -> list[str]:
        """The operations sent since the last check or sync began."""
        return list(self.transport.sent)

    def sync(self, **params: Any) -> SyncResult:
        """Sync, without waiting for the second of the last change to end."""
        self.transport.sent.clear()
        return run(self.client, self.database, listing=self.rule, **params)

    def leave_alone(self) -> None:
        """Sync, and let so much time pass that nothing counts as changed just now."""
        self.sync()
        self.later(hours=4)
        assert not self.pending()
        assert not self.pending()
        assert self.asked == ["Glance"]


@contextmanager
def watched(server: StandIn | str, database: Database) -> Iterator[WatchedStash]:
    """Open a client that is watched, of a stand-in or of the Stash at an address."""
    stand_in = server if isinstance(server, StandIn) else None
    url = server.url if isinstance(server, StandIn) else server
    transport = WatchedTransport()
    settings = StashSettings(url=url, poll_interval_seconds=0.01)
    with StashClient(settings, transport, retry_delays_seconds=()) as client:
        yield WatchedStash(url, database, client, transport, stand_in)
