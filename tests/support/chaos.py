"""A run of `process_new_scenes` that is disturbed at a chosen point of its work.

A point is a place in the code at which a run changes something that outlives it or asks
a server for something: a commit, a request to Stash, qBittorrent or the AI server, an
operation on a file. An undisturbed run lists its points; each of them can then be
disturbed, before and after the server has carried out a request.
"""

import errno
import gc
import inspect
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import httpx
import psutil
import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from sqlalchemy import Engine, event

from stashhog_core.settings import PREFIX
from tests.support.faults import FAULTS, Moment, answers
from tests.support.outside import (
    AI_SERVER_AWAY,
    ASLEEP,
    MAPPED_KILLED,
    OUTSIDE_TROUBLES,
    QBITTORRENT_KILLED,
    STASH_TIMEOUT_SECONDS,
    Outside,
    WaitingRun,
)
from tests.support.waiting import PATIENCE_SECONDS, wait_until

_ROOT = Path(__file__).parents[2]
_OURS = tuple(f"{_ROOT / name}/" for name in ("flows", "tasks", "stashhog_core"))
# Any of our code comes to the database and to the servers through these.
_EDGES = tuple(
    str(_ROOT / "stashhog_core" / name)
    for name in (
        "db/session.py",
        "detection/ai_client.py",
        "downloads/qbittorrent_client.py",
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
_MEDIA = "media"
"""The detail of a request for a file that Stash has generated."""

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
_ANSWERS = {
    **{w: FAULTS[w] for w in sorted(FAULTS.keys() - _SIGNALS.keys() - {"exit"})},
    "status 403": answers(403, b"Forbidden", "text/plain"),
    "status 404": answers(404, b"", "text/plain"),
    "status 429": answers(429, b"later", "text/plain"),
}
ERROR_BESIDE_DATA = "an error beside the data"
"""What Stash carried out, and answers with all its data and an error."""

CLOCK_JUMPS = {"the clock jumps ahead": "+5h", "the clock jumps back": "-5h"}
"""What happens to the run's clock, and how libfaketime is told of it."""

_LEAST_JUMP_SECONDS = 3600
_CLOCK_SECONDS = 2.5
"""After so long the clock of a run has jumped."""

ANYWHERE = (
    *(*_SIGNALS, PREFECT_AWAY),
    *(what for what in OUTSIDE_TROUBLES if what != MAPPED_KILLED),
    *CLOCK_JUMPS,
)
"""What may happen at any point."""

ENDS = tuple(_SIGNALS)
"""What ends a run."""

_OF_SERVER = {QBITTORRENT_KILLED: "qBittorrent", AI_SERVER_AWAY: "AI server"}
"""Which server a trouble befalls: it happens only to runs that use this server."""

# Fewer than Prefect's client makes of one request.
_REQUESTS_WITHOUT_ANSWER = 3
# Those of the product have a run wait for an AI server for most of a minute.
_AI_RETRY_DELAYS_SECONDS = (0.5, 1.0, 2.0)
_SERVERS = {
    "Stash": "STASHHOG_STASH__URL",
    "qBittorrent": "STASHHOG_QBITTORRENT__URL",
    "AI server": "STASHHOG_AI_SERVER__URL",
}
"""The servers that a run asks, and the variables that have their addresses."""


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
    """A place in the code that changes something, or asks a server for something.

    Attributes:
        kind: commit, file, or the name of the server that is asked.
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
        moment: Whether a request was carried out by the server before.
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


def anywhere(points: Mapping[Point, int]) -> list[str]:
    """Return what may happen at any point of runs that come by these points."""
    servers = {point.kind for point in points}
    return [what for what in ANYWHERE if _OF_SERVER.get(what, "Stash") in servers]


def _kinds_of_trouble(
    point: Point, points: Mapping[Point, int]
) -> list[tuple[str, Moment]]:
    """Return all that can happen at a point, and when."""
    found: list[tuple[str, Moment]] = [(what, "before") for what in anywhere(points)]
    if point.kind == "file":
        found += [(what, "before") for what in _REFUSALS]
    elif point.kind in _SERVERS:
        found += [(what, "after") for what in anywhere(points)]
        found += [(what, moment) for what in _ANSWERS for moment in MOMENTS]
    if point.kind == "Stash" and point.detail != _MEDIA:
        found.append((ERROR_BESIDE_DATA, "after"))
    return found


def drawn(points: Mapping[Point, int], chance: Random) -> Disturbance:
    """Draw a disturbance: each place is as likely as each other, however often met."""
    point = chance.choice(sorted(points))
    what, moment = chance.choice(_kinds_of_trouble(point, points))
    return Disturbance(point, chance.randint(1, points[point]), what, moment)


def drawn_for(
    troubles: Sequence[str], points: Mapping[Point, int], chance: Random
) -> list[Disturbance]:
    """Draw when troubles happen in a run that may happen at any point.

    Each happens at another point, in the order in which a run first comes by these.
    """
    order = list(points)
    chosen = sorted(chance.sample(sorted(points), len(troubles)), key=order.index)
    return [
        Disturbance(point, chance.randint(1, points[point]), what)
        for point, what in zip(chosen, troubles, strict=True)
    ]


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

    @property
    def clock(self) -> Path:
        """The file that tells libfaketime how wrong the clock of a run is."""
        return self.folder / "clock"

    def set_clock(self, offset: str) -> None:
        """Have the clock of a run be so wrong from now on."""
        part = self.folder / "clock.part"
        part.write_text(f"{offset}\n")
        part.rename(self.clock)


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: Of its process; negative: the signal that ended it.
        state: Name of its last state; "": it did not live to tell.
        points: How often the run came by each point.
        reached: The disturbances that came about.
    """

    exit_code: int = 0
    state: str = ""
    points: Counter[Point] = field(default_factory=Counter)
    reached: list[Disturbance] = field(default_factory=list)


def run(
    setting: Setting,
    disturbances: Sequence[Disturbance] = (),
    outside: Outside | None = None,
) -> Outcome:
    """Run `process_new_scenes` in a process of its own.

    Args:
        setting: What the run needs to know.
        disturbances: What happens to the run.
        outside: The services that may be disturbed besides the run.
    """
    ours, its = multiprocessing.Pipe()
    process = _start(setting, disturbances, its)
    its.close()
    outcome = Outcome()
    jumps: list[bool] = []
    with suppress(EOFError, ConnectionResetError):
        while ours.poll(PATIENCE_SECONDS):
            said, facts = ours.recv()
            if said == "clock":
                jumps.append(abs(facts - time.time()) > _LEAST_JUMP_SECONDS)
                continue
            if said != "reached":
                outcome.state, outcome.points = said, facts
                continue
            outcome.reached.append(facts)
            if facts.what in OUTSIDE_TROUBLES:
                assert outside is not None
                assert process.pid is not None
                waiting = WaitingRun(
                    process.pid, lambda: ours.send("go on"), lambda: _another(setting)
                )
                outside.befall(facts.what, waiting)
                continue
            if facts.what in CLOCK_JUMPS:
                setting.set_clock(CLOCK_JUMPS[facts.what])
            ours.send("go on")
    process.join(PATIENCE_SECONDS)
    if is_stuck := process.exitcode is None:
        process.kill()
        process.join()
    if outside is not None:
        outside.wait()
    if is_stuck:
        raise AssertionError(f"The run did not end: {disturbances}")
    assert all(jumps), "the clock of the run did not jump"
    outcome.exit_code = process.exitcode
    left = partial(_processes_of, process.pid)
    wait_until(lambda: not left(), lambda: f"the end of {left()}")
    return outcome


def _processes_of(session: int | None) -> list[int]:
    """Return the numbers of the processes that a run has started and left behind."""
    found = []
    for number in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getsid(number) == session:
                found.append(number)
    return found


def _start(
    setting: Setting, disturbances: Sequence[Disturbance], its: Connection
) -> BaseProcess:
    """Start the process of a run.

    A run whose clock is to jump begins with a new program, which libfaketime goes into.
    """
    if not any(d.what in CLOCK_JUMPS for d in disturbances):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*_IMPORTED, __name__])
        process = context.Process(target=_run, args=(setting, disturbances, its))
        process.start()
        return process
    setting.set_clock("+0")
    own = multiprocessing.get_context("spawn").Process(
        target=_run, args=(setting, disturbances, its)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", _libfaketime())
        patch.setenv("FAKETIME_TIMESTAMP_FILE", str(setting.clock))
        # Seconds for which a time that was read is not looked up again.
        patch.setenv("FAKETIME_CACHE_DURATION", "1")
        patch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        # The times of files are those of another machine, as on a network share.
        patch.setenv("NO_FAKE_STAT", "1")
        own.start()
    return own


@cache
def _libfaketime() -> str:
    """Return the path of the library, as its program has it loaded."""
    command = ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return said.stdout.strip()


def _another(setting: Setting) -> None:
    run(setting)


def _run(
    setting: Setting, disturbances: Sequence[Disturbance], parent: Connection
) -> None:
    from prefect.context import refresh_global_settings_context

    from flows.process_new_scenes import process_new_scenes
    from stashhog_core.detection import ai_client
    from stashhog_core.settings import get_settings

    ai_client.RETRY_DELAYS_SECONDS = _AI_RETRY_DELAYS_SECONDS
    # Looking for garbage among what was imported takes a third of a short run.
    gc.freeze()
    os.setsid()
    log = os.open(setting.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(setting.folder)
    # Some are those of the round in which the server began that this process is from.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(setting.variables)
    # For all threads, and for the processes of mapped tasks: what does not know the
    # server's address starts one of its own.
    os.environ["PREFECT_API_URL"] = setting.api_url
    refresh_global_settings_context()
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # libfaketime 0.9.10 refuses the call that Python makes to sleep.
        time.sleep = lambda seconds: threading.Event().wait(seconds)
    if any(d.what == ASLEEP for d in disturbances):
        os.environ["STASHHOG_STASH__TIMEOUT_SECONDS"] = str(STASH_TIMEOUT_SECONDS)
    get_settings.cache_clear()
    observer = _Observer(disturbances, parent, setting)
    observer.install()
    state = process_new_scenes(**setting.parameters, return_state=True)
    observer.is_watching = False
    parent.send((state.name, observer.counts))


class _Observer:
    """Counts the points that this process comes by, and disturbs some of them."""

    def __init__(
        self,
        disturbances: Sequence[Disturbance],
        parent: Connection,
        setting: Setting,
    ) -> None:
        self.counts: Counter[Point] = Counter()
        self.is_watching = True
        self._due = list(disturbances)
        self._parent = parent
        self._servers = {
            f"{setting.variables[variable]}/": server
            for server, variable in _SERVERS.items()
            if variable in setting.variables
        }
        self._prefect = setting.api_url
        self._unanswered = 0
        self._one_at_a_time = threading.RLock()

    def install(self) -> None:
        """Watch from now on, to the end of this process."""
        event.listen(Engine, "commit", self._on_commit)
        send = httpx.HTTPTransport.handle_request
        send_async = httpx.AsyncHTTPTransport.handle_async_request
        send_other = HTTPAdapter.send

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

        def observed_other(
            adapter: HTTPAdapter,
            request: requests.PreparedRequest,
            *arguments: Any,
            **options: Any,
        ) -> requests.Response:
            return self._on_other_request(
                lambda: send_other(adapter, request, *arguments, **options), request
            )

        httpx.HTTPTransport.handle_request = observed  # type: ignore[method-assign]
        httpx.AsyncHTTPTransport.handle_async_request = (  # type: ignore[method-assign]
            observed_async
        )
        HTTPAdapter.send = observed_other  # type: ignore[method-assign]
        sys.addaudithook(self._on_audit)

    def _on_commit(self, _: object) -> None:
        if due := self._due_at(Point("commit", "", _place())):
            self._take(due)

    def _on_audit(self, name: str, _: tuple[Any, ...]) -> None:
        if name not in FILE_OPERATIONS or not self.is_watching:
            return
        place = _place(directly=True)
        if place and (due := self._due_at(Point("file", name, place))):
            self._take(due)
            if code := _REFUSALS.get(due.what):
                raise OSError(code, os.strerror(code))

    def _on_request(
        self, send: Callable[[], httpx.Response], request: httpx.Request
    ) -> httpx.Response:
        """Send a request by httpx, or disturb it."""
        if not (server := self._server_at(str(request.url))):
            return send()
        if request.url.path.endswith("/graphql"):
            found = _FIELD.search(json.loads(request.content)["query"])
            detail = found[1] if found else ""
        elif server == "Stash":
            detail = _MEDIA
        else:
            detail = f"{request.method} {request.url.path}"
        due = self._due_at(Point(server, detail, _place()))
        if due is None:
            return send()
        answer = None
        if due.moment == "after":
            answer = send()
            answer.read()
        self._take(due)
        if due.what == ERROR_BESIDE_DATA and answer is not None:
            return _with_error(answer)
        if due.what in _ANSWERS:
            made: httpx.Response = _ANSWERS[due.what](request)
            return made
        return answer or send()

    def _on_other_request(
        self, send: Callable[[], requests.Response], request: requests.PreparedRequest
    ) -> requests.Response:
        """Send a request by `requests`, as those to qBittorrent are, or disturb it."""
        url = str(request.url)
        if not (server := self._server_at(url)):
            return send()
        detail = url.partition("?")[0].partition("/api/v2/")[2]
        due = self._due_at(Point(server, detail, _place()))
        if due is None:
            return send()
        answer = send() if due.moment == "after" else None
        self._take(due)
        if due.what not in _ANSWERS:
            return send() if answer is None else answer
        try:
            made: httpx.Response = _ANSWERS[due.what](httpx.Request("GET", url))
        except httpx.TimeoutException as error:
            raise requests.ReadTimeout(str(error), request=request) from error
        except httpx.TransportError as error:
            raise requests.ConnectionError(str(error), request=request) from error
        return HTTPAdapter().build_response(
            request,
            urllib3.HTTPResponse(
                BytesIO(made.content),
                dict(made.headers),
                made.status_code,
                preload_content=False,
            ),
        )

    def _server_at(self, url: str) -> str:
        """Return which of the servers this is; "" if it is none of them."""
        return next(
            (s for base, s in self._servers.items() if url.startswith(base)), ""
        )

    def _due_at(self, point: Point) -> Disturbance | None:
        """Count a point; return what is to happen now."""
        if not self.is_watching:
            return None
        with self._one_at_a_time:
            self.counts[point] += 1
            times = self.counts[point]
            return next(
                (d for d in self._due if d.point == point and d.time == times), None
            )

    def _take(self, due: Disturbance) -> None:
        """Have happen now what does not depend on the point."""
        with self._one_at_a_time:
            self._parent.send(("reached", due))
            self._parent.recv()
        if due.what in CLOCK_JUMPS:
            # The library looks at its file only now and then.
            time.sleep(_CLOCK_SECONDS)
            self._parent.send(("clock", time.time()))
        elif due.what in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[due.what])
        elif due.what == PREFECT_AWAY:
            self._unanswered = _REQUESTS_WITHOUT_ANSWER

    def _lose_if_due(self, request: httpx.Request) -> None:
        """Raise instead of sending a request to Prefect's server while that is away."""
        if self._unanswered and str(request.url).startswith(self._prefect):
            self._unanswered -= 1
            raise httpx.ConnectError("the server does not answer", request=request)


def _with_error(answer: httpx.Response) -> httpx.Response:
    """Return an answer of Stash with an error beside its data."""
    errors = [{"message": "internal system error", "path": ["field"]}]
    return httpx.Response(200, json={**answer.json(), "errors": errors})


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
