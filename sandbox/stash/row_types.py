"""How each type of the API is stored: columns, and the SQL of its relations."""

from datetime import datetime
from typing import Any

from sandbox.stash.rows import (
    Built,
    Links,
    Parent,
    Parts,
    Relation,
    RowType,
    Values,
)

_IN = "IN (SELECT value FROM json_each(?))"

TAG_NAME = "COALESCE(NULLIF(sort_name, ''), name)"
"""What tags are sorted by."""

PRIMARY_OSHASH = (
    "(SELECT value FROM fingerprints JOIN scenes_files USING (file_id) "
    "WHERE scene_id = scenes.id AND type = 'oshash' ORDER BY position LIMIT 1)"
)


def _paths(base_url: str, row: tuple[Any, ...]) -> dict[str, Any]:
    """Return the media addresses of a scene: always there, generated or not."""
    scene_id, updated_at, oshash = row
    stamp = int(datetime.fromisoformat(updated_at).timestamp())
    scene = f"{base_url}/scene/{scene_id}"
    by_hash = f"{base_url}/scene/{oshash or ''}"
    return {
        "screenshot": f"{scene}/screenshot?t={stamp}",
        "preview": f"{scene}/preview",
        "stream": f"{scene}/stream",
        "webp": f"{scene}/webp",
        "vtt": f"{by_hash}_thumbs.vtt",
        "sprite": f"{by_hash}_sprite.jpg",
        "funscript": f"{scene}/funscript",
        "interactive_heatmap": f"{scene}/interactive_heatmap",
        "caption": f"{scene}/caption",
    }


def _place(path: str | None) -> dict[str, Any] | None:
    return None if path is None else {"path": path}


def _count(table: str, column: str, owner: str) -> str:
    return f"(SELECT COUNT(*) FROM {table} WHERE {column} = {owner}.id)"


def _stash_ids(owner: str) -> Parts:
    return Parts(
        f"SELECT {owner}_id, endpoint, stash_id, updated_at FROM {owner}_stash_ids "
        f"WHERE {owner}_id {_IN}",
        {"endpoint": "", "stash_id": "", "updated_at": ""},
    )


def _list(
    table: str, owner: str, column: str, order: str, *, unordered: bool = False
) -> Values:
    return Values(
        f"SELECT {owner}, {column} FROM {table} "
        f"WHERE {owner} {_IN} ORDER BY {owner}, {order}",
        unordered,
    )


def _aliases(table: str, owner: str) -> Values:
    return _list(table, owner, "alias", "alias", unordered=True)


def _tags_of(table: str, owner: str) -> Links:
    return Links(
        f"SELECT {owner}, tag_id FROM {table} JOIN tags ON tags.id = tag_id "
        f"WHERE {owner} {_IN} ORDER BY {TAG_NAME} COLLATE NOCASE, tag_id",
        "Tag",
    )


def _marker_address(kind: str) -> str:
    return f"'/scene/' || scene_id || '/scene_marker/' || id || '/{kind}'"


def _image(kind: str) -> str:
    return f"'/{kind}/' || id || '/image?default=true'"


_SCENE_RELATIONS: dict[str, Relation] = {
    "urls": _list("scene_urls", "scene_id", "url", "position"),
    "play_history": _list("scenes_plays", "scene_id", "at", "at DESC"),
    "o_history": _list("scenes_o", "scene_id", "at", "at DESC"),
    "files": Links(
        f"SELECT scene_id, file_id FROM scenes_files WHERE scene_id {_IN} "
        "ORDER BY scene_id, position",
        "VideoFile",
        unordered=True,
        first=1,
    ),
    "captions": Parts(
        "SELECT scene_id, language_code, caption_type FROM captions "
        f"JOIN scenes_files USING (file_id) WHERE scene_id {_IN} AND position = 0",
        {"language_code": "", "caption_type": ""},
        none_when_empty=True,
    ),
    "scene_markers": Links(
        f"SELECT scene_id, id FROM scene_markers WHERE scene_id {_IN} "
        "ORDER BY scene_id, seconds, id",
        "SceneMarker",
    ),
    "galleries": Links(
        f"SELECT scene_id, gallery_id FROM scenes_galleries WHERE scene_id {_IN}",
        "Gallery",
        unordered=True,
    ),
    "groups": Parts(
        "SELECT scene_id, group_id, scene_index FROM groups_scenes "
        f"WHERE scene_id {_IN}",
        {"group": "Group", "scene_index": ""},
    ),
    "studio": Parent("studio_id", "Studio"),
    "tags": _tags_of("scenes_tags", "scene_id"),
    "performers": Links(
        "SELECT scene_id, performer_id FROM performers_scenes "
        f"WHERE scene_id {_IN} ORDER BY scene_id, performer_id",
        "Performer",
        unordered=True,
    ),
    "stash_ids": _stash_ids("scene"),
    "paths": Built(("updated_at", PRIMARY_OSHASH), _paths),
}

