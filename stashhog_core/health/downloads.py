"""Checks of the downloads: their source, their folders, and links into the library."""

import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from stashhog_core.downloads.configuration import (
    check_library_root,
    download_folder,
    require_separate,
)
from stashhog_core.downloads.filesystems import (
    PROTECTED_LINKS,
    can_clone,
    link_error,
    open_folder,
    why_no_link,
)
from stashhog_core.downloads.qbittorrent_client import QBittorrentClient
from stashhog_core.health.checks import Checkup, Finding, failure, good, warning
from stashhog_core.health.path_map import find_mapping, search_folders
from stashhog_core.paths import PathMap, is_hidden, printable
from stashhog_core.report import size_in_words
from stashhog_core.settings import Settings

_PROBE = ".stashhog-check-"
"""Names of files that a check has in a download folder for a moment begin with this."""

_STALE_SECONDS = 300
_MOST_ENTRIES = 2000
_MOST_TORRENTS = 20
_MOST_FILES = 5
_LOW_BYTES = 5_000_000_000


def check_library(checkup: Checkup) -> Finding:
    """Write a file in the library folder, with the permissions that are set."""
    if checkup.settings.downloads.library_root is None:
        return warning(
            "no library folder is set, so no download can be placed",
            "set STASHHOG_DOWNLOADS__LIBRARY_ROOT to the folder, or run "
            "`stashhog init`",
        )
    return good(f"{check_library_root(checkup.settings)} can be written to")


def check_source(checkup: Checkup) -> Finding | None:
    """Log in at qBittorrent and find the category, or read the watch folder."""
    settings = checkup.settings
    if settings.downloads.library_root is None:
        return None
    if settings.downloads.source == "folder":
        folder = download_folder(settings)
        with os.scandir(folder) as entries:
            count = sum(not is_hidden(entry.name) for entry in entries)
        return good(f"{folder} has {count} downloads")
    category = settings.downloads.category
    with closing(QBittorrentClient(settings.qbittorrent)) as client:
        version, known = client.version(), client.categories()
        torrents = len(client.torrents(category or None))
    found = f"qBittorrent {version} at {settings.qbittorrent.url}"
    if category and category not in known:
        return warning(
            f"{found} has no category {category}",
            "create the category in qBittorrent, or correct "
            "STASHHOG_DOWNLOADS__CATEGORY",
        )
    return good(f"{found} has {torrents} torrents in {category or 'all categories'}")


def check_links(checkup: Checkup) -> Finding | None:
    """Link a file of each download folder into the library, and remove the link."""
    settings = checkup.settings
    if settings.downloads.library_root is None:
        return None
    root = check_library_root(settings)
    folders = source_folders(settings)
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        found = f"the download folder {missing[0]} does not exist here"
        if mappings := proposed_download_map(settings):
            whole = json.dumps({**settings.downloads.path_map, **mappings})
            where = ", ".join(f"{there} is {here}" for there, here in mappings.items())
            return failure(
                f"{found}: {where}", f"set STASHHOG_DOWNLOADS__PATH_MAP={whole}"
            )
        return failure(found, _folder_remedy(settings, missing[0]))
    worst: Finding | None = None
    for folder in folders:
        require_separate(root, folder.resolve())
        finding = try_link(settings, folder.resolve(), root)
        if worst is None or _WORSE.index(finding.state) > _WORSE.index(worst.state):
            worst = finding
    return worst


_WORSE = ("ok", "warning", "failure")


def _folder_remedy(settings: Settings, folder: Path) -> str:
    if settings.downloads.source == "folder":
        return "mount the folder, or correct STASHHOG_DOWNLOADS__FOLDER"
    return (
        "add the folder to STASHHOG_DOWNLOADS__PATH_MAP, such as "
        f'{{"{folder}": "/mnt/downloads"}}'
    )


def source_folders(settings: Settings) -> list[Path]:
    """Return the local folders that finished downloads lie in.

    Raises:
        ConfigurationError: The source refuses, or none is set.
        TransientError: qBittorrent is away.
    """
    if settings.downloads.source == "folder":
        return [download_folder(settings)]
    category = settings.downloads.category
    local = PathMap(settings.downloads.path_map).to_local
    with closing(QBittorrentClient(settings.qbittorrent)) as client:
        torrents = client.torrents(category or None)
        paths = {str(t["save_path"]) for t in torrents if t.get("save_path")}
        if not paths:
            own = client.categories().get(category, "")
            paths = {own or client.default_save_path()}
    return sorted({Path(local(path)) for path in paths})


