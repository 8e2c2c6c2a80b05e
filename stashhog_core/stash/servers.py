"""The Stash servers by name: the one that is mirrored, and additional ones."""

from collections.abc import Iterator
from contextlib import contextmanager

from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient


@contextmanager
def opened_stash(settings: StashSettings) -> Iterator[StashClient | None]:
    """Yield a client of the server that is mirrored; None: no server is set."""
    if settings.url is None:
        yield None
        return
    with StashClient(settings) as client:
        yield client


def server_settings(settings: StashSettings, name: str | None) -> StashSettings:
    """Return the settings of the named server; None: of the one that is mirrored.

    Raises:
        ConfigurationError: There is no such server.
    """
    if not name:
        return settings
    server = settings.servers.get(name)
    if server is None:
        raise ConfigurationError(
            f"There is no Stash server {name!r}",
            where=f"known are {', '.join(settings.servers) or 'none'}",
            remedy="add the server to STASHHOG_STASH__SERVERS",
        )
    mine = {"url": server.url, "api_key": server.api_key, "public_url": None}
    return settings.model_copy(update=mine)