TYPES: dict[str, RowType] = {
    "Scene": RowType(
        table="scenes",
        columns={
            "rating100": "rating",
            "o_counter": _count("scenes_o", "scene_id", "scenes"),
            "play_count": _count("scenes_plays", "scene_id", "scenes"),
            "last_played_at": (
                "(SELECT MAX(at) FROM scenes_plays WHERE scene_id = scenes.id)"
            ),
            "interactive": (
                "EXISTS (SELECT 1 FROM scenes_files JOIN files ON files.id = file_id "
                "WHERE scene_id = scenes.id AND position = 0 AND interactive)"
            ),
            "interactive_speed": (
                "(SELECT interactive_speed FROM scenes_files "
                "JOIN files ON files.id = file_id "
                "WHERE scene_id = scenes.id AND position = 0)"
            ),
        },
        flags=frozenset({"organized", "interactive"}),
        floats=frozenset({"resume_time", "play_duration"}),
        relations=_SCENE_RELATIONS,
    ),
    "VideoFile": RowType(
        table="files",
        floats=frozenset({"duration", "frame_rate"}),
        relations={
            "fingerprints": Parts(
                "SELECT file_id, type, value FROM fingerprints "
                f"WHERE file_id {_IN} ORDER BY file_id, type",
                {"type": "", "value": ""},
            )
        },
    ),
    "SceneMarker": RowType(
        table="scene_markers",
        columns={
            kind: _marker_address(kind) for kind in ("stream", "preview", "screenshot")
        },
        floats=frozenset({"seconds", "end_seconds"}),
        relations={
            "scene": Parent("scene_id", "Scene"),
            "primary_tag": Parent("primary_tag_id", "Tag"),
            "tags": _tags_of("scene_markers_tags", "scene_marker_id"),
        },
    ),
    "Tag": RowType(
        table="tags",
        columns={
            "image_path": (
                "'/tag/' || id || '/image?' || "
                "CASE image WHEN '' THEN 'default=true' ELSE 't=1' END"
            ),
            "scene_count": _count("scenes_tags", "tag_id", "tags"),
            "scene_marker_count": (
                "(SELECT COUNT(*) FROM scene_markers WHERE primary_tag_id = tags.id "
                "OR id IN (SELECT scene_marker_id FROM scene_markers_tags "
                "WHERE tag_id = tags.id))"
            ),
            # It keeps no tags of these.
            "image_count": "0",
            "gallery_count": "0",
            "studio_count": _count("studios_tags", "tag_id", "tags"),
            "group_count": "0",
            "performer_count": _count("performers_tags", "tag_id", "tags"),
            "parent_count": _count("tags_relations", "child_id", "tags"),
            "child_count": _count("tags_relations", "parent_id", "tags"),
        },
        flags=frozenset({"favorite", "ignore_auto_tag"}),
        relations={
            "aliases": _aliases("tag_aliases", "tag_id"),
            "stash_ids": _stash_ids("tag"),
            "parents": Links(
                f"SELECT child_id, parent_id FROM tags_relations WHERE child_id {_IN}",
                "Tag",
                unordered=True,
            ),
            "children": Links(
                f"SELECT parent_id, child_id FROM tags_relations WHERE parent_id {_IN}",
                "Tag",
            ),
        },
    ),
    "Performer": RowType(
        table="performers",
        columns={
            "image_path": _image("performer"),
            "scene_count": _count("performers_scenes", "performer_id", "performers"),
        },
        flags=frozenset({"favorite", "ignore_auto_tag"}),
        floats=frozenset({"penis_length"}),
        maps=frozenset({"custom_fields"}),
        relations={
            "alias_list": _aliases("performer_aliases", "performer_id"),
            "urls": _list("performer_urls", "performer_id", "url", "position"),
            "tags": _tags_of("performers_tags", "performer_id"),
            "stash_ids": _stash_ids("performer"),
        },
    ),
    "Studio": RowType(
        table="studios",
        columns={
            "image_path": _image("studio"),
            "scene_count": _count("scenes", "studio_id", "studios"),
        },
        flags=frozenset({"favorite", "ignore_auto_tag"}),
        relations={
            "aliases": _aliases("studio_aliases", "studio_id"),
            "urls": _list("studio_urls", "studio_id", "url", "position"),
            "tags": _tags_of("studios_tags", "studio_id"),
            "stash_ids": _stash_ids("studio"),
            "parent_studio": Parent("parent_id", "Studio"),
            "child_studios": Links(
                f"SELECT parent_id, id FROM studios WHERE parent_id {_IN}",
                "Studio",
            ),
        },
    ),
    "Group": RowType(table="groups"),
    "Gallery": RowType(
        table="galleries",
        relations={
            "folder": Built(("folder",), lambda _, row: _place(row[1])),
            "files": Parts(
                "SELECT id, archive FROM galleries "
                f"WHERE id {_IN} AND archive IS NOT NULL",
                {"path": ""},
            ),
        },
    ),
}
