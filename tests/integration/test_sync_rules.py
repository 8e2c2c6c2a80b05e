"""The rules of sync, on a library in memory and a real PostgreSQL."""

import logging
import threading
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import func, select, update

from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import (
    LocalEdit,
    Manifest,
    Marker,
    Performer,
    ReviewMemory,
    Scene,
    SceneFile,
    SceneFingerprint,
    SceneTag,
    Studio,
    SyncIssue,
    SyncRun,
    Tag,
    TagParent,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, JobError, TransientError
from stashhog_core.params import SyncParams
from stashhog_core.plans.rejections import rejected_matches, remember_rejected
from stashhog_core.progress import Progress
from stashhog_core.results import SyncResult
from stashhog_core.stash.payloads import Fingerprint
from stashhog_core.sync.history import last_survey
from stashhog_core.sync.job import pending_scenes, sync
from stashhog_core.sync.local_edits import SceneEdit, edit_scene
from stashhog_core.sync.push import push_edits
from tests.support.fake_stash import FakeStash, refs
from tests.support.sync import run


def counts(result: SyncResult) -> tuple[int, int, int, int, int]:
    return (
        result.created,
        result.updated,
        result.unchanged,
        result.removed,
        result.failed,
    )


def set_flags(database: Database, **flags: bool) -> None:
    with database.transaction() as session:
        session.execute(update(Scene).values(**flags))


def flags(database: Database, scene_id: int) -> tuple[bool, bool, bool]:
    with database.transaction() as session:
        scene = session.get_one(Scene, scene_id)
        return scene.generated, scene.video_analyzed, scene.analyzed


def values(database: Database, query: Any) -> list[Any]:
    with database.transaction() as session:
        return [tuple(row) for row in session.execute(query)]


@pytest.fixture
def stash() -> FakeStash:
    return FakeStash()


def test_counts_tell_created_updated_and_unchanged(
    stash: FakeStash, database: Database
) -> None:
    """Each scene of Stash is counted once, as what happened to it."""
    first, second, _ = stash.add_scene(), stash.add_scene(), stash.add_scene()
    assert counts(run(stash, database)) == (3, 0, 0, 0, 0)

    stash.edit(first, title="New title", rating100=80, organized=True)
    stash.edit(second, studio=refs(stash.add_studio("Studio"))[0])
    stash.add_scene()
    result = run(stash, database)

    assert counts(result) == (1, 2, 1, 0, 0)
    assert result.status == "completed"
    assert result.scene_ids[0] == first
    assert values(
        database,
        select(Scene.title, Scene.rating100, Scene.organized).where(Scene.id == first),
    ) == [("New title", 80, True)]


def test_second_run_finds_nothing_and_asks_little(
    stash: FakeStash, database: Database
) -> None:
    """With nothing changed no scene is fetched, pending is 0, and no row is written."""
    tag = stash.add_tag("tag")
    for _ in range(5):
        stash.add_marker(stash.add_scene(tags=refs(tag)), tag)
    run(stash, database)
    before = values(database, select(Scene.id, Scene.synced_at).order_by(Scene.id))
    stash.requests.clear()

    pending = pending_scenes(stash, database)
    result = run(stash, database)

    assert (pending.count, pending.reasons, pending.entities) == (0, {}, {})
    assert counts(result) == (0, 0, 5, 0, 0)
    assert result.entities == {}
    # Both list it in one request and one more for each page after the first; the
    # glance before that shows nothing.
    listing = ["Glance", "Library", "MarkerStamps", "SceneStamps"]
    assert sorted(name for name, _ in stash.requests) == sorted(2 * listing)
    assert before == values(
        database, select(Scene.id, Scene.synced_at).order_by(Scene.id)
    )


def test_full_sync_fetches_all_and_changes_nothing_that_is_right(
    stash: FakeStash, database: Database
) -> None:
    """`force` brings in what no stamp shows, and counts the rest as unchanged."""
    silent, _ = stash.add_scene(), stash.add_scene()
    run(stash, database)
    stash.change_silently(silent, play_count=9)

    assert counts(run(stash, database)) == (0, 0, 2, 0, 0)
    result = run(stash, database, force=True)

    assert (result.kind, counts(result)) == ("full", (0, 1, 1, 0, 0))


def test_cleared_studio_leaves_the_scene(stash: FakeStash, database: Database) -> None:
    """A scene whose studio is cleared in Stash stays, without a studio."""
    studio = stash.add_studio("Studio", parent_studio=refs(stash.add_studio("Top"))[0])
    scene = stash.add_scene(studio=refs(studio)[0])
    run(stash, database)
    stash.edit(scene, studio=None)

    assert counts(run(stash, database)) == (0, 1, 0, 0, 0)
    assert values(database, select(Scene.id, Scene.studio_id)) == [(scene, None)]


def test_destroyed_studio_leaves_the_scene(
    stash: FakeStash, database: Database
) -> None:
    """A studio that is gone marks its scenes, though their own time did not move."""
    studio = stash.add_studio("Studio")
    scene = stash.add_scene(studio=refs(studio)[0])
    run(stash, database)
    stash.destroy_studio(studio)

    assert pending_scenes(stash, database).reasons == {"entity": 1}
    assert counts(run(stash, database)) == (0, 1, 0, 0, 0)
    assert values(database, select(Scene.id, Scene.studio_id)) == [(scene, None)]
    assert pending_scenes(stash, database).count == 0

    assert run(stash, database).entities == {"studio": 1}
    assert values(database, select(Studio.id)) == []


def test_merged_tag(stash: FakeStash, database: Database) -> None:
    """After a merge the scenes have the other tag, and the merged one goes later."""
    old, kept = stash.add_tag("old"), stash.add_tag("kept")
    child = stash.add_tag("child", parents=refs(old))
    scene = stash.add_scene(tags=refs(old))
    marked = stash.add_scene()
    stash.add_marker(marked, old)
    other = stash.add_scene(tags=refs(kept, child))
    run(stash, database)
    stash.merge_tag(old, into=kept)

    assert pending_scenes(stash, database).reasons == {"entity": 2}
    assert counts(run(stash, database)) == (0, 2, 1, 0, 0)
    assert sorted(values(database, select(SceneTag.scene_id, SceneTag.tag_id))) == [
        (scene, kept),
        (other, kept),
        (other, child),
    ]
    assert values(database, select(Marker.primary_tag_id)) == [(kept,)]
    assert values(database, select(TagParent.tag_id)) == []
    assert values(database, select(Tag.aliases).where(Tag.id == kept)) == [(["old"],)]

    run(stash, database)
    assert old not in [row[0] for row in values(database, select(Tag.id))]


def test_renamed_performer(stash: FakeStash, database: Database) -> None:
    """A new name reaches the mirror, and its scenes count as pending."""
    performer = stash.add_performer("Old Name", alias_list=("Oldie",))
    stash.add_scene(performers=refs(performer))
    stash.add_scene()
    run(stash, database)
    stash.edit_performer(performer, name="New Name")
    pending = pending_scenes(stash, database)

    assert (pending.count, pending.reasons) == (1, {"entity": 1})
    assert pending.entities == {"performer": 1}
    result = run(stash, database)
    assert (counts(result), result.entities) == ((0, 0, 2, 0, 0), {"performer": 1})
    assert values(database, select(Performer.name)) == [("New Name",)]
    assert pending_scenes(stash, database).count == 0


def test_tag_name_that_moved_to_another_id(
    stash: FakeStash, database: Database
) -> None:
    """A name may leave one tag and return with another."""
    first = stash.add_tag("Blue")
    scene = stash.add_scene(tags=refs(first))
    run(stash, database)
    stash.edit_tag(first, name="Navy")
    second = stash.add_tag("Blue")
    stash.edit(scene, tags=refs(second))
    run(stash, database)

    assert sorted(values(database, select(Tag.id, Tag.name))) == [
        (first, "Navy"),
        (second, "Blue"),
    ]
    assert values(database, select(SceneTag.tag_id)) == [(second,)]


def test_entity_created_during_the_sync(database: Database) -> None:
    """A scene may name a tag that came after the list of tags: it is fetched."""
    stash = FakeStash()
    scene = stash.add_scene()

    def tag_it() -> None:
        if not stash.tag_rows:
            stash.edit(scene, tags=refs(stash.add_tag("late")))

    stash.on("scenes", before=tag_it)
    result = run(stash, database)

    assert (counts(result), result.entities) == ((1, 0, 0, 0, 0), {"tag": 1})
    assert values(database, select(Tag.id, Tag.name)) == [(*stash.tag_rows, "late")]
    assert pending_scenes(stash, database).count == 0


def test_entity_that_no_list_has(stash: FakeStash, database: Database) -> None:
    """A scene that names a tag Stash does not list is stored all the same."""
    scene = stash.add_scene(tags=refs(999))
    assert counts(run(stash, database)) == (1, 0, 0, 0, 0)

    assert values(database, select(SceneTag.scene_id, SceneTag.tag_id)) == [
        (scene, 999)
    ]
    assert values(database, select(Tag.id, Tag.name)) == [(999, "")]


@pytest.mark.parametrize("change", ["add", "edit", "tag", "destroy"])
def test_marker_change_resets_generated(
    stash: FakeStash, database: Database, change: str
) -> None:
    """Other markers want other media: `generated` is taken back, for that scene."""
    tag = stash.add_tag("tag")
    scene, other = stash.add_scene(), stash.add_scene()
    stash.add_marker(scene, tag)
    stash.add_marker(other, tag)
    run(stash, database)
    set_flags(database, generated=True, video_analyzed=True, analyzed=True)
    if change == "add":
        stash.add_marker(scene, tag, seconds=9)
    elif change == "edit":
        stash.edit_markers(scene, seconds=3.25)
    elif change == "tag":
        stash.edit_markers(scene, tags=refs(stash.add_tag("second")))
    else:
        stash.remove_markers(scene)

    assert pending_scenes(stash, database).reasons == {"marker": 1}
    assert counts(run(stash, database)) == (0, 1, 1, 0, 0)
    assert flags(database, scene) == (False, True, True)
    assert flags(database, other) == (True, True, True)


@pytest.mark.parametrize("by_id", [False, True])
def test_scene_that_loses_a_marker_to_another_wants_other_media(
    stash: FakeStash, database: Database, by_id: bool
) -> None:
    """Also where only the scene that gets it is fetched, which moves the marker."""
    loser, winner = stash.add_scene(), stash.add_scene()
    stash.add_marker(loser, stash.add_tag("tag"))
    run(stash, database)
    with database.transaction() as session:
        session.execute(update(Scene).values(generated=True))
    stash.edit(winner, scene_markers=stash.scene_rows[loser].scene_markers)
    stash.change_silently(loser, scene_markers=())

    if by_id:
        run(stash, database, scene_ids=[winner])
        assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    with database.transaction() as session:
        assert session.scalars(select(Scene.generated)).all() == [False, False]
        assert session.scalars(select(Marker.scene_id)).all() == [winner]
    assert not pending_scenes(stash, database)


def test_marker_that_only_has_another_time_wants_no_media(
    stash: FakeStash, database: Database
) -> None:
    """Markers made here lack Stash's time until the next sync; they stay generated."""
    scene = stash.add_scene()
    stash.add_marker(scene, stash.add_tag("tag"))
    run(stash, database)
    set_flags(database, generated=True)
    stash.edit_markers(scene)

    assert counts(run(stash, database)) == (0, 1, 0, 0, 0)
    assert flags(database, scene) == (True, False, False)
    assert not pending_scenes(stash, database)


def test_local_flags_survive(stash: FakeStash, database: Database) -> None:
    """No edit of a scene and no full sync touches what is known here alone."""
    scene = stash.add_scene()
    run(stash, database)
    set_flags(database, generated=True, video_analyzed=True, analyzed=True)
    stash.edit(scene, title="other", tags=refs(stash.add_tag("tag")))
    run(stash, database)
    run(stash, database, force=True)

    assert flags(database, scene) == (True, True, True)


def test_new_scenes_are_unanalyzed(stash: FakeStash, database: Database) -> None:
    """A new scene waits for everything, markers or not."""
    scene = stash.add_scene()
    stash.add_marker(scene, stash.add_tag("tag"))
    run(stash, database)

    assert flags(database, scene) == (False, False, False)


def test_moved_file(stash: FakeStash, database: Database) -> None:
    """A moved file is noticed without the scene's time moving; flags survive."""
    scene = stash.add_scene()
    stash.add_scene()
    run(stash, database)
    set_flags(database, generated=True, video_analyzed=True)
    stash.move_file(scene, "/data/elsewhere.mp4")

    assert pending_scenes(stash, database).reasons == {"file": 1}
    assert counts(run(stash, database)) == (0, 1, 1, 0, 0)
    paths = select(SceneFile.path).where(SceneFile.scene_id == scene)
    assert values(database, paths) == [("/data/elsewhere.mp4",)]
    assert flags(database, scene) == (True, True, False)
    assert pending_scenes(stash, database).count == 0


def test_replaced_file(stash: FakeStash, database: Database) -> None:
    """Another primary file wants media and analysis anew; `analyzed` stays."""
    scene = stash.add_scene()
    run(stash, database)
    set_flags(database, generated=True, video_analyzed=True, analyzed=True)
    stash.replace_file(
        scene, size=77, fingerprints=(Fingerprint(type="oshash", value="feed"),)
    )
    run(stash, database)

    assert flags(database, scene) == (False, False, True)
    assert values(database, select(SceneFingerprint.kind, SceneFingerprint.value)) == [
        ("oshash", "feed")
    ]


def test_removal_takes_two_runs(stash: FakeStash, database: Database) -> None:
    """A scene that is gone is marked first, and removed by a later run."""
    gone, kept = stash.add_scene(), stash.add_scene()
    run(stash, database)
    stash.destroy_scene(gone)
    missing = select(Scene.id).where(Scene.missing_since.is_not(None))

    assert pending_scenes(stash, database).reasons == {"vanished": 1}
    assert counts(run(stash, database)) == (0, 0, 1, 0, 0)
    assert values(database, missing) == [(gone,)]
    assert pending_scenes(stash, database).count == 0

    assert counts(run(stash, database)) == (0, 0, 1, 1, 0)
    assert values(database, select(Scene.id)) == [(kept,)]


def test_scene_that_is_gone_is_not_fetched(
    stash: FakeStash, database: Database
) -> None:
    """Neither its markers nor its tags make it pending for anything but removal."""
    tag = stash.add_tag("tag")
    gone, _ = stash.add_scene(tags=refs(tag)), stash.add_scene()
    stash.add_marker(gone, tag)
    run(stash, database)
    stash.destroy_scene(gone)
    newly_gone = pending_scenes(stash, database)
    run(stash, database)
    stash.edit_tag(tag, name="renamed")
    later = pending_scenes(stash, database)

    assert newly_gone.reasons == {"vanished": 1}
    assert (later.reasons, later.entities) == ({}, {"tag": 1})


def test_scene_that_comes_back_is_restored(
    stash: FakeStash, database: Database
) -> None:
    """A row that was only away keeps its flags, and is as Stash has it."""
    scene = stash.add_scene()
    run(stash, database)
    set_flags(database, generated=True)
    row = stash.scene_rows[scene]
    stash.destroy_scene(scene)
    run(stash, database)
    stash.scene_rows[scene] = row

    assert pending_scenes(stash, database).reasons == {"returned": 1}
    assert counts(run(stash, database)) == (0, 1, 0, 0, 0)
    assert values(database, select(Scene.id, Scene.missing_since)) == [(scene, None)]
    assert flags(database, scene) == (True, False, False)


def test_scene_that_comes_back_to_a_known_listing_is_restored(
    stash: FakeStash, database: Database
) -> None:
    """A listing that was found mirrored before a scene was away proves nothing now."""
    stash.add_scene()
    scene = stash.add_scene()
    run(stash, database)
    # Nothing differs: the listing is noted as mirrored.
    run(stash, database)
    row = stash.scene_rows[scene]
    stash.destroy_scene(scene)
    run(stash, database)
    stash.scene_rows[scene] = row

    assert pending_scenes(stash, database).reasons == {"returned": 1}


def lose_scenes(stash: FakeStash, *scene_ids: int) -> None:
    """Restore a backup without these scenes, and scan other files: ids come again."""
    for scene_id in scene_ids:
        stash.destroy_scene(scene_id)
        stash.add_scene("Another", id=scene_id)


def test_scene_that_has_the_id_of_an_earlier_one_is_new(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Flags, edits and rejections of the earlier scene are not those of the new one.

    The edits are named, as for scenes that are gone, and none of them is pushed.
    """
    lost, kept = stash.add_scene("Lost"), stash.add_scene("Kept")
    run(stash, database)
    set_flags(database, generated=True, video_analyzed=True, analyzed=True)
    with database.transaction() as session:
        for scene in (lost, kept):
            edit_scene(session, scene, SceneEdit(rating100=80))
            remember_rejected(session, [(scene, "tags", "outdoor", "names")])
    lose_scenes(stash, lost)

    pushed = push_edits(stash, database, Progress(), [lost])
    assert [f.reason for f in pushed.failures] == [
        "Stash no longer has this scene: run `stashhog run sync`"
    ]
    assert stash.scene_rows[lost].rating100 is None
    assert counts(run(stash, database)) == (1, 0, 1, 0, 0)

    assert flags(database, lost) == (False, False, False)
    assert flags(database, kept) == (True, True, True)
    titles = select(Scene.title, Scene.rating100).order_by(Scene.id)
    assert values(database, titles) == [("Another", None), ("Kept", 80)]
    assert values(database, select(LocalEdit.scene_id)) == [(kept,)]
    assert values(database, select(ReviewMemory.scene_id)) == [(kept,)]
    assert f"Scene {lost} is gone from Stash. Its local edits" in caplog.text


@pytest.mark.parametrize("is_replaced", [False, True])
def test_rejected_match_outlives_its_scene(
    stash: FakeStash, database: Database, is_replaced: bool
) -> None:
    """A match is known as rejected when the file of a lost scene comes back."""
    lost, _ = stash.add_scene(), stash.add_scene()
    oshash = Fingerprint(type="oshash", value="feed")
    stash.replace_file(lost, fingerprints=(oshash,))
    run(stash, database)
    with database.transaction() as session:
        remember_rejected(session, [(lost, "stash_ids", "match", "stash_box")])
    if is_replaced:
        lose_scenes(stash, lost)
    else:
        stash.destroy_scene(lost)
        run(stash, database)
    run(stash, database)

    with database.transaction() as session:
        assert rejected_matches(session, {99: ["feed"]}) == {99: {"match"}}


@pytest.mark.parametrize("comes_back", [True, False], ids=["the same", "another"])
def test_rejections_of_a_removed_scene_are_for_that_scene_alone(
    stash: FakeStash, database: Database, comes_back: bool
) -> None:
    """The scene may come back with a backup of Stash; another one may have its id."""
    gone, kept = stash.add_scene("Gone"), stash.add_scene("Kept")
    row = stash.scene_rows[gone]
    run(stash, database)
    with database.transaction() as session:
        for scene in (gone, kept):
            remember_rejected(session, [(scene, "tags", "outdoor", "names")])
    stash.destroy_scene(gone)
    run(stash, database)
    run(stash, database)
    assert values(database, select(Scene.id)) == [(kept,)]

    if comes_back:
        stash.scene_rows[gone] = row
    else:
        stash.add_scene("Another", id=gone)
    assert run(stash, database).created == 1

    rejected = select(ReviewMemory.scene_id).order_by(ReviewMemory.scene_id)
    wanted = [(gone,), (kept,)] if comes_back else [(kept,)]
    assert values(database, rejected) == wanted


def test_many_scenes_with_ids_of_earlier_ones_wait_for_a_confirmation(
    stash: FakeStash, database: Database
) -> None:
    """They are those of another Stash, by a wrong address, or of one set up anew."""
    scenes = [stash.add_scene() for _ in range(21)]
    run(stash, database)
    set_flags(database, generated=True)
    lose_scenes(stash, *scenes)

    with pytest.raises(JobError, match=r"21 of 21 scenes are not .*STASH__URL"):
        run(stash, database)
    assert values(database, select(Scene.generated).distinct()) == [(True,)]
    assert counts(run(stash, database, confirm_removals=True)) == (21, 0, 0, 0, 0)
    assert values(database, select(Scene.generated).distinct()) == [(False,)]
    assert pending_scenes(stash, database).count == 0


def test_as_many_ids_of_earlier_scenes_as_the_removal_limit_are_stored(
    stash: FakeStash, database: Database
) -> None:
    """Up to the removal limit, they are taken for new scenes without asking."""
    scenes = [stash.add_scene() for _ in range(21)]
    run(stash, database)
    set_flags(database, generated=True)
    lose_scenes(stash, *scenes[:20])

    assert counts(run(stash, database)) == (20, 0, 1, 0, 0)
    generated = select(Scene.id).where(Scene.generated)
    assert values(database, generated) == [(scenes[20],)]


def test_removal_limit_blocks_until_confirmed(
    stash: FakeStash, database: Database
) -> None:
    """More than 20 rows and 5 % are removed only when a person says so."""
    scenes = [stash.add_scene() for _ in range(30)]
    run(stash, database)
    for scene in scenes[:21]:
        stash.destroy_scene(scene)

    first, second = run(stash, database), run(stash, database)
    for result in (first, second):
        assert (result.removed, result.status) == (0, "completed_with_errors")
        assert result.held is not None
        assert "21 of 30 scenes" in result.held
        assert "confirm_removals=true" in result.held
    assert len(values(database, select(Scene.id))) == 30

    confirmed = run(stash, database, confirm_removals=True)
    assert (confirmed.removed, confirmed.held) == (21, None)
    assert len(values(database, select(Scene.id))) == 9


@pytest.mark.parametrize(
    ("mirrored", "gone", "removed"),
    [
        pytest.param(30, 20, 20, id="twenty"),
        pytest.param(440, 22, 22, id="five percent"),
        pytest.param(440, 23, 0, id="one more"),
    ],
)
def test_as_many_rows_as_the_removal_limit_are_removed(
    database: Database, mirrored: int, gone: int, removed: int
) -> None:
    """The limit is 20 rows, or 5 % if that is more; only one more than it is held."""
    stash = FakeStash(scenes=range(1, mirrored + 1), page_size=1000)
    run(stash, database)
    for scene in range(1, gone + 1):
        stash.destroy_scene(scene)

    first, second = run(stash, database), run(stash, database)

    assert (first.removed, second.removed) == (0, removed)
    assert (first.held is None, second.held is None) == (bool(removed), bool(removed))
    assert len(values(database, select(Scene.id))) == mirrored - removed


def test_removal_limit_blocks_removals_of_entities(
    stash: FakeStash, database: Database
) -> None:
    """An empty list of tags takes no tag away."""
    tags = [stash.add_tag(f"tag {number}") for number in range(30)]
    stash.add_scene(tags=refs(*tags))
    run(stash, database)
    rows, stash.tag_rows = stash.tag_rows, {}

    run(stash, database)
    result = run(stash, database)
    assert "30 of 30 tags" in (result.held or "")
    assert len(values(database, select(SceneTag.tag_id))) == 30

    stash.tag_rows = rows
    assert run(stash, database).held is None
    missing = select(func.count()).where(Tag.missing_since.is_not(None))
    assert values(database, missing) == [(0,)]


def test_scene_that_still_has_a_removed_tag_is_fetched_again(
    stash: FakeStash, database: Database
) -> None:
    """A list of tags may lack one that scenes have: they have it again in the end."""
    tag = stash.add_tag("unlisted")
    scene = stash.add_scene(tags=refs(tag))
    run(stash, database)
    del stash.tag_rows[tag]
    run(stash, database)
    assert run(stash, database).entities == {"tag": 1}

    # Nothing is left of the tag, and its scene waits to be fetched.
    assert values(database, select(Manifest.id).where(Manifest.entity == "tag")) == []
    assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    assert values(database, select(SceneTag.scene_id, SceneTag.tag_id)) == [
        (scene, tag)
    ]


@pytest.mark.parametrize("force", [False, True])
def test_incomplete_listing_proves_no_absence(
    stash: FakeStash, database: Database, force: bool
) -> None:
    """Where Stash counts more scenes than it gives, none is taken for gone."""
    hidden, _ = stash.add_scene(), stash.add_scene()
    run(stash, database)
    stash.hidden_scenes.add(hidden)
    run(stash, database, force=force)
    run(stash, database, force=force)

    assert len(values(database, select(Scene.id))) == 2
    missing = select(Scene.id).where(Scene.missing_since.is_not(None))
    assert values(database, missing) == []


def test_incomplete_listing_is_not_taken_for_mirrored(
    stash: FakeStash, database: Database
) -> None:
    """Once an unlisted scene is gone, the listing that is still the same shows it."""
    hidden, _ = stash.add_scene(), stash.add_scene()
    run(stash, database)
    stash.hidden_scenes.add(hidden)
    run(stash, database)
    stash.hidden_scenes.clear()
    stash.destroy_scene(hidden)

    assert pending_scenes(stash, database).reasons == {"vanished": 1}


def test_failing_scene_holds_nobody_back(stash: FakeStash, database: Database) -> None:
    """A scene Stash cannot give stays as it is; the others are synced."""
    scenes = [stash.add_scene() for _ in range(7)]
    bad = scenes[3]
    run(stash, database)
    as_it_is = select(Scene.title, Scene.content).where(Scene.id == bad)
    before = values(database, as_it_is)
    for scene in scenes:
        stash.edit(scene, title="changed")
    stash.broken_scenes.add(bad)
    result = run(stash, database)

    assert counts(result) == (0, 6, 0, 0, 1)
    assert result.status == "completed_with_errors"
    assert [error.item for error in result.errors] == [f"scene {bad}"]
    assert values(database, as_it_is) == before
    assert values(database, select(SyncIssue.entity, SyncIssue.entity_id)) == [
        ("scene", bad)
    ]
    assert pending_scenes(stash, database).count == 1

    stash.broken_scenes.clear()
    assert counts(run(stash, database)) == (0, 1, 6, 0, 0)


def test_scene_the_database_refuses(stash: FakeStash, database: Database) -> None:
    """A row that cannot be stored is set aside with the reason; the others are in."""
    scenes = [stash.add_scene() for _ in range(5)]
    stash.edit(scenes[2], interactive_speed=2**40)
    result = run(stash, database)

    assert counts(result) == (4, 0, 0, 0, 1)
    assert result.errors[0].item == f"scene {scenes[2]}"
    assert "out of range" in result.errors[0].reason
    assert pending_scenes(stash, database).reasons == {"new": 1}


def test_entity_the_database_refuses(stash: FakeStash, database: Database) -> None:
    """A tag or performer that cannot be stored holds nobody back either."""
    bad = stash.add_performer("bad", rating100=2**40)
    good = stash.add_performer("good")
    stash.add_scene(performers=refs(bad, good))
    result = run(stash, database)

    assert counts(result) == (1, 0, 0, 0, 0)
    assert [error.item for error in result.errors] == [f"performer {bad}"]
    assert sorted(values(database, select(Performer.id, Performer.name))) == [
        (bad, ""),
        (good, "good"),
    ]


def test_failing_scene_stays_pending_whatever_the_reason(
    stash: FakeStash, database: Database
) -> None:
    """A scene that fails in the run that saw its tag vanish is not forgotten."""
    old, kept = stash.add_tag("old"), stash.add_tag("kept")
    scene = stash.add_scene(tags=refs(old))
    run(stash, database)
    stash.merge_tag(old, into=kept)
    stash.broken_scenes.add(scene)
    run(stash, database)
    stash.broken_scenes.clear()

    assert pending_scenes(stash, database).count == 1
    run(stash, database)
    assert values(database, select(SceneTag.tag_id)) == [(kept,)]


def test_when_every_scene_fails_the_run_fails(
    stash: FakeStash, database: Database
) -> None:
    """Trouble that is not the scenes' own ends the run instead of blaming each."""
    stash.broken_scenes.update(stash.add_scene() for _ in range(50))

    with pytest.raises(JobError, match="Stash fails at scene"):
        run(stash, database)
    assert values(database, select(SyncRun.status)) == [("failed",)]
    assert len(stash.asked("scenes")) < 100


def test_full_sync_finds_what_is_gone_and_takes_no_failing_scene_for_it(
    stash: FakeStash, database: Database
) -> None:
    """Of a range, what Stash does not give is gone, unless Stash refuses to give it."""
    gone, refused, _ = (stash.add_scene() for _ in range(3))
    run(stash, database)
    del stash.scene_rows[gone]
    stash.broken_scenes.add(refused)
    first = run(stash, database, force=True)
    second = run(stash, database, force=True)

    assert (first.removed, second.removed) == (0, 1)
    assert [error.item for error in second.errors] == [f"scene {refused}"]
    left = values(database, select(Scene.id, Scene.missing_since.is_not(None)))
    assert sorted(left) == [(id_, False) for id_ in sorted(stash.scene_rows)]


def test_named_scenes_do_not_move_the_baseline(
    stash: FakeStash, database: Database
) -> None:
    """A run for some scenes brings those, and reports each that Stash lacks."""
    first, second = stash.add_scene(), stash.add_scene()
    run(stash, database)
    with database.transaction() as session:
        baseline = last_survey(session)[0]
    stash.edit(first, title="one")
    stash.edit(second, title="two")
    result = run(stash, database, scene_ids=(first, 12345))

    assert (result.kind, counts(result)) == ("scenes", (0, 1, 0, 0, 1))
    assert result.status == "completed_with_errors"
    assert [(e.item, e.reason) for e in result.errors] == [
        ("scene 12345", "Stash has no scene of this id")
    ]
    with database.transaction() as session:
        assert last_survey(session)[0] == baseline
    assert pending_scenes(stash, database).reasons == {"changed": 1}

    again = run(stash, database, scene_ids=(first,))
    assert counts(again) == (0, 0, 1, 0, 0)


def test_history_tells_of_every_run(stash: FakeStash, database: Database) -> None:
    """Kind, trigger, counts and baseline of each run are kept."""
    stash.add_scene()
    run(stash, database, run_id="r")
    sync(
        stash,
        database,
        SyncParams(force=True),
        Progress(),
        trigger="AUTO_STASH_SYNC_DAEMON",
        stabilize_seconds=0,
    )
    runs = values(
        database,
        select(
            SyncRun.kind,
            SyncRun.trigger,
            SyncRun.run_id,
            SyncRun.status,
            SyncRun.created,
            SyncRun.unchanged,
            SyncRun.baseline == SyncRun.started_at,
            SyncRun.finished_at >= SyncRun.started_at,
        ).order_by(SyncRun.id),
    )

    assert runs == [
        ("incremental", "manual", "r", "completed", 1, 0, True, True),
        ("full", "AUTO_STASH_SYNC_DAEMON", None, "completed", 0, 1, True, True),
    ]


def test_outage_is_never_nothing_to_do(database: Database) -> None:
    """Stash away is an error of the pending check and of the sync, and is noted."""
    stash = FakeStash()
    stash.add_scene()
    stash.on("any", before=TransientError("Stash did not answer"))

    with pytest.raises(TransientError, match="did not answer"):
        pending_scenes(stash, database)
    with pytest.raises(TransientError, match="did not answer"):
        run(stash, database)
    history = select(SyncRun.status, SyncRun.message, SyncRun.baseline)
    assert values(database, history) == [("failed", "Stash did not answer", None)]


@pytest.mark.slow
def test_stopped_run_keeps_its_pages(stash: FakeStash, database: Database) -> None:
    """What was stored before a stop stays, and the next run goes on from there."""
    for _ in range(1010):
        stash.add_scene()
    stop = threading.Event()

    def sink(fraction: float | None, message: str) -> None:
        if message == "Synced 0/1010 scenes":
            stop.set()

    with pytest.raises(JobCancelled):
        run(stash, database, Progress(sink, stop))

    [(status, stored)] = values(database, select(SyncRun.status, SyncRun.created))
    assert status == "cancelled"
    assert 900 < stored < 1010
    assert pending_scenes(stash, database).reasons == {"new": 1010 - stored}
    assert counts(run(stash, database)) == (1010 - stored, 0, stored, 0, 0)


def test_killed_run_is_noted_by_the_next(stash: FakeStash, database: Database) -> None:
    """A run that left no word counts as interrupted, and is no baseline."""
    with database.transaction() as session:
        session.add(SyncRun(kind="full", trigger="manual", status="running"))
    run(stash, database)

    assert values(
        database, select(SyncRun.status, SyncRun.baseline.is_not(None)).order_by("id")
    ) == [("interrupted", False), ("completed", True)]


def test_one_sync_at_a_time(stash: FakeStash, database: Database) -> None:
    """A second sync is refused while one runs; it leaves no trace."""
    with (
        job_lock(database, "sync"),
        pytest.raises(TransientError, match="Another run of sync is under way"),
    ):
        run(stash, database)

    assert values(database, select(SyncRun.id)) == []


def test_progress_says_how_far(stash: FakeStash, database: Database) -> None:
    """The bar only rises, and says which scene of how many."""
    for _ in range(1001):
        stash.add_scene()
    reports: list[tuple[float | None, str]] = []
    progress = Progress(lambda fraction, message: reports.append((fraction, message)))
    run(stash, database, progress)
    fractions = [fraction for fraction, _ in reports if fraction is not None]

    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "Synced 1000/1001 scenes" in [message for _, message in reports]


def test_log_lines_of_the_pending_check(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The check says in its agreed words what it found; nothing is worth DEBUG."""
    caplog.set_level(logging.DEBUG, "stashhog_core.sync.job")
    pending_scenes(stash, database)
    stash.add_scene()
    pending_scenes(stash, database)

    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("DEBUG", "No scenes pending sync from Stash"),
        ("INFO", "Found 1 scenes pending sync from Stash"),
    ]


def test_change_in_the_second_of_the_fetch(database: Database) -> None:
    """An edit that shares its second with the fetch is not lost."""
    stash = FakeStash()
    stash.on("scenes", after=lambda: stash.change_silently(scene, title="after"))
    stash.now = msgspec.convert("2099-01-01T00:00:00Z", type(stash.now))
    scene = stash.add_scene("before")
    run(stash, database, stabilize_seconds=0.01)

    assert values(database, select(Scene.title)) == [("after",)]


@pytest.mark.parametrize(
    "zone",
    [
        pytest.param(UTC, id="UTC"),
        pytest.param(ZoneInfo("Asia/Kolkata"), id="Kolkata"),
        pytest.param(ZoneInfo("America/New_York"), id="New York"),
    ],
)
def test_zone_of_the_server_does_not_matter(database: Database, zone: Any) -> None:
    """Changes are seen whatever zone Stash writes its times in, across DST too."""
    stash = FakeStash(zone=zone)
    # An hour before New York's clocks go back.
    stash.now = msgspec.convert("2099-11-01T05:00:00Z", type(stash.now))
    scene, moved = stash.add_scene(), stash.add_scene()
    run(stash, database)
    stash.tick(3600)
    stash.edit(scene, title="later")
    stash.move_file(moved, "/data/moved.mp4")

    assert pending_scenes(stash, database).reasons == {"changed": 1, "file": 1}
    run(stash, database)
    assert pending_scenes(stash, database).count == 0
    text, moment = values(
        database,
        select(Scene.stash_updated_text, Scene.stash_updated_at).where(
            Scene.id == scene
        ),
    )[0]
    assert text == stash.scene_rows[scene].updated_at
    assert moment == msgspec.convert(text, type(stash.now))
