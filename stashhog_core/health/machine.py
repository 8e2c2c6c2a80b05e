"""Checks of this machine: the home folder, proxies, the limits of the kernel."""

import os
import stat
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from stashhog_core.db.embedded import embedded_url, require_space
from stashhog_core.file_index.watch import MORE_WATCHES
from stashhog_core.health.checks import Checkup, Finding, failure, good, warning
from stashhog_core.loopback import is_loopback
from stashhog_core.paths import printable
from stashhog_core.report import size_in_words
from stashhog_core.settings import configured_variables, make_home_folder

_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_FEWEST_WATCHES = 65_536
_LOW_BYTES = 1_000_000_000
_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")


def check_settings(checkup: Checkup) -> Finding:
    """Say how many settings are set: they were read before any check began."""
    del checkup
    names = configured_variables()
    if not names:
        return warning("no setting is set", "run `stashhog init`")
    return good(f"{len(names)} set")


def check_home(checkup: Checkup) -> Finding:
    """Write a file in the home folder, and see who else may write there."""
    home = checkup.settings.home_folder
    make_home_folder(home)
    probe = home / f".stashhog-check-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return failure(
            f"{home} cannot be written to ({error.strerror})",
            "correct its permissions, or set STASHHOG_HOME to another folder",
        )
    mode = home.stat().st_mode
    if mode & _OF_OTHERS:
        return warning(
            f"other accounts of this machine may write to {home} "
            f"(mode {stat.S_IMODE(mode):o})",
            f"chmod go-w {home}",
        )
    return good(str(home))


def check_home_space(checkup: Checkup) -> Finding | None:
    """See how much space is left for the embedded PostgreSQL."""
    home = checkup.settings.home_folder
    # With a database of the user's own, Prefect's may be on the embedded server.
    if checkup.settings.database.url is not None and embedded_url(home) is None:
        return None
    free = require_space(home)
    found = f"{size_in_words(free)} are free for {printable(str(home))}"
    if free < _LOW_BYTES:
        return warning(found, "free space on the disk of STASHHOG_HOME")
    return good(found)


def check_proxies(checkup: Checkup) -> Finding | None:
    """Tell which services would be asked by way of a proxy of the environment."""
    settings = checkup.settings
    addresses = {
        "STASHHOG_STASH__URL": settings.stash.url,
        "STASHHOG_AI_SERVER__URL": settings.ai_server.url,
        "STASHHOG_TEXT_MODEL__BASE_URL": settings.text_model.base_url,
    }
    if settings.downloads.source == "qbittorrent":
        addresses["STASHHOG_QBITTORRENT__URL"] = settings.qbittorrent.url
    proxies = urllib.request.getproxies()
    if not {"http", "https", "all"} & proxies.keys():
        return None
    caught = {
        host: name
        for name, address in addresses.items()
        if address
        and (host := urlsplit(address).hostname or "")
        and not is_loopback(host)
        and _is_caught(address, host, proxies)
    }
    if not caught:
        return good("a proxy is set, and no service of yours is reached through it")
    hosts = ",".join(caught)
    return warning(
        f"{', '.join(caught.values())} would be reached through the proxy of the "
        "environment",
        f"add {hosts} to NO_PROXY, unless the proxy is meant to be used",
    )


def _is_caught(address: str, host: str, proxies: dict[str, str]) -> bool:
    scheme = urlsplit(address).scheme
    if not {scheme, "all"} & proxies.keys():
        return False
    return not urllib.request.proxy_bypass(host)


def check_watches(checkup: Checkup) -> Finding | None:
    """See how many folders the kernel lets an account watch."""
    if not checkup.settings.library.allowed_scan_roots:
        return None
    try:
        watches = int(_WATCHES.read_text())
    except (OSError, ValueError):
        return None
    if watches < _FEWEST_WATCHES:
        return warning(
            f"the kernel lets an account watch {watches} folders, which "
            "`stashhog library watch` may not find enough",
            f"run `{MORE_WATCHES}`",
        )
    return good(f"{watches} folders may be watched")
