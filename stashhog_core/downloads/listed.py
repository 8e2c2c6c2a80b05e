"""What the source of downloads has at all, finished or not."""

import os
from pathlib import Path

from stashhog_core.downloads.webapi import WebApi
from stashhog_core.errors import TransientError
from stashhog_core.paths import printable
from stashhog_core.settings import Settings


def listed_keys(settings: Settings) -> frozenset[str] | None:
    """Return the ledger's keys of all that the source has.

    None: nothing is known, since no source is set, or it is empty: an unmounted folder
    and a new qBittorrent look like that too.

    Raises:
        ConfigurationError: The source refuses.
        TransientError: It is away.
    """
    if settings.downloads.source == "qbittorrent":
        api = WebApi(settings.qbittorrent)
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
            remedy=f"{error.strerror}; see STASHHOG_DOWNLOADS__FOLDER",
        ) from error
    return frozenset(printable(name) for name in names) or None
