"""qBittorrent as a source of finished downloads, from 4.1 to 5.x."""

import logging
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import qbittorrentapi
from qbittorrentapi.exceptions import (
    APIError,
    Forbidden403Error,
    HTTP4XXError,
    HTTP5XXError,
    LoginFailed,
    NotFound404Error,
)

from stashhog_core.downloads.names import check_name, printable
from stashhog_core.downloads.sources import (
    Entry,
    EntryFiles,
    Listing,
    Problem,
    SourceFile,
)
from stashhog_core.errors import ConfigurationError, ItemError, TransientError
from stashhog_core.paths import PathMap
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings

DONE_TAG = "synced"
FAILED_TAG = "error_syncing"

# `checkingUP` is not among them, since a check may fail; nor is `moving`.
_COMPLETE = {"pausedUP", "stoppedUP", "uploading", "stalledUP", "queuedUP", "forcedUP"}
_BROKEN = {
    "error": "qBittorrent reports an error with it",
    "missingFiles": "qBittorrent misses its files",
}
_PATH_MAP_VARIABLE = "STASHHOG_DOWNLOADS__PATH_MAP"
_CONNECT_TIMEOUT_SECONDS = 10.0
# Longer than any list of hashes that a form field may hold in older versions.
_TAGGED_AT_ONCE = 200

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class QBittorrent:
    """The finished torrents of one category.

    Args:
        settings: Category and path map.
        server: Address and credentials.

    Raises:
        ConfigurationError: No qBittorrent answers there, or it refuses the login.
        TransientError: It answers with a failure of its own.
    """

    kind = "qbittorrent"

    def __init__(self, settings: DownloadSettings, server: QBittorrentSettings) -> None:
        self._category = settings.category
        self._map = PathMap(settings.path_map)
        self._address = server.url
        self._client = qbittorrentapi.Client(
            host=server.url,
            username=server.username,
            password=server.password.get_secret_value(),
            REQUESTS_ARGS={
                "timeout": (_CONNECT_TIMEOUT_SECONDS, server.timeout_seconds)
            },
            # The client tries again once by itself; more would only take longer.
            HTTPADAPTER_ARGS={"max_retries": 0},
            # Plain dictionaries: 5,000 torrents take a tenth of the time.
            SIMPLE_RESPONSES=True,
            DISABLE_LOGGING_DEBUG_OUTPUT=True,
        )
        self._log_in()

    def finished(self, progress: Progress) -> Listing:
        """List the complete torrents that do not carry the tag of the done ones."""
        progress.update(None, "Asking qBittorrent for its torrents")
        # Everything, not only what is complete: a broken torrent is no longer complete.
        torrents = self._ask(
            lambda: self._client.torrents_info(category=self._category or None)
        )
        if not isinstance(torrents, list):
            raise self._no_qbittorrent()
        entries, problems = [], []
        done = unfinished = 0
        for torrent in sorted(torrents, key=lambda torrent: str(torrent["hash"])):
            state = torrent["state"]
            if DONE_TAG in _tags(torrent):
                done += 1
            elif state in _BROKEN:
                problems.append(
                    Problem(torrent["name"], _BROKEN[state], torrent["hash"])
                )
            elif state not in _COMPLETE:
                unfinished += 1
            else:
                try:
                    content = self._content_path(torrent)
                    if not _is_absolute(content):
                        unfinished += 1
                        continue
                    entries.append(self._entry(torrent, content))
                except ItemError as error:
                    problems.append(
                        Problem(torrent["name"], str(error), torrent["hash"])
                    )
        return Listing(tuple(entries), tuple(problems), done, unfinished)

    def files(self, entry: Entry) -> EntryFiles:
        """List the wanted files of a torrent, as they lie on this machine."""
        answer = self._ask(lambda: self._client.torrents_files(torrent_hash=entry.key))
        wanted = [file for file in answer if file["priority"] != 0]
        if not wanted:
            raise ItemError("None of its files is selected in qBittorrent")
        location = self._content(entry, depth=wanted[0]["name"].count("/"))
        is_folder = location.is_dir()
        files, problems = [], []
        for file in sorted(wanted, key=lambda file: str(file["name"])):
            # The first name is that of the torrent's own folder.
            relative = file["name"].partition("/")[2] if is_folder else location.name
            try:
                files.append(_local_file(location, relative, is_folder, file))
            except ItemError as error:
                problems.append(Problem(relative or file["name"], str(error)))
        return EntryFiles(is_folder, tuple(files), tuple(problems))

    def mark_done(self, entries: Sequence[Entry]) -> None:
        """Tag torrents as done, and take the tag of failure from them."""
        failed_before = [entry.key for entry in entries if entry.is_marked_failed]
        for keys in _portions([entry.key for entry in entries]):
            self._tag(self._client.torrents_add_tags, DONE_TAG, keys)
        for keys in _portions(failed_before):
            self._tag(self._client.torrents_remove_tags, FAILED_TAG, keys)

    def mark_failed(self, keys: Sequence[str]) -> None:
        """Tag torrents as failed."""
        for portion in _portions(keys):
            self._tag(self._client.torrents_add_tags, FAILED_TAG, portion)

    def close(self) -> None:
        """Log out; a server that is gone needs no logging out."""
        try:
            self._client.auth_log_out()
        except APIError as error:
            _log.debug("qBittorrent was gone before logging out: %s", error)

    def _content_path(self, torrent: Mapping[str, Any]) -> str:
        """Return where a torrent lies, on qBittorrent's machine."""
        if "content_path" in torrent:
            return str(torrent["content_path"])
        # Before 4.3.2 the server does not say: its files' common folder tells.
        files = self._ask(lambda: self._client.torrents_files(torrent["hash"]))
        tops = {file["name"].partition("/")[0] for file in files}
        save_path = str(torrent["save_path"]).rstrip("/\\")
        return f"{save_path}/{tops.pop()}" if len(tops) == 1 else save_path

    def _entry(self, torrent: Mapping[str, Any], content: str) -> Entry:
        location = self._local(content)
        boundary = self._local(torrent["save_path"])
        if location == boundary:
            raise ItemError(
                "Its content is the whole save path, so that other downloads "
                "would be taken with it",
                where=printable(content),
                remedy="give it a folder of its own in qBittorrent",
            )
        try:
            name = check_name(torrent["name"])
        except ItemError:
            # Shown names are free text; the name on disk is always a file name.
            name = check_name(location.name)
        tags = _tags(torrent)
        return Entry(
            key=torrent["hash"],
            name=name,
            location=location,
            boundary=boundary if location.is_relative_to(boundary) else location.parent,
            is_marked_failed=FAILED_TAG in tags,
            # Taking the tag away by hand is how a person asks for another try.
            may_retry_blocked=FAILED_TAG not in tags,
        )

    def _content(self, entry: Entry, depth: int) -> Path:
        """Return the folder of a torrent, or its file if it has no folder.

        Args:
            entry: The torrent.
            depth: Number of folders that qBittorrent names its files in.

        Raises:
            ItemError: It is not here, or not in its save path.
        """
        location = entry.location.resolve()
        if not location.exists():
            raise ItemError(
                "Its files are not on this machine",
                where=printable(str(entry.location)),
                remedy=f"mount them here, or map qBittorrent's path in "
                f"{_PATH_MAP_VARIABLE}",
            )
        if depth and not location.is_dir():
            # A folder with one file: qBittorrent gives the file as the content.
            location = location.parents[min(depth, len(location.parents)) - 1]
        boundary = entry.boundary.resolve()
        if not location.is_relative_to(boundary) or location == boundary:
            raise ItemError(
                "It lies outside its save path, perhaps by a symbolic link",
                where=printable(str(entry.location)),
            )
        return location

    def _local(self, path: str) -> Path:
        local = self._map.to_local(path)
        if not Path(local).is_absolute():
            raise ItemError(
                "Its path is none of this machine",
                where=printable(path),
                remedy=f"map its beginning in {_PATH_MAP_VARIABLE}",
            )
        return Path(local)

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
            raise ConfigurationError(
                "qBittorrent cannot be reached",
                where=self._address,
                remedy="start it, or correct STASHHOG_QBITTORRENT__URL",
            ) from error

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Make one call; whatever goes wrong is an outage, never an empty answer."""
        try:
            return call()
        except NotFound404Error as error:
            raise ItemError("qBittorrent does not have it any more") from error
        except (LoginFailed, Forbidden403Error) as error:
            raise ConfigurationError(
                "qBittorrent does not accept the login any more",
                where=self._address,
                remedy="check STASHHOG_QBITTORRENT__PASSWORD",
            ) from error
        except (APIError, ValueError) as error:
            # ValueError: an answer that is not JSON, as of a server that stops halfway.
            raise self._failing(error) from error

    def _tag(self, call: Callable[..., Any], tag: str, keys: list[str]) -> None:
        try:
            self._ask(lambda: call(tags=tag, torrent_hashes=keys))
        except ItemError:
            _log.warning("This qBittorrent knows no tags: %s is not shown there", tag)

    def _failing(self, error: Exception) -> TransientError:
        return TransientError(
            "qBittorrent did not answer as it should",
            where=self._address,
            remedy=f"it is asked again later ({type(error).__name__})",
        )

    def _no_qbittorrent(self) -> ConfigurationError:
        return ConfigurationError(
            "What answers there is not qBittorrent's Web API",
            where=self._address,
            remedy="correct STASHHOG_QBITTORRENT__URL",
        )


def _local_file(
    location: Path, relative: str, is_folder: bool, file: Mapping[str, Any]
) -> SourceFile:
    """Return a wanted file of a torrent after a look at it.

    Raises:
        ItemError: It is not whole, not there, no regular file, or outside the torrent.
    """
    if file["progress"] < 1:
        raise ItemError(f"qBittorrent has only {file['progress']:.0%} of it")
    names = [check_name(name) for name in relative.split("/")]
    path = location.joinpath(*names) if is_folder else location
    try:
        status = path.lstat()
        inside = path.parent.resolve().is_relative_to(location) or not is_folder
    except OSError as error:
        raise ItemError(f"It cannot be read: {error.strerror}") from error
    if not inside or stat.S_ISLNK(status.st_mode):
        raise ItemError("A symbolic link is in its way, which may lead outside")
    if not stat.S_ISREG(status.st_mode):
        raise ItemError("It is no regular file")
    if status.st_size != file["size"]:
        raise ItemError(
            f"It has {status.st_size} bytes where qBittorrent says {file['size']}"
        )
    return SourceFile(relative, path, status.st_size)


def _is_absolute(path: str) -> bool:
    # While qBittorrent checks a torrent, the path is relative and means nothing.
    return path.startswith("/") or PureWindowsPath(path).is_absolute()


def _tags(torrent: Mapping[str, Any]) -> set[str]:
    return {tag.strip() for tag in torrent.get("tags", "").split(",")} - {""}


def _portions(keys: Iterable[str]) -> list[list[str]]:
    keys = list(keys)
    return [
        keys[start : start + _TAGGED_AT_ONCE]
        for start in range(0, len(keys), _TAGGED_AT_ONCE)
    ]
