"""Mutations of tags, performers and studios."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sandbox.stash.editing import numbered_urls, replace_stash_ids
from sandbox.stash.errors import ApiError
from sandbox.stash.filters import Input
from sandbox.stash.finding import number
from sandbox.stash.library import Library, Writer
from sandbox.stash.rows import OneRow

_COLUMNS = {
    "tag": ("name", "sort_name", "description", "favorite", "ignore_auto_tag", "image"),
    "performer": (
        "name",
        "disambiguation",
        "gender",
        "birthdate",
        "death_date",
        "ethnicity",
        "country",
        "eye_color",
        "hair_color",
        "height_cm",
        "weight",
        "measurements",
        "fake_tits",
        "penis_length",
        "circumcised",
        "career_length",
        "tattoos",
        "piercings",
        "details",
        "rating100",
        "favorite",
        "ignore_auto_tag",
    ),
    "studio": (
        "name",
        "parent_id",
        "details",
        "rating100",
        "favorite",
        "ignore_auto_tag",
    ),
}
_NULLABLE = {
    "gender",
    "birthdate",
    "death_date",
    "height_cm",
    "weight",
    "penis_length",
    "circumcised",
    "rating100",
    "parent_id",
}
_FLAGS = {"favorite", "ignore_auto_tag"}
_ALIASES = {"tag": "aliases", "performer": "alias_list", "studio": "aliases"}


def create(library: Library, kind: str, given: Input) -> OneRow:
    """Answer `tagCreate`, `performerCreate` or `studioCreate`."""
    with library.transaction() as writer:
        columns = _columns(kind, given)
        _check_name(library, kind, columns, _aliases(kind, given) or [], None)
        stamps = {"created_at": writer.now, "updated_at": writer.now}
        row_id = writer.insert(f"{kind}s", {**columns, **stamps})
        _replace_relations(writer, kind, row_id, given)
    return OneRow(kind.capitalize(), row_id)


def update(library: Library, kind: str, given: Input) -> OneRow:
    """Answer `tagUpdate`, `performerUpdate` or `studioUpdate`.

    Its scenes' times of change stay as they are.
    """
    row_id = number(given["id"], "converting id")
    with library.transaction() as writer:
        columns = _columns(kind, given)
        row = library.rows(f"SELECT name FROM {kind}s WHERE id = ?", [row_id])
        if not row:
            raise ApiError(f"{kind} with id {row_id} not found")
        named = {"name": row[0][0], **columns}
        if kind == "performer" and "disambiguation" not in named:
            named["disambiguation"] = library.value(
                "SELECT disambiguation FROM performers WHERE id = ?", [row_id]
            )
        _check_name(library, kind, named, _aliases(kind, given) or [], row_id)
        writer.update(f"{kind}s", [row_id], {**columns, "updated_at": writer.now})
        _replace_relations(writer, kind, row_id, given)
    return OneRow(kind.capitalize(), row_id)


def create_plain(library: Library, table: str, given: Input) -> OneRow:
    """Answer `groupCreate` and `galleryCreate`, which know no more than a name here."""
    with library.transaction() as writer:
        stamps = {"created_at": writer.now, "updated_at": writer.now}
        row_id = writer.insert(table, {**given, **stamps})
    return OneRow({"groups": "Group", "galleries": "Gallery"}[table], row_id)


def rename_group(library: Library, given: Input) -> OneRow:
    """Answer `groupUpdate`: its scenes' times of change stay as they are."""
    row_id = number(given["id"], "converting id")
    with library.transaction() as writer:
        changes = {"name": given["name"], "updated_at": writer.now}
        if not writer.update("groups", [row_id], changes):
            raise ApiError(f"group with id {row_id} not found")
    return OneRow("Group", row_id)


def destroy(library: Library, kind: str, ids: Sequence[str]) -> bool:
    """Answer the destroy mutations: all or none."""
    with library.transaction() as writer:
        for text in ids:
            row_id = number(text)
            if kind == "tag" and library.value(
                "SELECT 1 FROM scene_markers WHERE primary_tag_id = ?", [row_id]
            ):
                raise ApiError(
                    "cannot delete tag used as a primary tag in scene markers"
                )
            if not writer.run(f"DELETE FROM {kind}s WHERE id = ?", [row_id]):
                raise ApiError(f"id {row_id} does not exist in {kind}s")
    return True


def merge_tags(library: Library, source: Sequence[str], destination: str) -> OneRow:
    """Answer `tagsMerge`: sources become aliases; the scenes' times stay."""
    target = number(destination, "converting destination id")
    with library.transaction() as writer:
        if not library.value("SELECT 1 FROM tags WHERE id = ?", [target]):
            raise ApiError(f"tag with id {target} not found")
        for text in source:
            row_id = number(text, "converting source ids")
            if row_id == target:
                raise ApiError("cannot merge where source == destination")
            names = library.ids("SELECT name FROM tags WHERE id = ?", [row_id])
            if not names:
                raise ApiError(f"id {row_id} does not exist in tags")
            names += library.ids(
                "SELECT alias FROM tag_aliases WHERE tag_id = ?", [row_id]
            )
            for table in (
                "scenes_tags",
                "scene_markers_tags",
                "performers_tags",
                "studios_tags",
            ):
                writer.run(
                    f"UPDATE OR IGNORE {table} SET tag_id = ? WHERE tag_id = ?",
                    [target, row_id],
                )
            writer.run(
                "UPDATE scene_markers SET primary_tag_id = ? WHERE primary_tag_id = ?",
                [target, row_id],
            )
            for column, other in (("parent_id", "child_id"), ("child_id", "parent_id")):
                writer.run(
                    f"UPDATE OR IGNORE tags_relations SET {column} = ? "
                    f"WHERE {column} = ? AND {other} <> ?",
                    [target, row_id, target],
                )
            writer.run("DELETE FROM tags WHERE id = ?", [row_id])
            for name in names:
                writer.insert("tag_aliases", {"tag_id": target, "alias": name})
    return OneRow("Tag", target)


