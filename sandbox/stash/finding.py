"""The find queries: scenes, markers, tags, performers, studios."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from sandbox.stash.errors import ApiError
from sandbox.stash.filters import (
    Comparers,
    Input,
    Where,
    compare_column_ids,
    compare_links,
    compare_number,
    compare_text,
    compare_time,
    each,
    ordered,
    paged,
    search,
)
from sandbox.stash.library import Library
from sandbox.stash.row_types import TAG_NAME
from sandbox.stash.rows import Rows

_FILES = "SELECT scene_id FROM scenes_files JOIN files ON files.id = file_id"
_HASHES = "SELECT scene_id FROM scenes_files JOIN fingerprints USING (file_id)"


def _primary(expression: str) -> str:
    """Return the SQL of something of a scene's primary file."""
    return (
        f"(SELECT {expression} FROM files JOIN scenes_files ON files.id = file_id "
        "WHERE scene_id = scenes.id AND position = 0)"
    )


_PATH = _primary("path")
_SCENE_NAME = f"COALESCE(NULLIF(title, ''), {_primary('basename')}) COLLATE NOCASE"
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
    "path": _primary(
        "SUBSTR(path, 1, LENGTH(path) - LENGTH(basename) - 1) || basename"
    ),
    "duration": _primary("duration"),
    "filesize": _primary("size"),
    "file_mod_time": _primary("mod_time"),
}
_JOINS = {
    "AND": "({}) AND ({})",
    "OR": "({}) OR ({})",
    "NOT": "({}) AND NOT ({})",
}
_KINDS = {
    "Tag": ("tags", "tag_aliases", "tag_id", "tags"),
    "Performer": ("performers", "performer_aliases", "performer_id", "performers"),
    "Studio": ("studios", "studio_aliases", "studio_id", "studios"),
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
) -> dict[str, Any]:
    """Answer `findScenes`."""
    if ids:
        chosen = _chosen(library, "scenes", "scene", ids)
        totals = _totals(library, chosen)
        return {"count": len(chosen), **totals, "scenes": Rows("Scene", chosen)}
    where = Where()
    text = (filter or {}).get("q")
    search(where, ["title", "details", "code", _PATH], text)
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
    each(
        where,
        scene_marker_filter,
        {
            "tags": lambda w, c: compare_links(
                w, "scene_markers_tags", "scene_marker_id", "tag_id", c
            ),
            "scenes": lambda w, c: compare_column_ids(w, "scene_id", c),
            "created_at": lambda w, c: compare_time(w, "created_at", c),
            "updated_at": lambda w, c: compare_time(w, "updated_at", c),
            "scene_updated_at": lambda w, c: compare_time(
                w, "(SELECT updated_at FROM scenes WHERE scenes.id = scene_id)", c
            ),
        },
    )
    sorts = {
        **{name: name for name in ("id", "title", "seconds", "scene_id")},
        **{name: name for name in ("created_at", "updated_at")},
    }
    unsorted = "title, id DESC"
    return _found(
        library, "SceneMarker", "scene_markers", where, filter, sorts, unsorted
    )


