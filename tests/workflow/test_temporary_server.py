"""The temporary Prefect server of a run in the terminal."""

import random
import subprocess
import sys
from functools import partial

import httpx
import pytest

from stashhog.temporary_server import TemporaryServer
from tests.support.services import free_port

pytestmark = pytest.mark.slow

# The first request is answered when the second one has come.
LATE = """
import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
first, second = threading.Lock(), threading.Event()
class Late(BaseHTTPRequestHandler):
    def do_GET(self):
        if first.acquire(blocking=False):
            second.wait()
        second.set()
        self.send_response(200)
        self.end_headers()
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Late).serve_forever()
"""


class LateServer(TemporaryServer):
    """A server that is too busy for its first answer."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", LATE, str(self.port)]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def test_servers_that_start_together_have_ports_of_their_own() -> None:
    """Prefect's choice is by lot among a thousand: two may draw the same."""
    server = TemporaryServer(free_port())
    state = random.getstate()
    first = server.find_available_port()
    random.setstate(state)

    assert server.find_available_port() != first


def test_a_late_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the run begins later, instead of ending with an error."""
    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, timeout=0.1))
    server = LateServer(free_port())

    server.start()

    assert server.running
    assert server.server_process is not None
    assert server.server_process.poll() is None
    server.stop()
    assert not server.running
