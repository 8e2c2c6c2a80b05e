"""A run of `process_new_scenes` that is disturbed at a chosen point of its work.

A point is a place in the code at which a run changes something that outlives it or asks
Stash for something: a commit, a request, an operation on a file. An undisturbed run
lists its points; each of them can then be disturbed, before and after Stash has carried
out a request.
"""

import errno
import gc
import inspect
import json
import multiprocessing
import os
import re
import signal
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import httpx
from sqlalchemy import Engine, event

from tests.support.faults import FAULTS, Moment
from tests.support.outside import (
    ASLEEP,
    OUTSIDE_TROUBLES,
    STASH_TIMEOUT_SECONDS,
    Outside,
    WaitingRun,
)
from tests.support.waiting import PATIENCE_SECONDS

_ROOT = Path(__file__).parents[2]
_OURS = tuple(f"{_ROOT / name}/" for name in ("flows", "tasks", "stashhog_core"))
# Any of our code comes to the database and to Stash through these.
_EDGES = tuple(
    str(_ROOT / "stashhog_core" / name)
    for name in (
        "db/session.py",
        "stash/client.py",
        "stash/connection.py",
        "stash/transport.py",
        "retries.py",
    )
)
_LIBRARY = sysconfig.get_path("stdlib")
# What each run imports.
_IMPORTED = ("flows.process_new_scenes", "prefect.flow_engine", "prefect.task_engine")
MOMENTS: tuple[Moment, ...] = ("before", "after")
_FIELD = re.compile(r"\{\s*(?:\w+\s*:\s*)?(\w+)")

FILE_OPERATIONS = {
    "fcntl.ioctl",
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "os.utime",
}
"""Audit events of Python that stand for a change of files."""

KILL = "killed"
_SIGNALS = {
    KILL: signal.SIGKILL,
    "Ctrl-C": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
}
PREFECT_AWAY = "Prefect's server does not answer a few requests"
_REFUSALS = {
    "the disk is full": errno.ENOSPC,
    "the disk fails": errno.EIO,
    "permission denied": errno.EACCES,
}
# What ends the run is done to the process itself, at every kind of point.
_ANSWERS = sorted(FAULTS.keys() - _SIGNALS.keys() - {"exit"})
ANYWHERE = (*_SIGNALS, PREFECT_AWAY, *OUTSIDE_TROUBLES)
"""What may happen at any point."""

# Fewer than Prefect's client makes of one request.
_REQUESTS_WITHOUT_ANSWER = 3


STEPS = (
    "process_downloads",
    "stash_scan",
    "sync",
    "analysis",
    "apply_plan",
    "stash_generate",
)
BETWEEN_STEPS = "between steps"
_STEP_OF = {
    "stashhog_core/downloads/": "process_downloads",
    "stashhog_core/server_jobs/scan": "stash_scan",
    "stashhog_core/sync/": "sync",
    "stashhog_core/detection/": "analysis",
    "stashhog_core/plans/writer": "analysis",
    "stashhog_core/plans/review": "analysis",
    "stashhog_core/plans/": "apply_plan",
    "stashhog_core/server_jobs/generate": "stash_generate",
    "stashhog_core/server_jobs/media_check": "stash_generate",
}
"""The step by the beginning of a point's place; what comes first counts."""


@dataclass(frozen=True, order=True)
class Point:
    """A place in the code that changes something, or asks Stash for something.

    Attributes:
        kind: commit, request or file.
        detail: What is asked for, or done to the file.
        place: Module and function.
    """

    kind: str
    detail: str
    place: str

    @property
    def step(self) -> str:
        """The step of the workflow that this code belongs to."""
        return next(
            (step for start, step in _STEP_OF.items() if self.place.startswith(start)),
            BETWEEN_STEPS,
        )


@dataclass(frozen=True)
class Disturbance:
    """What happens at a point.

    Attributes:
        point: Where it happens.
        time: At which of the times that a run comes by this point, from 1.
        what: What happens.
        moment: Whether a request was carried out by Stash before.
    """

    point: Point
    time: int
    what: str
    moment: Moment = "before"

    def __str__(self) -> str:
        where = f"{self.point.kind} {self.point.detail}".strip()
        return (
            f"{self.what}, {self.moment} time {self.time} of {where} "
            f"in {self.point.place}"
        )


