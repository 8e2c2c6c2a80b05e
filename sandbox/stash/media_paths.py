"""Answers for the addresses of covers, previews, sprites and streams."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse, Response

from sandbox.stash.library import Library
from sandbox.stash.outputs import Outputs
from sandbox.stash.row_types import PRIMARY_OSHASH

_PLACEHOLDER = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="160" height="90">'
    b'<rect width="160" height="90" fill="#202b33"/></svg>'
)
# Clients tell the real server's picture by its size.
_PIXEL_BYTES = 1199
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
).ljust(_PIXEL_BYTES, b"\0")
_TYPES = {
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
    ".webp": "image/webp",
    ".vtt": "text/vtt",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}
_STARTS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n": "image/png",
    b"GIF8": "image/gif",
    b"<": "text/html; charset=utf-8",
}
_SCENE = re.compile(r"/scene/(\d+)/(\w+)")
_BY_HASH = re.compile(r"/scene/(\w*)_(sprite\.jpg|thumbs\.vtt)")
_MARKER = re.compile(r"/scene/(\d+)/scene_marker/(\d+)/(stream|preview|screenshot)")
_IMAGE = re.compile(r"/(tag|performer|studio)/(\d+)/image")


def media_response(
    library: Library, method: str, path: str, headers: Mapping[str, str]
) -> Response:
    """Return what Stash answers for a media address.

    A missing cover is a drawing with status 200; anything else missing is a 404.
    """
    if method == "HEAD":
        # Odd, but observed: the addresses by hash answer 400.
        return Response(status_code=400 if _BY_HASH.fullmatch(path) else 405)
    if method != "GET":
        return Response(status_code=405)
    outputs = Outputs(library.generated)
    if match := _MARKER.fullmatch(path):
        return _marker(library, outputs, int(match[2]), match[3], headers)
    if match := _BY_HASH.fullmatch(path):
        make = outputs.sprite if match[2].startswith("sprite") else outputs.vtt
        return _file(make(match[1]), headers)
    if match := _SCENE.fullmatch(path):
        return _scene(library, outputs, int(match[1]), match[2], headers)
    if match := _IMAGE.fullmatch(path):
        if not library.value(f"SELECT 1 FROM {match[1]}s WHERE id = ?", [match[2]]):
            return _unknown()
        return Response(_PLACEHOLDER, media_type="image/svg+xml")
    return _absent()


def _scene(
    library: Library,
    outputs: Outputs,
    scene_id: int,
    kind: str,
    headers: Mapping[str, str],
) -> Response:
    rows = library.rows(
        f"SELECT {PRIMARY_OSHASH}, (SELECT path FROM files JOIN scenes_files "
        "ON files.id = file_id WHERE scene_id = scenes.id AND position = 0) "
        "FROM scenes WHERE id = ?",
        [scene_id],
    )
    if not rows:
        return _unknown()
    oshash, path = rows[0]
    if kind == "screenshot":
        cover = outputs.cover(scene_id)
        if cover.exists():
            # Whatever was set as the cover is served as what it is.
            return _file(cover, headers, _kind_of(cover))
        return Response(_PLACEHOLDER, media_type="image/svg+xml")
    if oshash is None:
        return _absent()
    targets = {
        "preview": outputs.preview(oshash),
        "webp": outputs.image_preview(oshash),
        "stream": Path(path),
        "funscript": Path(path).with_suffix(".funscript"),
    }
    return _file(targets[kind], headers) if kind in targets else _absent()


def _marker(
    library: Library,
    outputs: Outputs,
    marker_id: int,
    kind: str,
    headers: Mapping[str, str],
) -> Response:
    rows = library.rows(
        f"SELECT seconds, {PRIMARY_OSHASH} FROM scene_markers "
        "JOIN scenes ON scenes.id = scene_id WHERE scene_markers.id = ?",
        [marker_id],
    )
    if not rows or rows[0][1] is None:
        return _unknown()
    seconds, oshash = rows[0]
    suffix = {"stream": ".mp4", "preview": ".webp", "screenshot": ".jpg"}[kind]
    target = outputs.marker(oshash, seconds, suffix)
    if kind != "stream" and not target.exists():
        return Response(_PIXEL, media_type="image/png")
    return _file(target, headers)


def _kind_of(cover: Path) -> str:
    with cover.open("rb") as file:
        head = file.read(16)
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    return "image/webp" if head[8:12] == b"WEBP" else "text/plain; charset=utf-8"


def _file(
    path: Path, headers: Mapping[str, str], media_type: str | None = None
) -> Response:
    """Return a file, or the part of it that a Range header asks for."""
    if not path.is_file():
        return _absent()
    size = path.stat().st_size
    media_type = media_type or _TYPES.get(
        path.suffix.lower(), "application/octet-stream"
    )
    common: dict[str, Any] = {"accept-ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    with path.open("rb") as file:
        if asked is None or not size:
            # Of an empty file, the real server ignores the range.
            return Response(file.read(), 200, common, media_type)
        first = int(asked[1])
        last = min(int(asked[2] or size - 1), size - 1)
        if first > last:
            return Response(b"", 416, {"content-range": f"bytes */{size}"})
        file.seek(first)
        common["content-range"] = f"bytes {first}-{last}/{size}"
        return Response(file.read(last - first + 1), 206, common, media_type)


def _unknown() -> Response:
    return PlainTextResponse("Not Found", 404)


def _absent() -> Response:
    return PlainTextResponse("404 page not found\n", 404)
