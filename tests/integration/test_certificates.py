"""Certificates that nobody has signed, and those that a setting names."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stashhog_core.detection.ai_client import AiClient
from stashhog_core.detection.text_client import TextClient
from stashhog_core.downloads.qbittorrent_client import QBittorrentClient
from stashhog_core.errors import ConfigurationError, StashHogError
from stashhog_core.settings import (
    AiServerSettings,
    QBittorrentSettings,
    StashSettings,
    TextModelSettings,
)
from stashhog_core.stash.client import StashClient

pytestmark = pytest.mark.slow


class _Refusing(BaseHTTPRequestHandler):
    """Answers each request, so that the connection was taken."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(418)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key in one file."""
    folder = tmp_path_factory.mktemp("tls")
    both = folder / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(
        (folder / "key.pem").read_text() + (folder / "cert.pem").read_text()
    )
    return folder / "cert.pem"


@pytest.fixture
def server(certificate: Path) -> Iterator[str]:
    """The address of a server with that certificate."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.with_name("both.pem"))
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    thread.join()
    listening.server_close()


def _ask_stash(url: str, ca_file: Path | None) -> None:
    settings = StashSettings(url=url, ca_file=ca_file)
    StashClient(settings, retry_delays_seconds=()).version()


def _ask_qbittorrent(url: str, ca_file: Path | None) -> None:
    QBittorrentClient(QBittorrentSettings(url=url, ca_file=ca_file))


def _ask_ai_server(url: str, ca_file: Path | None) -> None:
    settings = AiServerSettings(url=url, ca_file=ca_file)
    with AiClient(settings, retry_delays_seconds=()) as client:
        client.model_set()


def _ask_text_model(url: str, ca_file: Path | None) -> None:
    settings = TextModelSettings(
        base_url=f"{url}/v1", model="any", ca_file=ca_file, retries=0
    )
    with TextClient(settings) as client:
        client.ask("system", "user", {"type": "object"})


@pytest.mark.parametrize(
    ("ask", "setting"),
    [
        (_ask_stash, "STASHHOG_STASH__CA_FILE"),
        (_ask_qbittorrent, "STASHHOG_QBITTORRENT__CA_FILE"),
        (_ask_ai_server, "STASHHOG_AI_SERVER__CA_FILE"),
        (_ask_text_model, "STASHHOG_TEXT_MODEL__CA_FILE"),
    ],
    ids=["Stash", "qBittorrent", "AI server", "text model"],
)
def test_a_self_signed_certificate_is_named_and_can_be_trusted(
    server: str,
    certificate: Path,
    ask: Callable[[str, Path | None], None],
    setting: str,
) -> None:
    """The error names the setting that mends it, and that setting does."""
    with pytest.raises(ConfigurationError, match=r"self-signed certificate") as refused:
        ask(server, None)
    assert setting in str(refused.value)

    with pytest.raises(StashHogError) as answered:
        ask(server, certificate)
    assert "certificate" not in str(answered.value)

    with pytest.raises(ConfigurationError, match=f"{setting} names no certificates"):
        ask(server, certificate.with_name("absent.pem"))
