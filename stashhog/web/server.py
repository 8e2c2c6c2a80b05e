"""Serving the pages: `stashhog web`, and `python -m stashhog.web.server` for `up`."""

import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import uvicorn

from stashhog.services.prefect_server import server_url
from stashhog.web.access import access_of
from stashhog.web.address import token_of
from stashhog.web.app import make_app
from stashhog.web.site import open_site
from stashhog_core.errors import ConfigurationError, StashHogError
from stashhog_core.loopback import keep_loopback_direct
from stashhog_core.settings import Settings, get_settings


def serve(settings: Settings, announce: Callable[[], None] = lambda: None) -> None:
    """Serve the pages until a signal says stop.

    Args:
        settings: Where, and from which database.
        announce: Called once the pages can be asked for.

    Raises:
        ConfigurationError: A setting is wrong, the port is taken, or the database
            cannot be used.
    """
    access = access_of(settings, token_of(settings))
    with open_site(settings) as site, _listening(settings) as listener:
        announce()
        config = uvicorn.Config(
            make_app(site, access),
            log_level="warning",
            access_log=False,
            # A page that is left open must not hold the end up.
            timeout_graceful_shutdown=3,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listening(settings: Settings) -> socket.socket:
    web = settings.web
    if web.port == urlsplit(server_url(settings)).port:
        # Whoever came first would keep the other out.
        raise ConfigurationError(
            f"The pages and Prefect's server cannot both use port {web.port}",
            remedy="set STASHHOG_WEB__PORT to another port",
        )
    try:
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        return socket.create_server((web.host, web.port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"Port {web.port} cannot be used for the pages",
            where=web.host,
            remedy=f"set STASHHOG_WEB__PORT to another port ({error.strerror})",
        ) from error


def main() -> None:
    """Serve until asked to stop."""
    keep_loopback_direct()
    try:
        serve(get_settings())
    except StashHogError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
