"""A stand-in for a stash-box: it answers what a Stash server asks of one.

Stash asks by four operations: scenes by fingerprints, scenes by words, a studio by its
id, and who the key belongs to. Each is recognized by its name, as the real one answers
every document: what it leaves out of an answer is null for Stash.
"""

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.serving import Served, StandInServer

Data = dict[str, Any]

NAMESPACE = uuid.UUID("7f0a3f6e-0000-4000-8000-00000000b0c5")
PHASH_DISTANCE = 4
"""Bits by which a perceptual hash may differ, unless a box says otherwise."""


def remote_id(name: str) -> str:
    """Return the id that everything of this name has here."""
    return str(uuid.uuid5(NAMESPACE, name))


def named(name: str, **more: Any) -> Data:
    """Return a tag, studio or performer of this name."""
    return {"id": remote_id(name), "name": name, **more}


def scene(
    title: str,
    *,
    fingerprints: Sequence[tuple[str, str, int]] = (),
    duration: int | None = None,
    studio: Data | None = None,
    performers: Sequence[Data] = (),
    tags: Sequence[Data] = (),
    urls: Sequence[str] = (),
    images: Sequence[str] = (),
    **more: Any,
) -> Data:
    """Return a scene as a stash-box answers it.

    Args:
        title: Its title, which also gives its id.
        fingerprints: (algorithm in upper case, hash, duration in seconds).
        duration: In seconds.
        studio: Made with `named`.
        performers: Made with `named`.
        tags: Made with `named`.
        urls: Its addresses.
        images: Addresses of its pictures.
        more: Other fields: code, details, director, date.
    """
    return {
        "id": remote_id(title),
        "title": title,
        "code": None,
        "details": None,
        "director": None,
        "date": None,
        "duration": duration,
        "urls": [{"url": url, "type": "STUDIO"} for url in urls],
        "images": [
            {"id": remote_id(i), "url": i, "width": 1, "height": 1} for i in images
        ],
        "studio": studio,
        "tags": list(tags),
        "performers": [{"as": None, "performer": p} for p in performers],
        "fingerprints": [
            {"algorithm": algorithm, "hash": value, "duration": seconds}
            for algorithm, value, seconds in fingerprints
        ],
        **more,
    }


@dataclass
class Picture:
    """A file that the box serves. Without a type, the answer states none."""

    content: bytes
    content_type: str | None = "image/png"
    status: int = 200


@dataclass
class StashBox(StandInServer):
    """A running stand-in on loopback, for a `with` block.

    Attributes:
        api_key: Key that requests must carry.
        scenes: What it knows, each made with `scene`.
        studios: Parent studios by id: what `FindStudio` answers.
        pictures: Path → file that it serves.
        phash_distance: Bits by which a perceptual hash may differ.
        fault: Called with each operation and its variables; returns an answer to send
            instead, or None.
        requests: The operations and their variables, in order.
    """

    api_key: str = "key"
    port: int = 0
    scenes: list[Data] = field(default_factory=list)
    studios: dict[str, Data] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    phash_distance: int = PHASH_DISTANCE
    fault: Callable[[str, Mapping[str, Any]], Response | None] = field(
        default=lambda operation, variables: None
    )
    requests: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._served = Served("stash-box", self.port)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start answering."""
        routes = [
            Route("/graphql", self._graphql, methods=["POST"]),
            Route("/{path:path}", self._picture, methods=["GET"]),
        ]
        self._served.start(Starlette(routes=routes))

    @property
    def url(self) -> str:
        """Address without a slash at its end."""
        return self._served.url

    @property
    def endpoint(self) -> str:
        """The address that is set in Stash."""
        return f"{self._served.url}/graphql"

    def operations(self, name: str) -> list[Mapping[str, Any]]:
        """Return the variables of the requests of one operation, in order."""
        return [
            variables for operation, variables in self.requests if operation == name
        ]

    async def _graphql(self, http: Request) -> Response:
        body = json.loads(await http.body())
        operation, variables = body["operationName"], body["variables"]
        with self._lock:
            self.requests.append((operation, variables))
        broken = self.fault(operation, variables)
        if broken is not None:
            return broken
        if http.headers.get("apikey") != self.api_key:
            return JSONResponse({"errors": [{"message": "Not authorized"}]}, 401)
        answers: dict[str, Callable[[Mapping[str, Any]], Data]] = {
            "FindScenesBySceneFingerprints": self._by_fingerprints,
            "SearchScene": self._by_words,
            "FindStudio": self._studio,
            "Me": lambda variables: {"me": {"name": "sample"}},
        }
        if operation not in answers:
            message = f"unknown operation {operation}"
            return JSONResponse({"errors": [{"message": message}], "data": None}, 422)
        return JSONResponse({"data": answers[operation](variables)})

    def _by_fingerprints(self, variables: Mapping[str, Any]) -> Data:
        found = [
            [one for one in self.scenes if self._matches(one, of_scene)]
            for of_scene in variables["fingerprints"]
        ]
        return {"findScenesBySceneFingerprints": found}

    def _matches(self, one: Data, asked: Sequence[Mapping[str, str]]) -> bool:
        return any(
            known["algorithm"] == hash_["algorithm"]
            and self._is_near(known["algorithm"], known["hash"], hash_["hash"])
            for known in one["fingerprints"] or ()
            for hash_ in asked
        )

    def _is_near(self, algorithm: str, known: str, asked: str) -> bool:
        if algorithm != "PHASH":
            return known == asked
        differing = int(known, 16) ^ int(asked, 16)
        return differing.bit_count() <= self.phash_distance

    def _by_words(self, variables: Mapping[str, Any]) -> Data:
        term = variables["term"].casefold()
        wanted = [
            one
            for one in self.scenes
            if one["id"] == term or term in (one["title"] or "").casefold()
        ]
        return {"searchScene": wanted}

    def _studio(self, variables: Mapping[str, Any]) -> Data:
        return {"findStudio": self.studios.get(variables["id"])}

    async def _picture(self, http: Request) -> Response:
        picture = self.pictures.get(http.url.path)
        if picture is None:
            return PlainTextResponse("404 page not found", 404)
        response = Response(picture.content, picture.status)
        if picture.content_type is not None:
            response.headers["content-type"] = picture.content_type
        return response
