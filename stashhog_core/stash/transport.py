"""Sending documents to Stash over HTTP, and telling what went wrong.

Every error of the network, of HTTP and of GraphQL becomes one of ours here. A 401 of
Stash has no body; GraphQL errors come with status 200; invalid documents with 422.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

import httpx
import msgspec

from stashhog_core.errors import (
    BusyError,
    ConfigurationError,
    RefusedError,
    StashHogError,
    TransientError,
    UnreadableError,
)
from stashhog_core.http import (
    certificate_fault,
    fault,
    tls_context,
    untrusted,
)
from stashhog_core.loopback import is_loopback
from stashhog_core.progress import before_write
from stashhog_core.retries import with_retries
from stashhog_core.settings import StashSettings
from stashhog_core.stash.documents import (
    WITHOUT_QUERY,
    YOUNGER_FIELDS,
    YOUNGER_QUERIES,
    Operation,
)
from stashhog_core.stash.payloads import GraphQLError

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_DELAYS_SECONDS = (0.5, 1.0, 2.0)
"""Pauses before a reading operation is sent again."""
READ_LOG = (
    "read the log of Stash or of the proxy in front of Stash, and check "
    "STASHHOG_STASH__URL"
)
"""What to do about an answer that says nothing."""

_CONNECT_TIMEOUT_SECONDS = 10.0
_CA_FILE = "STASHHOG_STASH__CA_FILE"
_YOUNGER = {**YOUNGER_FIELDS, **YOUNGER_QUERIES}
_PANIC = "Internal system error"
# SQLite's words; the transaction has been rolled back.
_LOCKED = ("database is locked", "database table is locked", "SQLITE_BUSY")
_UNKNOWN = re.compile(r'Cannot query field "(?P<field>\w+)" on type "(?P<type>\w+)"')
# Where a cover or a picture of a marker was never made, Stash serves one of these:
# type and size.
_PLACEHOLDERS = (("image/svg+xml", None), ("image/png", 1199))
# No picture, video or list of thumbnails is smaller. Of a clip with a single frame,
# ffmpeg leaves 8 bytes of an animated WebP; of a broken one, an empty file.
_LEAST_MEDIA_BYTES = 16
_MOST_PICTURE_BYTES = 20_000_000


class Transport:
    """One connection pool to one Stash server; may be used from several threads."""

    def __init__(
        self,
        settings: StashSettings,
        transport: httpx.BaseTransport | None = None,
        retry_delays_seconds: tuple[float, ...] = RETRY_DELAYS_SECONDS,
    ) -> None:
        if not settings.url:
            raise ConfigurationError(
                "No Stash server is configured",
                remedy="set STASHHOG_STASH__URL, such as http://localhost:9999",
            )
        self.timeout_seconds = settings.timeout_seconds
        self._retry_delays_seconds = retry_delays_seconds
        self._unknown: frozenset[str] = frozenset()
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        # Stash refuses any key it does not know, even where it asks for none.
        if settings.api_key and (key := settings.api_key.get_secret_value()):
            headers["ApiKey"] = key
        try:
            url = httpx.URL(settings.url.rstrip("/").removesuffix("/graphql"))
            self._client = httpx.Client(
                headers=headers,
                timeout=self._timeout(settings.timeout_seconds),
                transport=transport,
                # A proxy of the environment cannot know what is on this machine.
                trust_env=not is_loopback(url.host),
                verify=tls_context(settings.ca_file, _CA_FILE),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigurationError(
                "STASHHOG_STASH__URL is not an address",
                remedy=f"write the address like http://localhost:9999 ({error})",
            ) from error
        self._url = str(url).rstrip("/")
        self._prefix = url.path.rstrip("/")
        self.address = str(url.copy_with(userinfo=b"")).rstrip("/")

    def close(self) -> None:
        """Give back all connections."""
        self._client.close()

    def send(
        self,
        operation: Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> T | None:
        """Return the answer; None where Stash answers null.

        An operation that reads is sent again after an outage; one that writes is
        sent once, since its effect may have come about though its answer was lost.

        Args:
            operation: What to ask.
            variables: Its variables.
            timeout_seconds: Wait no longer, and do not try again.

        Raises:
            ConfigurationError: The key is wrong, or Stash refuses this client.
            TransientError: Stash did not answer, or is overloaded; or the lock of this
                job was lost, and nothing was sent.
            RefusedError: Stash answered with an error.
            UnreadableError: The answer is none of a Stash server.
        """
        return self.send_dated(operation, variables, timeout_seconds=timeout_seconds)[0]

    def send_dated(
        self,
        operation: Operation[T],
        variables: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> tuple[T | None, datetime | None]:
        """Send as `send` does; return also what the server's clock said then.

        The clock is that of whatever answered, to the second; None: it does not say.
        """

        def post() -> tuple[T | None, datetime | None]:
            unknown = self._unknown
            body = {
                "operationName": operation.name,
                "query": operation.text_without(unknown),
                "variables": variables or {},
            }
            try:
                return self._post(operation, msgspec.json.encode(body), timeout_seconds)
            except _UnknownFieldsError as error:
                if error.names <= unknown:
                    raise self._graphql_error(operation.name, error.errors) from None
                # Stash checks a whole document before it does anything of it.
                self._do_without(error.names)
            return post()

        if operation.reads and timeout_seconds is None:
            return self._again(operation.name, post)
        if not (operation.reads or operation.stops):
            before_write()
        return post()

    def media_exists(self, url_path: str) -> bool:
        """Tell whether Stash serves real media at `url_path`, by asking for one byte.

        Stash does not know HEAD, and answers some missing media with a placeholder. A
        file that is too small to hold anything is no media: Stash serves an empty one
        with status 200 or 206.

        Raises:
            JobError: A web page is served there, so it is not Stash that answers.
        """
        path = httpx.URL(url_path).raw_path.decode("ascii")
        path = path.removeprefix(self._prefix)
        return self._again(f"media {path}", lambda: self._probe(path))

    def picture(self, url_path: str) -> bytes | None:
        """Return the picture that Stash serves there; None: there is none.

        Raises:
            JobError: A web page is served there, so it is not Stash that answers.
        """
        path = httpx.URL(url_path).raw_path.decode("ascii")
        path = path.removeprefix(self._prefix)
        try:
            with self._client.stream(
                "GET", f"{self._url}{path}", headers={"Accept": "image/*"}
            ) as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    return None
                self._check_status(response, path)
                kind = _type_of(response)
                if kind == "text/html":
                    raise self._no_stash(response)
                if not kind.startswith("image/") or kind == "image/svg+xml":
                    return None
                return _read_up_to(response, _MOST_PICTURE_BYTES)
        except httpx.HTTPError as error:
            self._fail(path, error, self.timeout_seconds)

    def _post(
        self, operation: Operation[T], body: bytes, timeout_seconds: float | None
    ) -> tuple[T | None, datetime | None]:
        limit = timeout_seconds or self.timeout_seconds
        try:
            with self._client.stream(
                "POST",
                f"{self._url}/graphql",
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout(limit),
            ) as response:
                # Not left to the response: it refers to itself, and would hold the
                # answer, often a megabyte, until Python looks for cycles.
                answer = b"".join(response.iter_bytes())
        except httpx.HTTPError as error:
            self._fail(operation.name, error, limit)
        self._check_status(response, operation.name)
        try:
            envelope = operation.decode(answer)
        except msgspec.ValidationError as error:
            raise UnreadableError(
                f"Stash answered {operation.name} in an unknown form",
                where=self.address,
                remedy=f"{error}; this Stash may be too old or too new",
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._no_stash(response) from error
        if envelope.errors:
            if unknown := _unknown_fields(envelope.errors):
                raise _UnknownFieldsError(unknown, envelope.errors)
            raise self._graphql_error(operation.name, envelope.errors)
        if envelope.data is None:
            raise self._no_stash(response)
        return operation.answer_of(envelope.data), _date_of(response)

    def _do_without(self, names: frozenset[str]) -> None:
        """Leave out of all documents what this server does not know."""
        for name in sorted(names - self._unknown):
            logger.info(
                "This version of Stash has no %s, which needs Stash %s; %s",
                name,
                _YOUNGER[name],
                "the field stays empty"
                if name in YOUNGER_FIELDS
                else WITHOUT_QUERY[name],
            )
        self._unknown |= names

    def _probe(self, path: str) -> bool:
        try:
            # Streamed, so that an answer that ignores the range is not read.
            with self._client.stream(
                "GET",
                f"{self._url}{path}",
                # Packed, the length would not be that of the media.
                headers={"Range": "bytes=0-0", "Accept-Encoding": "identity"},
            ) as response:
                if response.status_code in {204, 404, 416}:
                    return False
                self._check_status(response, path)
                if _type_of(response) == "text/html":
                    raise self._no_stash(response)
                return _holds_media(response)
        except httpx.HTTPError as error:
            self._fail(path, error, self.timeout_seconds)

    def _again(self, name: str, call: Callable[[], T]) -> T:
        def on_retry(error: Exception, seconds: float) -> None:
            logger.info("%s; StashHog tries %s again in %g s", error, name, seconds)

        return with_retries(call, self._retry_delays_seconds, on_retry=on_retry)

    def _check_status(self, response: httpx.Response, name: str) -> None:
        """Return if the body is worth reading."""
        status = response.status_code
        to_login = "/login" in response.headers.get("Location", "")
        if status == httpx.codes.UNAUTHORIZED or (response.is_redirect and to_login):
            raise ConfigurationError(
                "Stash does not accept the API key",
                where=self.address,
                remedy="set STASHHOG_STASH__API_KEY to the key shown in Stash under "
                "Settings, Security; leave it empty if Stash has no password",
            )
        if status == httpx.codes.FORBIDDEN:
            raise ConfigurationError(
                "Stash refuses this machine",
                where=self.address,
                remedy="read Stash's log; a proxy in front of Stash may also "
                "refuse requests",
            )
        if status == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise TransientError(
                f"Stash answered {name} with status {status}",
                where=self.address,
                remedy=READ_LOG,
            )
        # 400 and 422 carry GraphQL errors.
        if response.is_redirect or (response.is_client_error and status not in _SAID):
            raise self._no_stash(response)

    def _no_stash(self, response: httpx.Response) -> UnreadableError:
        answer = f"status {response.status_code}"
        if response.is_redirect:
            answer += f", redirecting to {response.headers.get('Location', '')}"
        return UnreadableError(
            "The server at this address is not a Stash server",
            where=self.address,
            remedy=f"check STASHHOG_STASH__URL (the answer was {answer})",
        )

    def _graphql_error(
        self, name: str, errors: tuple[GraphQLError, ...]
    ) -> StashHogError:
        text = "; ".join(error.message for error in errors)
        if any(words in text for words in _LOCKED):
            return BusyError(
                f"Stash's database is busy ({name})",
                where=self.address,
                remedy="wait until Stash has finished its other jobs",
            )
        if _PANIC in text:
            return RefusedError(
                f"Stash itself failed at {name}",
                where=self.address,
                remedy=f"read Stash's log; the answer was: {text}",
            )
        return RefusedError(f"Stash refused {name}: {text}", where=self.address)

    def _fail(
        self, name: str, error: httpx.HTTPError, limit_seconds: float
    ) -> NoReturn:
        """Raise our error for one of the network."""
        if why := certificate_fault(error):
            raise untrusted("Stash", why, self.address, _CA_FILE) from error
        what = f"Stash {fault(error, name, limit_seconds)}"
        if isinstance(error, httpx.DecodingError):
            raise UnreadableError(what, where=self.address, remedy=READ_LOG) from error
        raise TransientError(
            what,
            where=self.address,
            remedy="check that Stash is running, and check STASHHOG_STASH__URL "
            f"({error})",
        ) from error

    @staticmethod
    def _timeout(seconds: float) -> httpx.Timeout:
        return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_TIMEOUT_SECONDS))


_SAID = {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}


def _date_of(response: httpx.Response) -> datetime | None:
    try:
        date = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _type_of(response: httpx.Response) -> str:
    kind: str = response.headers.get("Content-Type", "").partition(";")[0]
    return kind.strip().lower()


def _holds_media(response: httpx.Response) -> bool:
    kind, size = _type_of(response), _whole_size(response)
    if any(kind == of and bytes_ in (None, size) for of, bytes_ in _PLACEHOLDERS):
        return False
    if size is not None:
        return size >= _LEAST_MEDIA_BYTES
    # Neither length nor total is stated: a proxy has left them out.
    is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
    needed = 1 if is_part else _LEAST_MEDIA_BYTES
    received = 0
    for chunk in response.iter_bytes():
        received += len(chunk)
        if received >= needed:
            return True
    return False


def _read_up_to(response: httpx.Response, most: int) -> bytes | None:
    """Return the body; None: it is longer."""
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > most:
            return None
    return body


def _whole_size(response: httpx.Response) -> int | None:
    """Return the bytes of the whole file of which this is a part; None: not stated."""
    headers = response.headers
    # "bytes 0-0/1199"; the total may be "*".
    stated = headers.get("Content-Range", "").rpartition("/")[2]
    is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
    if not stated and not is_part and "Content-Encoding" not in headers:
        stated = headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else None


class _UnknownFieldsError(Exception):
    """The server is too old for these fields, and can be asked without them."""

    def __init__(self, names: frozenset[str], errors: tuple[GraphQLError, ...]) -> None:
        super().__init__(names, errors)
        self.names = names
        self.errors = errors


def _unknown_fields(errors: Sequence[GraphQLError]) -> frozenset[str]:
    """Return the fields that older servers lack, if these errors are about no other."""
    found = {
        f"{match['type']}.{match['field']}" if match else ""
        for match in (_UNKNOWN.match(error.message) for error in errors)
    }
    return frozenset(found) if found <= _YOUNGER.keys() else frozenset()