def kinds_of_trouble(point: Point) -> list[tuple[str, Moment]]:
    """Return all that can happen at a point, and when."""
    found: list[tuple[str, Moment]] = [(what, "before") for what in ANYWHERE]
    if point.kind == "file":
        found += [(what, "before") for what in _REFUSALS]
    elif point.kind == "request":
        found += [(what, "after") for what in ANYWHERE]
        found += [(what, moment) for what in _ANSWERS for moment in MOMENTS]
    return found


def drawn(points: Mapping[Point, int], chance: Random) -> Disturbance:
    """Draw a disturbance: each place is as likely as each other, however often met."""
    point = chance.choice(sorted(points))
    what, moment = chance.choice(kinds_of_trouble(point))
    return Disturbance(point, chance.randint(1, points[point]), what, moment)


def drawn_for(what: str, points: Mapping[Point, int], chance: Random) -> Disturbance:
    """Draw when a trouble happens that may happen at any point."""
    point = chance.choice(sorted(points))
    return Disturbance(point, chance.randint(1, points[point]), what)


@dataclass(frozen=True)
class Setting:
    """What a run needs to know.

    Attributes:
        folder: Its working directory.
        variables: Its STASHHOG_ variables.
        api_url: Prefect's API.
        parameters: The parameters of the run.
    """

    folder: Path
    variables: Mapping[str, str]
    api_url: str
    parameters: Mapping[str, Any]

    @property
    def log(self) -> Path:
        """The file to which all runs write."""
        return self.folder / "log"


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: Of its process; negative: the signal that ended it.
        state: Name of its last state; "": it did not live to tell.
        points: How often the run came by each point.
        reached: Whether the disturbance came about.
    """

    exit_code: int
    state: str
    points: Counter[Point]
    reached: bool


def run(
    setting: Setting,
    disturbance: Disturbance | None = None,
    outside: Outside | None = None,
) -> Outcome:
    """Run `process_new_scenes` in a process of its own.

    Args:
        setting: What the run needs to know.
        disturbance: What happens to the run.
        outside: The services that may be disturbed besides the run.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED, __name__])
    ours, its = context.Pipe()
    process = context.Process(target=_run, args=(setting, disturbance, its))
    process.start()
    its.close()
    outcome = Outcome(0, "", Counter(), reached=False)
    with suppress(EOFError, ConnectionResetError):
        while ours.poll(PATIENCE_SECONDS):
            said, facts = ours.recv()
            if said != "reached":
                outcome.state, outcome.points = said, facts
                continue
            outcome.reached = True
            if facts in OUTSIDE_TROUBLES:
                assert outside is not None
                assert process.pid is not None
                waiting = WaitingRun(
                    process.pid, lambda: ours.send("go on"), lambda: _another(setting)
                )
                outside.befall(facts, waiting)
            else:
                ours.send("go on")
    process.join(PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"The run did not end: {disturbance}")
    outcome.exit_code = process.exitcode
    return outcome


def _another(setting: Setting) -> None:
    run(setting)


