"""What Stash's schema has, against what is mirrored: nothing is left out unawares.

The schema is the one recorded of a real Stash (v0.30.1), or, with
STASHHOG_TEST_STASH_URL set, that of the server there. To record it anew, set
STASHHOG_TEST_RECORD_URL and run this file once.

A field that appears in Stash makes these tests fail until it is listed in `LEFT_OUT`
with the reason, or mirrored: one line in the payload, in the model, in a migration, and
two in `stashhog_core/sync/rows.py`.
"""

import json
import os
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from stashhog_core.stash import payloads
from stashhog_core.stash.documents import YOUNGER_FIELDS
from stashhog_core.stash.payloads import Payload, Ref
from stashhog_core.sync import rows
from tests.support.http import loopback

RECORDED = Path(__file__).parent.parent / "cassettes" / "stash_schema.json"
MIRRORED: dict[str, type[Payload]] = {
    "Scene": payloads.StashScene,
    "VideoFile": payloads.VideoFile,
    "SceneMarker": payloads.StashMarker,
    "Tag": payloads.StashTag,
    "Performer": payloads.StashPerformer,
    "Studio": payloads.StashStudio,
    "SceneGroup": payloads.GroupRef,
    "Group": payloads.StashGroup,
    "Gallery": payloads.Gallery,
    "StashID": payloads.StashBoxId,
    "VideoCaption": payloads.Caption,
    "Fingerprint": payloads.Fingerprint,
}
"""Types of Stash, and what is read of each."""

_COUNT = "a count of rows that the mirror has itself, or does not need"
_ADDRESS = "an address that follows from the id"
_OLD = "deprecated: another field has it"
_BACKWARD = "the same relation is mirrored from its other side"
_NAME_ONLY = "only the name is mirrored, for the scenes that have it"

LEFT_OUT: dict[str, dict[str, str]] = {
    "Scene": {
        "url": _OLD,
        "movies": _OLD,
        "play_history": "a list that grows for ever: number and last time are mirrored",
        "o_history": "a list that grows for ever: the number is mirrored",
        "paths": "addresses that follow from the id and the oshash",
        "sceneStreams": "addresses that follow from the id",
    },
    "VideoFile": {
        "basename": "the end of the path",
        "parent_folder": "the path up to its last slash",
        "parent_folder_id": _OLD,
        "zip_file": "videos inside of archives are no scenes",
        "zip_file_id": _OLD,
        "fingerprint": "one of the fingerprints, all of which are mirrored",
    },
    "SceneMarker": {
        "scene": "the scene that it is read with",
        "stream": _ADDRESS,
        "preview": _ADDRESS,
        "screenshot": _ADDRESS,
    },
    "Tag": {
        "image_path": _ADDRESS,
        "children": _BACKWARD,
        **dict.fromkeys(
            (
                "scene_count",
                "scene_marker_count",
                "image_count",
                "gallery_count",
                "performer_count",
                "studio_count",
                "group_count",
                "movie_count",
                "parent_count",
                "child_count",
            ),
            _COUNT,
        ),
    },
    "Performer": {
        "url": _OLD,
        "twitter": _OLD,
        "instagram": _OLD,
        "movies": _OLD,
        "image_path": _ADDRESS,
        "scenes": _BACKWARD,
        "groups": "groups are mirrored by name only, with their scenes",
        **dict.fromkeys(
            (
                "scene_count",
                "image_count",
                "gallery_count",
                "group_count",
                "movie_count",
                "performer_count",
                "o_counter",
            ),
            _COUNT,
        ),
    },
    "Studio": {
        "url": _OLD,
        "movies": _OLD,
        "image_path": _ADDRESS,
        "child_studios": _BACKWARD,
        "groups": "groups are mirrored by name only, with their scenes",
        **dict.fromkeys(
            (
                "scene_count",
                "image_count",
                "gallery_count",
                "performer_count",
                "group_count",
                "movie_count",
                "o_counter",
            ),
            _COUNT,
        ),
    },
    "SceneGroup": {},
    "Group": {"*": _NAME_ONLY},
    "Gallery": {"*": _NAME_ONLY},
    "StashID": {"updated_at": "when the id was set says nothing of the scene"},
    "VideoCaption": {},
    "Fingerprint": {},
}
"""Type → field, or `*` for all others → why it is not mirrored."""

