"""What a stand-in can be told to do wrong."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sandbox.stash.jobs import Job

Kind = Literal["status", "drop", "slow", "errors", "refused", "html", "empty"]


@dataclass
class Fault:
    """One kind of trouble, for the next `times` matching requests.

    Attributes:
        kind: `status` answers only that; `drop` closes the connection without an
            answer; `slow` waits, then answers well; `errors` adds GraphQL errors
            beside the data; `refused` answers GraphQL errors and does nothing; `html`
            answers a page as a proxy would; `empty` answers 200 with nothing in it.
        times: How many requests it hits.
        field: Only requests with this root field, such as `findScenes`; "": any.
        after: Whether a mutation is carried out before the connection is dropped or
            the status answered (an answer that got lost).
    """

    kind: Kind
    times: int = 1
    field: str = ""
    status: int = 503
    seconds: float = 0
    message: str = "something went wrong"
    after: bool = False


def nothing(_: object) -> None:
    """Hold nothing up."""


@dataclass
class Faults:
    """All troubles of one stand-in. Change them at any time, from any thread."""

    item_seconds: float = 0.05
    """Each item of a scan or generate job takes so much longer. The real server takes
    seconds; without any pause a job is over before a client can look at it."""

    on_item: Callable[[Job], object] = field(default=nothing)
    """Called with the job before each item of it, and before that pause."""

    on_request: Callable[[set[str]], object] = field(default=nothing)
    """Called with the root fields of each request before it is carried out, in a thread
    of its own."""

    failing_items: set[str] = field(default_factory=set)
    """Generate items fail whose `<kind> <path>` holds one of these, such as `phash `,
    or the name of a file. The job still ends as FINISHED."""

    shuffled_lists: bool = False
    """The order of secondary files, aliases and other lists that the real server does
    not sort changes with the number of rows asked for."""

    unknown_fields: set[str] = field(default_factory=set)
    """Fields, such as `Tag.stash_ids`, that an older server does not have."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Fault] = []

    def answer_status(
        self, status: int, *, times: int = 1, field: str = "", after: bool = False
    ) -> None:
        """Answer the next requests with a status and a short text."""
        self._plan(Fault("status", times, field, status=status, after=after))

    def drop_connection(
        self, *, times: int = 1, field: str = "", after: bool = False
    ) -> None:
        """Close the connection instead of answering."""
        self._plan(Fault("drop", times, field, after=after))

    def answer_slowly(self, seconds: float, *, times: int = 1, field: str = "") -> None:
        """Wait before answering."""
        self._plan(Fault("slow", times, field, seconds=seconds))

    def add_errors(
        self, message: str = "something went wrong", *, times: int = 1, field: str = ""
    ) -> None:
        """Put GraphQL errors beside the data, with HTTP 200."""
        self._plan(Fault("errors", times, field, message=message))

    def refuse(
        self, message: str = "something went wrong", *, times: int = 1, field: str = ""
    ) -> None:
        """Do nothing, and answer GraphQL errors with HTTP 200."""
        self._plan(Fault("refused", times, field, message=message))

    def answer_html(
        self, *, times: int = 1, field: str = "", after: bool = False
    ) -> None:
        """Answer 200 with a page, as a log-in proxy does."""
        self._plan(Fault("html", times, field, after=after))

    def answer_empty(self, *, times: int = 1, field: str = "") -> None:
        """Answer 200 with an empty body."""
        self._plan(Fault("empty", times, field))

    def clear(self) -> None:
        """Be well again."""
        with self._lock:
            self._planned.clear()
        self.item_seconds = type(self).item_seconds
        self.on_item = nothing
        self.on_request = nothing
        self.failing_items.clear()
        self.shuffled_lists = False
        self.unknown_fields.clear()

    def next_for(self, fields: set[str]) -> Fault | None:
        """Return the trouble that hits a request with these root fields, once."""
        with self._lock:
            for fault in self._planned:
                if not fault.field or fault.field in fields:
                    fault.times -= 1
                    if fault.times < 1:
                        self._planned.remove(fault)
                    return fault
        return None

    def pause(self, job: Job) -> None:
        """Let an item take its time."""
        self.on_item(job)
        job.pause(self.item_seconds)

    def fails(self, kind: str, path: str) -> bool:
        """Tell whether a generate item is to fail."""
        item = f"{kind} {path}"
        return any(part in item for part in list(self.failing_items))

    def _plan(self, fault: Fault) -> None:
        with self._lock:
            self._planned.append(fault)
