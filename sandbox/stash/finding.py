"""The find queries: scenes, markers, tags, performers, studios."""

import json
from collections.abc import Sequence
from typing import Any

from sandbox.stash.criteria import (
    KINDS,
    SCENE_PATH,
    add_file_criteria,
    add_marker_criteria,
    add_named_criteria,
    add_scene_criteria,
    primary_file,
)
from sandbox.stash.errors import ApiError
from sandbox.stash.filters import Input, Where, ordered, paged, search
from sandbox.stash.library import Library
from sandbox.stash.row_types import TAG_NAME
from sandbox.stash.rows import Rows

_SCENE_NAME = f"COALESCE(NULLIF(title, ''), {primary_file('basename')}) COLLATE NOCASE"
_SORTS = {
    "id": "id",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "rating": "rating100",
}
_NAMED_SORTS = {
    "Tag": {
        **_SORTS,
        "name": f"{TAG_NAME} COLLATE NOCASE",
        "scenes_count": "(SELECT COUNT(*) FROM scenes_tags WHERE tag_id = tags.id)",
    },
    "Performer": {
        **_SORTS,
        "name": "name COLLATE NOCASE",
        "scenes_count": (
            "(SELECT COUNT(*) FROM performers_scenes "
            "WHERE performer_id = performers.id)"
        ),
    },
    "Studio": {
        **_SORTS,
        "name": "name COLLATE NOCASE",
        "scenes_count": "(SELECT COUNT(*) FROM scenes WHERE studio_id = studios.id)",
    },
}
_SCENE_SORTS = {
    **{name: name for name in ("id", "date", "created_at", "updated_at")},
    "title": _SCENE_NAME,
    "rating": "rating",
    # Folder and name are joined without a slash, as in the real server.
    "path": primary_file(
        "SUBSTR(path, 1, LENGTH(path) - LENGTH(basename) - 1) || basename"
    ),
    "duration": primary_file("duration"),
    "filesize": primary_file("size"),
    "file_mod_time": primary_file("mod_time"),
}


def number(text: str, doing: str = "") -> int:
    """Return an id as a number.

    Raises:
        ApiError: It is none; worded as Stash words it.
    """
    try:
        return int(text)
    except ValueError:
        prefix = f"{doing}: " if doing else ""
        raise ApiError(
            f'{prefix}strconv.Atoi: parsing "{text}": invalid syntax'
        ) from None