def _run(setting: Setting, disturbance: Disturbance | None, parent: Connection) -> None:
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    from flows.process_new_scenes import process_new_scenes
    from stashhog_core.settings import get_settings

    # Looking for garbage among what was imported takes a third of a short run.
    gc.freeze()
    os.setsid()
    log = os.open(setting.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(setting.folder)
    os.environ.update(setting.variables)
    if disturbance is not None and disturbance.what == ASLEEP:
        os.environ["STASHHOG_STASH__TIMEOUT_SECONDS"] = str(STASH_TIMEOUT_SECONDS)
    get_settings.cache_clear()
    observer = _Observer(disturbance, parent, setting)
    with temporary_settings(
        {
            PREFECT_API_URL: setting.api_url,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
    ):
        observer.install()
        state = process_new_scenes(**setting.parameters, return_state=True)
    observer.is_watching = False
    parent.send((state.name, observer.counts))


class _Observer:
    """Counts the points that this process comes by, and disturbs one of them."""

    def __init__(
        self,
        disturbance: Disturbance | None,
        parent: Connection,
        setting: Setting,
    ) -> None:
        self.counts: Counter[Point] = Counter()
        self.is_watching = True
        self._due = disturbance
        self._parent = parent
        self._stash = setting.variables["STASHHOG_STASH__URL"]
        self._prefect = setting.api_url
        self._unanswered = 0
        self._one_at_a_time = threading.RLock()

    def install(self) -> None:
        """Watch from now on, to the end of this process."""
        event.listen(Engine, "commit", self._on_commit)
        send = httpx.HTTPTransport.handle_request
        send_async = httpx.AsyncHTTPTransport.handle_async_request

        def observed(
            transport: httpx.HTTPTransport, request: httpx.Request
        ) -> httpx.Response:
            self._lose_if_due(request)
            return self._on_request(lambda: send(transport, request), request)

        async def observed_async(
            transport: httpx.AsyncHTTPTransport, request: httpx.Request
        ) -> httpx.Response:
            self._lose_if_due(request)
            return await send_async(transport, request)

        httpx.HTTPTransport.handle_request = observed  # type: ignore[method-assign]
        httpx.AsyncHTTPTransport.handle_async_request = (  # type: ignore[method-assign]
            observed_async
        )
        sys.addaudithook(self._on_audit)

    def _on_commit(self, _: object) -> None:
        if self._is_due(Point("commit", "", _place())):
            self._take()

    def _on_audit(self, name: str, _: tuple[Any, ...]) -> None:
        if name not in FILE_OPERATIONS or not self.is_watching:
            return
        place = _place(directly=True)
        if place and self._is_due(Point("file", name, place)):
            what = self._take()
            if code := _REFUSALS.get(what):
                raise OSError(code, os.strerror(code))

    def _on_request(
        self, send: Callable[[], httpx.Response], request: httpx.Request
    ) -> httpx.Response:
        if not str(request.url).startswith(self._stash):
            return send()
        detail = f"{request.method} media"
        if request.url.path.endswith("/graphql"):
            found = _FIELD.search(json.loads(request.content)["query"])
            detail = found[1] if found else ""
        if not self._is_due(Point("request", detail, _place())):
            return send()
        assert self._due is not None
        answer = None
        if self._due.moment == "after":
            answer = send()
            answer.read()
        what = self._take()
        if what in _ANSWERS:
            made: httpx.Response = FAULTS[what](request)
            return made
        return answer or send()

    def _is_due(self, point: Point) -> bool:
        """Count a point; return whether the disturbance is to happen now."""
        if not self.is_watching:
            return False
        with self._one_at_a_time:
            self.counts[point] += 1
            due = self._due
            return (
                due is not None
                and due.point == point
                and due.time == self.counts[point]
            )

    def _take(self) -> str:
        """Have happen now what does not depend on the point; return what happens."""
        assert self._due is not None
        with self._one_at_a_time:
            what = self._due.what
            self._parent.send(("reached", what))
            self._parent.recv()
        if what in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[what])
        elif what == PREFECT_AWAY:
            self._unanswered = _REQUESTS_WITHOUT_ANSWER
        return what

    def _lose_if_due(self, request: httpx.Request) -> None:
        """Raise instead of sending a request to Prefect's server while that is away."""
        if self._unanswered and str(request.url).startswith(self._prefect):
            self._unanswered -= 1
            raise httpx.ConnectError("the server does not answer", request=request)


def _place(*, directly: bool = False) -> str:
    """Return the module and function of ours that comes by a point.

    Args:
        directly: Return "" if another package than Python's library is in between.
    """
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file == __file__:
            frame = frame.f_back
            continue
        if file.startswith(_OURS) and not file.startswith(_EDGES):
            module = Path(file).relative_to(_ROOT)
            return f"{module}:{frame.f_code.co_name}"
        is_library = file.startswith((_LIBRARY, "<frozen")) and (
            "site-packages" not in file
        )
        if directly and not is_library and not file.startswith(_OURS):
            return ""
        frame = frame.f_back
    return ""
