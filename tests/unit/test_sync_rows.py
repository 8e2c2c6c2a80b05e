"""Stash's payloads as rows."""

from datetime import UTC, datetime

import msgspec

from stashhog_core.stash.payloads import Fingerprint, SceneFiles, StashScene
from stashhog_core.sync.rows import (
    FILE_COLUMNS,
    SCENE_COLUMNS,
    file_facts,
    file_rows,
    fingerprint_rows,
    primary_oshash,
    referenced_ids,
    scene_row,
    tag_link_rows,
)
from tests.support.fake_stash import FakeStash, refs


def make_scene(**fields: object) -> StashScene:
    stash = FakeStash()
    return stash.scene_rows[stash.add_scene(**fields)]


def test_nulls_become_empty_texts() -> None:
    """What Stash leaves out is an empty text, but a missing date stays missing."""
    scene = make_scene(code=None, details=None, play_count=None, captions=None)
    row = dict(zip(SCENE_COLUMNS, scene_row(scene), strict=True))

    assert (row["code"], row["details"], row["captions"]) == ("", "", [])
    assert (row["play_count"], row["date"], row["studio_id"]) == (0, None, None)


def test_time_of_change_is_kept_as_text_and_as_moment() -> None:
    """Both forms are stored: the text is what the server compares."""
    scene = make_scene(updated_at="2026-01-01T05:30:00+05:30")
    row = dict(zip(SCENE_COLUMNS, scene_row(scene), strict=True))

    assert row["stash_updated_text"] == "2026-01-01T05:30:00+05:30"
    assert row["stash_updated_at"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_first_file_is_primary() -> None:
    """Files keep Stash's order, the primary one at position 0."""
    stash = FakeStash()
    files = (stash.new_file("/b.mp4", oshash="b"), stash.new_file("/a.mp4"))
    scene = stash.scene_rows[stash.add_scene(files=files)]
    rows = [dict(zip(FILE_COLUMNS, row, strict=True)) for row in file_rows(scene)]

    assert [(row["position"], row["path"]) for row in rows] == [
        (0, "/b.mp4"),
        (1, "/a.mp4"),
    ]
    assert primary_oshash(scene) == "b"


def test_scene_without_files_has_no_oshash() -> None:
    """A scene may have no file at all."""
    assert primary_oshash(make_scene(files=())) is None


def test_what_stands_twice_is_stored_once() -> None:
    """Rows that would be the same are one: a table takes no key twice.

    Which of two hashes of one kind is kept does not depend on their order.
    """
    scene = make_scene(tags=refs(7, 7))
    file = msgspec.structs.replace(
        scene.files[0],
        fingerprints=(
            Fingerprint(type="md5", value="old"),
            Fingerprint(type="md5", value="new"),
        ),
    )
    scene = msgspec.structs.replace(scene, files=(file, file))

    assert tag_link_rows(scene) == [(scene.id, 7)]
    assert len(file_rows(scene)) == 1
    assert fingerprint_rows(scene) == [(scene.id, file.id, "md5", "old")]


def test_nul_is_left_out() -> None:
    """SQLite keeps a NUL inside a text, PostgreSQL cannot."""
    row = dict(zip(SCENE_COLUMNS, scene_row(make_scene(title="a\0b")), strict=True))

    assert row["title"] == "ab"


def test_all_references_are_found() -> None:
    """Tags of markers count as well, so that their rows exist before they are named."""
    stash = FakeStash()
    scene_id = stash.add_scene(tags=refs(50), performers=refs(60), studio=refs(70)[0])
    stash.add_marker(scene_id, 51)
    stash.edit_markers(scene_id, tags=refs(52))

    assert referenced_ids([stash.scene_rows[scene_id]]) == {
        "tag": {50, 51, 52},
        "performer": {60},
        "studio": {70},
    }


def test_file_facts_ignore_how_a_time_is_written() -> None:
    """The same moment in another zone is no change of a file."""
    file = make_scene().files[0]
    elsewhere = msgspec.structs.replace(file, mod_time="2025-06-01T15:30:00.5+05:30")
    later = msgspec.structs.replace(file, mod_time="2025-06-01T15:30:01.5+05:30")
    one, same, other = (
        file_facts(SceneFiles(id=1, files=(f,))) for f in (file, elsewhere, later)
    )

    assert one == same
    assert one != other


def test_file_facts_ignore_the_order_of_files() -> None:
    """Which file is the primary one moves the time of change of the scene itself."""
    stash = FakeStash()
    first, second = stash.new_file("/a"), stash.new_file("/b")

    assert file_facts(SceneFiles(id=1, files=(first, second))) == file_facts(
        SceneFiles(id=1, files=(second, first))
    )
