"""A way to a real server on which chosen calls fail."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

_NOT_HANDED_ON = {"host", "connection", "content-length", "transfer-encoding"}


class FailingProxy:
    """Hands requests on, but answers those for `failing` paths with 500."""

    def __init__(self, url: str, failing: set[str]) -> None:
        self.url = url
        self.failing = failing


@contextmanager
def failing_proxy(upstream: str) -> Iterator[FailingProxy]:
    """Listen on loopback in front of the server at `upstream`."""
    failing: set[str] = set()
    client = httpx.Client(base_url=upstream, timeout=30)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if urlsplit(self.path).path in failing:
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
            answer = client.request(
                self.command, self.path, headers=headers, content=body
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in _NOT_HANDED_ON:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST  # noqa: N815 - a name of the base class

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield FailingProxy(f"http://127.0.0.1:{server.server_port}", failing)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.close()
