"""Wording faults of the network, and the certificates that clients trust."""

from pathlib import Path

import httpx
import pytest
from certifi import where

from stashhog_core.http import fault, tls_context


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
