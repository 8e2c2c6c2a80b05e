"""qBittorrent as a source of finished downloads."""

import json
import logging
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any

from stashhog_core.downloads.names import check_name
from stashhog_core.downloads.qbittorrent_client import (
    QBittorrentClient,
    Torrent,
    TorrentFile,
    as_torrent,
)
from stashhog_core.downloads.selection import archive_stem, is_archive
from stashhog_core.downloads.sources import (
    Entry,
    EntryFiles,
    Problem,
    SourceFile,
    SourceListing,
)
from stashhog_core.downloads.watch_folder import (
    is_written_to,
    list_files,
    named_unfinished,
)
from stashhog_core.errors import ItemError, StashHogError, unexpected
from stashhog_core.paths import PathMap, is_below, printable
from stashhog_core.progress import Progress
from stashhog_core.settings import DownloadSettings, QBittorrentSettings

# `checkingUP` is not among them, since a check may fail; nor is `moving`.
_COMPLETE = {"pausedUP", "stoppedUP", "uploading", "stalledUP", "queuedUP", "forcedUP"}
_BROKEN = {
    "error": "qBittorrent reports an error for this torrent",
    "missingFiles": "qBittorrent cannot find the torrent's files",
}
_IS_LINK = "The torrent itself makes the file a symbolic link to another of its files"
_PART_SUFFIX = ".!qB"
"""Of files that are not whole, where qBittorrent is set to mark them."""

_SUB_CATEGORIES_VARIABLE = "STASHHOG_DOWNLOADS__SUB_CATEGORIES"
_PATH_MAP_VARIABLE = "STASHHOG_DOWNLOADS__PATH_MAP"
_MINUTE_SECONDS = 60

_log = logging.getLogger(__name__)


