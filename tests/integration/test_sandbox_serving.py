"""Rules for serving an application from a thread."""

import socket
from concurrent.futures import ThreadPoolExecutor

from starlette.responses import Response

from sandbox.serving import Served
from tests.support.waiting import PATIENCE_SECONDS


def test_no_client_waits_for_a_server_that_has_ended() -> None:
    """A connection that comes while the server ends is answered, closed or refused."""
    served = Served("app")

    def ask() -> None:
        address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
        try:
            with socket.create_connection(address, PATIENCE_SECONDS) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                while connection.recv(4096):
                    pass
        except ConnectionError:
            """The connection was refused, or closed before it was answered."""

    with ThreadPoolExecutor(8) as clients:
        for _ in range(40):
            served.start(Response())
            asked = [clients.submit(ask) for _ in range(40)]
            served.stop()
            for future in asked:
                future.result()
