"""What clients over HTTP share: reading addresses, wording faults of the network."""

import ipaddress

import httpx


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