class QBittorrentSource:
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
        self._sub_categories = bool(self._category) and settings.sub_categories
        self._quiet_seconds = settings.settle_seconds
        self._map = PathMap(settings.path_map)
        self._settings = server
        self._api = QBittorrentClient(server)
        # Set only if importing takes torrents out of the category that is looked at.
        self._after: str | None = None
        if self._category and server.post_import_category != self._category:
            self._after = server.post_import_category
        self._asks_for_all = bool(self._after) or self._sub_categories
        self._filters = bool(
            server.required_tags or server.refused_tags or server.save_paths
        )

    def finished(self, progress: Progress) -> SourceListing:
        """List the complete torrents that do not carry the tag of the done ones."""
        progress.update(None, "Listing the torrents in qBittorrent")
        found = SourceListing()
        # Everything, not only what is complete: a broken torrent is no longer complete.
        for torrent in self._torrents():
            try:
                self._sort(as_torrent(torrent), found)
            except ItemError as error:
                problem = Problem(torrent["name"], str(error), torrent["hash"])
                found.problems.append(problem)
            except StashHogError:
                raise
            except Exception as error:  # noqa: BLE001 - it stays this torrent's error
                _log.exception("Could not check the torrent %s", torrent["hash"])
                reason = f"Checking the torrent failed: {unexpected(error)}"
                found.problems.append(Problem(torrent["name"], reason, torrent["hash"]))
        if self._settings.clean_up != "none":
            found.removable = self._removable()
        return found

    def _torrents(self) -> list[dict[str, Any]]:
        """Return at least the torrents of the category, and of those below it if set.

        qBittorrent answers with exactly one category, or with all.
        """
        return self._api.torrents(
            None if self._asks_for_all else self._category or None
        )

    def _sort(self, torrent: Torrent, found: SourceListing) -> None:
        tags = _tags(torrent)
        if self._filters and not self._is_ours(torrent, tags):
            return
        state = torrent["state"]
        category = torrent.get("category", self._category)

        def problem(reason: str) -> Problem:
            return Problem(torrent["name"], printable(reason), torrent["hash"])

        if self._after and category == self._after:
            # Importing may have given it the category, but not yet the tag.
            if self._settings.done_tag not in tags and state in _COMPLETE:
                found.unconfirmed += self._known_place(torrent, tags)
        elif not self._is_taken(category):
            if self._is_below(category) and self._settings.done_tag not in tags:
                reason = (
                    f"The torrent's category {category} lies below {self._category} "
                    f"and is not imported: set {_SUB_CATEGORIES_VARIABLE}=true "
                    "to import it"
                )
                found.waiting.append(problem(reason))
        elif self._settings.done_tag in tags:
            found.done += 1
        elif state in _BROKEN:
            found.problems.append(problem(_BROKEN[state]))
        elif state not in _COMPLETE:
            found.unfinished += 1
        elif entry := self._entry(torrent, tags):
            found.entries.append(entry)
        else:
            found.unfinished += 1

    def _is_taken(self, category: str) -> bool:
        """Tell whether torrents of a category are taken."""
        if not self._category or not self._asks_for_all:
            # qBittorrent has chosen.
            return True
        if category == self._category:
            return True
        return self._sub_categories and self._is_below(category)

    def _is_below(self, category: str) -> bool:
        return category.startswith(f"{self._category}/")

    def files(self, entry: Entry) -> EntryFiles:
        """List the wanted files of a torrent, as they lie on this machine.

        If archives are among them, what was unpacked next to them is listed too.
        """
        answer = self._api.files(entry.key)
        wanted = [file for file in answer if file["priority"] != 0]
        if not wanted:
            raise ItemError(
                "None of the torrent's files is selected in qBittorrent",
                remedy="select the files to import in qBittorrent",
            )
        content = self._content(entry, depth=wanted[0]["name"].count("/"))
        files, problems, notes = [], [], []
        for file in sorted(wanted, key=lambda file: file["name"]):
            relative = content.relative(file)
            try:
                if content.is_link(file):
                    notes.append(Problem(relative, _IS_LINK))
                else:
                    files.append(_local_file(content, relative, file))
            except ItemError as error:
                problems.append(Problem(relative or file["name"], str(error)))
        unwanted = tuple(
            file["name"]
            for file in answer
            if file["priority"] == 0 and content.holds(content.relative(file))
        )
        if any(is_archive(file.relative_path) for file in files):
            unpacked = _unpacked(content, files, answer)
            partial = self._unfinished_of_others(
                entry, [Path(f.path) for f in unpacked]
            )
            files += [file for file in unpacked if Path(file.path) not in partial]
        return EntryFiles(
            content.is_folder, tuple(files), tuple(problems), unwanted, tuple(notes)
        )

    def why_unfinished(self, files: Sequence[SourceFile]) -> str | None:
        """Return why files that were unpacked next to a torrent are not finished.

        Of a torrent's own files, qBittorrent says what is finished.
        """
        rests_before = time.time() - self._quiet_seconds
        for file in files:
            if not file.changed_ns:
                continue
            if file.changed_ns / 1e9 > rests_before:
                return f"A file was unpacked a moment ago: {file.relative_path}"
            if is_written_to(file.path):
                return f"A program has a file open for writing: {file.relative_path}"
        return None

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
        torrents = [as_torrent(row) for row in self._api.torrents()]
        mine = {
            place
            for torrent in torrents
            if torrent["hash"] == entry.key
            for place in self._places(torrent)
        }
        for torrent in torrents:
            if torrent["hash"] == entry.key:
                continue
            for theirs in self._places(torrent):
                if any(is_below(theirs, m) or is_below(m, theirs) for m in mine):
                    return torrent["name"]
        return None

    def _unfinished_of_others(self, entry: Entry, paths: Sequence[Path]) -> set[Path]:
        """Return which of these files other torrents have not downloaded yet.

        Such a file may have its full size, and rest while its torrent is stopped.
        """
        rows = self._api.torrents() if paths else []
        others = (t for t in map(as_torrent, rows) if t["hash"] != entry.key)
        return set().union(*(self._unfinished(other, paths) for other in others))

    def _unfinished(self, torrent: Torrent, paths: Sequence[Path]) -> set[Path]:
        save_path = torrent["save_path"]
        try:
            places = self._places(torrent)
            here = [self._local(place, save_path).resolve() for place in places]
            inside = {path for path in paths if any(map(path.is_relative_to, here))}
            if not inside:
                return set()
            base = self._local(save_path, save_path).resolve()
            files = self._api.files(torrent["hash"])
        except ItemError:
            # It has gone meanwhile, or does not lie on this machine.
            return set()
        return inside & {base / f["name"] for f in files if f["progress"] < 1}

    def _places(self, torrent: Torrent) -> list[str]:
        """Return what a torrent uses: its folder or file, or all its files."""
        content = self._content_path(torrent)
        save_path = torrent["save_path"].rstrip("/\\")
        if not _is_absolute(content):
            # It is being checked: where it lies is known to be in its save path.
            return [f"{save_path}/{content}"]
        if content.rstrip("/\\") != save_path:
            return [content]
        return [f"{save_path}/{f['name']}" for f in self._api.files(torrent["hash"])]

    def remove(self, entry: Entry, *, with_files: bool) -> None:
        """Stop and remove a torrent, and perhaps its files from the disk."""
        self._api.remove(entry.key, with_files=with_files)

    def close(self) -> None:
        """Log out."""
        self._api.close()

    @cached_property
    def _has_tags(self) -> bool:
        return self._api.has_tags()

    def _is_ours(self, torrent: Torrent, tags: set[str]) -> bool:
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

    def _removable(self) -> list[Entry]:
        """Return the done torrents that have seeded as long as they must.

        They are asked for anew, without the category if importing changes it.
        """
        entries: list[Entry] = []
        for torrent in self._torrents():
            try:
                entries += self._if_removable(as_torrent(torrent))
            except ItemError as error:
                _log.warning("The torrent %s stays: %s", torrent["name"], error)
            except StashHogError:
                raise
            except Exception:  # noqa: BLE001 - it keeps this torrent only
                _log.exception("Could not check the torrent %s", torrent["hash"])
        return entries

    def _if_removable(self, torrent: Torrent) -> list[Entry]:
        tags = _tags(torrent)
        category = torrent.get("category", "")
        if (
            self._settings.done_tag in tags
            and torrent["state"] in _COMPLETE
            and (self._is_taken(category) or category == self._after)
            and self._is_ours(torrent, tags)
            and _has_seeded(torrent)
        ):
            return self._known_place(torrent, tags)
        return []

    def _known_place(self, torrent: Torrent, tags: set[str]) -> list[Entry]:
        """Return a torrent as an entry; nothing if where it lies is not known."""
        try:
            entry = self._entry(torrent, tags)
        except ItemError:
            return []
        return [] if entry is None else [entry]

    def _content_path(self, torrent: Torrent) -> str:
        """Return where a torrent lies, on qBittorrent's machine."""
        if "content_path" in torrent:
            return torrent["content_path"]
        # Before 4.3.2 the server does not say: its files' common folder tells.
        files = self._api.files(torrent["hash"])
        tops = {file["name"].partition("/")[0] for file in files}
        save_path = torrent["save_path"].rstrip("/\\")
        return f"{save_path}/{tops.pop()}" if len(tops) == 1 else save_path

    def _entry(self, torrent: Torrent, tags: set[str]) -> Entry | None:
        """Return a complete torrent as an entry; None while it is being checked."""
        content = self._content_path(torrent)
        if not _is_absolute(content):
            return None
        save_path = torrent["save_path"]
        location = self._local(content, save_path)
        boundary = self._local(save_path, save_path)
        try:
            name = check_name(torrent["name"])
        except ItemError:
            # Shown names are free text; the name on disk is always a file name.
            name = check_name(location.name)
        extension = location.suffix
        if extension and name.endswith(extension) and location.is_file():
            # The name that is shown is that of the file as it was added: the file may
            # have been renamed since.
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
            category=torrent.get("category", ""),
        )

    def _content(self, entry: Entry, depth: int) -> "_Content":
        """Return where the files of a torrent lie, named in so many folders.

        Raises:
            ItemError: It is not here, or not in its save path.
        """
        location = entry.location.resolve()
        if not location.exists():
            raise ItemError(
                "The torrent's files are not on this machine",
                where=printable(str(entry.location)),
                remedy=_missing_mapping(self._map.to_remote(str(entry.boundary))),
            )
        if entry.location == entry.boundary:
            # It has no folder of its own: its files lie among those of others.
            return _Content(location, is_folder=True, is_flat=True)
        if depth and not location.is_dir():
            # A folder with one file: qBittorrent gives the file as the content.
            location = location.parents[min(depth, len(location.parents)) - 1]
        boundary = entry.boundary.resolve()
        if not location.is_relative_to(boundary) or location == boundary:
            raise ItemError(
                "The torrent lies outside its save path, perhaps by a symbolic link",
                where=printable(str(entry.location)),
                remedy="set the real location of the torrent in qBittorrent",
            )
        return _Content(location, is_folder=location.is_dir(), is_flat=False)

    def _local(self, path: str, save_path: str) -> Path:
        local = self._map.to_local(path)
        if not Path(local).is_absolute():
            raise ItemError(
                "The torrent's path does not exist on this machine",
                where=printable(path),
                remedy=_missing_mapping(save_path),
            )
        return Path(local)


