"""What analysis writes into the mirror, and a sync at the same time."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from sqlalchemy import select

from stashhog_core.db.models import Marker, Scene, Tag
from stashhog_core.db.session import Database
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.params import (
    ApplyPlanParams,
    UndoParams,
    VerifyMirrorParams,
)
from stashhog_core.plans import requests
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.new_objects import unmirror_object
from stashhog_core.plans.proposals import Proposal, add_marker, add_member, set_text
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult
from stashhog_core.stash.documents import NamedKind
from stashhog_core.stash.payloads import Fingerprint
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.verify import verify_mirror
from tests.support.fake_stash import FakeStash, refs
from tests.support.plans import VIDEO_ONLY, Reader, plan_of
from tests.support.plans import run as analyze
from tests.support.sync import run as mirror

DETAILS = set_text("details", "", "of the plan", 0.9, "test", {"rule": "seen"})
FRESH = add_member("tags", None, "Fresh", 0.9, "test", {"rule": "seen"})


@pytest.fixture
def stash() -> FakeStash:
    """A library of two scenes and a tag."""
    stash = FakeStash()
    stash.add_tag("Outdoor")
    stash.add_scene()
    stash.add_scene()
    return stash


def run(stash: FakeStash, database: Database, **params: Any) -> int:
    """Sync; return how many scenes were updated."""
    return mirror(stash, database, **params).updated


def apply(stash: FakeStash, database: Database, plan_id: int) -> ApplyResult:
    return apply_plan(
        stash,
        database,
        ApplyPlanParams(plan_id=plan_id),
        Progress(),
        create_missing_tags=True,
    )


def marker_for(stash: FakeStash) -> Proposal:
    tag = min(stash.tag_rows)
    return add_marker(tag, "Outdoor", 5.0, 9.0, 0.9, "test", {"rule": "seen"})


def is_right(stash: FakeStash, database: Database) -> bool:
    result = verify_mirror(stash, database, VerifyMirrorParams(), Progress())
    return result.differences == 0


def test_marker_deleted_before_the_next_sync(
    stash: FakeStash, database: Database
) -> None:
    """Its listing is that of a mirror without it; it is found gone all the same."""
    run(stash, database)
    run(stash, database)
    scene = min(stash.scene_rows)
    result = apply(stash, database, plan_of(database, {scene: [marker_for(stash)]}))
    stash.remove_markers(scene)

    assert result.applied == 1
    run(stash, database)
    with database.transaction() as session:
        assert session.scalars(select(Marker.id)).all() == []


def test_text_edited_after_it_was_applied(stash: FakeStash, database: Database) -> None:
    """What a sync has stored before the plan's text was repeated here comes back."""
    run(stash, database)
    scene = min(stash.scene_rows)
    plan_id = plan_of(database, {scene: [DETAILS]})

    def edit_at_once() -> None:
        stash.edit(scene, details="newest")
        run(stash, database)

    stash.on("UpdateScene", after=edit_at_once)
    apply(stash, database, plan_id)
    run(stash, database)

    with database.transaction() as session:
        assert session.get_one(Scene, scene).details == "newest"


def test_tag_changed_behind_a_plan(stash: FakeStash, database: Database) -> None:
    """A tag that a plan created or undoing dropped is compared by the next sync."""
    run(stash, database)
    run(stash, database)
    scene = min(stash.scene_rows)
    plan_id = plan_of(database, {scene: [FRESH]})
    apply(stash, database, plan_id)
    fresh = max(stash.tag_rows)
    stash.edit(scene, tags=())
    del stash.tag_rows[fresh]
    for _ in range(2):
        run(stash, database)
    with database.transaction() as session:
        left = session.scalars(select(Tag.name)).all()

    assert left == ["Outdoor"]
    assert is_right(stash, database)


def test_undone_change_is_fetched_again(stash: FakeStash, database: Database) -> None:
    """Undoing repeats in the mirror as well, and so has the next sync look again."""
    run(stash, database)
    scene = min(stash.scene_rows)
    plan_id = plan_of(database, {scene: [FRESH]})
    apply(stash, database, plan_id)
    for _ in range(2):
        run(stash, database)
    undone = undo(stash, database, UndoParams(plan_id=plan_id), Progress())

    assert (undone.undone, undone.tags_dropped) == (1, ("Fresh",))
    assert pending_scenes(stash, database).count == 1
    run(stash, database)
    assert is_right(stash, database)


@pytest.mark.parametrize("what", ["markers", "tag", "performer", "studio"])
def test_what_is_removed_too_early_comes_back(
    stash: FakeStash, database: Database, what: Literal["markers"] | NamedKind
) -> None:
    """A row that Stash has after all is there again after the next sync."""
    scene, tag = min(stash.scene_rows), min(stash.tag_rows)
    performer, studio = stash.add_performer("Mia"), stash.add_studio("Harbor")
    marker = stash.add_marker(scene, tag)
    stash.edit(
        scene, tags=refs(tag), performers=refs(performer), studio=refs(studio)[0]
    )
    run(stash, database)
    run(stash, database)
    with database.transaction() as session:
        if what == "markers":
            requests.unmirror_markers(session, [marker])
        else:
            id_ = {"tag": tag, "performer": performer, "studio": studio}[what]
            unmirror_object(session, what, id_)
    run(stash, database)

    assert is_right(stash, database)


def test_scene_fetched_after_applying_keeps_its_flags(
    stash: FakeStash, database: Database
) -> None:
    """That the next sync fetches it is no reason to make its media or plan anew."""
    run(stash, database)
    scene = min(stash.scene_rows)
    apply(stash, database, plan_of(database, {scene: [marker_for(stash)]}))
    with database.transaction() as session:
        row = session.get_one(Scene, scene)
        assert not row.generated
        row.generated = row.analyzed = row.video_analyzed = True

    assert pending_scenes(stash, database).count == 1
    run(stash, database)
    with database.transaction() as session:
        row = session.get_one(Scene, scene)
        assert (row.generated, row.analyzed, row.video_analyzed) == (True, True, True)
    assert pending_scenes(stash, database).count == 0


@pytest.mark.parametrize("is_replaced", [False, True])
def test_video_replaced_meanwhile_is_not_marked(
    stash: FakeStash, database: Database, is_replaced: bool
) -> None:
    """Only the file that was looked at counts as analyzed; a changed title does not."""
    run(stash, database)
    scene, other = sorted(stash.scene_rows)

    class ChangedMeanwhile(Reader):
        def read(self, facts: SceneFacts) -> Mapping[str, Any]:
            if facts.id == scene and is_replaced:
                hashes = (Fingerprint(type="oshash", value="ffff"),)
                stash.replace_file(scene, fingerprints=hashes)
            stash.edit(scene, title="new")
            run(stash, database)
            return super().read(facts)

    result = analyze(database, ChangedMeanwhile({}), **VIDEO_ONLY)

    with database.transaction() as session:
        analyzed = session.scalars(select(Scene.id).where(Scene.analyzed))
        assert sorted(analyzed) == [scene, other]
        seen = session.scalars(select(Scene.id).where(Scene.video_analyzed))
        assert sorted(seen) == ([other] if is_replaced else [scene, other])
    assert result.scenes_analyzed == 2
