"""Who may use the pages: a token in the address or a password, then a cookie.

The pages change what is sent to Stash, and any page of the web can make a browser send
requests to this machine. So each request needs the cookie, must be for a name of ours
(else another name could be pointed at this address), and one that changes something
must come from a page of ours.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from stashhog.web.address import TOKEN
from stashhog.web.site import page
from stashhog_core.errors import ConfigurationError
from stashhog_core.settings import Settings

COOKIE = "stashhog"
LOGIN = "/login"
NEXT = "next"
"""The parameter with the page to go to after the password."""
STATIC = "/static/"

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_COOKIE_SECONDS = 90 * 24 * 3600
_PAUSE_SECONDS = 1.0
"""How long a wrong password is answered: guessing takes too long."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    # The address may hold the token. Without any referrer, browsers hide which page a
    # form comes from, and `_is_from_here` refuses it.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Access:
    """What lets somebody in.

    Args:
        token: The token of this start, or of the supervisor.
        password: The password; None: only the token lets in.
        hosts: The names and addresses that the pages may be asked for by.
    """

    def __init__(self, token: str, password: str | None, hosts: Sequence[str]) -> None:
        self._token = token
        self._password = password
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)
        # A later start with another token or password ends what was let in before.
        key = f"{token}\0{password or ''}".encode()
        self.cookie = hmac.new(key, b"cookie", hashlib.sha256).hexdigest()

    @property
    def asks_for_password(self) -> bool:
        """Whether there is a password."""
        return self._password is not None

    def knows_token(self, token: str) -> bool:
        """Tell whether this is the token."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def knows_password(self, password: str) -> bool:
        """Tell whether this is the password."""
        if self._password is None:
            return False
        return hmac.compare_digest(password.encode(), self._password.encode())

    def knows_cookie(self, request: Request) -> bool:
        """Tell whether this request was let in before."""
        sent = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(sent.encode(), self.cookie.encode())

    def knows_bearer(self, request: Request) -> bool:
        """Tell whether a program reads with the token, such as one that monitors.

        To change something it takes the cookie of a browser.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_reading = request.method in {"GET", "HEAD"}
        return is_reading and scheme.lower() == "bearer" and self.knows_token(token)

    def is_for_us(self, request: Request) -> bool:
        """Tell whether the request names a host that the pages are served by."""
        named = _split(f"//{request.headers.get('host', '')}")
        return ((named and named.hostname) or "").lower() in self._hosts

    def let_in(self, response: Response, *, is_secure: bool) -> Response:
        """Give the browser the cookie; return the response."""
        response.set_cookie(
            COOKIE,
            self.cookie,
            max_age=_COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )
        return response


def access_of(settings: Settings, token: str) -> Access:
    """Return what lets people in.

    Raises:
        ConfigurationError: Other machines reach the pages, and there is no password.
    """
    web = settings.web
    password = web.password.get_secret_value() if web.password else None
    if web.host not in _LOOPBACK and not password:
        raise ConfigurationError(
            f"The pages would be open to everybody who reaches {web.host}",
            remedy="set STASHHOG_WEB__PASSWORD, or leave STASHHOG_WEB__HOST empty",
        )
    # Whoever follows our own links is not refused for their name.
    public = [urlsplit(web.link_base).hostname or web.host]
    return Access(token, password, [*_LOOPBACK, web.host, *web.host_names, *public])


class Guard(BaseHTTPMiddleware):
    """Lets requests through, or answers them itself. See the module."""

    async def dispatch(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        """Answer a request."""
        response = await self._answer(request, call_next)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def _answer(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        access: Access = request.app.state.access
        if "\0" in unquote(f"{request.url.path}?{request.url.query}"):
            return _refused("No address of these pages holds a null character", 400)
        if not access.is_for_us(request):
            return _refused(
                f"These pages are not served as {request.headers.get('host')!r}: add "
                "the name to STASHHOG_WEB__HOST_NAMES",
                421,
            )
        if request.method not in {"GET", "HEAD"} and not _is_from_here(request):
            return _refused("This request does not come from a page of StashHog", 403)
        if token := request.query_params.get(TOKEN):
            return _with_token(access, request, token)
        path = request.url.path
        if path == LOGIN and access.asks_for_password:
            return await call_next(request)
        is_known = access.knows_cookie(request) or access.knows_bearer(request)
        if path.startswith(STATIC) or is_known:
            return await call_next(request)
        if _follows_a_link(request):
            return page(request, "again.html", address=_here(request))
        if access.asks_for_password and not asks_for_page(request):
            return _refused(
                f"You are logged out: open {LOGIN} in another tab, log in, and then "
                "try again here",
                401,
            )
        if access.asks_for_password and request.method == "GET":
            query = urlencode({NEXT: _here(request)})
            return RedirectResponse(f"{LOGIN}?{query}", 303)
        return _refused(
            "This browser is not let in, or no longer: run `stashhog up`, open the "
            "address of the pages that `stashhog up` prints, and then come back to "
            "this page; the token in that address lets this browser in",
            401,
        )


def asks_for_page(request: Request) -> bool:
    """Tell whether the browser asks for a page to show, and not a script of a page."""
    return "text/html" in request.headers.get("accept", "")


def _with_token(access: Access, request: Request, token: str) -> Response:
    """Let the browser in, and take the token out of its address bar and history."""
    if not access.knows_token(token):
        return _refused(
            "The token in this address is of an earlier start: open the address that "
            "`stashhog web` or `stashhog up` has printed last",
            401,
        )
    answer = RedirectResponse(_here(request), 303)
    return access.let_in(answer, is_secure=request.url.scheme == "https")


def _here(request: Request) -> str:
    """Return what the request asks for, as an address on this site, without token."""
    target = URL(str(request.url.path)).include_query_params(
        **{k: v for k, v in request.query_params.items() if k != TOKEN}
    )
    return _on_this_site(str(target))


def _on_this_site(address: str) -> str:
    # An address that begins with two slashes would name another server.
    return "/" + address.lstrip("/\\")


def _follows_a_link(request: Request) -> bool:
    """Tell whether a page of another site, such as a mail, has led here.

    Browsers then keep the cookie back, and send it when this site asks once more.
    """
    return (
        request.method == "GET"
        and request.headers.get("sec-fetch-site") == "cross-site"
        and request.headers.get("sec-fetch-mode") == "navigate"
    )


async def body_of(request: Request, most: int = 1_000_000) -> bytes:
    """Return what the browser has sent, without reading more than `most` bytes.

    Raises:
        HTTPException: There is more.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(413, "The request is too long")
    return body


async def log_in(request: Request) -> Response:
    """Answer the form with the password."""
    access: Access = request.app.state.access
    form = parse_qs((await body_of(request)).decode(errors="replace"))
    password = form.get("password", [""])[0]
    target = _on_this_site(form.get(NEXT, [""])[0])
    if access.knows_password(password):
        answer = RedirectResponse(target, 303)
        return access.let_in(answer, is_secure=request.url.scheme == "https")
    await asyncio.sleep(_PAUSE_SECONDS)
    query = urlencode({"wrong": 1, NEXT: target})
    return RedirectResponse(f"{LOGIN}?{query}", 303)


def _is_from_here(request: Request) -> bool:
    """Tell whether a page of ours sends this. Browsers name the sender themselves."""
    origin = _split(request.headers.get("origin", ""))
    sender = origin.netloc if origin else ""
    return sender != "" and sender == request.headers.get("host")


def _split(address: str) -> SplitResult | None:
    """Return the parts of an address; None: it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _refused(why: str, status: int) -> Response:
    return PlainTextResponse(f"{why}.\n", status)