def _missing_mapping(save_path: str) -> str:
    example = json.dumps({save_path: "/where/it/is/here"}, ensure_ascii=False)
    return printable(
        "mount the folder on this machine, or map the folder: "
        f"{_PATH_MAP_VARIABLE}={example}"
    )


@dataclass(frozen=True)
class _Content:
    """Where the files of a torrent lie on this machine, links resolved.

    Attributes:
        location: Its folder, or its file if it is a single one.
        is_folder: Whether it is a folder.
        is_flat: The folder is its save path, which it may share with other torrents:
            only the files that qBittorrent names belong to it.
    """

    location: Path
    is_folder: bool
    is_flat: bool

    def relative(self, file: TorrentFile) -> str:
        """Return a file's path below the folder; a single file's name."""
        if self.is_flat:
            return file["name"]
        if not self.is_folder:
            return self.location.name
        # The first name is that of the torrent's own folder.
        return file["name"].partition("/")[2]

    def path(self, relative: str) -> Path:
        """Return where a file lies.

        Raises:
            ItemError: It has a name that no file can have.
        """
        if not self.is_folder:
            return self.location
        return self.location.joinpath(*map(check_name, relative.split("/")))

    def is_link(self, file: TorrentFile) -> bool:
        """Tell whether the torrent itself makes a file a symbolic link."""
        return file["size"] == 0 and self.path(self.relative(file)).is_symlink()

    def holds(self, relative: str) -> bool:
        """Tell whether a file is there, whole or in part."""
        path = os.fspath(self.location / relative if self.is_folder else self.location)
        return os.path.lexists(path) or os.path.lexists(path + _PART_SUFFIX)