def find_named(
    library: Library,
    type_name: str,
    row_filter: Input | None = None,
    filter: Input | None = None,
    ids: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Answer `findTags`, `findPerformers` or `findStudios`."""
    table, alias_table, owner, key = _KINDS[type_name]
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


def add_scene_criteria(where: Where, given: Input | None) -> None:
    """Add the criteria of a SceneFilterType."""
    _add_joined(where, given, _SCENE)


def add_named_criteria(where: Where, type_name: str, given: Input | None) -> None:
    """Add the criteria of a TagFilterType, PerformerFilterType or StudioFilterType."""
    _, alias_table, owner, _ = _KINDS[type_name]

    def by_alias(w: Where, criterion: Input) -> None:
        inner = Where()
        compare_text(inner, "alias", criterion)
        w.add(
            f"id IN (SELECT {owner} FROM {alias_table} WHERE {inner.sql})",
            *inner.values,
        )

    _add_joined(where, given, {**_NAMED, "aliases": by_alias})


def _add_joined(where: Where, given: Input | None, comparers: Comparers) -> None:
    """Add a filter with the one filter that is joined to it by AND, OR or NOT."""
    chosen = dict(given or {})
    joined = {name: chosen.pop(name, None) for name in _JOINS}
    below = [(name, other) for name, other in joined.items() if other]
    if len(below) > 1:
        raise ApiError(
            f"cannot have {below[0][0]} and {below[1][0]} in the same filter"
        )
    own = Where()
    each(own, chosen, comparers)
    for name, other_filter in below:
        other = Where()
        _add_joined(other, other_filter, comparers)
        own = Where(
            [_JOINS[name].format(own.sql, other.sql)], [*own.values, *other.values]
        )
    where.add(own.sql, *own.values)


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


def _text(column: str, where: Where, criterion: Input) -> None:
    compare_text(where, column, criterion)


def _time(column: str, where: Where, criterion: Input) -> None:
    compare_time(where, column, criterion)


def _number(column: str, where: Where, criterion: Input) -> None:
    compare_number(where, column, criterion)


def _fingerprint(kind: str, where: Where, criterion: Input) -> None:
    has = f"id IN ({_HASHES} WHERE type = '{kind}'"
    if criterion["modifier"] == "IS_NULL":
        where.add(f"NOT {has})")
    elif criterion["modifier"] == "NOT_NULL":
        where.add(f"{has})")
    else:
        inner = Where()
        compare_text(inner, "value", criterion)
        where.add(f"{has} AND {inner.sql})", *inner.values)


def _files(where: Where, given: Input) -> None:
    inner = Where()
    each(
        inner,
        given,
        {
            "path": partial(_text, "path"),
            "basename": partial(_text, "basename"),
            "mod_time": partial(_time, "mod_time"),
            "created_at": partial(_time, "files.created_at"),
            "updated_at": partial(_time, "files.updated_at"),
        },
    )
    where.add(f"id IN ({_FILES} WHERE {inner.sql})", *inner.values)


def _path(where: Where, criterion: Input) -> None:
    inner = Where()
    compare_text(inner, "path", criterion)
    where.add(f"id IN ({_FILES} WHERE {inner.sql})", *inner.values)


def _related(
    type_name: str, table: str, links: str, where: Where, given: Input
) -> None:
    inner = Where()
    add_named_criteria(inner, type_name, given)
    rows = f"SELECT id FROM {table} WHERE {inner.sql}"
    where.add(links.format(rows), *inner.values)


def _markers(where: Where, given: Input) -> None:
    inner = Where()
    each(
        inner,
        given,
        {
            "created_at": partial(_time, "created_at"),
            "updated_at": partial(_time, "updated_at"),
        },
    )
    where.add(
        f"id IN (SELECT scene_id FROM scene_markers WHERE {inner.sql})",
        *inner.values,
    )


def _has_markers(where: Where, value: str) -> None:
    negated = "" if value == "true" else "NOT "
    where.add(f"id {negated}IN (SELECT scene_id FROM scene_markers)")


def _is_missing(where: Where, value: str) -> None:
    tables = {
        "url": "scene_urls",
        "tags": "scenes_tags",
        "performers": "performers_scenes",
        "stash_id": "scene_stash_ids",
        "galleries": "scenes_galleries",
        "group": "groups_scenes",
        "movie": "groups_scenes",
    }
    if not value:
        return
    if value in tables:
        where.add(f"id NOT IN (SELECT scene_id FROM {tables[value]})")
    elif value == "studio":
        where.add("studio_id IS NULL")
    elif value == "cover":
        where.add("id NOT IN (SELECT scene_id FROM covers)")
    elif value == "phash":
        # Any file without one counts.
        where.add(
            "id IN (SELECT scene_id FROM scenes_files WHERE file_id NOT IN "
            "(SELECT file_id FROM fingerprints WHERE type = 'phash'))"
        )
    else:
        # The value goes into the SQL as it is, as in the real server: what is no
        # column becomes an error of the database.
        where.add(f"scenes.{value} IS NULL OR TRIM(scenes.{value}) = ''")


def _flag(column: str, where: Where, value: bool) -> None:
    where.add(f"{column} = ?", int(value))


_NAMED: Comparers = {
    **{name: partial(_text, name) for name in ("name", "sort_name", "disambiguation")},
    "favorite": partial(_flag, "favorite"),
    "filter_favorites": partial(_flag, "favorite"),
    "ignore_auto_tag": partial(_flag, "ignore_auto_tag"),
    "created_at": partial(_time, "created_at"),
    "updated_at": partial(_time, "updated_at"),
}
_SCENE: Comparers = {
    **{name: partial(_text, name) for name in ("title", "code", "details", "director")},
    "id": partial(_number, "id"),
    "rating100": partial(_number, "rating"),
    "duration": partial(_number, _primary("CAST(duration AS INTEGER)")),
    "file_count": partial(
        _number, "(SELECT COUNT(*) FROM scenes_files WHERE scene_id = scenes.id)"
    ),
    "tag_count": partial(
        _number, "(SELECT COUNT(*) FROM scenes_tags WHERE scene_id = scenes.id)"
    ),
    "performer_count": partial(
        _number, "(SELECT COUNT(*) FROM performers_scenes WHERE scene_id = scenes.id)"
    ),
    "date": partial(_time, "date"),
    "created_at": partial(_time, "created_at"),
    "updated_at": partial(_time, "updated_at"),
    "oshash": partial(_fingerprint, "oshash"),
    "phash": partial(_fingerprint, "phash"),
    "phash_distance": partial(_fingerprint, "phash"),
    "path": _path,
    "organized": lambda w, value: w.add("organized = ?", int(value)),
    "has_markers": _has_markers,
    "is_missing": _is_missing,
    "studios": lambda w, c: compare_column_ids(
        w, "studio_id", c, deeper="SELECT parent_id, id FROM studios"
    ),
    "tags": lambda w, c: compare_links(
        w,
        "scenes_tags",
        "scene_id",
        "tag_id",
        c,
        deeper="SELECT parent_id, child_id FROM tags_relations",
    ),
    "performers": lambda w, c: compare_links(
        w, "performers_scenes", "scene_id", "performer_id", c
    ),
    "files_filter": _files,
    "tags_filter": partial(
        _related,
        "Tag",
        "tags",
        "id IN (SELECT scene_id FROM scenes_tags WHERE tag_id IN ({}))",
    ),
    "performers_filter": partial(
        _related,
        "Performer",
        "performers",
        "id IN (SELECT scene_id FROM performers_scenes WHERE performer_id IN ({}))",
    ),
    "studios_filter": partial(_related, "Studio", "studios", "studio_id IN ({})"),
    "markers_filter": _markers,
}
