"""The process behind `stashhog up`: keeps server, worker and pages running.

It holds the embedded PostgreSQL open and starts it again when it was killed, starts a
child anew when it ends, and stops the children when it is asked to stop, or when the
folder of the embedded PostgreSQL is gone. A supervisor that follows one which was
killed takes over the children, so that no run is disturbed.
"""

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from urllib.parse import urlsplit

import psutil

from stashhog.services.logs import open_log, rotate_logs
from stashhog.services.prefect_server import (
    POOL,
    Answer,
    answer,
    api_url,
    listen_host,
    service_environment,
)
from stashhog.services.state import (
    end_processes,
    record,
    running,
    state_file,
)
from stashhog_core.db.embedded import has_lost_files, start_embedded
from stashhog_core.errors import StashHogError
from stashhog_core.loopback import keep_loopback_direct
from stashhog_core.processes import lives
from stashhog_core.settings import Settings, get_settings

# Longer than the 30 seconds that Prefect gives a run to stop.
_STOP_LIMIT_SECONDS = 60
_CHECK_INTERVAL_SECONDS = 1.0
_UPKEEP_INTERVAL_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0

logger = logging.getLogger("stashhog.supervisor")


class Supervisor:
    """Starts the children, and again when they end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = api_url()
        self._environment = service_environment(settings)
        port = urlsplit(self._url).port
        python = shlex.quote(sys.executable)
        pool = f"--pool {POOL} --type process"
        self._commands = {
            "server": f"{python} -m stashhog.services.server prefect server start"
            f" --host {listen_host()} --port {port}",
            # The same name after each start: the server then knows of one worker.
            "worker": f"{python} -m stashhog.services.worker worker start {pool}"
            f" --name {socket.gethostname()}",
            "pages": f"{python} -m stashhog.web.server",
        }
        self._children = {
            name: process
            for name, process in running(settings).items()
            if name in self._commands
        }
        self._pauses = dict.fromkeys(self._commands, _CHECK_INTERVAL_SECONDS)
        self._started = dict.fromkeys(self._commands, time.monotonic())
        self._next_upkeep = 0.0
        self._stopping = False

    def run(self) -> None:
        """Keep the children running until a signal says stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._record()
        while not self._stopping:
            if self._has_lost_home():
                break
            self._maintain_files()
            for name in self._commands:
                self._keep(name)
            time.sleep(_CHECK_INTERVAL_SECONDS)
        self._end()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _has_lost_home(self) -> bool:
        """Tell whether the home was moved or deleted; its log, where it is, says so.

        Runs that begin without the home would make an empty one in its place.
        """
        home = self._settings.home_folder
        if self._settings.database.url is not None or not has_lost_files(home):
            return False
        logger.error(
            "The files of the embedded PostgreSQL are gone from %s, because the folder "
            "was moved or deleted, or its disk is no longer mounted: all services stop",
            home,
        )
        return True

    def _maintain_files(self) -> None:
        """Put full logs aside, and start the embedded database if it was killed."""
        if time.monotonic() < self._next_upkeep:
            return
        rotate_logs(self._settings)
        if self._settings.database.url is None:
            try:
                start_embedded(self._settings.home_folder)
            except StashHogError as error:
                logger.warning("%s", error)
        self._next_upkeep = time.monotonic() + _UPKEEP_INTERVAL_SECONDS

    def _keep(self, name: str) -> None:
        child = self._children.get(name)
        if child is not None and lives(child):
            return
        if name == "worker" and answer(self._url) is not Answer.PREFECT:
            # It would give up before the server is there.
            return
        ran_for = time.monotonic() - self._started[name]
        if child is not None:
            if ran_for < self._pauses[name]:
                return
            # Ended soon after its start: wait longer before the next one.
            short = ran_for < _LONGEST_PAUSE_SECONDS
            self._pauses[name] = (
                min(2 * self._pauses[name], _LONGEST_PAUSE_SECONDS)
                if short
                else _CHECK_INTERVAL_SECONDS
            )
            logger.warning("The %s ended; starting it again", name)
        log = open_log(self._settings, name)
        self._children[name] = psutil.Popen(
            shlex.split(self._commands[name]),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        os.close(log)
        self._started[name] = time.monotonic()
        self._record()

    def _record(self) -> None:
        pids = {"supervisor": os.getpid()}
        pids |= {name: child.pid for name, child in self._children.items()}
        record(self._settings, self._url, pids)

    def _end(self) -> None:
        # The worker first: it still tells the server what it leaves.
        for name in reversed(list(self._commands)):
            if child := self._children.get(name):
                end_processes([child], _STOP_LIMIT_SECONDS)
        state_file(self._settings).unlink(missing_ok=True)


def main() -> None:
    """Run until asked to stop."""
    keep_loopback_direct()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    Supervisor(get_settings()).run()


if __name__ == "__main__":
    main()
