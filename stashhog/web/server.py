"""Serving the pages: `stashhog web`, and `python -m stashhog.web.server` for `up`."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn

from stashhog.web.access import TOKEN, access_of, new_token
from stashhog.web.app import make_app
from stashhog.web.site import open_site
from stashhog_core.errors import ConfigurationError, StashHogError
from stashhog_core.http import keep_loopback_direct
from stashhog_core.settings import Settings, get_settings, make_home_folder

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared only


def serve(settings: Settings) -> None:
    """Serve the pages until a signal says stop; print the address that lets one in.

    Raises:
        ConfigurationError: A setting is wrong, the port is taken, or the database
            cannot be used.
    """
    access = access_of(settings, token_of(settings))
    with open_site(settings) as site, _listening(settings) as listener:
        print(f"Review plans at {address(settings)}", flush=True)  # noqa: T201
        config = uvicorn.Config(
            make_app(site, access),
            log_level="warning",
            access_log=False,
            # A page that is left open must not hold the end up.
            timeout_graceful_shutdown=3,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


def address(settings: Settings) -> str:
    """Return the address to open; with a token unless there is a password."""
    host = _ANYWHERE.get(settings.web.host, settings.web.host)
    host = f"[{host}]" if ":" in host else host
    base = f"http://{host}:{settings.web.port}/"
    if settings.web.password:
        return base
    return f"{base}?{TOKEN}={token_of(settings)}"


def token_of(settings: Settings) -> str:
    """Return the token of this home; made at the first call.

    The token stays over restarts, so that pages that are left open go on. Whoever can
    read the file could read the database as well.
    """
    folder = settings.home_folder / "web"
    make_home_folder(folder)
    file = folder / "token"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        part = Path(f"{file}.{os.getpid()}")
        part.touch(mode=0o600)
        part.write_text(new_token())
        # Unless another process was first.
        with suppress(FileExistsError):
            os.link(part, file)
        part.unlink()
        return file.read_text().strip()


def _listening(settings: Settings) -> socket.socket:
    web = settings.web
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
