"""The temporary Prefect server of a run in the terminal; it imports Prefect."""

import os
import socket
import subprocess
import sys
from functools import partial
from typing import Any

import httpx
import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    get_current_settings,
)

from stashhog_core.background import leave_process_group


class TemporaryServer(SubprocessASGIServer):
    """Prefect's own temporary server, which Ctrl-C and a busy machine do not end.

    Prefect keeps one for the process, the first that is made, and starts it itself.
    """

    def find_available_port(self) -> int:
        """Return a port that the system gives.

        Prefect draws one of a thousand. If two runs that start together drew the same,
        one of them would take the server of the other for its own.
        """
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return int(probe.getsockname()[1])

    def start(self, timeout: int | None = None) -> None:
        """Return when the server answers.

        Prefect waits as long as it may take to start, but gives up when one of the
        answers meanwhile takes five seconds.
        """
        try:
            super().start(timeout)
        except httpx.TimeoutException:
            limit = timeout or PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
            httpx.get(f"{self.api_url}/health", timeout=limit).raise_for_status()
            self.running = True

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        # As Prefect does it, which has no say in how the process starts.
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "stashhog.services.server", "uvicorn"),
                *("--app-dir", str(prefect.__module_path__.parent)),
                *("--factory", "prefect.server.api.server:create_app"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--log-level", "error", "--lifespan", "on"),
            ],
            env={
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                **get_current_settings().to_environment_variables(exclude_unset=True),
            },
            # Ctrl-C goes to the whole group: a run that is cancelled still has to tell
            # the server so. It ends with this process, even if that is killed.
            preexec_fn=partial(leave_process_group, os.getpid()),
        )
