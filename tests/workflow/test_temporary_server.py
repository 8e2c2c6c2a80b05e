"""The temporary Prefect server of a run in the terminal."""

import os
import socket
import sys
from urllib.parse import urlsplit

import pytest

from stashhog.temporary_server import TemporaryServer
from stashhog_core.errors import ConfigurationError
from tests.support.http import loopback

pytestmark = pytest.mark.slow

# The first answer says that it is not ready yet.
LATE = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
asked = []
class Late(BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_response(200 if len(asked) > 1 else 503)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Late).serve_forever()
"""
BROKEN = "raise SystemExit(3)"


class Server(TemporaryServer):
    """A program in the place of Prefect's server."""

    program = LATE

    def _command(self, port: int) -> list[str]:
        return [sys.executable, "-c", self.program, str(port)]


class BrokenServer(Server):
    """A server that ends at once."""

    program = BROKEN


class SilentServer(Server):
    """A server that does not listen yet."""

    program = "import time; time.sleep(3600)"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server sets is for the run of the test."""
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_UI_ENABLED"):
        monkeypatch.setenv(name, "")


def test_a_server_that_is_not_ready_is_waited_for() -> None:
    """The run begins later, at the address that Prefect finds in the environment."""
    server = Server()

    server.wait()

    assert os.environ["PREFECT_API_URL"] == server.api_url
    assert loopback.get(f"{server.api_url}/health").is_success
    server.stop()
    with pytest.raises(ConfigurationError, match="ended at its start"):
        server.wait()


def test_servers_that_start_together_have_ports_of_their_own() -> None:
    """Neither run takes the server of the other for its own."""
    servers = [Server(), Server()]

    assert len({server.api_url for server in servers}) == 2
    for server in servers:
        server.wait()
        server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows it")
def test_nobody_else_gets_the_port_before_the_server() -> None:
    """While the server starts, no connection is given its port."""
    server = SilentServer()
    port = urlsplit(server.api_url).port

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    server.stop()


def test_a_server_that_ends_is_said() -> None:
    """The run is not begun, and one sentence says so."""
    server = BrokenServer()

    with pytest.raises(ConfigurationError, match="at its start, with code 3"):
        server.wait()
    server.stop()
