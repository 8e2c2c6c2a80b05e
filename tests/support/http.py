"""Requests of tests to servers on loopback, and servers that answer as told."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.support.waiting import PATIENCE_SECONDS

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of servers without encryption.

httpx reads all certificates for each client, and for each request that is made without
a client: that takes more of the processor than the request.
"""

# No connection is kept, for the servers come and go.
loopback = httpx.Client(
    verify=NO_CERTIFICATES,
    trust_env=False,
    timeout=PATIENCE_SECONDS,
    limits=httpx.Limits(max_keepalive_connections=0),
)


class Scripted(BaseHTTPRequestHandler):
    """Answers as Prefect's API would in some state."""

    answers: dict[str, tuple[int, object]]

    def do_GET(self) -> None:
        status, content = self.answers.get(self.path, (404, {}))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(answers: dict[str, tuple[int, object]]) -> Iterator[str]:
    """Answer on loopback meanwhile; yield the API's address."""
    handler = type("Handler", (Scripted,), {"answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()
