"""Mutations of scenes and markers."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx

from sandbox.stash.errors import ApiError
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.library import Library, Writer
from sandbox.stash.outputs import Outputs
from sandbox.stash.rows import OneRow, Rows

_DATE = re.compile(r"\d{4}(-\d{2}){0,2}")
_TEXTS = {"title", "code", "details", "director"}
_COLUMNS = {
    "date": "date",
    "rating100": "rating",
    "organized": "organized",
    "resume_time": "resume_time",
    "play_duration": "play_duration",
}
_LINKS = {
    "tag_ids": ("scenes_tags", "tag_id"),
    "performer_ids": ("performers_scenes", "performer_id"),
    "gallery_ids": ("scenes_galleries", "gallery_id"),
    "group_ids": ("groups_scenes", "group_id"),
}


def create_scene(library: Library, given: Input) -> OneRow:
    """Answer `sceneCreate`: a scene without files, or with files taken from others."""
    with library.transaction() as writer:
        stamps = {"created_at": writer.now, "updated_at": writer.now}
        scene_id = writer.insert("scenes", {**_columns(given), **stamps})
        _replace_relations(writer, scene_id, given)
        for position, file_id in enumerate(given.get("file_ids") or []):
            writer.run("DELETE FROM scenes_files WHERE file_id = ?", [number(file_id)])
            link = {"scene_id": scene_id, "file_id": number(file_id)}
            writer.insert("scenes_files", {**link, "position": position})
    return OneRow("Scene", scene_id)


def update_scene(library: Library, given: Input) -> OneRow:
    """Answer `sceneUpdate`: only the fields given; null clears; lists are replaced.

    The time of change moves even if nothing was given.
    """
    scene_id = number(given["id"], "converting id")
    with library.transaction() as writer:
        columns = {**_columns(given), "updated_at": writer.now}
        if not writer.update("scenes", [scene_id], columns):
            raise ApiError(f"scene with id {scene_id} not found")
        _replace_relations(writer, scene_id, given)
        if given.get("cover_image"):
            _set_cover(writer, scene_id, given["cover_image"])
        if given.get("primary_file_id"):
            _make_primary(writer, scene_id, number(given["primary_file_id"]))
    return OneRow("Scene", scene_id)


def update_scenes(library: Library, given: Input) -> Rows | None:
    """Answer `bulkSceneUpdate`: all scenes or none; null without ids."""
    ids = [number(i, "converting ids") for i in given.get("ids") or []]
    if not ids:
        return None
    with library.transaction() as writer:
        columns = {**_columns(given), "updated_at": writer.now}
        for name, (table, column) in _LINKS.items():
            change = given.get(name)
            if change is not None:
                others = [number(i) for i in change.get("ids") or []]
                _change_links(writer, table, column, ids, others, change["mode"])
        if given.get("urls") is not None:
            _change_urls(writer, ids, given["urls"])
        if writer.update("scenes", ids, columns) < len(set(ids)):
            raise ApiError("sql: no rows in result set")
    return Rows("Scene", ids)


def destroy_scenes(library: Library, ids: Sequence[str], given: Input) -> bool:
    """Answer `sceneDestroy` and `scenesDestroy`: all or none."""
    doomed: list[Path] = []
    with library.transaction() as writer:
        for text in ids:
            scene_id = number(text, "converting ids")
            files = library.rows(
                "SELECT id, path FROM files JOIN scenes_files ON id = file_id "
                "WHERE scene_id = ?",
                [scene_id],
            )
            if not writer.run("DELETE FROM scenes WHERE id = ?", [scene_id]):
                raise ApiError(f"scene with id {scene_id} not found")
            if given.get("delete_file"):
                doomed += [Path(path) for _, path in files]
                for file_id, _ in files:
                    writer.run("DELETE FROM files WHERE id = ?", [file_id])
    for path in doomed:
        path.unlink(missing_ok=True)
    return True


def add_history(
    library: Library, table: str, scene_id: str, times: Sequence[str] | None
) -> dict[str, Any]:
    """Answer `sceneAddPlay` and `sceneAddO`; the scene's time of change stays."""
    owner = number(scene_id)
    with library.transaction() as writer:
        for at in times or [library.clock.utc_now()]:
            writer.insert(table, {"scene_id": owner, "at": at})
    history = library.ids(
        f"SELECT at FROM {table} WHERE scene_id = ? ORDER BY at DESC",
        [owner],
    )
    return {"count": len(history), "history": history}


