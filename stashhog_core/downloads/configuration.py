"""Checking the settings of the downloads before anything is touched."""

import os
import secrets
from pathlib import Path

from stashhog_core.downloads.folder import WatchFolder
from stashhog_core.downloads.qbittorrent import QBittorrent
from stashhog_core.downloads.sources import Source
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings

_ROOT_VARIABLE = "STASHHOG_DOWNLOADS__LIBRARY_ROOT"
_FOLDER_VARIABLE = "STASHHOG_DOWNLOADS__FOLDER"


def check_library_root(settings: Settings, *, dry_run: bool) -> Path:
    """Return the library root, links resolved, after making sure it can be used.

    Args:
        settings: All settings.
        dry_run: Only look; do not try to write.

    Raises:
        ConfigurationError: It is not set, missing, no folder, or cannot be written to.
    """
    root = _folder(settings.downloads.library_root, _ROOT_VARIABLE, "library folder")
    if not dry_run:
        # Asking for the permission is not enough: root has all, and a file system
        # that is mounted read-only is found out by writing only.
        trial = root / f".stashhog-{secrets.token_hex(8)}.part"
        try:
            trial.touch(exist_ok=False)
            trial.unlink()
        except OSError as error:
            raise ConfigurationError(
                "The library folder cannot be written to",
                where=str(root),
                remedy=f"{error.strerror}; correct its permissions or {_ROOT_VARIABLE}",
            ) from error
    return root


def open_source(settings: Settings, library_root: Path) -> Source:
    """Open the source of downloads that is set.

    Raises:
        ConfigurationError: The watch folder is not set, missing, no folder, or the
            library is in it or the reverse; or qBittorrent cannot be used.
        TransientError: qBittorrent fails by itself.
    """
    downloads = settings.downloads
    if downloads.source == "qbittorrent":
        return QBittorrent(downloads, settings.qbittorrent)
    folder = _folder(downloads.folder, _FOLDER_VARIABLE, "download folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigurationError(
            "The download folder cannot be read",
            where=str(folder),
            remedy=f"correct its permissions or {_FOLDER_VARIABLE}",
        )
    if folder == library_root:
        problem = "The download folder and the library folder are the same"
    elif library_root.is_relative_to(folder):
        problem = "The library folder lies inside the download folder"
    elif folder.is_relative_to(library_root):
        problem = "The download folder lies inside the library folder"
    else:
        return WatchFolder(folder, downloads.settle_seconds)
    raise ConfigurationError(
        problem,
        where=f"{folder}, {library_root}",
        remedy=f"set {_FOLDER_VARIABLE} and {_ROOT_VARIABLE} to separate folders",
    )


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
            remedy=f"create it, mount it, or correct {variable}",
        ) from error
    if not is_folder:
        raise ConfigurationError(
            f"The {what} is not a folder", where=str(path), remedy=f"correct {variable}"
        )
    return resolved
