"""A proxy on loopback that answers some requests otherwise than the server behind."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

from tests.support.http import NO_CERTIFICATES
from tests.support.waiting import PATIENCE_SECONDS

Carry = Callable[[], httpx.Response]
"""Carries a request to the server behind, and returns its answer."""

_NOT_HANDED_ON = {"host", "connection", "content-length", "transfer-encoding"}


@dataclass
class Proxy:
    """Hands requests on, but answers some otherwise.

    Attributes:
        url: Where it listens.
        failing: Paths that are answered with 500.
        change: Makes the body of each answer to another one.
        trouble: Answers a request, which it may carry or not; None: the connection is
            closed without an answer.
    """

    url: str = ""
    failing: set[str] = field(default_factory=set)
    change: Callable[[bytes], bytes] = bytes
    trouble: Callable[[Carry], httpx.Response | None] = lambda carry: carry()


@contextmanager
def proxy_of(upstream: str) -> Iterator[Proxy]:
    """Listen on loopback in front of the server at `upstream`."""
    proxy = Proxy()
    client = httpx.Client(
        base_url=upstream,
        verify=NO_CERTIFICATES,
        timeout=PATIENCE_SECONDS,
        # The server behind may have started again.
        limits=httpx.Limits(max_keepalive_connections=0),
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if urlsplit(self.path).path in proxy.failing:
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in _NOT_HANDED_ON
            }
            headers["Accept-Encoding"] = "identity"
            carry = partial(
                client.request, self.command, self.path, headers=headers, content=body
            )
            try:
                answer = proxy.trouble(carry)
            except httpx.TransportError:
                answer = None
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in _NOT_HANDED_ON:
                    self.send_header(name, value)
            content = proxy.change(answer.content)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - a name of the base class

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.close()
