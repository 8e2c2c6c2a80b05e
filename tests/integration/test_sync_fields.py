"""Each field is mirrored as Stash has it: what is right is written out here."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, select, update

from stashhog_core.db.models import (
    Manifest,
    Marker,
    MarkerTag,
    Performer,
    PerformerTag,
    Scene,
    SceneFile,
    SceneFingerprint,
    Studio,
    StudioTag,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.stash import payloads
from stashhog_core.stash.payloads import Ref
from tests.support.fake_stash import FakeStash, refs
from tests.support.sync import run

BOX = {"endpoint": "https://box.invalid/graphql", "stash_id": "8f1c"}
SCENE: dict[str, Any] = {
    "title": "A title\twith a tab",
    "code": "ABC-123",
    "details": "Several\nlines, a \\ and a 'quote'",
    "director": 'D. "Rector"',
    "urls": ["https://a.invalid/1", 'https://b.invalid/"2"'],
    "date": "2024-02-29",
    "rating100": 85,
    "organized": True,
    "play_count": 3,
    "o_counter": 2,
    "interactive": True,
    "interactive_speed": 120,
    "last_played_at": "2024-07-01T10:00:00Z",
    "resume_time": 61.25,
    "play_duration": 3600.5,
    "groups": [
        {"group": {"id": 5, "name": "Film"}, "scene_index": 2},
        {"group": {"id": 6, "name": "Series"}},
    ],
    "galleries": [
        {"id": 7, "title": "Named", "folder": {"path": "/pictures/a"}},
        {"id": 8, "title": "", "folder": {"path": "/pictures/b"}},
        {"id": 9, "title": None, "files": [{"path": "/pictures/c.zip"}]},
    ],
    "stash_ids": [BOX],
    "captions": [{"language_code": "de", "caption_type": "srt"}],
    "created_at": "2024-03-31T01:59:59+01:00",
}
PLAYED = {"last_played_at", "resume_time", "play_duration"}
TIMES = {
    "created_at": "2024-01-01T00:00:00+01:00",
    "updated_at": "2024-02-01T00:00:00+01:00",
}
MIRRORED_TIMES = {
    "stash_created_at": datetime(2023, 12, 31, 23, tzinfo=UTC),
    "stash_updated_at": datetime(2024, 1, 31, 23, tzinfo=UTC),
}
PERFORMER: dict[str, Any] = {
    "name": "Who",
    "disambiguation": "the other",
    "alias_list": ["She", "{a,b}"],
    "gender": "FEMALE",
    "birthdate": "1990-05-17",
    "death_date": "2090",
    "ethnicity": "Of one",
    "country": "DE",
    "eye_color": "green",
    "hair_color": "red",
    "height_cm": 180,
    "weight": 70,
    "measurements": "90-60-90",
    "fake_tits": "no",
    "penis_length": 12.5,
    "circumcised": "CUT",
    "career_length": "2010 - 2020",
    "tattoos": "a rose",
    "piercings": "ears",
    "urls": ["https://who.invalid"],
    "details": "Said to be …",
    "rating100": 40,
    "favorite": True,
    "ignore_auto_tag": True,
    "stash_ids": [BOX],
    "custom_fields": {"text": "a", "number": 1.5, "none": None, "list": [1, {"b": 2}]},
}
STUDIO: dict[str, Any] = {
    "name": "Studio",
    "aliases": ["The studio"],
    "urls": ["https://studio.invalid"],
    "details": "Of note",
    "rating100": 60,
    "favorite": True,
    "ignore_auto_tag": True,
    "stash_ids": [BOX],
}
TAG: dict[str, Any] = {
    "name": "Tag",
    "sort_name": "tag, the",
    "description": "Of a kind",
    "aliases": ["Tags"],
    "favorite": True,
    "ignore_auto_tag": True,
    "stash_ids": [BOX],
}


@pytest.fixture
def stash() -> FakeStash:
    """A scene, a performer, a studio, a tag and a marker, all their fields set."""
    stash = FakeStash()
    tag, other = stash.add_tag(**TAG, **TIMES), stash.add_tag("further")
    who = stash.add_performer(**PERFORMER, **TIMES, tags=refs(tag, other))
    parent = stash.add_studio("parent")
    own = {"parent_studio": Ref(id=parent), "tags": refs(other)}
    studio = stash.add_studio(**STUDIO, **TIMES, **own)
    first = msgspec.structs.replace(
        stash.new_file("/data/a\tb.mp4"), mod_time="2024-06-01T12:00:00.25+02:00"
    )
    scene = stash.add_scene(
        files=(first, stash.new_file("/data/second.mkv")),
        tags=refs(tag),
        performers=refs(who),
        studio=Ref(id=studio),
    )
    stash.add_marker(scene, tag, seconds=1.5)
    stash.edit_markers(scene, end_seconds=9.25, tags=refs(other))
    whole = msgspec.to_builtins(stash.scene_rows[scene]) | SCENE
    stash.scene_rows[scene] = msgspec.convert(whole, payloads.StashScene)
    for rows, kind in (
        (stash.performer_rows, payloads.StashPerformer),
        (stash.studio_rows, payloads.StashStudio),
        (stash.tag_rows, payloads.StashTag),
    ):
        # As texts and lists become what a server's answer is decoded to.
        for id_, row in rows.items():
            rows[id_] = msgspec.convert(msgspec.to_builtins(row), kind)
    return stash


@pytest.fixture(params=["created", "updated"])
def session_after(
    request: pytest.FixtureRequest, stash: FakeStash, database: Database
) -> Any:
    """Sync once, or over a mirror in which these rows are other ones."""
    if request.param == "updated":
        bare = FakeStash()
        bare.now = stash.now - timedelta(days=1)
        for row in stash.tag_rows.values():
            bare.tag_rows[row.id] = payloads.StashTag(id=row.id, name=f"old {row.id}")
        for id_ in stash.performer_rows:
            bare.performer_rows[id_] = payloads.StashPerformer(id=id_, name="old")
        for id_ in stash.studio_rows:
            bare.studio_rows[id_] = payloads.StashStudio(id=id_, name=f"old {id_}")
        (scene,) = stash.scene_rows
        bare.add_scene("old", id=scene)
        run(bare, database)
    run(stash, database)
    with database.transaction() as session:
        yield session


def assert_has(row: Any, expected: dict[str, Any]) -> None:
    assert {name: getattr(row, name) for name in expected} == expected


def test_scene(session_after: Any, stash: FakeStash) -> None:
    """All of it, also what belongs to tables of their own by id."""
    (theirs,) = stash.scene_rows.values()
    mine = session_after.scalars(select(Scene)).one()

    assert_has(
        mine,
        {name: value for name, value in SCENE.items() if name not in PLAYED}
        | {
            "groups": [
                {"id": 5, "name": "Film", "scene_index": 2},
                {"id": 6, "name": "Series", "scene_index": None},
            ],
            "galleries": [
                {"id": 7, "name": "Named"},
                {"id": 8, "name": "b"},
                {"id": 9, "name": "c.zip"},
            ],
            "last_played_at": datetime(2024, 7, 1, 10, tzinfo=UTC),
            "resume_time_seconds": 61.25,
            "play_duration_seconds": 3600.5,
            "created_at": mine.created_at,
            "stash_created_at": datetime(2024, 3, 31, 0, 59, 59, tzinfo=UTC),
            "stash_updated_text": theirs.updated_at,
            "studio_id": 5,
        },
    )
    assert mine.stash_updated_at.isoformat()[:19] == theirs.updated_at[:19]


def test_files(session_after: Any, stash: FakeStash) -> None:
    """The primary one first, with what was measured of it, and their hashes."""
    (theirs,) = stash.scene_rows.values()
    first, second = session_after.scalars(select(SceneFile).order_by("position"))

    assert_has(
        first,
        {
            "file_id": theirs.files[0].id,
            "position": 0,
            "path": "/data/a\tb.mp4",
            "size_bytes": 1000 + theirs.files[0].id,
            "mod_time": datetime(
                2024, 6, 1, 12, 0, 0, 250_000, timezone(timedelta(hours=2))
            ),
            "format": "mp4",
            "duration_seconds": 61.5,
            "width": 1920,
            "height": 1080,
            "frame_rate": 29.97,
            "bit_rate": 5_000_000,
            "video_codec": "h264",
            "audio_codec": "aac",
            "stash_created_at": datetime.fromisoformat(theirs.files[0].created_at),
            "stash_updated_at": datetime.fromisoformat(theirs.files[0].updated_at),
        },
    )
    assert (second.position, second.path) == (1, "/data/second.mkv")
    hashes = session_after.execute(
        select(SceneFingerprint.file_id, SceneFingerprint.kind, SceneFingerprint.value)
    )
    assert {tuple(row) for row in hashes} == {
        (file.id, kind, value)
        for file in theirs.files
        for kind, value in (("oshash", f"{file.id:016x}"), ("phash", f"{file.id:x}"))
    }


def test_marker(session_after: Any, stash: FakeStash) -> None:
    """With its end, its primary tag and its further ones."""
    mine = session_after.scalars(select(Marker)).one()
    (scene,) = stash.scene_rows.values()

    assert_has(
        mine,
        {
            "title": "Marker",
            "seconds": 1.5,
            "end_seconds": 9.25,
            "primary_tag_id": 1,
            "stash_created_at": datetime.fromisoformat(
                scene.scene_markers[0].created_at
            ),
            "stash_updated_text": scene.scene_markers[0].updated_at,
        },
    )
    assert session_after.scalars(select(MarkerTag.tag_id)).all() == [2]


def test_performer(session_after: Any) -> None:
    """Its other names are called aliases, as those of tags and studios are."""
    expected = PERFORMER | MIRRORED_TIMES | {"aliases": PERFORMER["alias_list"]}
    del expected["alias_list"]
    assert_has(session_after.scalars(select(Performer)).one(), expected)
    tags = select(PerformerTag.performer_id, PerformerTag.tag_id).order_by("tag_id")
    assert session_after.execute(tags).all() == [(3, 1), (3, 2)]


def test_studio(session_after: Any) -> None:
    """With the studio it belongs to, and its tags."""
    expected = STUDIO | MIRRORED_TIMES | {"parent_id": 4}
    assert_has(session_after.get(Studio, 5), expected)
    tags = select(StudioTag.studio_id, StudioTag.tag_id)
    assert session_after.execute(tags).all() == [(5, 2)]


def test_tag(session_after: Any) -> None:
    """With all but its parents, which are rows of their own."""
    assert_has(session_after.get(Tag, 1), TAG | MIRRORED_TIMES)


def test_fields_that_a_migration_added_are_filled(
    stash: FakeStash, database: Database
) -> None:
    """The next sync fills them and takes no mark back: Stash is as it was."""
    run(stash, database)
    marks = {"generated": True, "video_analyzed": True}
    with database.transaction() as session:
        session.execute(
            update(Scene).values(content=None, last_played_at=None, **marks)
        )
        session.execute(update(Marker).values(stash_created_at=None))
        session.execute(update(SceneFile).values(stash_created_at=None))
        session.execute(delete(Manifest))
        session.execute(delete(PerformerTag))
    run(stash, database)

    with database.transaction() as session:
        scene = session.scalars(select(Scene)).one()
        assert_has(scene, marks)
        assert scene.last_played_at is not None
        for column in (Marker.stash_created_at, SceneFile.stash_created_at):
            assert None not in session.scalars(select(column)).all()
        assert len(session.scalars(select(PerformerTag.tag_id)).all()) == 2