def save_activity(
    library: Library,
    scene_id: str,
    resume_time: float | None = None,
    playDuration: float | None = None,  # noqa: N803 - as the mutation has it
) -> bool:
    """Answer `sceneSaveActivity`; the scene's time of change stays."""
    with library.transaction() as writer:
        writer.run(
            "UPDATE scenes SET resume_time = COALESCE(?, resume_time), "
            "play_duration = play_duration + ? WHERE id = ?",
            [resume_time, playDuration or 0, number(scene_id)],
        )
    return True


def create_marker(library: Library, given: Input) -> OneRow:
    """Answer `sceneMarkerCreate`. Duplicates and any seconds are taken."""
    _check_seconds(given["seconds"], given.get("end_seconds"))
    with library.transaction() as writer:
        marker_id = writer.insert(
            "scene_markers",
            {
                "title": given["title"],
                "seconds": given["seconds"],
                "end_seconds": given.get("end_seconds"),
                "scene_id": number(given["scene_id"], "converting scene id"),
                "primary_tag_id": number(
                    given["primary_tag_id"], "converting primary tag id"
                ),
                "created_at": writer.now,
                "updated_at": writer.now,
            },
        )
        _replace_marker_tags(writer, marker_id, given.get("tag_ids") or [])
    return OneRow("SceneMarker", marker_id)


def update_marker(library: Library, given: Input) -> OneRow:
    """Answer `sceneMarkerUpdate`."""
    marker_id = number(given["id"])
    names = ("title", "seconds", "end_seconds", "scene_id", "primary_tag_id")
    columns = {name: given[name] for name in names if name in given}
    with library.transaction() as writer:
        columns["updated_at"] = writer.now
        if not writer.update("scene_markers", [marker_id], columns):
            raise ApiError(f"scene marker with id {marker_id} not found")
        seconds, end = library.rows(
            "SELECT seconds, end_seconds FROM scene_markers WHERE id = ?", [marker_id]
        )[0]
        _check_seconds(seconds, end)
        if given.get("tag_ids") is not None:
            _replace_marker_tags(writer, marker_id, given["tag_ids"])
    return OneRow("SceneMarker", marker_id)


def destroy_markers(library: Library, ids: Sequence[str]) -> bool:
    """Answer `sceneMarkerDestroy` and `sceneMarkersDestroy`: all or none."""
    with library.transaction() as writer:
        for text in ids:
            marker_id = number(text)
            if not writer.run("DELETE FROM scene_markers WHERE id = ?", [marker_id]):
                raise ApiError(f"scene marker with id {marker_id} not found")
    return True


def replace_stash_ids(
    writer: Writer, kind: str, owner_id: int, given: Iterable[Input]
) -> None:
    """Set the stash-box ids of a scene, tag, performer or studio."""
    rows = [
        {
            "endpoint": item["endpoint"],
            "stash_id": item["stash_id"],
            "updated_at": item.get("updated_at") or writer.now,
        }
        for item in given
    ]
    writer.replace_list(f"{kind}_stash_ids", f"{kind}_id", owner_id, rows)


def _check_seconds(seconds: float, end_seconds: float | None) -> None:
    if end_seconds is not None and end_seconds < seconds:
        raise ApiError(
            f"end_seconds ({end_seconds:f}) must be greater than or equal to "
            f"seconds ({seconds:f})"
        )


def _columns(given: Input) -> dict[str, Any]:
    columns = {name: given[name] or "" for name in _TEXTS if name in given}
    columns |= {
        column: given[name] for name, column in _COLUMNS.items() if name in given
    }
    if given.get("date") is not None and not _DATE.fullmatch(given["date"]):
        raise ApiError(f'converting date: failed to parse date "{given["date"]}"')
    if "organized" in given and given["organized"] is None:
        raise ApiError(
            "Internal system error. Error <null value not allowed in optional bool>"
        )
    for name in ("resume_time", "play_duration"):
        if name in columns:
            columns[name] = columns[name] or 0
    if "studio_id" in given:
        studio_id = given["studio_id"]
        columns["studio_id"] = None if studio_id is None else number(studio_id)
    return columns


