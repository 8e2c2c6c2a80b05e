"""The HTTP side: the GraphQL envelope, authentication, media and faults."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sandbox.stash.documents import Request
from sandbox.stash.errors import RequestError
from sandbox.stash.execution import Answers, run
from sandbox.stash.faults import Fault, Faults
from sandbox.stash.library import Library
from sandbox.stash.media_paths import media_response
from sandbox.stash.row_types import TYPES
from sandbox.stash.rows import Reader

_JSON = "application/json"
_GRAPHQL = "application/graphql-response+json"
_PAGE = "<!doctype html><title>Log in</title><p>Please log in.</p>"


@dataclass(frozen=True)
class Site:
    """What the HTTP side needs of a stand-in."""

    library: Library
    answers: Answers
    faults: Faults
    api_key: str | None


def make_app(site: Site) -> Starlette:
    """Return the web application of a stand-in."""
    graphql = _Graphql(site)
    return Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route("/graphql", graphql.answer, methods=_ANY),
            Route("/graphql/", graphql.answer, methods=_ANY),
            Route("/{path:path}", _media(site), methods=_ANY),
        ]
    )


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
        # uvicorn keeps the transport to itself; half an answer and an error make it
        # close the connection, which is what a client sees of a dropped one.
        protocol = getattr(send, "__self__", None)
        transport = getattr(protocol, "transport", None)
        if transport is None:
            raise RuntimeError("the server does not let its connection be dropped")
        transport.abort()
        protocol.disconnected = True  # type: ignore[union-attr]


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
            )
        except RequestError as error:
            return _json({"errors": error.errors, "data": None}, refused, dialect)
        if http.method == "GET" and not request.is_query:
            message = "GET requests only allow query operations"
            return _json({"errors": [{"message": message}], "data": None}, 406, dialect)
        names = {nodes[0].name.value for nodes in request.root_fields().values()}
        fault = self._site.faults.next_for(names)
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        elif fault and fault.kind != "errors":
            return await self._broken(fault, http, request)
        result = await run_in_threadpool(self._run, http, request)
        if fault and fault.kind == "errors":
            result["errors"] = [{"message": fault.message, "path": [min(names)]}]
        return _json(result, 200, dialect)

    def _run(self, http: HttpRequest, request: Request) -> dict[str, Any]:
        reader = Reader(self._site.library, TYPES, _base_url(http))
        return run(request, self._site.answers, reader)

    async def _broken(
        self, fault: Fault, http: HttpRequest, request: Request
    ) -> Response:
        if fault.after:
            await run_in_threadpool(self._run, http, request)
        if fault.kind == "drop":
            return Dropped()
        if fault.kind == "html":
            return Response(_PAGE, media_type="text/html")
        if fault.kind == "empty":
            return Response(b"", media_type=_JSON)
        return PlainTextResponse("no answer", fault.status)


async def _asked(http: HttpRequest, dialect: str) -> dict[str, Any] | Response:
    """Return the decoded request, or the answer that says why it is none."""
    if http.method == "GET":
        if "query" not in http.query_params:
            raise _NOTHING_ASKED
        values = dict(http.query_params)
        variables = values.get("variables")
        return {**values, "variables": msgspec.json.decode(variables or "{}")}
    if http.method == "HEAD":
        return Response(status_code=405)
    content_type = http.headers.get("content-type", "").split(";")[0].strip()
    if http.method != "POST" or content_type != _JSON:
        error = {"errors": [{"message": "transport not supported"}], "data": None}
        return Response(msgspec.json.encode(error), 400, media_type="text/plain")
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


def _json(content: Any, status: int, media_type: str) -> Response:
    return Response(
        msgspec.json.encode(content),
        status,
        {"content-type": media_type, "cache-control": "no-store"},
    )


def _is_allowed(http: HttpRequest, api_key: str | None) -> bool:
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
