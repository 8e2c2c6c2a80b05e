"""The HTTP side: the GraphQL envelope, authentication, media and faults."""

import asyncio
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.stash.clock import Clock
from sandbox.stash.documents import Request
from sandbox.stash.errors import RequestError
from sandbox.stash.execution import Answers, run
from sandbox.stash.faults import Fault, Faults
from sandbox.stash.jobs import JobQueue
from sandbox.stash.library import Library
from sandbox.stash.media_paths import media_response
from sandbox.stash.row_types import TYPES
from sandbox.stash.rows import Reader
from sandbox.stash.subscriptions import Subscriptions

_JSON = "application/json"
_GRAPHQL = "application/graphql-response+json"
# Quick rather than small: a stand-in talks over loopback.
_GZIP_LEVEL = 1
_PAGE = "<!doctype html><title>Log in</title><p>Please log in.</p>"


@dataclass(frozen=True)
class Site:
    """What the HTTP side needs of a stand-in."""

    library: Library
    answers: Answers
    faults: Faults
    api_key: str | None
    jobs: JobQueue


def make_app(site: Site) -> ASGIApp:
    """Return the web application of a stand-in."""
    graphql = _Graphql(site)
    news = Subscriptions(site.jobs, lambda socket: _is_allowed(socket, site.api_key))
    routes = [
        WebSocketRoute("/graphql", news.answer),
        Route("/healthz", _healthz),
        Route("/graphql", graphql.answer, methods=_ANY),
        Route("/graphql/", graphql.answer, methods=_ANY),
        Route("/{path:path}", _media(site), methods=_ANY),
    ]
    return _WithTransport(_Dated(Starlette(routes=routes), site.library.clock))


_NOTHING_ASKED = RequestError(
    [
        {
            "message": "no operation provided",
            "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
        }
    ]
)
_ANY = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


class Dropped(Response):
    """Ends the connection without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["stand_in.transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class _WithTransport:
    """Gives an application the connection itself, which ASGI has no way to close.

    It must be outermost: there `send` is still a method of what holds the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            holder = getattr(send, "__self__")  # noqa: B009
            scope["stand_in.transport"] = holder.transport
        await self._app(scope, receive, send)


