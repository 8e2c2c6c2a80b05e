"""What happens outside of a run of the main job while the run is at a point.

The run waits at the point until it is told to go on. A trouble may be over by then, may
last while the run goes on, or may have changed what the run finds.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import psutil
import psycopg
from prefect.server.api.server import SubprocessASGIServer

from sandbox.ai_server import AiStandIn
from sandbox.stash.server import StandIn
from stashhog_core.db.embedded import start_embedded
from tests.support.prefect import start_server
from tests.support.processes import crash, is_alive, postmaster, workers_of_pools
from tests.support.qbittorrent import QBittorrentServer
from tests.support.waiting import PATIENCE_SECONDS

QBITTORRENT_KILLED = "qBittorrent is killed and starts again"
AI_SERVER_AWAY = "the AI server goes away and comes back"
MAPPED_KILLED = "a process of mapped tasks is killed"
"""The first one after the point that works, if the run has any."""

ASLEEP = "asleep for longer than Stash may take"
STASH_TIMEOUT_SECONDS = 2.0
"""How long a run waits for an answer of Stash that is to sleep for longer than that."""

_ASLEEP_SECONDS = STASH_TIMEOUT_SECONDS + 0.5
_AWAY_SECONDS = 1.0
_INTERVAL_SECONDS = 0.05
_JUMP = timedelta(hours=5)


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits at a point.

    Attributes:
        process_id: Of its process.
        go_on: Lets the run go on.
        run_another: Makes another run, and returns when that has ended.
    """

    process_id: int
    go_on: Callable[[], None]
    run_another: Callable[[], None]


@dataclass(frozen=True)
class Outside:
    """The services of runs.

    Attributes:
        stash: The stand-in Stash.
        database_url: The database of the runs.
        postgres_home: The home under which its server runs.
        qbittorrent: Where the downloads of runs without a watch folder come from.
        ai_server: What these runs have look at videos.
        torrents: The hashes of the downloads in qBittorrent.
        killed: The number of the process of mapped tasks that was killed, if any.
    """

    stash: StandIn
    database_url: str
    postgres_home: Path
    qbittorrent: QBittorrentServer
    ai_server: AiStandIn
    torrents: list[str] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    _watchers: list[threading.Thread] = field(default_factory=list)

    def befall(self, what: str, run: WaitingRun) -> None:
        """Have one of OUTSIDE_TROUBLES happen, and let the run go on."""
        _TROUBLES[what](self, run)

    def watch(self, run: WaitingRun, until: Callable[[], bool]) -> None:
        """Ask again and again while the run goes on, also to its next point."""
        process = psutil.Process(run.process_id)

        def ask() -> None:
            while is_alive(process) and not until():
                time.sleep(_INTERVAL_SECONDS)

        self._watchers.append(threading.Thread(target=ask, name="chaos-watcher"))
        self._watchers[-1].start()

    def wait(self) -> None:
        """Return when nothing watches the run, which has ended."""
        while self._watchers:
            self._watchers.pop().join()


def _restart_stash(outside: Outside, run: WaitingRun) -> None:
    outside.stash.restart()
    run.go_on()


def _disconnect(outside: Outside, run: WaitingRun) -> None:
    _end_connections(outside)
    run.go_on()


def _kill_postgres(outside: Outside, run: WaitingRun) -> None:
    crash(postmaster(outside.postgres_home))
    run.go_on()
    start_embedded(outside.postgres_home, "template")


def _kill_prefect(outside: Outside, run: WaitingRun) -> None:
    # The one of this process, which the fixture has started.
    server = SubprocessASGIServer()
    assert server.server_process is not None
    server.server_process.kill()
    server.server_process.wait()
    server.running = False
    run.go_on()
    start_server(server)


def _kill_qbittorrent(outside: Outside, run: WaitingRun) -> None:
    outside.qbittorrent.kill()
    run.go_on()
    outside.qbittorrent.start_again()
    outside.qbittorrent.wait_until_seeding(outside.torrents)


def _restart_ai_server(outside: Outside, run: WaitingRun) -> None:
    outside.ai_server.stop()
    run.go_on()
    time.sleep(_AWAY_SECONDS)
    outside.ai_server.start()


def _move_clock(outside: Outside, run: WaitingRun, jump: timedelta) -> None:
    outside.stash.clock.offset += jump
    run.go_on()


def _run_two(outside: Outside, run: WaitingRun) -> None:
    run.go_on()
    run.run_another()


def _sleep(outside: Outside, run: WaitingRun) -> None:
    _stop(run, lambda: time.sleep(_ASLEEP_SECONDS))


def _sleep_long(outside: Outside, run: WaitingRun) -> None:
    def meanwhile() -> None:
        _end_connections(outside)
        run.run_another()

    _stop(run, meanwhile)


def _stop(run: WaitingRun, meanwhile: Callable[[], None]) -> None:
    process = psutil.Process(run.process_id)
    process.send_signal(signal.SIGSTOP)
    try:
        meanwhile()
    finally:
        process.send_signal(signal.SIGCONT)
    run.go_on()


def _kill_mapped(outside: Outside, run: WaitingRun) -> None:
    def has_killed() -> bool:
        # One that has begun its task has opened sockets.
        with suppress(psutil.NoSuchProcess):
            for worker in workers_of_pools(run.process_id):
                if worker.net_connections("all"):
                    worker.kill()
                    outside.killed.append(worker.pid)
                    break
        return bool(outside.killed)

    outside.watch(run, has_killed)
    run.go_on()


def _end_connections(outside: Outside) -> None:
    with psycopg.connect(outside.database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            [int(1000 * PATIENCE_SECONDS)],
        )


_TROUBLES: dict[str, Callable[[Outside, WaitingRun], None]] = {
    MAPPED_KILLED: _kill_mapped,
    "Stash restarts": _restart_stash,
    "the database ends all connections": _disconnect,
    "PostgreSQL is killed and starts again": _kill_postgres,
    "Prefect's server is killed and starts again": _kill_prefect,
    QBITTORRENT_KILLED: _kill_qbittorrent,
    AI_SERVER_AWAY: _restart_ai_server,
    "Stash's clock jumps ahead": partial(_move_clock, jump=_JUMP),
    "Stash's clock jumps back": partial(_move_clock, jump=-_JUMP),
    "a second run begins": _run_two,
    ASLEEP: _sleep,
    "asleep while the database ends all connections, and another run works": (
        _sleep_long
    ),
}

OUTSIDE_TROUBLES = tuple(_TROUBLES)
"""All of them."""