def _columns(kind: str, given: Input) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in _COLUMNS[kind]:
        if name not in given:
            continue
        value = given[name]
        if value is None and name not in _NULLABLE:
            value = 0 if name in _FLAGS else ""
        columns[name] = value
    if "name" in columns:
        columns["name"] = columns["name"].strip()
        if not columns["name"]:
            raise ApiError(f"{kind} name must not be blank")
    if columns.get("parent_id") is not None:
        columns["parent_id"] = number(columns["parent_id"])
    return columns


def _aliases(kind: str, given: Input) -> list[str] | None:
    aliases: list[str] | None = given.get(_ALIASES[kind])
    return aliases


def _check_name(
    library: Library,
    kind: str,
    columns: Mapping[str, Any],
    aliases: Iterable[str],
    own_id: int | None,
) -> None:
    """Refuse names that are taken, without regard to case."""
    if kind == "performer":
        taken = library.value(
            "SELECT 1 FROM performers WHERE name = ? COLLATE NOCASE "
            "AND disambiguation = ? COLLATE NOCASE AND id IS NOT ?",
            [columns["name"], columns.get("disambiguation", ""), own_id],
        )
        if taken:
            raise ApiError(f"performer with name '{columns['name']}' already exists")
        return
    for name in [columns["name"], *aliases]:
        if library.value(
            f"SELECT 1 FROM {kind}s WHERE name = ? COLLATE NOCASE AND id IS NOT ?",
            [name, own_id],
        ):
            raise ApiError(f"{kind} with name '{name}' already exists")
        holder = library.value(
            f"SELECT name FROM {kind}s JOIN {kind}_aliases ON id = {kind}_id "
            "WHERE alias = ? COLLATE NOCASE AND id IS NOT ?",
            [name, own_id],
        )
        if holder:
            raise ApiError(f"name '{name}' is used as alias for '{holder}'")


def _replace_relations(writer: Writer, kind: str, row_id: int, given: Input) -> None:
    aliases = _aliases(kind, given)
    if aliases is not None:
        names = [{"alias": alias} for alias in aliases]
        writer.replace_list(f"{kind}_aliases", f"{kind}_id", row_id, names)
    if given.get("stash_ids") is not None:
        replace_stash_ids(writer, kind, row_id, given["stash_ids"])
    if given.get("custom_fields") is not None:
        _set_custom_fields(
            writer, row_id, given["custom_fields"], is_new="id" not in given
        )
    if kind != "tag":
        if given.get("urls") is not None:
            urls = numbered_urls(given["urls"])
            writer.replace_list(f"{kind}_urls", f"{kind}_id", row_id, urls)
        if given.get("tag_ids") is not None:
            rows = [{"tag_id": number(i)} for i in dict.fromkeys(given["tag_ids"])]
            writer.replace_list(f"{kind}s_tags", f"{kind}_id", row_id, rows)
        return
    for name, own, other in (
        ("parent_ids", "child_id", "parent_id"),
        ("child_ids", "parent_id", "child_id"),
    ):
        if given.get(name) is not None:
            rows = [{other: number(i)} for i in dict.fromkeys(given[name])]
            _check_no_cycle(writer.library, row_id, name, [r[other] for r in rows])
            writer.replace_list("tags_relations", own, row_id, rows)


def _set_custom_fields(
    writer: Writer, performer_id: int, given: Input, *, is_new: bool
) -> None:
    """Set them all, or some of them, of a performer that exists."""
    if is_new:
        fields = dict(given)
    else:
        known = writer.library.value(
            "SELECT custom_fields FROM performers WHERE id = ?", [performer_id]
        )
        full = given.get("full")
        fields = {**(json.loads(known) if full is None else full)}
        fields |= given.get("partial") or {}
        for name in given.get("remove") or ():
            fields.pop(name, None)
    kept = {name: value for name, value in fields.items() if value is not None}
    writer.update("performers", [performer_id], {"custom_fields": json.dumps(kept)})


def _check_no_cycle(
    library: Library, tag_id: int, role: str, others: Sequence[int]
) -> None:
    """Refuse a parent that is a descendant, and a child that is an ancestor."""
    is_parent = role == "parent_ids"
    step, back = ("child_id", "parent_id") if is_parent else ("parent_id", "child_id")
    # The path reads from ancestor to descendant either way.
    longer = (
        "walk.path || '->' || tags.name"
        if is_parent
        else "tags.name || '->' || walk.path"
    )
    paths = library.rows(
        f"""
        WITH RECURSIVE walk (id, path) AS (
            SELECT id, name FROM tags WHERE id = ?
            UNION ALL
            SELECT r.{step}, {longer}
            FROM walk JOIN tags_relations r ON r.{back} = walk.id
            JOIN tags ON tags.id = r.{step}
        )
        SELECT tags.name, walk.path FROM walk JOIN tags USING (id)
        WHERE walk.id IN (SELECT value FROM json_each(?))
        """,
        [tag_id, json.dumps(list(others))],
    )
    if paths:
        other, path = paths[0]
        own = library.value("SELECT name FROM tags WHERE id = ?", [tag_id])
        word, relation = (
            ("parent", "a descendant") if is_parent else ("child", "an ancestor")
        )
        raise ApiError(
            f'cannot apply tag "{other}" as a {word} of "{own}" as it is already '
            f"{relation} ({path})"
        )
