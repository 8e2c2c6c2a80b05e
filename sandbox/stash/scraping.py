"""Asking stash-boxes for scenes, as a Stash server does.

A call answers all or nothing: whatever fails at the stash-box, or in reading what it
answers, fails the whole call, and what it said stands in the text of the error.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx
import msgspec

from sandbox.stash.errors import ApiError
from sandbox.stash.filters import Input
from sandbox.stash.library import Library

GROUP = 40
"""Scenes whose fingerprints are sent in one request."""

_ALGORITHMS = {"md5": "MD5", "oshash": "OSHASH", "phash": "PHASH"}
_HEADERS = {
    "Accept": "application/json; charset=utf-8",
    "Content-Type": "application/json; charset=utf-8",
}
# What Stash knows; it cannot decode an answer with any other value.
_ENUMS = {
    "hair_color": (
        "HairColorEnum",
        {"BLONDE", "BRUNETTE", "BLACK", "RED", "AUBURN", "GREY", "BALD", "VARIOUS"}
        | {"WHITE", "OTHER"},
    ),
    "gender": (
        "GenderEnum",
        {"MALE", "FEMALE", "TRANSGENDER_MALE", "TRANSGENDER_FEMALE", "INTERSEX"}
        | {"NON_BINARY"},
    ),
}


@dataclass(frozen=True)
class Box:
    """A stash-box that is set in the configuration."""

    endpoint: str
    api_key: str
    name: str = ""


def configured_boxes(given: Iterable[Mapping[str, Any]]) -> list[Box]:
    """Return the stash-boxes of `configureGeneral`, in their order."""
    boxes = [Box(b["endpoint"], b["api_key"], b.get("name") or "") for b in given]
    for box in boxes:
        if not box.endpoint:
            raise ApiError("Stash-box: endpoint cannot be blank")
        if not box.api_key:
            raise ApiError("Stash-box: API Key cannot be blank")
        if not box.endpoint.endswith("/graphql"):
            raise ApiError("Stash-box: endpoint is invalid")
        if len(boxes) > 1 and not box.name:
            raise ApiError("Stash-box: name cannot be blank")
    return boxes


class Scraper:
    """Asks the configured stash-boxes.

    Args:
        library: The rows, for fingerprints and for what is here already.
        boxes: Returns the stash-boxes that are configured now.
    """

    def __init__(self, library: Library, boxes: Callable[[], Sequence[Box]]) -> None:
        self._library = library
        self._boxes = boxes

    def multi(self, source: Input, input: Input) -> list[list[dict[str, Any]]]:
        """Answer `scrapeMultiScenes`: one list for each scene, in their order."""
        box = self._box(source)
        ids = [_scene_id(text) for text in input.get("scene_ids") or []]
        hashes = [self._hashes(scene_id) for scene_id in ids]
        with _Session(box) as session:
            found = self._by_hashes(session, hashes)
        return [self._matched(rows, box, in_order=True) for rows in found]

    def single(self, source: Input, input: Input) -> list[dict[str, Any]]:
        """Answer `scrapeSingleScene`: by the scene's hashes, else by words."""
        box = self._box(source)
        if input.get("scene_id") is not None:
            return self.of_scene(box, _scene_id(input["scene_id"]))
        with _Session(box) as session:
            if input.get("query") is not None:
                data = session.ask("SearchScene", term=input["query"])
                found = [session.scraped(row) for row in data["searchScene"]]
            else:
                raise ApiError("input error: scene_id or query must be set")
        return self._matched(found, box, in_order=False)

    def of_scene(self, box: Box, scene_id: int) -> list[dict[str, Any]]:
        """Return what a stash-box knows of a scene, by its hashes."""
        with _Session(box) as session:
            found = self._by_hashes(session, [self._hashes(scene_id)])[0]
        return self._matched(found, box, in_order=False)

    def identify_box(self, source: Input) -> Box:
        """Return the stash-box of a source of the identify job, in that job's words."""
        endpoint = source.get("stash_box_endpoint")
        for box in reversed(self._boxes()):
            if box.endpoint.casefold() == (endpoint or "").casefold():
                return box
        raise ApiError(f'not found: stash-box with endpoint "{endpoint}"')

    def _box(self, source: Input) -> Box:
        boxes = self._boxes()
        if (index := source.get("stash_box_index")) is not None:
            if 0 <= index < len(boxes):
                return boxes[index]
            raise ApiError(f"invalid stash_box_index {index}")
        endpoint = source.get("stash_box_endpoint")
        if endpoint is None:
            raise ApiError("scraper_id or stash_box_index must be set")
        for box in boxes:
            if box.endpoint.casefold() == endpoint.casefold():
                return box
        raise ApiError("stash box not found")

    def _hashes(self, scene_id: int) -> list[dict[str, str]]:
        if not self._library.value("SELECT 1 FROM scenes WHERE id = ?", [scene_id]):
            raise ApiError(f"scene with id {scene_id} not found")
        rows = self._library.rows(
            "SELECT type, value FROM fingerprints JOIN scenes_files USING (file_id) "
            "WHERE scene_id = ? ORDER BY position, type",
            [scene_id],
        )
        return [
            {"algorithm": _ALGORITHMS[kind], "hash": value}
            for kind, value in rows
            if kind in _ALGORITHMS
        ]

    def _by_hashes(
        self, session: "_Session", hashes: Sequence[list[dict[str, str]]]
    ) -> list[list[dict[str, Any]]]:
        asked = [of_scene for of_scene in hashes if of_scene]
        found: list[list[dict[str, Any]]] = []
        for start in range(0, len(asked), GROUP):
            group = asked[start : start + GROUP]
            data = session.ask("FindScenesBySceneFingerprints", fingerprints=group)
            found += [
                [session.scraped(row) for row in rows]
                for rows in data["findScenesBySceneFingerprints"]
            ]
        if len(found) < len(asked):
            _panic(f"index out of range [{len(found)}] with length {len(found)}")
        rows = iter(found)
        return [next(rows) if of_scene else [] for of_scene in hashes]

    def _matched(
        self, found: Sequence[dict[str, Any]], box: Box, *, in_order: bool
    ) -> list[dict[str, Any]]:
        """State of what is scraped what is here already; one scene sorts its tags."""
        for one in found:
            studio = one["studio"]
            while studio:
                studio["stored_id"] = self._stored("studio", studio, box)
                studio = studio["parent"]
            for performer in one["performers"] or ():
                performer["stored_id"] = self._stored("performer", performer, box)
            for tag in one["tags"] or ():
                tag["stored_id"] = self._stored("tag", tag, box)
            if one["tags"] and not in_order:
                one["tags"].sort(key=lambda tag: tag["name"])
        return list(found)

    def _stored(self, kind: str, remote: Mapping[str, Any], box: Box) -> str | None:
        by_id = self._library.ids(
            f"SELECT {kind}_id FROM {kind}_stash_ids WHERE endpoint = ? "
            "AND stash_id = ? ORDER BY 1",
            [box.endpoint, remote["remote_site_id"]],
        )
        if by_id:
            return str(by_id[0])
        found = self._library.ids(
            f"SELECT id FROM {kind}s WHERE name = ? COLLATE NOCASE", [remote["name"]]
        ) or self._library.ids(
            f"SELECT {kind}_id FROM {kind}_aliases WHERE alias = ? COLLATE NOCASE",
            [remote["name"]],
        )
        return str(found[0]) if len(found) == 1 else None


