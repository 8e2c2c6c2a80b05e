"""What clients over HTTP share: proxies, reading addresses, wording faults."""

import ipaddress
import os

import httpx

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def keep_loopback_direct() -> None:
    """Have no proxy of the environment asked for what is on this machine.

    It could not know it, and would get passwords. The variables hold for every client
    of this process, Prefect's among them, and for the processes that it starts.
    """
    # Where both are set, most programs read the first.
    given = next((os.environ[name] for name in _EXCEPTIONS if name in os.environ), "")
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" in hosts:
        return
    hosts += [host for host in _LOOPBACK if host not in hosts]
    os.environ.update(dict.fromkeys(_EXCEPTIONS, ",".join(hosts)))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fault(error: httpx.HTTPError, request: str, limit_seconds: float) -> str:
    """Word a fault of the network, to follow the name of the server.

    Args:
        error: What httpx raised.
        request: What was asked for.
        limit_seconds: How long the answer was waited for.
    """
    if isinstance(error, httpx.DecodingError):
        return f"gave an answer to {request} that cannot be unpacked"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return f"did not answer {request} within {limit_seconds:g} s"
    return f"broke the connection during {request}"