def _replace_relations(writer: Writer, scene_id: int, given: Input) -> None:
    for name, (table, column) in _LINKS.items():
        if name in given:
            rows = [{column: number(i)} for i in dict.fromkeys(given[name] or [])]
            writer.replace_list(table, "scene_id", scene_id, rows)
    if "groups" in given:
        writer.replace_list(
            "groups_scenes",
            "scene_id",
            scene_id,
            [
                {
                    "group_id": number(item["group_id"]),
                    "scene_index": item.get("scene_index"),
                }
                for item in given["groups"] or []
            ],
        )
    if "urls" in given:
        writer.replace_list(
            "scene_urls", "scene_id", scene_id, numbered_urls(given["urls"] or [])
        )
    if "stash_ids" in given:
        replace_stash_ids(writer, "scene", scene_id, given["stash_ids"] or [])


def numbered_urls(urls: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of a list of addresses."""
    return [{"position": at, "url": url} for at, url in enumerate(urls)]


def _change_links(
    writer: Writer,
    table: str,
    column: str,
    scene_ids: list[int],
    others: list[int],
    mode: str,
) -> None:
    scenes, wanted = json.dumps(scene_ids), json.dumps(others)
    if mode == "SET":
        writer.run(
            f"DELETE FROM {table} WHERE scene_id IN (SELECT value FROM json_each(?))",
            [scenes],
        )
    if mode == "REMOVE":
        writer.run(
            f"DELETE FROM {table} "
            "WHERE scene_id IN (SELECT value FROM json_each(?)) "
            f"AND {column} IN (SELECT value FROM json_each(?))",
            [scenes, wanted],
        )
        return
    writer.run(
        f"INSERT INTO {table} (scene_id, {column}) "
        "SELECT DISTINCT s.value, o.value FROM json_each(?) s, json_each(?) o "
        f"WHERE TRUE ON CONFLICT (scene_id, {column}) DO NOTHING",
        [scenes, wanted],
    )


def _change_urls(writer: Writer, scene_ids: list[int], change: Input) -> None:
    values = change.get("values") or []
    for scene_id in dict.fromkeys(scene_ids):
        now = writer.library.ids(
            "SELECT url FROM scene_urls WHERE scene_id = ? ORDER BY position",
            [scene_id],
        )
        if change["mode"] == "SET":
            urls = values
        elif change["mode"] == "ADD":
            urls = list(dict.fromkeys([*now, *values]))
        else:
            urls = [url for url in now if url not in values]
        writer.replace_list("scene_urls", "scene_id", scene_id, numbered_urls(urls))


def _set_cover(writer: Writer, scene_id: int, text: str) -> None:
    """Store what a data URL holds, whatever that is, or what an address answers."""
    if text.startswith("data:"):
        content = base64.b64decode(text.partition(",")[2])
    else:
        try:
            response = httpx.get(text, trust_env=False, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiError(f"processing cover image: {error}") from error
        if not response.is_success:
            raise ApiError(f"processing cover image: http error {response.status_code}")
        content = response.content
    cover = Outputs(writer.library.generated).cover(scene_id)
    cover.parent.mkdir(parents=True, exist_ok=True)
    cover.write_bytes(content)
    writer.run("INSERT OR IGNORE INTO covers VALUES (?)", [scene_id])


def _make_primary(writer: Writer, scene_id: int, file_id: int) -> None:
    files = writer.library.ids(
        "SELECT file_id FROM scenes_files WHERE scene_id = ? ORDER BY position",
        [scene_id],
    )
    if file_id not in files:
        raise ApiError(f"file with id {file_id} not associated with scene")
    order_files(writer, scene_id, [file_id, *(f for f in files if f != file_id)])


def order_files(writer: Writer, scene_id: int, file_ids: Sequence[int]) -> None:
    """Set a scene's files; the first is the primary one."""
    rows = [{"file_id": f, "position": at} for at, f in enumerate(file_ids)]
    writer.replace_list("scenes_files", "scene_id", scene_id, rows)


def _replace_marker_tags(writer: Writer, marker_id: int, tag_ids: list[str]) -> None:
    primary = writer.library.value(
        "SELECT primary_tag_id FROM scene_markers WHERE id = ?", [marker_id]
    )
    wanted = dict.fromkeys(number(i, "converting tag ids") for i in tag_ids)
    rows = [{"tag_id": tag_id} for tag_id in wanted if tag_id != primary]
    writer.replace_list("scene_markers_tags", "scene_marker_id", marker_id, rows)
