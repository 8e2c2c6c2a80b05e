"""Where the pages are, and the token of their address.

Apart from the pages themselves, so that `stashhog up` and `status` load no web server.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

import httpx

from stashhog_core.settings import Settings, make_home_folder

TOKEN = "token"  # noqa: S105 - the name of the parameter
_ASK_SECONDS = 10


def address(settings: Settings) -> str:
    """Return the address to open; with a token unless there is a password."""
    base = f"{settings.web.local_base}/"
    return base if settings.web.password else f"{base}?{TOKEN}={token_of(settings)}"


def pages_answer(settings: Settings) -> bool:
    """Tell whether the pages of this home are served where the settings say.

    Other pages, such as those of another home, do not know the token.
    """
    try:
        said = httpx.get(
            settings.web.local_base,
            params={TOKEN: token_of(settings)},
            timeout=_ASK_SECONDS,
            # Proxies of the environment are for the world outside.
            trust_env=False,
        )
    except httpx.TransportError:
        return False
    return said.status_code == httpx.codes.SEE_OTHER and "set-cookie" in said.headers


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
        part.write_text(secrets.token_urlsafe(24))
        # Unless another process was first.
        with suppress(FileExistsError):
            os.link(part, file)
        part.unlink()
        return file.read_text().strip()
