"""Wording faults of the network, and knowing this machine's own addresses."""

import httpx
import pytest

from stashhog_core.http_errors import fault, is_loopback


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("refused"), "cannot be reached"),
        (httpx.ConnectTimeout("late"), "cannot be reached"),
        (httpx.ReadTimeout("late"), "did not answer /x within 7 s"),
        (httpx.ReadError("reset"), "broke the connection during /x"),
        (httpx.DecodingError("gzip"), "gave an answer to /x that cannot be unpacked"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fault_is_said_in_words(error: httpx.HTTPError, words: str) -> None:
    """Each says what happened at which request, to follow the server's name."""
    assert fault(error, "/x", 7) == words


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine(host: str, expected: bool) -> None:
    """Only its own addresses count; a name elsewhere may be anybody's."""
    assert is_loopback(host) is expected