def find_scenes(
    library: Library,
    scene_filter: Input | None = None,
    filter: Input | None = None,
    ids: Sequence[str] | None = None,
    scene_ids: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Answer `findScenes`; `scene_ids` is an older name of `ids`."""
    if scene_ids:
        ids = [str(id_) for id_ in scene_ids]
    if ids:
        chosen = _chosen(library, "scenes", "scene", ids)
        totals = _totals(library, chosen)
        return {"count": len(chosen), **totals, "scenes": Rows("Scene", chosen)}
    where = Where()
    text = (filter or {}).get("q")
    search(where, ["title", "details", "code", SCENE_PATH], text)
    add_scene_criteria(where, scene_filter)
    # Read by studio, as the real server's planner does when nothing says otherwise.
    order = ordered(filter, _SCENE_SORTS, "studio_id, id", f"{_SCENE_NAME}, id")
    limit, wanted = paged(filter)

    def count() -> int:
        return int(
            library.value(
                f"SELECT COUNT(*) FROM scenes WHERE {where.sql}", where.values
            )
        )

    def total(column: str) -> Any:
        return library.value(
            f"SELECT COALESCE(SUM({column}), 0) FROM files JOIN scenes_files "
            "ON files.id = file_id WHERE position = 0 AND scene_id IN "
            f"(SELECT id FROM scenes WHERE {where.sql})",
            where.values,
        )

    page = f"SELECT id FROM scenes WHERE {where.sql}{order}{limit}"
    # Read now, so that a bad filter is an error even when no field needs the rows.
    chosen = library.ids(page, where.values) if wanted else []
    if not wanted:
        count()
    return {
        "count": count,
        "duration": lambda: total("duration"),
        "filesize": lambda: total("size"),
        "scenes": Rows("Scene", chosen),
    }


def find_markers(
    library: Library,
    scene_marker_filter: Input | None = None,
    filter: Input | None = None,
    ids: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Answer `findSceneMarkers`."""
    if ids:
        chosen = _chosen(library, "scene_markers", "scene marker", ids)
        return {"count": len(chosen), "scene_markers": Rows("SceneMarker", chosen)}
    where = Where()
    search(where, ["title"], (filter or {}).get("q"))
    add_marker_criteria(where, scene_marker_filter)
    sorts = {
        **{name: name for name in ("id", "title", "seconds", "scene_id")},
        **{name: name for name in ("created_at", "updated_at")},
    }
    unsorted = "title, id DESC"
    return _found(
        library, "SceneMarker", "scene_markers", where, filter, sorts, unsorted
    )


def find_files(
    library: Library,
    file_filter: Input | None = None,
    filter: Input | None = None,
    ids: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Answer `findFiles`: all files of the library are videos."""
    if ids:
        chosen = _chosen(library, "files", "file", ids)
        return {"count": len(chosen), "files": Rows("VideoFile", chosen)}
    where = Where()
    search(where, ["path"], (filter or {}).get("q"))
    add_file_criteria(where, file_filter)
    sorts = {name: name for name in ("id", "path", "created_at", "updated_at")}
    return _found(library, "VideoFile", "files", where, filter, sorts, "id")


def find_folders(library: Library, filter: Input | None = None) -> dict[str, Any]:
    """Answer `findFolders`: the folders that scans have walked."""
    limit, wanted = paged(filter)
    query = f"SELECT path FROM folders ORDER BY path{limit}"
    found = [{"path": path} for (path,) in library.rows(query)] if wanted else []
    return {
        "count": lambda: library.value("SELECT COUNT(*) FROM folders"),
        "folders": found,
    }


def find_named(
    library: Library,
    type_name: str,
    row_filter: Input | None = None,
    filter: Input | None = None,
    ids: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Answer `findTags`, `findPerformers` or `findStudios`."""
    table, alias_table, owner, key = KINDS[type_name]
    if ids:
        chosen = _chosen(library, table, type_name.lower(), ids)
        return {"count": len(chosen), key: Rows(type_name, chosen)}
    where = Where()
    aliases = (
        f"(SELECT GROUP_CONCAT(alias, ' ') FROM {alias_table} "
        f"WHERE {owner} = {table}.id)"
    )
    search(where, ["name", aliases], (filter or {}).get("q"))
    add_named_criteria(where, type_name, row_filter)
    sorts = _NAMED_SORTS[type_name]
    return _found(library, type_name, table, where, filter, sorts, "id", key)


def _found(
    library: Library,
    type_name: str,
    table: str,
    where: Where,
    find_filter: Input | None,
    sorts: dict[str, str],
    unsorted: str,
    key: str | None = None,
) -> dict[str, Any]:
    limit, wanted = paged(find_filter)
    tie_break = f"{sorts['name']}, id" if "name" in sorts else "id"
    order = ordered(find_filter, sorts, unsorted, tie_break)
    count = f"SELECT COUNT(*) FROM {table} WHERE {where.sql}"
    page = f"SELECT id FROM {table} WHERE {where.sql}{order}{limit}"
    chosen = library.ids(page, where.values) if wanted else []
    return {
        "count": lambda: library.value(count, where.values),
        key or table: Rows(type_name, chosen),
    }


def _chosen(
    library: Library, table: str, singular: str, ids: Sequence[str]
) -> list[int]:
    """Return ids that exist, in the order asked; all other settings are ignored."""
    chosen = [number(i, "converting ids") for i in ids]
    seen: set[int] = set()
    for row_id in chosen:
        if row_id in seen:
            raise ApiError(f"validating ids: duplicate id found: {row_id}")
        seen.add(row_id)
    known = set(
        library.ids(
            f"SELECT id FROM {table} WHERE id IN (SELECT value FROM json_each(?))",
            [json.dumps(chosen)],
        )
    )
    for row_id in chosen:
        if row_id not in known:
            raise ApiError(f"{singular} with id {row_id} not found")
    return chosen


def _totals(library: Library, ids: list[int]) -> dict[str, Any]:
    def total(column: str) -> Any:
        return library.value(
            f"SELECT COALESCE(SUM({column}), 0) FROM files JOIN scenes_files "
            "ON files.id = file_id WHERE position = 0 "
            "AND scene_id IN (SELECT value FROM json_each(?))",
            [json.dumps(ids)],
        )

    return {
        "duration": lambda: total("duration"),
        "filesize": lambda: total("size"),
    }