def _local_file(content: _Content, relative: str, file: TorrentFile) -> SourceFile:
    """Return a wanted file of a torrent after a look at it.

    Raises:
        ItemError: It is not whole, not there, no regular file, or outside the torrent.
    """
    if file["progress"] < 1:
        raise ItemError(
            f"qBittorrent has only {file['progress']:.0%} of the file",
            remedy="resume or recheck the torrent in qBittorrent",
        )
    path = content.path(relative)
    try:
        status = path.lstat()
        inside = (
            path.parent.resolve().is_relative_to(content.location)
            or not content.is_folder
        )
    except OSError as error:
        raise ItemError(
            f"The file cannot be read: {error.strerror}",
            remedy="check the permissions of the file and of its folders",
        ) from error
    if not inside or stat.S_ISLNK(status.st_mode):
        raise ItemError(
            "A symbolic link is in the file's path, and may lead outside the download",
            remedy="put the file itself in the place of the link",
        )
    if not stat.S_ISREG(status.st_mode):
        raise ItemError(
            "This is not a regular file", remedy="deselect the file in qBittorrent"
        )
    if status.st_size != file["size"]:
        raise ItemError(
            f"The file has {status.st_size} bytes, but qBittorrent says {file['size']}",
            remedy="recheck the torrent in qBittorrent",
        )
    return SourceFile(relative, path, status.st_size)


def _unpacked(
    content: _Content, files: Sequence[SourceFile], named: Sequence[TorrentFile]
) -> list[SourceFile]:
    """Return what lies next to the archives of a torrent though it is not part of it.

    In the torrent's own folder that is everything; in a folder that it shares, what
    has the name of one of its archives, and folders of that name.
    """
    own = {content.relative(file) for file in named}
    found = []
    for base in sorted(_unpacking_places(content, files)):
        try:
            listed = list_files(base, content.location)
        except OSError as error:
            raise ItemError(
                f"Files that were unpacked next to the archives cannot be read: "
                f"{error.strerror}",
                where=printable(str(base)),
                remedy="check the permissions of the folder",
            ) from error
        root = content.location if content.is_folder else content.location.parent
        for file in listed.files:
            relative = os.path.relpath(file.path, root)
            names = relative.split("/")
            if relative not in own and not any(map(named_unfinished, names)):
                found.append(file._replace(relative_path=relative))
    return found


def _unpacking_places(content: _Content, files: Sequence[SourceFile]) -> set[Path]:
    if content.is_folder and not content.is_flat:
        return {content.location}
    places = set()
    for file in files:
        if not is_archive(file.relative_path):
            continue
        folder, name = os.path.split(file.path)
        stem = archive_stem(name)
        places |= {
            Path(folder) / other
            for other in os.listdir(folder)  # noqa: PTH208 - names, not paths
            if stem in {other, other.rpartition(".")[0]} and not is_archive(other)
        }
    return places


def _has_seeded(torrent: Torrent) -> bool:
    """Tell whether one of a torrent's seeding limits is reached, or none is set.

    Limits that the server does not tell, as very old ones, are not reached.
    """
    max_ratio = torrent.get("max_ratio")
    max_minutes = torrent.get("max_seeding_time")
    if max_ratio is None or max_minutes is None:
        return False
    now = time.time()
    idle_seconds = now - (torrent.get("last_activity") or now)
    seeded_seconds = torrent.get("seeding_time") or 0
    limits = (
        (max_ratio, torrent.get("ratio") or 0),
        (max_minutes, seeded_seconds / _MINUTE_SECONDS),
        (torrent.get("max_inactive_seeding_time"), idle_seconds / _MINUTE_SECONDS),
    )
    set_limits = [
        (limit, value) for limit, value in limits if limit is not None and limit >= 0
    ]
    return not set_limits or any(value >= limit for limit, value in set_limits)


def _is_absolute(path: str) -> bool:
    # While qBittorrent checks a torrent, the path is relative and means nothing.
    return path.startswith("/") or PureWindowsPath(path).is_absolute()


def _tags(torrent: Torrent) -> set[str]:
    return set(map(str.strip, torrent.get("tags", "").split(",")))
