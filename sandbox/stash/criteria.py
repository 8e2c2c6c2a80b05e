"""The criteria of the find queries, turned into conditions."""

from functools import partial

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
)

_FILES = "SELECT scene_id FROM scenes_files JOIN files ON files.id = file_id"
_HASHES = "SELECT scene_id FROM scenes_files JOIN fingerprints USING (file_id)"


def primary_file(expression: str) -> str:
    """Return the SQL of something of a scene's primary file."""
    return (
        f"(SELECT {expression} FROM files JOIN scenes_files ON files.id = file_id "
        "WHERE scene_id = scenes.id AND position = 0)"
    )


SCENE_PATH = primary_file("path")

_JOINS = {
    "AND": "({}) AND ({})",
    "OR": "({}) OR ({})",
    "NOT": "({}) AND NOT ({})",
}
KINDS = {
    "Tag": ("tags", "tag_aliases", "tag_id", "tags"),
    "Performer": ("performers", "performer_aliases", "performer_id", "performers"),
    "Studio": ("studios", "studio_aliases", "studio_id", "studios"),
}
"""Type → table, table of aliases, its column for the row, key in answers."""


def add_scene_criteria(where: Where, given: Input | None) -> None:
    """Add the criteria of a SceneFilterType."""
    _add_joined(where, given, _SCENE)


def add_named_criteria(where: Where, type_name: str, given: Input | None) -> None:
    """Add the criteria of a TagFilterType, PerformerFilterType or StudioFilterType."""
    _, alias_table, owner, _ = KINDS[type_name]

    def by_alias(w: Where, criterion: Input) -> None:
        inner = Where()
        compare_text(inner, "alias", criterion)
        w.add(
            f"id IN (SELECT {owner} FROM {alias_table} WHERE {inner.sql})",
            *inner.values,
        )

    def by_box_id(w: Where, criterion: Input) -> None:
        if criterion["modifier"] != "EQUALS":
            raise ApiError(f"no stand-in for {criterion['modifier']} of stash ids")
        w.add(
            f"id IN (SELECT {owner} FROM {owner.removesuffix('_id')}_stash_ids "
            "WHERE endpoint = ? AND stash_id = ?)",
            criterion["endpoint"],
            criterion["stash_id"],
        )

    own = {"aliases": by_alias, "stash_id_endpoint": by_box_id}
    _add_joined(where, given, {**_NAMED, **own})


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


def add_marker_criteria(where: Where, given: Input | None) -> None:
    """Add the criteria of a SceneMarkerFilterType."""
    each(where, given, _MARKER)


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


def add_file_criteria(where: Where, given: Input | None) -> None:
    """Add the criteria of a FileFilterType."""
    each(
        where,
        given,
        {
            "path": partial(_text, "path"),
            "basename": partial(_text, "basename"),
            "mod_time": partial(_time, "mod_time"),
            "created_at": partial(_time, "files.created_at"),
            "updated_at": partial(_time, "files.updated_at"),
        },
    )


def _files(where: Where, given: Input) -> None:
    inner = Where()
    add_file_criteria(inner, given)
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
    "duration": partial(_number, primary_file("CAST(duration AS INTEGER)")),
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
_MARKER: Comparers = {
    "tags": lambda w, c: compare_links(
        w, "scene_markers_tags", "scene_marker_id", "tag_id", c
    ),
    "scenes": lambda w, c: compare_column_ids(w, "scene_id", c),
    "created_at": partial(_time, "created_at"),
    "updated_at": partial(_time, "updated_at"),
    "scene_updated_at": partial(
        _time, "(SELECT updated_at FROM scenes WHERE scenes.id = scene_id)"
    ),
}
