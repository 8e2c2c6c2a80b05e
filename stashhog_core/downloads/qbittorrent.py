"""qBittorrent as a source of finished downloads."""

import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from stashhog_core.downloads.names import check_name, printable
from stashhog_core.downloads.sources import (
    Entry,
    EntryFiles,
    Listing,
    Problem,
    SourceFile,
)
from stashhog_core.downloads.webapi import WebApi
from stashhog_core.errors import ItemError
from stashhog_core.paths import PathMap, is_below
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings

# `checkingUP` is not among them, since a check may fail; nor is `moving`.
_COMPLETE = {"pausedUP", "stoppedUP", "uploading", "stalledUP", "queuedUP", "forcedUP"}
_BROKEN = {
    "error": "qBittorrent reports an error with it",
    "missingFiles": "qBittorrent misses its files",
}
_PATH_MAP_VARIABLE = "STASHHOG_DOWNLOADS__PATH_MAP"
_MINUTE_SECONDS = 60


class QBittorrent:
    """The finished torrents of one category.

    Args:
        settings: Category and path map.
        server: Address, credentials, and which torrents are taken.

    Raises:
        ConfigurationError: No qBittorrent answers there, or it refuses the login.
        TransientError: It answers with a failure of its own.
    """

    kind = "qbittorrent"

    def __init__(self, settings: DownloadSettings, server: QBittorrentSettings) -> None:
        self._category = settings.category
        self._map = PathMap(settings.path_map)
        self._settings = server
        self._api = WebApi(server)
        # Set only if importing takes torrents out of the category that is looked at.
        self._after: str | None = None
        if self._category and server.post_import_category != self._category:
            self._after = server.post_import_category
        self._filters = bool(
            server.required_tags or server.refused_tags or server.save_paths
        )

    def finished(self, progress: Progress) -> Listing:
        """List the complete torrents that do not carry the tag of the done ones."""
        progress.update(None, "Asking qBittorrent for its torrents")
        # Everything, not only what is complete: a broken torrent is no longer complete.
        torrents = self._api.torrents(None if self._after else self._category or None)
        entries, problems = [], []
        untold: list[Entry] = []
        done = unfinished = 0
        for torrent in torrents:
            tags = _tags(torrent)
            if self._filters and not self._is_ours(torrent, tags):
                continue
            state = torrent["state"]
            if self._after and torrent["category"] != self._category:
                if self._is_untold(torrent, tags):
                    untold += self._known_place(torrent, tags)
            elif self._settings.done_tag in tags:
                done += 1
            elif state in _BROKEN:
                problems.append(
                    Problem(torrent["name"], _BROKEN[state], torrent["hash"])
                )
            elif state not in _COMPLETE:
                unfinished += 1
            else:
                try:
                    entry = self._entry(torrent, tags)
                except ItemError as error:
                    problems.append(
                        Problem(torrent["name"], str(error), torrent["hash"])
                    )
                    continue
                if entry is None:
                    unfinished += 1
                else:
                    entries.append(entry)
        removable = () if self._settings.clean_up == "none" else self._removable()
        return Listing(
            tuple(entries), tuple(problems), done, unfinished, removable, tuple(untold)
        )

    def files(self, entry: Entry) -> EntryFiles:
        """List the wanted files of a torrent, as they lie on this machine."""
        answer = self._api.files(entry.key)
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
        unwanted = tuple(
            file["name"]
            for file in answer
            if file["priority"] == 0 and os.path.lexists(_beside(location, file))
        )
        return EntryFiles(is_folder, tuple(files), tuple(problems), unwanted)

    def why_unfinished(self, files: Sequence[SourceFile]) -> str | None:
        """Return None: qBittorrent says what is finished."""

    def mark_done(self, entries: Sequence[Entry]) -> None:
        """Tag torrents as done, and take the tag of failure from them."""
        keys = [entry.key for entry in entries]
        self._api.remove_tag(
            self._settings.failed_tag,
            [entry.key for entry in entries if entry.is_marked_failed],
        )
        if self._settings.post_import_category is not None:
            self._api.set_category(self._settings.post_import_category, keys)
        # Last: whatever fails before it, the next run lists them again.
        self._api.add_tag(self._settings.done_tag, keys)

    def mark_failed(self, keys: Sequence[str]) -> None:
        """Tag torrents as failed."""
        self._api.add_tag(self._settings.failed_tag, keys)

    def sharing(self, entry: Entry) -> str | None:
        """Return the name of another torrent, of any category, that uses its files."""
        torrents = self._api.torrents()
        mine = [t for t in torrents if t["hash"] == entry.key]
        contents = [self._content_path(torrent) for torrent in mine]
        for torrent in torrents:
            if torrent["hash"] == entry.key:
                continue
            theirs = self._content_path(torrent)
            if not _is_absolute(theirs):
                # It is being checked: where it lies is known to be in its save path.
                theirs = f"{torrent['save_path'].rstrip('/')}/{theirs}"
            if any(is_below(theirs, c) or is_below(c, theirs) for c in contents):
                return str(torrent["name"])
        return None

    def remove(self, entry: Entry, *, with_files: bool) -> None:
        """Stop and remove a torrent, and perhaps its files from the disk."""
        self._api.remove(entry.key, with_files=with_files)

    def close(self) -> None:
        """Log out."""
        self._api.close()

    @cached_property
    def _has_tags(self) -> bool:
        return self._api.has_tags()

    def _is_ours(self, torrent: Mapping[str, Any], tags: set[str]) -> bool:
        """Tell whether a torrent passes the filters that are set."""
        settings = self._settings
        return (
            tags.issuperset(settings.required_tags)
            and tags.isdisjoint(settings.refused_tags)
            and (
                not settings.save_paths
                or any(
                    is_below(torrent["save_path"], path) for path in settings.save_paths
                )
            )
        )

    def _removable(self) -> tuple[Entry, ...]:
        """Return the done torrents that have seeded as long as they must.

        They are asked for anew, without the category if importing changes it.
        """
        torrents = self._api.torrents(None if self._after else self._category or None)
        entries: list[Entry] = []
        for torrent in torrents:
            tags = _tags(torrent)
            categories = {self._category, self._after} if self._category else set()
            if (
                self._settings.done_tag in tags
                and torrent["state"] in _COMPLETE
                and (not categories or torrent.get("category") in categories)
                and self._is_ours(torrent, tags)
                and _has_seeded(torrent)
            ):
                entries += self._known_place(torrent, tags)
        return tuple(entries)

    def _is_untold(self, torrent: Mapping[str, Any], tags: set[str]) -> bool:
        """Tell whether importing may have given it its category, but not the tag."""
        return (
            torrent["category"] == self._after
            and self._settings.done_tag not in tags
            and torrent["state"] in _COMPLETE
        )

    def _known_place(
        self, torrent: Mapping[str, Any], tags: set[str]
    ) -> tuple[Entry, ...]:
        """Return a torrent as an entry; nothing if where it lies is not known."""
        try:
            entry = self._entry(torrent, tags)
        except ItemError:
            return ()
        return () if entry is None else (entry,)

    def _content_path(self, torrent: Mapping[str, Any]) -> str:
        """Return where a torrent lies, on qBittorrent's machine."""
        if "content_path" in torrent:
            return str(torrent["content_path"])
        # Before 4.3.2 the server does not say: its files' common folder tells.
        files = self._api.files(torrent["hash"])
        tops = {file["name"].partition("/")[0] for file in files}
        save_path = str(torrent["save_path"]).rstrip("/\\")
        return f"{save_path}/{tops.pop()}" if len(tops) == 1 else save_path

    def _entry(self, torrent: Mapping[str, Any], tags: set[str]) -> Entry | None:
        """Return a complete torrent as an entry; None while it is being checked."""
        content = self._content_path(torrent)
        if not _is_absolute(content):
            return None
        save_path = str(torrent["save_path"])
        location = self._local(content, save_path)
        boundary = self._local(save_path, save_path)
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
        is_marked_failed = self._settings.failed_tag in tags
        return Entry(
            key=torrent["hash"],
            name=name,
            location=location,
            boundary=boundary if location.is_relative_to(boundary) else location.parent,
            is_marked_failed=is_marked_failed,
            # Taking the tag away by hand is how a person asks for another try.
            may_retry_blocked=not is_marked_failed and self._has_tags,
            category=str(torrent.get("category", "")),
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
                remedy=_missing_mapping(self._map.to_remote(str(entry.boundary))),
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

    def _local(self, path: str, save_path: str) -> Path:
        local = self._map.to_local(path)
        if not Path(local).is_absolute():
            raise ItemError(
                "Its path is none of this machine",
                where=printable(path),
                remedy=_missing_mapping(save_path),
            )
        return Path(local)


def _missing_mapping(save_path: str) -> str:
    example = json.dumps({save_path: "/where/it/is/here"}, ensure_ascii=False)
    return printable(f"mount it here, or map it: {_PATH_MAP_VARIABLE}={example}")


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


def _beside(location: Path, file: Mapping[str, Any]) -> Path:
    """Return where a file of a torrent lies, given where the torrent does."""
    _, slash, relative = file["name"].partition("/")
    return location / relative if slash else location


def _has_seeded(torrent: Mapping[str, Any]) -> bool:
    """Tell whether one of a torrent's seeding limits is reached, or none is set.

    Limits that the server does not tell, as very old ones, are not reached.
    """
    if "max_ratio" not in torrent or "max_seeding_time" not in torrent:
        return False
    idle_seconds = time.time() - torrent.get("last_activity", time.time())
    limits = (
        (torrent["max_ratio"], torrent.get("ratio", 0)),
        (torrent["max_seeding_time"], torrent.get("seeding_time", 0) / _MINUTE_SECONDS),
        (torrent.get("max_inactive_seeding_time", -1), idle_seconds / _MINUTE_SECONDS),
    )
    set_limits = [(limit, value) for limit, value in limits if limit >= 0]
    return not set_limits or any(value >= limit for limit, value in set_limits)


def _is_absolute(path: str) -> bool:
    # While qBittorrent checks a torrent, the path is relative and means nothing.
    return path.startswith("/") or PureWindowsPath(path).is_absolute()


def _tags(torrent: Mapping[str, Any]) -> set[str]:
    return set(map(str.strip, torrent.get("tags", "").split(",")))
