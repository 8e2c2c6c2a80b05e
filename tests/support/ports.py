"""Ports for the servers of the tests."""

import itertools
import os
import socket

# Below those that the system gives to outgoing connections, which would take one
# between its choice and the start of the server.
_FIRST, _NUMBER = 20_000, 12_000
# Test processes that run side by side begin at different places.
_offsets = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """Return a port of loopback that nobody listens at, another one each time."""
    for offset in itertools.islice(_offsets, _NUMBER):
        port = _FIRST + offset % _NUMBER
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