class _Dated:
    """Gives answers the date of the server's own clock, as Go's HTTP server does."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", self._clock.http_date().encode("ascii"))
                message["headers"] = [date, *message.get("headers", [])]
            await send(message)

        await self._app(scope, receive, dated if scope["type"] == "http" else send)


class _Graphql:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def answer(self, http: HttpRequest) -> Response:
        """Answer one request in the envelope Stash uses."""
        if not _is_allowed(http, self._site.api_key):
            return _unauthorized()
        accept = http.headers.get("accept", _JSON)
        dialect = _JSON if _JSON in accept else _GRAPHQL
        refused = 422 if dialect == _JSON else 400
        try:
            asked = await _asked(http, dialect)
            if isinstance(asked, Response):
                return asked
            request = Request(
                asked.get("query") or "",
                asked.get("variables") or {},
                asked.get("operationName"),
                frozenset(self._site.faults.unknown_fields),
            )
        except RequestError as error:
            return _json({"errors": error.errors, "data": None}, refused, dialect)
        if http.method == "GET" and not request.is_query:
            message = "GET requests only allow query operations"
            return _json({"errors": [{"message": message}], "data": None}, 406, dialect)
        fault = self._site.faults.next_for(_names(request))
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        elif fault and fault.kind != "errors":
            return await self._broken(fault, http, request, dialect)
        return await run_in_threadpool(self._run, http, request, dialect, fault)

    def _run(
        self,
        http: HttpRequest,
        request: Request,
        dialect: str,
        fault: Fault | None = None,
    ) -> Response:
        reader = Reader(
            self._site.library,
            TYPES,
            _base_url(http),
            shuffled=self._site.faults.shuffled_lists,
        )
        self._site.faults.on_request(_names(request))
        result = run(request, self._site.answers, reader)
        if fault and fault.kind == "errors":
            path = [next(iter(request.root_fields()))]
            result["errors"] = [{"message": fault.message, "path": path}]
        asks_for_gzip = "gzip" in http.headers.get("accept-encoding", "")
        return _json(result, 200, dialect, packed=asks_for_gzip and dialect == _JSON)

    async def _broken(
        self, fault: Fault, http: HttpRequest, request: Request, dialect: str
    ) -> Response:
        if fault.after:
            await run_in_threadpool(self._run, http, request, dialect)
        if fault.kind == "drop":
            return Dropped()
        if fault.kind == "refused":
            path = [next(iter(request.root_fields()))]
            errors = [{"message": fault.message, "path": path}]
            return _json({"errors": errors, "data": None}, 200, dialect)
        if fault.kind == "html":
            return Response(_PAGE, media_type="text/html")
        if fault.kind == "empty":
            return Response(b"", media_type=_JSON)
        return PlainTextResponse("no answer", fault.status)


def _names(request: Request) -> set[str]:
    """Return the names of what a request asks for."""
    return {nodes[0].name.value for nodes in request.root_fields().values()}


async def _asked(http: HttpRequest, dialect: str) -> dict[str, Any] | Response:
    """Return the decoded request, or the answer that says why it is none."""
    if http.method == "GET":
        if "query" not in http.query_params:
            raise _NOTHING_ASKED
        values = dict(http.query_params)
        try:
            variables = msgspec.json.decode(values.get("variables") or "{}")
        except msgspec.DecodeError as error:
            message = f"variables could not be decoded: {error}"
            return _json({"errors": [{"message": message}], "data": None}, 400, dialect)
        return {**values, "variables": variables}
    if http.method == "HEAD":
        return Response(status_code=405)
    content_type = http.headers.get("content-type", "").split(";")[0].strip()
    if http.method != "POST" or content_type != _JSON:
        message = "transport not supported"
        refusal = {"errors": [{"message": message}], "data": None}
        return Response(msgspec.json.encode(refusal), 400, media_type="text/plain")
    body = await http.body()
    try:
        asked = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        message = f"json request body could not be decoded: {error}"
        return _json({"errors": [{"message": message}], "data": None}, 400, dialect)
    if not isinstance(asked, dict):
        message = "json request body could not be decoded: it is no object"
        return _json({"errors": [{"message": message}], "data": None}, 400, dialect)
    if not asked.get("query"):
        raise _NOTHING_ASKED
    return asked


def _json(
    content: Any, status: int, media_type: str, *, packed: bool = False
) -> Response:
    headers = {"content-type": media_type, "cache-control": "no-store"}
    body = msgspec.json.encode(content)
    if packed:
        headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
        body = gzip.compress(body, _GZIP_LEVEL)
    return Response(body, status, headers)


def _is_allowed(http: HTTPConnection, api_key: str | None) -> bool:
    """Tell whether the key is right. A wrong one is refused even where none is set."""
    given = http.headers.get("apikey") or http.query_params.get("apikey")
    return given == api_key if given else api_key is None


def _unauthorized() -> Response:
    return Response(status_code=401, headers={"www-authenticate": "FormBased"})


def _base_url(http: HttpRequest) -> str:
    return f"{http.url.scheme}://{http.headers.get('host', 'localhost')}"


async def _healthz(http: HttpRequest) -> Response:
    return PlainTextResponse(".")


def _media(site: Site) -> Callable[[HttpRequest], Any]:
    async def answer(http: HttpRequest) -> Response:
        if not _is_allowed(http, site.api_key):
            if re.search(r"\.\w+$", http.url.path) or http.headers.get("apikey"):
                return _unauthorized()
            place = f"/login?returnURL={http.url.path}"
            return Response(status_code=302, headers={"location": place})
        return await run_in_threadpool(
            media_response, site.library, http.method, http.url.path, dict(http.headers)
        )

    return answer
