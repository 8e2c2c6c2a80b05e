"""Wording faults of the network, and knowing this machine's own addresses."""

import os
from pathlib import Path

import httpx
import pytest
import requests
from certifi import where

from stashhog_core.http import fault, is_loopback, keep_loopback_direct, tls_context


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


@pytest.mark.parametrize("before", [None, "10.0.0.5, localhost"])
def test_no_proxy_is_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Every client goes straight to loopback; what else is excepted stays so."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv("no_proxy", before)

    keep_loopback_direct()
    keep_loopback_direct()

    local = ["http://127.0.0.1:4200/api", "http://localhost:8080", "http://[::1]:99"]
    assert [requests.utils.get_environ_proxies(url) for url in local] == [{}, {}, {}]
    assert bool(requests.utils.get_environ_proxies("http://10.0.0.5")) is not bool(
        before
    )
    assert requests.utils.get_environ_proxies("http://10.0.0.6")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)


def test_clients_share_the_usual_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are read once, not for each client, and again where a variable names others.

    What a setting adds for one server is not trusted for another one.
    """
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    usual = tls_context(None, "ANY")
    assert tls_context(None, "OTHER") is usual

    own = tls_context(Path(where()), "ANY")
    monkeypatch.setenv("SSL_CERT_FILE", where())
    named = tls_context(None, "ANY")

    assert own is not usual
    assert named is not usual
