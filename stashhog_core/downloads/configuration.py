"""Checking the settings of the downloads before anything is touched."""

import errno
import grp
import os
from pathlib import Path

from stashhog_core.downloads.filesystems import Overlap, overlap, temporary_name
from stashhog_core.downloads.placing import Access
from stashhog_core.downloads.qbittorrent import QBittorrentSource
from stashhog_core.downloads.qbittorrent_client import QBittorrentClient
from stashhog_core.downloads.sources import DownloadSource
from stashhog_core.downloads.watch_folder import WatchFolderSource
from stashhog_core.errors import ConfigurationError, TransientError
from stashhog_core.paths import printable
from stashhog_core.settings import DownloadSettings, Settings

_ROOT_VARIABLE = "STASHHOG_DOWNLOADS__LIBRARY_ROOT"
_GROUP_VARIABLE = "STASHHOG_DOWNLOADS__GROUP"
_FOLDER_VARIABLE = "STASHHOG_DOWNLOADS__FOLDER"
_OVERLAPS: dict[Overlap, str] = {
    "same": "The download folder and the library folder are the same folder",
    "library inside": "The library folder lies inside the download folder",
    "downloads inside": "The download folder lies inside the library folder",
}


def check_library_root(settings: Settings) -> Path:
    """Return the library root, links resolved, after making sure it can be used.

    A dry run tries it as well: a file is in the root for a moment.

    Raises:
        ConfigurationError: It is not set, missing, no folder, or cannot be written to.
    """
    root = _folder(settings.downloads.library_root, _ROOT_VARIABLE, "library folder")
    access = access_of(settings.downloads)
    # Asking for the permission is not enough: root has all, and a file system that is
    # mounted read-only is found out by writing only.
    trial = root / temporary_name()
    try:
        trial.touch(exist_ok=False)
        try:
            if access.group is not None:
                _try_group(trial, access.group)
            for name, mode in (
                ("FILE_MODE", access.file_mode),
                ("FOLDER_MODE", access.folder_mode),
            ):
                if mode is not None:
                    _try_mode(trial, mode, f"STASHHOG_DOWNLOADS__{name}")
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(root, error) from error
    return root


_REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EIO: "check the disk, or the connection to the server of the folder",
    errno.EROFS: "mount the file system for writing",
}


def _not_writable(root: Path, error: OSError) -> ConfigurationError:
    remedy = _REMEDIES.get(
        error.errno or 0, f"correct its permissions or {_ROOT_VARIABLE}"
    )
    return ConfigurationError(
        "The library folder cannot be written to",
        where=str(root),
        remedy=f"{error.strerror}; {remedy}",
    )


def access_of(downloads: DownloadSettings) -> Access:
    """Return who may use what is made in the library.

    Raises:
        ConfigurationError: The group does not exist here.
    """
    group = None
    if downloads.group is not None and downloads.group.isdecimal():
        group = int(downloads.group)
    elif downloads.group is not None:
        try:
            group = grp.getgrnam(downloads.group).gr_gid
        except KeyError as error:
            raise ConfigurationError(
                "The group of the library does not exist on this machine",
                where=downloads.group,
                remedy=f"create the group, or correct {_GROUP_VARIABLE}",
            ) from error
    return Access(
        None if downloads.file_mode is None else int(downloads.file_mode, 8),
        None if downloads.folder_mode is None else int(downloads.folder_mode, 8),
        group,
    )


def open_source(settings: Settings, library_root: Path) -> DownloadSource:
    """Open the source of downloads that is set.

    Raises:
        ConfigurationError: The watch folder is not set, missing, no folder, or the
            library is in it or the reverse; or qBittorrent cannot be used.
        TransientError: qBittorrent fails by itself.
    """
    downloads = settings.downloads
    if downloads.source == "qbittorrent":
        return QBittorrentSource(downloads, settings.qbittorrent)
    folder = download_folder(settings)
    require_separate(library_root, folder)
    return WatchFolderSource(folder, downloads.settle_seconds)


def download_folder(settings: Settings) -> Path:
    """Return the watch folder, links resolved, after making sure it can be read.

    Raises:
        ConfigurationError: It is not set, missing, no folder, or cannot be read.
    """
    folder = _folder(settings.downloads.folder, _FOLDER_VARIABLE, "download folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigurationError(
            "The download folder cannot be read",
            where=str(folder),
            remedy=f"correct its permissions or {_FOLDER_VARIABLE}",
        )
    return folder


def require_separate(library_root: Path, folder: Path) -> None:
    """Make sure that no download folder and library are one, perhaps by two names.

    Both are existing folders, links resolved.

    Raises:
        ConfigurationError: They are, or one is in the other; or the library cannot be
            written to, which is how it is found out.
    """
    try:
        found = overlap(library_root, folder)
    except OSError as error:
        raise _not_writable(library_root, error) from error
    if found is not None:
        raise ConfigurationError(
            _OVERLAPS[found],
            where=f"{folder}, {library_root}",
            remedy=f"set {_FOLDER_VARIABLE} and {_ROOT_VARIABLE} to separate folders",
        )


def listed_keys(settings: Settings) -> frozenset[str] | None:
    """Return the ledger's keys of all that the source has.

    None: nothing is known, since no source is set, or it is empty: an unmounted folder
    and a new qBittorrent look like that too.

    Raises:
        ConfigurationError: The source refuses.
        TransientError: It is away.
    """
    if settings.downloads.source == "qbittorrent":
        api = QBittorrentClient(settings.qbittorrent)
        try:
            keys = frozenset(str(torrent["hash"]) for torrent in api.torrents())
        finally:
            api.close()
        return keys or None
    if settings.downloads.folder is None:
        return None
    folder = Path(settings.downloads.folder).expanduser()
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise TransientError(
            "The download folder cannot be read",
            where=printable(str(folder)),
            remedy=f"{error.strerror}; check STASHHOG_DOWNLOADS__FOLDER",
        ) from error
    return frozenset(printable(name) for name in names) or None


def _try_group(trial: Path, group: int) -> None:
    try:
        os.chown(trial, -1, group)
    except OSError as error:
        raise ConfigurationError(
            "Files of the library cannot be assigned to the group that is set",
            where=str(group),
            remedy=f"{error.strerror}; add this account to the group, or correct "
            f"{_GROUP_VARIABLE}",
        ) from error


def _try_mode(trial: Path, mode: int, variable: str) -> None:
    try:
        trial.chmod(mode)
    except OSError as error:
        raise ConfigurationError(
            "New files and folders in the library cannot get the permissions that "
            "are set",
            where=f"{variable}={mode:o}",
            remedy=f"{error.strerror}; unset {variable}, and set permissions where the "
            "library is mounted",
        ) from error


def _folder(path: Path | None, variable: str, what: str) -> Path:
    if path is None:
        raise ConfigurationError(
            f"No {what} is set", remedy=f"set {variable} to an existing folder"
        )
    path = path.expanduser()
    try:
        resolved = path.resolve(strict=True)
        is_folder = resolved.is_dir()
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(
            f"The {what} does not exist",
            where=str(path),
            remedy=f"create or mount the folder, or correct {variable}",
        ) from error
    if not is_folder:
        raise ConfigurationError(
            f"The {what} is not a folder", where=str(path), remedy=f"correct {variable}"
        )
    return resolved