def _scene_id(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ApiError(f'strconv.Atoi: parsing "{text}": invalid syntax') from None


def _panic(what: str) -> NoReturn:
    raise ApiError(f"Internal system error. Error <runtime error: {what}>")


class _Session:
    """Requests of one call to a stash-box."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._client = httpx.Client(trust_env=False, timeout=60, follow_redirects=True)

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, operation: str, **variables: Any) -> dict[str, Any]:
        """Return the data of an answer.

        Raises:
            ApiError: There is none, in the words that Stash has for it.
        """
        body = {
            "operationName": operation,
            "query": f"query {operation} {{ … }}",
            "variables": variables,
        }
        headers = {**_HEADERS, "ApiKey": self._box.api_key}
        try:
            response = self._client.post(
                self._box.endpoint, content=msgspec.json.encode(body), headers=headers
            )
        except httpx.HTTPError as error:
            failed = f'request failed: Post "{self._box.endpoint}": EOF'
            raise ApiError(failed) from error
        return _data_of(response)

    def scraped(self, row: dict[str, Any] | None) -> dict[str, Any]:
        """Return a scene of a stash-box as Stash passes it on."""
        if row is None:
            _panic("invalid memory address or nil pointer dereference")
        urls = [url["url"] for url in row.get("urls") or ()]
        performers = [_performer(p["performer"]) for p in row.get("performers") or ()]
        tags = [_named(tag) for tag in row.get("tags") or ()]
        names = ("title", "code", "details", "director", "date", "duration")
        return {
            **{name: row.get(name) for name in names},
            "url": urls[0] if urls else None,
            "urls": urls,
            # Fetched whether it is asked for or not.
            "image": self._picture(row.get("images") or ()),
            "studio": self._studio(row.get("studio")),
            "tags": tags or None,
            "performers": performers or None,
            "groups": None,
            "file": None,
            "remote_site_id": row["id"],
            "fingerprints": row.get("fingerprints") or [],
        }

    def _studio(self, studio: dict[str, Any] | None) -> dict[str, Any] | None:
        if studio is None:
            return None
        parent = studio.get("parent")
        whole = None
        if parent is not None:
            whole = self.ask("FindStudio", id=parent["id"], name=None)["findStudio"]
        return {
            **_named(studio),
            "urls": [url["url"] for url in studio.get("urls") or ()],
            "aliases": ", ".join(studio.get("aliases") or ()),
            "parent": self._studio(whole),
        }

    def _picture(self, images: Sequence[Mapping[str, Any]]) -> str | None:
        if not images:
            return None
        try:
            response = self._client.get(images[0]["url"])
        except (httpx.HTTPError, httpx.InvalidURL):
            return None
        # The status is not looked at: a page that says "not found" is a picture too.
        kind = response.headers.get("content-type", "application/octet-stream")
        return f"data:{kind};base64,{base64.b64encode(response.content).decode()}"


def _data_of(response: httpx.Response) -> dict[str, Any]:
    text = response.text
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    errors = body.get("errors") if isinstance(body, dict) else None
    network = None
    if not response.is_success:
        said = f"Response body {text}"
        network = {"code": response.status_code, "message": said}
    elif body is None:
        why = "invalid character '<' looking for beginning of value"
        if not text.startswith("<"):
            why = "unexpected end of JSON input"
        raise ApiError(f"failed to decode data {text}: {why}")
    if network or errors:
        failure = {"networkErrors": network, "graphqlErrors": errors}
        raise ApiError(msgspec.json.encode(failure).decode())
    if not isinstance(body, dict):
        raise ApiError(f"failed to decode data {text}: it is no object")
    _check_enums(body.get("data"), text)
    data: dict[str, Any] = body.get("data") or {}
    return data


def _check_enums(value: Any, text: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_enums(item, text)
    elif isinstance(value, dict):
        for name, item in value.items():
            kind, known = _ENUMS.get(name, ("", None))
            if known is not None and item is not None and item not in known:
                raise ApiError(
                    f"failed to decode data into response {text}: : : unmarshal gql "
                    f"error: {item} is not a valid {kind}"
                )
            _check_enums(item, text)


def _named(remote: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stored_id": None,
        "name": remote["name"],
        "remote_site_id": remote["id"],
    }


def _performer(remote: dict[str, Any] | None) -> dict[str, Any]:
    if remote is None:
        _panic("invalid memory address or nil pointer dereference")
    name = remote["name"].casefold()
    aliases = {a.casefold(): a for a in reversed(remote.get("aliases") or ())}
    aliases.pop(name, None)
    images = [image["url"] for image in remote.get("images") or ()]
    return {
        **_named(remote),
        "disambiguation": remote.get("disambiguation"),
        "gender": remote.get("gender"),
        "urls": [url["url"] for url in remote.get("urls") or ()],
        "birthdate": _padded(remote.get("birth_date")),
        "aliases": ", ".join(reversed(aliases.values())) or None,
        "image": images[0] if images else None,
        "images": images,
        "country": remote.get("country"),
    }


def _padded(date: str | None) -> str | None:
    """Return a whole date: months and days that are not known become the first."""
    if date is None:
        return None
    return {10: date, 7: f"{date}-01", 4: f"{date}-01-01"}.get(len(date), "")