def proposed_download_map(settings: Settings) -> dict[str, str]:
    """Return qBittorrent's folders that have other names here, found by files' sizes.

    Raises:
        ConfigurationError: qBittorrent refuses.
        TransientError: qBittorrent is away.
    """
    if settings.downloads.source != "qbittorrent":
        return {}
    category = settings.downloads.category
    mappings: dict[str, str] = {}
    folders = search_folders(settings)
    with closing(QBittorrentClient(settings.qbittorrent)) as client:
        finished = [
            torrent
            for torrent in client.torrents(category or None)
            if torrent.get("progress") == 1 and torrent.get("save_path")
        ]
        for torrent in finished[:_MOST_TORRENTS]:
            root = str(torrent["save_path"]).rstrip("/\\")
            if root in mappings:
                continue
            for file in client.files(str(torrent["hash"]))[:_MOST_FILES]:
                mapping = find_mapping(
                    f"{root}/{file['name']}",
                    partial(_has_size, size_bytes=int(file["size"])),
                    [root],
                    folders,
                )
                if mapping is not None and mapping.local != mapping.remote:
                    mappings[mapping.remote] = mapping.local
                    break
    return mappings


def _has_size(path: str, size_bytes: int) -> bool:
    try:
        status = os.stat(path)  # noqa: PTH116 - one of thousands
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes > 0


def try_link(settings: Settings, folder: Path, root: Path) -> Finding:
    """Link a file of `folder` into the library `root`; both exist, links resolved."""
    with _probe_in(folder) as source, open_folder(root) as there:
        if source is None:
            return warning(
                f"{folder} has no file yet and cannot be written to, so links were not "
                "tried",
                "check again when a download has finished",
            )
        error = link_error(source, there)
        if error is None:
            return good(f"{folder} links into {root}")
        why = why_no_link(error, source, root)
        clones = can_clone(source, there)
    policy = settings.downloads.place
    if clones:
        found = f"no hard link leads from {folder} to {root}: {why}; reflinks work"
        if policy == "hardlink":
            return failure(found, "set STASHHOG_DOWNLOADS__PLACE=reflink")
        return good(found)
    found = f"no hard link leads from {folder} to {root}: {why}"
    if policy == "hardlink":
        return failure(
            found,
            f"{_link_remedy(error, why)}, or set "
            "STASHHOG_DOWNLOADS__PLACE=hardlink_or_copy",
        )
    if policy == "copy":
        return good(f"{folder} is copied to {root}, as set")
    return warning(
        f"{found}; each file is copied and takes its space twice",
        f"{_link_remedy(error, why)}; see docs/downloads.md",
    )


def _link_remedy(error: OSError, why: str) -> str:
    if error.errno == errno.EXDEV:
        return "mount one folder that holds both"
    if PROTECTED_LINKS.name in why:
        return "let this account write to the downloads, such as by their group"
    return "put the library on a file system that has hard links"


@contextmanager
def _probe_in(folder: Path) -> Iterator[str | None]:
    """Yield a file of a download folder, or an empty one that is there for a moment.

    None: there is no file, and none can be made. A file that a killed check has left is
    removed.
    """
    _remove_stale(folder)
    if (existing := _some_file(folder)) is not None:
        yield existing
        return
    probe = folder / f"{_PROBE}{os.getpid()}-{time.monotonic_ns()}"
    try:
        probe.touch(exist_ok=False)
    except OSError:
        yield None
        return
    try:
        yield str(probe)
    finally:
        probe.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove the files of checks that were killed; one of now may still be at work."""
    oldest = time.time() - _STALE_SECONDS
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(_PROBE):
                continue
            status = entry.stat(follow_symlinks=False)
            if status.st_mtime < oldest and status.st_size == 0:
                with suppress(OSError):
                    Path(entry.path).unlink()


def _some_file(folder: Path) -> str | None:
    """Return a regular file below a folder that was last written to long ago."""
    waiting, seen = [str(folder)], 0
    while waiting and seen < _MOST_ENTRIES:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if entry.is_symlink() or entry.name.startswith(_PROBE):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                        return entry.path
        except OSError:
            continue
    return None


def check_space(checkup: Checkup) -> Finding | None:
    """See how much space is left on the library's disk."""
    if checkup.settings.downloads.library_root is None:
        return None
    root = check_library_root(checkup.settings)
    free = shutil.disk_usage(root).free
    reserve = checkup.settings.downloads.reserve_bytes
    found = f"{size_in_words(free)} are free for {printable(str(root))}"
    if free < reserve:
        return failure(
            f"{found}, less than STASHHOG_DOWNLOADS__RESERVE_BYTES: nothing is copied",
            "free space on the library's disk",
        )
    if free < reserve + _LOW_BYTES:
        return warning(found, "free space on the library's disk")
    return good(found)
