"""Knowing this machine's own addresses, and asking them without a proxy."""

import os

import pytest
import requests

from stashhog_core.loopback import is_loopback, keep_loopback_direct


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
