"""What analysis writes into the mirror, and a sync at the same time."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from stashhog_core.db.models import AnalysisPlan, Marker, PlanChange, Scene, Tag
from stashhog_core.db.session import Database
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.params import (
    ApplyPlanParams,
    UndoParams,
    VerifyMirrorParams,
)
from stashhog_core.plans import requests
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.proposals import Proposal, add_marker, add_member, set_text
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult
from stashhog_core.stash.payloads import Fingerprint, Ref, StashTag, TagUse
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.verify import verify_mirror
from tests.support.fake_stash import FakeStash, refs
from tests.support.plans import VIDEO_ONLY, Reader
from tests.support.plans import run as analyze
from tests.support.sync import run as mirror

DETAILS = set_text("details", "", "of the plan", 0.9, "test", {"rule": "seen"})
FRESH = add_member("tags", None, "Fresh", 0.9, "test", {"rule": "seen"})


class WritableStash(FakeStash):
    """A library in memory that plans can be applied to."""

    def update_scene(self, scene_id: int, fields: Mapping[str, Any]) -> None:
        self.edit(scene_id, **fields)

    def bulk_update_scenes(
        self,
        ids: Sequence[int],
        *,
        add_tag_ids: Sequence[int] = (),
        remove_tag_ids: Sequence[int] = (),
        **_: object,
    ) -> None:
        for id_ in ids:
            tags = {tag.id for tag in self.scene_rows[id_].tags}
            tags = tags.union(add_tag_ids).difference(remove_tag_ids)
            self.edit(id_, tags=refs(*sorted(tags)))

    def find_tag(self, name: str) -> StashTag | None:
        return next((tag for tag in self.tags() if tag.name == name), None)

    def create_tag(self, name: str) -> StashTag:
        return self.tag_rows[self.add_tag(name)]

    def tag_use(self, tag_id: int) -> TagUse | None:
        tag = self.tag_rows.get(tag_id)
        if tag is None:
            return None
        uses = sum(Ref(id=tag_id) in scene.tags for scene in self.scene_rows.values())
        return TagUse.of({"id": tag_id, "name": tag.name, "scene_count": uses})

    def destroy_tag(self, tag_id: int) -> None:
        del self.tag_rows[tag_id]

    def create_marker(
        self,
        *,
        scene_id: int,
        title: str,
        seconds: float,
        primary_tag_id: int,
        end_seconds: float | None = None,
        **_: object,
    ) -> int:
        id_ = self.add_marker(scene_id, primary_tag_id, seconds)
        self.edit_markers(scene_id, title=title, end_seconds=end_seconds)
        return id_


@pytest.fixture
def stash() -> WritableStash:
    """A library of two scenes and a tag."""
    stash = WritableStash()
    stash.add_tag("Outdoor")
    stash.add_scene()
    stash.add_scene()
    return stash


def run(stash: FakeStash, database: Database, **params: Any) -> int:
    """Sync; return how many scenes were updated."""
    return mirror(stash, database, **params).updated


def plan(database: Database, scene_id: int, proposal: Proposal) -> int:
    """Store a plan with one approved change."""
    with database.transaction() as session:
        row = AnalysisPlan(name="Plan", state="draft", run_id="run")
        session.add(row)
        session.flush()
        session.add(
            PlanChange(
                plan_id=row.id,
                scene_id=scene_id,
                state="approved",
                **proposal.row,
            )
        )
    return row.id


def apply(stash: WritableStash, database: Database, plan_id: int) -> ApplyResult:
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
    stash: WritableStash, database: Database
) -> None:
    """Its listing is that of a mirror without it; it is found gone all the same."""
    run(stash, database)
    run(stash, database)
    scene = min(stash.scene_rows)
    result = apply(stash, database, plan(database, scene, marker_for(stash)))
    stash.destroy_markers(scene)

    assert result.applied == 1
    run(stash, database)
    with database.transaction() as session:
        assert session.scalars(select(Marker.id)).all() == []


def test_text_edited_after_it_was_applied(
    stash: WritableStash, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a sync has stored before the plan's text was repeated here comes back."""
    run(stash, database)
    scene = min(stash.scene_rows)
    plan_id = plan(database, scene, DETAILS)
    update_scene = stash.update_scene

    def edited_at_once(scene_id: int, fields: Mapping[str, Any]) -> None:
        update_scene(scene_id, fields)
        stash.edit(scene_id, details="newest")
        run(stash, database)

    monkeypatch.setattr(stash, "update_scene", edited_at_once)
    apply(stash, database, plan_id)
    run(stash, database)

    with database.transaction() as session:
        assert session.get_one(Scene, scene).details == "newest"


def test_tag_changed_behind_a_plan(stash: WritableStash, database: Database) -> None:
    """A tag that a plan created or undoing dropped is compared by the next sync."""
    run(stash, database)
    run(stash, database)
    scene = min(stash.scene_rows)
    plan_id = plan(database, scene, FRESH)
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


def test_undone_change_is_fetched_again(
    stash: WritableStash, database: Database
) -> None:
    """Undoing repeats in the mirror as well, and so has the next sync look again."""
    run(stash, database)
    scene = min(stash.scene_rows)
    plan_id = plan(database, scene, FRESH)
    apply(stash, database, plan_id)
    for _ in range(2):
        run(stash, database)
    undone = undo(stash, database, UndoParams(plan_id=plan_id), Progress())

    assert (undone.undone, undone.tags_dropped) == (1, ("Fresh",))
    assert pending_scenes(stash, database).count == 1
    run(stash, database)
    assert is_right(stash, database)


@pytest.mark.parametrize("what", ["unmirror_markers", "unmirror_tag"])
def test_what_is_taken_away_too_early_comes_back(
    stash: WritableStash, database: Database, what: str
) -> None:
    """A row that Stash has after all is there again after the next sync."""
    scene, tag = min(stash.scene_rows), min(stash.tag_rows)
    marker = stash.add_marker(scene, tag)
    stash.edit(scene, tags=refs(tag))
    run(stash, database)
    run(stash, database)
    with database.transaction() as session:
        if what == "unmirror_tag":
            requests.unmirror_tag(session, tag)
        else:
            requests.unmirror_markers(session, [marker])
    run(stash, database)

    assert is_right(stash, database)


def test_scene_fetched_after_applying_keeps_its_flags(
    stash: WritableStash, database: Database
) -> None:
    """That the next sync fetches it is no reason to make its media or plan anew."""
    run(stash, database)
    scene = min(stash.scene_rows)
    apply(stash, database, plan(database, scene, marker_for(stash)))
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
    stash: WritableStash, database: Database, is_replaced: bool
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
