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


def test_servers_that_start_together_have_ports_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if the lot, by which Prefect chooses among a thousand, is the same."""
    monkeypatch.setattr(random, "choice", min)
    server = TemporaryServer(free_port())

    assert server.find_available_port() != server.find_available_port()


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
