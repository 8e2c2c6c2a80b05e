"""The calls to qBittorrent's Web API, from 4.1 to 5.x."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NotRequired, TypeVar
from urllib.parse import urlsplit

import qbittorrentapi
from pydantic import Field, TypeAdapter, ValidationError
from qbittorrentapi.exceptions import (
    APIError,
    Conflict409Error,
    Forbidden403Error,
    HTTP4XXError,
    HTTP5XXError,
    LoginFailed,
    NotFound404Error,
)
from typing_extensions import TypedDict

from stashhog_core.batches import batched
from stashhog_core.errors import (
    ConfigurationError,
    ItemError,
    TransientError,
    first_problem,
    shown,
)
from stashhog_core.http import (
    certificate_fault,
    tls_context,
    untrusted,
)
from stashhog_core.loopback import is_loopback
from stashhog_core.progress import before_write
from stashhog_core.settings import QBittorrentSettings

_CONNECT_TIMEOUT_SECONDS = 10.0
# Longer than any list of hashes that a form field may hold in older versions.
_CA_FILE = "STASHHOG_QBITTORRENT__CA_FILE"
_HASHES_AT_ONCE = 200
_FIRST_WITH_TAGS = (2, 3)
"""Version of the Web API; qBittorrent 4.2."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Torrent(TypedDict):
    """What StashHog reads of a torrent; older versions do not tell all of it.

    `last_activity` is in seconds since 1970,
    `seeding_time` in seconds, and limits of times in minutes; a limit below 0 is none.
    """

    hash: str
    name: str
    state: str
    save_path: str
    category: NotRequired[str]
    tags: NotRequired[str]
    content_path: NotRequired[str]
    ratio: NotRequired[float | None]
    seeding_time: NotRequired[float | None]
    last_activity: NotRequired[float | None]
    max_ratio: NotRequired[float | None]
    max_seeding_time: NotRequired[float | None]
    max_inactive_seeding_time: NotRequired[float | None]


class TorrentFile(TypedDict):
    """What StashHog reads of a file: path, bytes, share (0 to 1), and 0 if unwanted."""

    name: Annotated[str, Field(min_length=1)]
    size: int
    progress: float
    priority: int


_TORRENT = TypeAdapter(Torrent)
_FILE = TypeAdapter(TorrentFile)


def as_torrent(row: Mapping[str, Any]) -> Torrent:
    """Return a row of `QBittorrentClient.torrents`.

    Raises:
        ItemError: The torrent lacks a value, or has one of another kind.
    """
    return _read(_TORRENT, row, str(row["hash"]))