STORED_AS: dict[str, dict[str, str]] = {
    "Scene": {
        "created_at": "stash_created_at",
        "updated_at": "stash_updated_at",
        "resume_time": "resume_time_seconds",
        "play_duration": "play_duration_seconds",
        "studio": "studio_id",
        # Rows of tables of their own.
        **dict.fromkeys(("performers", "tags", "files", "scene_markers"), ""),
    },
    "VideoFile": {
        "id": "file_id",
        "size": "size_bytes",
        "duration": "duration_seconds",
        "created_at": "stash_created_at",
        "updated_at": "stash_updated_at",
        "fingerprints": "",
    },
    "SceneMarker": {
        "created_at": "stash_created_at",
        "updated_at": "stash_updated_text",
        "primary_tag": "primary_tag_id",
        "tags": "",
    },
    "Tag": {
        "created_at": "stash_created_at",
        "updated_at": "stash_updated_at",
        "parents": "",
    },
    "Performer": {
        "created_at": "stash_created_at",
        "updated_at": "stash_updated_at",
        "alias_list": "aliases",
        "tags": "",
    },
    "Studio": {
        "created_at": "stash_created_at",
        "updated_at": "stash_updated_at",
        "parent_studio": "parent_id",
        "tags": "",
    },
}
"""Where a field is called otherwise in the mirror; empty: in a table of its own."""

COLUMNS = {
    "Scene": rows.SCENE_COLUMNS,
    "VideoFile": rows.FILE_COLUMNS,
    "SceneMarker": rows.MARKER_COLUMNS,
    "Tag": rows.TAG_COLUMNS,
    "Performer": rows.PERFORMER_COLUMNS,
    "Studio": rows.STUDIO_COLUMNS,
}

_INTROSPECTION = (
    "query Fields($name:String!){answer:__type(name:$name)"
    "{fields(includeDeprecated:true){name}}}"
)


def fields_of(url: str, type_name: str) -> list[str]:
    """Return the fields of a type of the server there."""
    asked = {"query": _INTROSPECTION, "variables": {"name": type_name}}
    answer = loopback.post(f"{url}/graphql", json=asked).json()
    return sorted(field["name"] for field in answer["data"]["answer"]["fields"])


@pytest.fixture(scope="module")
def schema() -> dict[str, list[str]]:
    """The fields of each of the types."""
    if url := os.environ.get("STASHHOG_TEST_RECORD_URL"):
        found = {name: fields_of(url, name) for name in MIRRORED}
        RECORDED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if url := os.environ.get("STASHHOG_TEST_STASH_URL"):
        return {name: fields_of(url, name) for name in MIRRORED}
    recorded: dict[str, list[str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return recorded


def read(type_name: str) -> dict[str, Any]:
    """Return the fields that are read of a type, and the types of their values."""
    found = msgspec.structs.fields(MIRRORED[type_name])
    return {field.encode_name: field.type for field in found}


def payloads_in(hint: Any) -> set[Any]:
    if isinstance(hint, type) and issubclass(hint, Payload):
        return {hint}
    return {kind for part in get_args(hint) for kind in payloads_in(part)}


@pytest.mark.parametrize("type_name", MIRRORED)
def test_every_field_is_mirrored_or_left_out_with_a_reason(
    schema: dict[str, list[str]], type_name: str
) -> None:
    """A field of Stash that is neither is one that nobody has thought of."""
    known, reasons = read(type_name), LEFT_OUT[type_name]
    unthought_of = [
        name
        for name in schema[type_name]
        if name not in known and name not in reasons and "*" not in reasons
    ]

    assert unthought_of == []


@pytest.mark.parametrize("type_name", MIRRORED)
def test_nothing_is_listed_that_is_not_there(
    schema: dict[str, list[str]], type_name: str
) -> None:
    """What is asked for exists, and no reason is given for what is mirrored or gone."""
    known = set(read(type_name))

    assert known <= set(schema[type_name])
    assert LEFT_OUT[type_name].keys() - {"*"} <= set(schema[type_name]) - known


@pytest.mark.parametrize("type_name", COLUMNS)
def test_every_field_that_is_read_is_stored(type_name: str) -> None:
    """What is read of a row has a column, or a table of its own."""
    names = STORED_AS[type_name]
    stored = {names.get(field, field) for field in read(type_name)} - {""}

    assert stored <= set(COLUMNS[type_name])
    assert names.keys() <= read(type_name).keys()


def test_whatever_is_read_is_compared_with_the_schema() -> None:
    """No payload is read inside of a scene, tag, performer or studio unseen here."""
    inside = {
        kind
        for type_name in MIRRORED
        for hint in read(type_name).values()
        for kind in payloads_in(hint)
    }

    assert inside - set(MIRRORED.values()) == {Ref, payloads.PathStamp}


def test_fields_of_younger_servers_exist(schema: dict[str, list[str]]) -> None:
    """What older servers may lack is named as the schema names it."""
    mirrored = [name for name in YOUNGER_FIELDS if name.partition(".")[0] in schema]
    for name in mirrored:
        type_name, field = name.split(".")

        assert field in schema[type_name]

    # The contract suite reads what is scraped, which is not mirrored.
    assert set(YOUNGER_FIELDS) - set(mirrored) == {"ScrapedTag.remote_site_id"}
