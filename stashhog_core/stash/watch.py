"""The subscription to Stash's job events over its WebSocket.

Only an accelerator: news may be dropped by Stash, or the connection be refused by a
proxy. So news does not say how a job ended; it says that now is the time to ask.
"""

import logging
import threading
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from stashhog_core.http import tls_context
from stashhog_core.settings import StashSettings
from stashhog_core.stash.documents import JOBS_SUBSCRIBE, Answer
from stashhog_core.stash.payloads import JobEvent, Payload

logger = logging.getLogger(__name__)

_PROTOCOL = Subprotocol("graphql-transport-ws")
_CONNECT_SECONDS = 5.0
_FAULTS = (
    OSError,
    WebSocketException,
    msgspec.DecodeError,
    EOFError,
    RuntimeError,
    # Bytes that are no UTF-8.
    ValueError,
)


class _Message(Payload, frozen=True, kw_only=True):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _News(Payload, frozen=True, kw_only=True):
    data: Answer[JobEvent] | None = None


_messages = msgspec.json.Decoder(_Message)
_news = msgspec.json.Decoder(_News, strict=False)


class JobWatch:
    """Listens in a thread of its own for the end of one job; for a `with` block.

    Args:
        settings: Address and key; with `websocket` off nothing is opened.
        stash_job_id: The job.
    """

    def __init__(self, settings: StashSettings, stash_job_id: int) -> None:
        self._settings = settings
        self._job_id = stash_job_id
        self._ended = threading.Event()
        self._closing = threading.Event()
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.listening = threading.Event()
        """Set once Stash has taken the subscription."""

    def __enter__(self) -> Self:
        if self._settings.websocket and self._settings.url:
            self._thread = threading.Thread(
                target=self._listen, name="job-watch", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.close_socket()
        # A thread that still connects ends by itself; nobody waits for it.
        if self._thread is not None and connection is not None:
            self._thread.join(_CONNECT_SECONDS)

    def wait(self, seconds: float) -> bool:
        """Wait until the job ended, but no longer; tell whether it did.

        The news is used up by this.
        """
        if not self._ended.wait(seconds):
            return False
        self._ended.clear()
        return True

    def _listen(self) -> None:
        try:
            address = _address(self._settings.url or "")
            ca_file = self._settings.ca_file
            with connect(
                address,
                ssl=tls_context(ca_file, "STASHHOG_STASH__CA_FILE")
                if address.startswith("wss:")
                else None,
                subprotocols=[_PROTOCOL],
                additional_headers=_key(self._settings),
                open_timeout=_CONNECT_SECONDS,
                close_timeout=1,
                proxy=None,
            ) as connection:
                with self._lock:
                    self._connection = connection
                if not self._closing.is_set():
                    self._subscribe(connection)
        except _FAULTS as error:
            if not self._closing.is_set():
                logger.info(
                    "Could not subscribe to Stash's job events (%s); jobs are polled "
                    "every %g s",
                    error or type(error).__name__,
                    self._settings.poll_interval_seconds,
                )

    def _subscribe(self, connection: Connection) -> None:
        connection.send('{"type":"connection_init"}')
        for text in connection:
            message = _messages.decode(text)
            match message.type:
                case "connection_ack":
                    connection.send(
                        msgspec.json.encode(
                            {
                                "id": "1",
                                "type": "subscribe",
                                "payload": {"query": JOBS_SUBSCRIBE},
                            }
                        ).decode()
                    )
                    self.listening.set()
                    # It may have ended before Stash was listened to.
                    self._ended.set()
                case "next":
                    self._take(message.payload)
                case "ping":
                    connection.send('{"type":"pong"}')
                case "error" | "complete":
                    logger.info(
                        "Stash ended the subscription to its job events: %s",
                        message.type,
                    )
                    return

    def _take(self, payload: msgspec.Raw) -> None:
        news = _news.decode(payload)
        event = news.data.answer if news.data else None
        if event and event.type == "REMOVE" and event.job.id == self._job_id:
            self._ended.set()


def _address(url: str) -> str:
    parts = urlsplit(url.rstrip("/").removesuffix("/graphql"))
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/graphql", "", ""))


def _key(settings: StashSettings) -> dict[str, Any]:
    if settings.api_key and (key := settings.api_key.get_secret_value()):
        return {"ApiKey": key}
    return {}
