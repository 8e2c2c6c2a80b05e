"""Whatever happens in Stash, the mirror ends up equal. Random histories."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from stashhog_core.db.models import (
    Marker,
    MarkerTag,
    Performer,
    Scene,
    SceneFile,
    SceneFingerprint,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
    TagParent,
)
from stashhog_core.db.session import Database
from stashhog_core.stash.payloads import Fingerprint, Ref, StashScene
from stashhog_core.stash.times import parse_stash_time
from stashhog_core.sync.job import pending_scenes
from tests.support.fake_stash import LIBRARY_PARTS, FakeStash, refs
from tests.support.sync import run

Edit = Callable[[FakeStash, random.Random], None]


def some(rng: random.Random, ids: Any) -> tuple[int, ...]:
    ids = sorted(ids)
    return tuple(rng.sample(ids, rng.randint(0, min(3, len(ids)))))


def any_scene(stash: FakeStash, rng: random.Random) -> int:
    if not stash.scene_rows:
        return stash.add_scene()
    return rng.choice(sorted(stash.scene_rows))


def any_tag(stash: FakeStash, rng: random.Random) -> int:
    return rng.choice(sorted(stash.tag_rows)) if stash.tag_rows else stash.add_tag("t")


def add_scene(stash: FakeStash, rng: random.Random) -> None:
    stash.add_scene(tags=refs(*some(rng, stash.tag_rows)))


def edit_scene(stash: FakeStash, rng: random.Random) -> None:
    studio = some(rng, stash.studio_rows)[:1]
    stash.edit(
        any_scene(stash, rng),
        title=rng.choice(["a", "b", ""]),
        rating100=rng.choice([None, 20, 100]),
        tags=refs(*some(rng, stash.tag_rows)),
        performers=refs(*some(rng, stash.performer_rows)),
        studio=Ref(id=studio[0]) if studio else None,
    )


def destroy_scene(stash: FakeStash, rng: random.Random) -> None:
    stash.destroy_scene(any_scene(stash, rng))


def move_file(stash: FakeStash, rng: random.Random) -> None:
    scene = any_scene(stash, rng)
    stash.move_file(scene, f"/data/{rng.randint(0, 9)}/{scene}.mp4")


def replace_file(stash: FakeStash, rng: random.Random) -> None:
    value = f"{rng.randint(0, 99):x}"
    stash.replace_file(
        any_scene(stash, rng),
        size=rng.randint(0, 10**12),
        fingerprints=(Fingerprint(type="oshash", value=value),),
    )


def add_marker(stash: FakeStash, rng: random.Random) -> None:
    stash.add_marker(any_scene(stash, rng), any_tag(stash, rng))


def edit_markers(stash: FakeStash, rng: random.Random) -> None:
    stash.edit_markers(
        any_scene(stash, rng),
        seconds=rng.randint(0, 90) / 2,
        tags=refs(*some(rng, stash.tag_rows)),
    )


def destroy_markers(stash: FakeStash, rng: random.Random) -> None:
    stash.remove_markers(any_scene(stash, rng))


def add_entities(stash: FakeStash, rng: random.Random) -> None:
    stash.add_tag(rng.choice("xyz"), parents=refs(*some(rng, stash.tag_rows)))
    stash.add_performer(rng.choice("xyz"))
    parent = some(rng, stash.studio_rows)[:1]
    stash.add_studio("s", parent_studio=Ref(id=parent[0]) if parent else None)


def edit_tag(stash: FakeStash, rng: random.Random) -> None:
    stash.edit_tag(any_tag(stash, rng), name=rng.choice("xyz"), aliases=("alias",))


def merge_tag(stash: FakeStash, rng: random.Random) -> None:
    if len(stash.tag_rows) > 1:
        source, into = rng.sample(sorted(stash.tag_rows), 2)
        stash.merge_tag(source, into)


def destroy_studio(stash: FakeStash, rng: random.Random) -> None:
    if stash.studio_rows:
        stash.destroy_studio(rng.choice(sorted(stash.studio_rows)))


EDITS: list[Edit] = [
    add_scene,
    edit_scene,
    destroy_scene,
    move_file,
    replace_file,
    add_marker,
    edit_markers,
    destroy_markers,
    add_entities,
    edit_tag,
    merge_tag,
    destroy_studio,
]


def expected(stash: FakeStash) -> dict[str, set[tuple[Any, ...]]]:
    """Return what the mirror must hold, in the form of `mirrored`."""
    scenes = list(stash.scene_rows.values())

    def of(make: Callable[[StashScene], Iterator[tuple[Any, ...]]]) -> Any:
        return {row for scene in scenes for row in make(scene)}

    return {
        "scenes": of(
            lambda s: iter(
                [(s.id, s.title, s.rating100, s.studio and s.studio.id, s.updated_at)]
            )
        ),
        "files": of(
            lambda s: (
                (s.id, f.id, i, f.path, f.size, parse_stash_time(f.mod_time))
                for i, f in enumerate(s.files)
            )
        ),
        "fingerprints": of(
            lambda s: (
                (s.id, f.id, p.type, p.value) for f in s.files for p in f.fingerprints
            )
        ),
        "tags of scenes": of(lambda s: ((s.id, t.id) for t in s.tags)),
        "performers of scenes": of(lambda s: ((s.id, p.id) for p in s.performers)),
        "markers": of(
            lambda s: (
                (m.id, s.id, m.seconds, m.primary_tag.id, m.updated_at)
                for m in s.scene_markers
            )
        ),
        "tags of markers": of(
            lambda s: ((m.id, t.id) for m in s.scene_markers for t in m.tags)
        ),
        "tags": {(t.id, t.name, tuple(t.aliases)) for t in stash.tag_rows.values()},
        "parents": {(t.id, p.id) for t in stash.tag_rows.values() for p in t.parents},
        "performers": {(p.id, p.name) for p in stash.performer_rows.values()},
        "studios": {
            (s.id, s.parent_studio and s.parent_studio.id)
            for s in stash.studio_rows.values()
        },
    }


def mirrored(database: Database) -> dict[str, set[tuple[Any, ...]]]:
    """Return what the mirror holds, without what it knows to be missing."""
    here = select(Scene.id).where(Scene.missing_since.is_(None))
    queries: dict[str, Any] = {
        "scenes": select(
            Scene.id,
            Scene.title,
            Scene.rating100,
            Scene.studio_id,
            Scene.stash_updated_text,
        ).where(Scene.missing_since.is_(None)),
        "files": select(
            SceneFile.scene_id,
            SceneFile.file_id,
            SceneFile.position,
            SceneFile.path,
            SceneFile.size_bytes,
            SceneFile.mod_time,
        ).where(SceneFile.scene_id.in_(here)),
        "fingerprints": select(
            SceneFingerprint.scene_id,
            SceneFingerprint.file_id,
            SceneFingerprint.kind,
            SceneFingerprint.value,
        ).where(SceneFingerprint.scene_id.in_(here)),
        "tags of scenes": select(SceneTag.scene_id, SceneTag.tag_id).where(
            SceneTag.scene_id.in_(here)
        ),
        "performers of scenes": select(
            ScenePerformer.scene_id, ScenePerformer.performer_id
        ).where(ScenePerformer.scene_id.in_(here)),
        "markers": select(
            Marker.id,
            Marker.scene_id,
            Marker.seconds,
            Marker.primary_tag_id,
            Marker.stash_updated_text,
        ).where(Marker.scene_id.in_(here)),
        "tags of markers": select(MarkerTag.marker_id, MarkerTag.tag_id)
        .join(Marker, Marker.id == MarkerTag.marker_id)
        .where(Marker.scene_id.in_(here)),
        "tags": select(Tag.id, Tag.name, Tag.aliases).where(
            Tag.missing_since.is_(None)
        ),
        "parents": select(TagParent.tag_id, TagParent.parent_id)
        .join(Tag, Tag.id == TagParent.tag_id)
        .where(Tag.missing_since.is_(None)),
        "performers": select(Performer.id, Performer.name),
        "studios": select(Studio.id, Studio.parent_id).where(
            Studio.missing_since.is_(None)
        ),
    }
    with database.transaction() as session:
        return {
            name: {
                tuple(tuple(v) if isinstance(v, list) else v for v in row)
                for row in session.execute(query)
            }
            for name, query in queries.items()
        }


@contextmanager
def emptied(database: Database) -> Iterator[Database]:
    """Empty all tables first: the examples of one test share a database."""
    tables = "scene, tag, performer, studio, manifest, sync_run"
    with database.transaction() as session:
        session.execute(text(f"TRUNCATE {tables} CASCADE"))
    yield database


@pytest.mark.slow
@settings(
    max_examples=40,
    # The same examples each time: what a run proves does not depend on luck.
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
@given(
    history=st.lists(st.lists(st.sampled_from(EDITS), max_size=8), max_size=5),
    seed=st.integers(0, 2**16),
)
def test_mirror_equals_stash_after_each_sync(
    database: Database, history: list[list[Edit]], seed: int
) -> None:
    """After any edits, one incremental sync makes the mirror equal to Stash.

    Then nothing is pending, and a full sync finds nothing to change.
    """
    rng = random.Random(seed)
    stash = FakeStash()
    with emptied(database):
        for edits in history:
            for edit in edits:
                edit(stash, rng)
            run(stash, database)

            assert mirrored(database) == expected(stash)
            assert pending_scenes(stash, database).count == 0
        result = run(stash, database, force=True)
        assert (result.created, result.updated, result.failed) == (0, 0, 0)


@pytest.mark.slow
@settings(
    max_examples=25,
    # The same examples each time: what a run proves does not depend on luck.
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
@given(
    before=st.lists(st.sampled_from(EDITS), min_size=4, max_size=12),
    during=st.lists(st.sampled_from(EDITS), min_size=1, max_size=20),
    seed=st.integers(0, 2**16),
)
def test_edits_during_a_sync_are_seen_by_the_next(
    database: Database, before: list[Edit], during: list[Edit], seed: int
) -> None:
    """Writers at work during a sync do no harm: once they stop, one more is enough."""
    rng = random.Random(seed)
    stash = FakeStash()

    def somebody_edits() -> None:
        if edits:
            edits.pop()(stash, rng)

    for part in LIBRARY_PARTS:
        stash.on(f"Library.{part}", after=somebody_edits)
    for asked in ("MarkerStamps", "SceneStamps", "Tags", "Performers", "Studios"):
        stash.on(asked, before=somebody_edits)
    stash.on("scenes", before=somebody_edits)
    edits: list[Edit] = []
    with emptied(database):
        for edit in before:
            edit(stash, rng)
        edits = list(during)
        run(stash, database)
        edits = []
        run(stash, database)

        assert mirrored(database) == expected(stash)
        assert pending_scenes(stash, database).count == 0
