"""The temporary Prefect server of a run in the terminal."""

import atexit
import os
import socket
import subprocess
import sys
import time
from functools import partial

import httpx

from stashhog_core.background import leave_process_group
from stashhog_core.errors import ConfigurationError

_START_LIMIT_SECONDS = 300.0
_STOP_LIMIT_SECONDS = 5.0
_CHECK_INTERVAL_SECONDS = 0.1


class TemporaryServer:
    """Prefect's server for as long as this process lives; Ctrl-C does not end it.

    It must be made before Prefect is imported: it starts meanwhile, and Prefect, which
    finds its address in the environment, does not import the server as well. Prefect's
    own temporary server is started by the client, takes any server that answers at its
    port for its own, and gives up when one answer takes five seconds.

    Attributes:
        api_url: The address of its API.
    """

    def __init__(self) -> None:
        self._reserved = _reserved_port()
        port = self._reserved.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{port}/api"
        # No pages are served, so nothing is to link to them.
        os.environ["PREFECT_SERVER_UI_ENABLED"] = "false"
        self._process = subprocess.Popen(
            self._command(port),
            env={
                **os.environ,
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            },
            # Ctrl-C goes to the whole group: a run that is cancelled still has to tell
            # the server so. It ends with this process, even if that is killed.
            preexec_fn=partial(leave_process_group, os.getpid()),
        )
        if sys.platform != "linux":
            self._reserved.close()
        os.environ["PREFECT_API_URL"] = self.api_url
        # Called after what Prefect registers later: it sends what it still has to say.
        atexit.register(self.stop)

    def _command(self, port: int) -> list[str]:
        """Return what Prefect starts as a temporary server."""
        return [
            *(sys.executable, "-m", "stashhog.services.server", "uvicorn"),
            *("--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--log-level", "error", "--lifespan", "on"),
        ]

    def wait(self) -> None:
        """Return when the server answers.

        Raises:
            ConfigurationError: It has ended, or does not answer.
        """
        end = time.monotonic() + _START_LIMIT_SECONDS
        with httpx.Client(trust_env=False, timeout=_START_LIMIT_SECONDS) as client:
            while time.monotonic() < end and self._process.poll() is None:
                try:
                    client.get(f"{self.api_url}/health").raise_for_status()
                except httpx.HTTPError:
                    time.sleep(_CHECK_INTERVAL_SECONDS)
                else:
                    return
        code = self._process.poll()
        raise ConfigurationError(
            "Prefect's temporary server does not answer"
            if code is None
            else f"Prefect's temporary server ended at its start, with code {code}",
            remedy="try again, or start a server with `stashhog up`",
        )

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reserved.close()


def _reserved_port() -> socket.socket:
    """Return a socket with a port that is free until the server listens there.

    To import the server takes seconds. Linux gives a port with a socket like this to no
    connection, and lets the server have it; elsewhere the server could not.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