class QBittorrentClient:
    """A login at qBittorrent; every error is translated here.

    Args:
        settings: Address and credentials.

    Raises:
        ConfigurationError: No qBittorrent answers there, or it refuses the login.
        TransientError: It answers with a failure of its own.
    """

    def __init__(self, settings: QBittorrentSettings) -> None:
        self._address = settings.url
        requests: dict[str, Any] = {
            "timeout": (_CONNECT_TIMEOUT_SECONDS, settings.timeout_seconds)
        }
        if settings.ca_file is not None:
            # Said here if it is no such file.
            tls_context(settings.ca_file, _CA_FILE)
            requests["verify"] = str(settings.ca_file)
        if is_loopback(urlsplit(settings.url).hostname or ""):
            # A proxy of the environment would get the password.
            requests["proxies"] = dict.fromkeys(("http", "https", "all"))
        self._client = qbittorrentapi.Client(
            host=settings.url,
            username=settings.username,
            password=settings.password.get_secret_value(),
            REQUESTS_ARGS=requests,
            # Or it would try https where http does not answer, and blame that.
            FORCE_SCHEME_FROM_HOST=True,
            # The client tries again once by itself; more would only take longer.
            HTTPADAPTER_ARGS={"max_retries": 0},
            # Plain dictionaries: 5,000 torrents take a tenth of the time.
            SIMPLE_RESPONSES=True,
            DISABLE_LOGGING_DEBUG_OUTPUT=True,
        )
        self._log_in()

    def torrents(self, category: str | None = None) -> list[dict[str, Any]]:
        """Return all torrents, or those of a category, in the order of their hashes.

        Raises:
            ConfigurationError: The login is lost, or it is no qBittorrent.
            TransientError: It is away; never an empty list.
        """
        torrents = self._ask(lambda: self._client.torrents_info(category=category))
        if not _is_rows(torrents) or not all(
            isinstance(row.get("hash"), str) for row in torrents
        ):
            raise self._no_qbittorrent()
        # A torrent without a name is known by its hash.
        named = (
            row
            if isinstance(row.get("name"), str) and row["name"]
            else {**row, "name": row["hash"]}
            for row in torrents
        )
        return sorted(named, key=lambda torrent: str(torrent["hash"]))

    def files(self, info_hash: str) -> list[TorrentFile]:
        """Return the files of a torrent.

        Raises:
            ItemError: It is not there any more, or a file lacks a value.
            TransientError: The server is away.
        """
        files = self._ask(lambda: self._client.torrents_files(torrent_hash=info_hash))
        if not _is_rows(files):
            raise self._no_qbittorrent()
        return [_read(_FILE, file, info_hash) for file in files]

    def version(self) -> str:
        """Return qBittorrent's version, such as `v4.5.2`."""
        return str(self._ask(self._client.app_version))

    def categories(self) -> dict[str, str]:
        """Return the categories, each with its save path; empty: the default one."""
        found = self._ask(self._client.torrents_categories)
        if not isinstance(found, dict):
            raise self._no_qbittorrent()
        return {
            str(name): str(facts.get("savePath") or "")
            for name, facts in found.items()
            if isinstance(facts, dict)
        }

    def default_save_path(self) -> str:
        """Return the folder that torrents are saved in unless they say otherwise."""
        return str(self._ask(self._client.app_default_save_path))

    def has_tags(self) -> bool:
        """Tell whether this version knows tags."""
        version = self._ask(self._client.app_web_api_version)
        numbers = tuple(int(number) for number in re.findall(r"\d+", str(version))[:2])
        return numbers >= _FIRST_WITH_TAGS

    def add_tag(self, tag: str, hashes: Iterable[str]) -> None:
        """Tag torrents; a server without tags is no failure."""
        self._in_batches(
            hashes, lambda some: self._client.torrents_add_tags(tag, some), f"tag {tag}"
        )

    def remove_tag(self, tag: str, hashes: Iterable[str]) -> None:
        """Take a tag from torrents."""
        self._in_batches(
            hashes,
            lambda some: self._client.torrents_remove_tags(tag, some),
            f"tag {tag}",
        )

    def set_category(self, category: str, hashes: Iterable[str]) -> None:
        """Put torrents into a category, which is created if it is missing.

        Raises:
            ConfigurationError: It is no name for a category.
        """
        hashes = list(hashes)
        if not hashes:
            return

        def create() -> None:
            try:
                self._client.torrents_create_category(category)
            except Conflict409Error:
                _log.debug("The category %s already exists", category)

        def put(some: list[str]) -> None:
            try:
                self._client.torrents_set_category(category, some)
            except Conflict409Error as error:
                raise ConfigurationError(
                    f"qBittorrent does not accept the category {category!r}",
                    where=self._address,
                    remedy="correct STASHHOG_QBITTORRENT__POST_IMPORT_CATEGORY",
                ) from error

        self._ask(create)
        self._in_batches(hashes, put, f"category {category}")

    def remove(self, info_hash: str, *, with_files: bool) -> None:
        """Stop and remove a torrent, and perhaps its files from the disk.

        Raises:
            TransientError: The server is away.
        """
        before_write()
        # `pause` before 5.0, `stop` since; the client asks for the version.
        self._ask(lambda: self._client.torrents_stop(info_hash))
        self._ask(lambda: self._client.torrents_delete(with_files, info_hash))

    def close(self) -> None:
        """Log out; a server that is gone needs no logging out."""
        try:
            self._client.auth_log_out()
        except APIError as error:
            _log.debug("qBittorrent did not answer when StashHog logged out: %s", error)

    def _log_in(self) -> None:
        try:
            self._client.auth_log_in()
        except LoginFailed as error:
            raise ConfigurationError(
                "qBittorrent refuses the login",
                where=self._address,
                remedy="check STASHHOG_QBITTORRENT__USERNAME and "
                "STASHHOG_QBITTORRENT__PASSWORD",
            ) from error
        except Forbidden403Error as error:
            raise ConfigurationError(
                "qBittorrent has banned this machine after wrong passwords",
                where=self._address,
                remedy="correct STASHHOG_QBITTORRENT__PASSWORD, then wait for the ban "
                "to end or restart qBittorrent",
            ) from error
        except HTTP5XXError as error:
            raise self._failing(error) from error
        except HTTP4XXError as error:
            raise self._no_qbittorrent() from error
        except APIError as error:
            if why := certificate_fault(error):
                raise untrusted("qBittorrent", why, self._address, _CA_FILE) from error
            raise ConfigurationError(
                "qBittorrent cannot be reached",
                where=self._address,
                remedy="start qBittorrent, or correct STASHHOG_QBITTORRENT__URL",
            ) from error

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Make one call; whatever goes wrong is an outage, never an empty answer."""
        try:
            return call()
        except NotFound404Error as error:
            raise ItemError(
                "qBittorrent no longer has the torrent",
                remedy="to import the torrent, add it to qBittorrent again",
            ) from error
        except (LoginFailed, Forbidden403Error) as error:
            raise ConfigurationError(
                "qBittorrent no longer accepts the login",
                where=self._address,
                remedy="check STASHHOG_QBITTORRENT__PASSWORD",
            ) from error
        except (APIError, ValueError, RecursionError) as error:
            # ValueError: an answer that is not JSON, as of a server that stops halfway.
            raise self._failing(error) from error

    def _in_batches(
        self, hashes: Iterable[str], call: Callable[[list[str]], None], what: str
    ) -> None:
        for some in batched(hashes, _HASHES_AT_ONCE):
            before_write()
            try:
                self._ask(lambda some=some: call(some))  # type: ignore[misc]
            except ItemError:
                _log.warning(
                    "This version of qBittorrent cannot do this; the %s is not set",
                    what,
                )

    def _failing(self, error: Exception) -> TransientError:
        return TransientError(
            "qBittorrent did not give a usable answer",
            where=self._address,
            remedy=f"StashHog tries again later ({type(error).__name__})",
        )

    def _no_qbittorrent(self) -> ConfigurationError:
        return ConfigurationError(
            "The server at this address is not qBittorrent's Web API",
            where=self._address,
            remedy="correct STASHHOG_QBITTORRENT__URL",
        )


def _is_rows(answer: Any) -> bool:
    """Tell whether an answer is a list of objects, as every list of qBittorrent is."""
    return isinstance(answer, list) and all(isinstance(row, dict) for row in answer)


def _read(kind: TypeAdapter[T], row: Any, info_hash: str) -> T:
    try:
        return kind.validate_python(row, strict=True)
    except ValidationError as error:
        field = shown(error.errors()[0]["loc"][0]).strip("'")
        raise ItemError(
            f"qBittorrent's answer about the torrent has a wrong value: {field}: "
            f"{first_problem(error)}",
            where=info_hash,
            remedy="recheck the torrent in qBittorrent, or update qBittorrent",
        ) from error
