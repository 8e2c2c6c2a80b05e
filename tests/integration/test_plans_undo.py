"""The job `undo_plan`, over HTTP against the stand-in Stash."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import select

from sandbox.stash.editing import destroy_scenes
from sandbox.stash.server import StandIn
from stashhog_core.db.models import (
    AnalysisPlan,
    Marker,
    PlanChange,
    ReviewMemory,
    Scene,
    SceneTag,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError, TransientError
from stashhog_core.params import ApplyPlanParams, SyncParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import plan_changes, plan_lock
from stashhog_core.plans.proposals import (
    add_box_id,
    add_member,
    add_url,
    set_studio,
    set_text,
)
from stashhog_core.plans.selection import Selection
from stashhog_core.plans.three_way import OBJECT_GONE
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import UndoResult
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import Ref
from stashhog_core.sync.job import sync
from tests.support.creating import all_scenes, create_performer, create_studio
from tests.support.faults import FAULTS, plain_transport
from tests.support.http import loopback
from tests.support.locks import wait_until_unlocked
from tests.support.plans import plan_of
from tests.support.stand_in import a_plan, new_scene

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]

UNDO = """
import sys
from stashhog_core.plans.undo import undo
from stashhog_core.db.session import Database
from stashhog_core.params import UndoParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.http import loopback
with StashClient(StashSettings(url=sys.argv[1])) as stash:
    print("ready", flush=True)
    undo(stash, Database(sys.argv[2]), UndoParams(plan_id=int(sys.argv[3])), Progress())
"""


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[StashClient]:
    with StashClient(StashSettings(url=stand_in.url)) as stash:
        yield stash


@pytest.fixture
def scenes(stand_in: StandIn, client: StashClient, database: Database) -> list[int]:
    """Six mirrored scenes; the first has a studio, a tag and details of its own."""
    ids = [new_scene(stand_in, f"Scene {number}") for number in range(6)]
    settings = StashSettings(url=stand_in.url)
    tag = client.create_tag("Mine")
    studio = create_studio(settings, "My Studio")
    create_studio(settings, "Golden Hour")
    create_performer(settings, "Jade Kush")
    client.bulk_update_scenes(ids[:2], add_tag_ids=[tag.id], studio_id=studio.id)
    client.update_scene(ids[1], {"date": "2020-01-02", "details": "<p>Mine.</p>"})
    client.change_urls(ids[1], "ADD", ["https://films.example/mine"])
    client.set_box_id(ids[1], "https://other.example/graphql", "mine")
    client.create_marker(
        scene_id=ids[0], title="Mine", seconds=7, primary_tag_id=tag.id
    )
    sync(
        client, database, SyncParams(), Progress(), trigger="test", stabilize_seconds=0
    )
    return ids


def library(client: StashClient) -> dict[str, Any]:
    """Return everything Stash has, but for the times of change."""

    def plain(rows: list[Any]) -> list[Any]:
        found = msgspec.to_builtins(rows)
        for row in found:
            row.pop("updated_at", None)
            for marker in row.get("scene_markers", ()):
                marker.pop("updated_at")
        return sorted(found, key=lambda row: row["id"])

    return {
        "scenes": plain(all_scenes(client)),
        "tags": plain(client.tags()),
        "performers": plain(client.performers()),
        "studios": plain(client.studios()),
    }


def wide_plan(database: Database, client: StashClient, ids: list[int]) -> int:
    """Return a plan of every kind of change, over what is there already."""
    plan_id = a_plan(database, ids)
    tags = {t.name: t.id for t in client.tags()}
    (jade,) = client.performers()
    studios = {s.name: s.id for s in client.studios()}
    more = [
        (ids[0], add_member("tags", tags["Mine"], "Mine", 0.9, "test", {})),
        (ids[1], set_text("title", "Scene 1", "Better", 0.9, "test", {})),
        (ids[1], set_text("director", "", "Dora Example", 0.9, "test", {})),
        (ids[1], add_url("https://films.example/1", 0.9, "test", {})),
        (ids[1], add_url("https://films.example/mine", 0.9, "test", {})),
        (ids[1], add_box_id("https://box.example/graphql", "one", 0.9, "test", {})),
        (ids[2], add_member("performers", jade.id, jade.name, 0.9, "test", {})),
        (
            ids[2],
            set_studio(studios["Golden Hour"], "Golden Hour", 0.9, "test", {}),
        ),
    ]
    with database.transaction() as session:
        session.add_all(
            PlanChange(plan_id=plan_id, scene_id=i, state="approved", **p.row)
            for i, p in more
        )
    return plan_id


def apply(client: StashClient, database: Database, plan_id: int) -> None:
    apply_plan(
        client,
        database,
        ApplyPlanParams(plan_id=plan_id),
        Progress(),
        create_missing_tags=True,
    )


def take_back(client: StashClient, database: Database, **params: Any) -> UndoResult:
    return undo(client, database, UndoParams(**params), Progress())


def mirrored(database: Database) -> dict[str, Any]:
    with database.transaction() as session:
        return {
            "scenes": session.execute(
                select(
                    Scene.id,
                    Scene.title,
                    Scene.details,
                    Scene.studio_id,
                    Scene.date,
                    Scene.director,
                    Scene.urls,
                    Scene.stash_ids,
                ).order_by(Scene.id)
            ).all(),
            "tags": session.execute(
                select(SceneTag.scene_id, SceneTag.tag_id).order_by(
                    SceneTag.scene_id, SceneTag.tag_id
                )
            ).all(),
            "names": session.scalars(select(Tag.name).order_by(Tag.name)).all(),
            "markers": session.scalars(select(Marker.id).order_by(Marker.id)).all(),
        }


def test_undone_plan_leaves_the_library_as_it_was(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """Every kind of change, whole-library comparison; the mirror follows too."""
    before, mirror_before = library(client), mirrored(database)
    plan_id = wide_plan(database, client, scenes)
    apply(client, database, plan_id)
    assert library(client) != before

    result = take_back(client, database, plan_id=plan_id)

    assert library(client) == before
    assert mirrored(database) == mirror_before
    assert result.status == "completed"
    assert (result.conflicts, result.failed, result.skipped) == (0, 0, 0)
    assert sorted(result.tags_dropped) == ["Even", "Fresh", "Odd"]
    with database.transaction() as session:
        states = {c.state for c in plan_changes(session, plan_id)}
    assert states <= {"undone", "already", "conflict"}
    again = take_back(client, database, plan_id=plan_id)
    assert (again.undone, again.tags_dropped) == (0, ())


def test_what_was_changed_since_is_left(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """An edited text is a conflict; what is gone already leaves the mirror, too."""
    markers = mirrored(database)["markers"]
    plan_id = a_plan(database, scenes[2:5])
    apply(client, database, plan_id)
    (first, second, third), _ = client.scenes(scenes[2:5])
    client.update_scene(first.id, {"details": "My own."})
    client.bulk_update_scenes([second.id], remove_tag_ids=[second.tags[0].id])
    client.destroy_markers([third.scene_markers[0].id])

    result = take_back(client, database, plan_id=plan_id)

    assert (result.undone, result.already, result.conflicts) == (9, 2, 1)
    assert mirrored(database)["markers"] == markers
    (first, *_), _ = client.scenes(scenes[2:5])
    assert first.details == "My own."
    with database.transaction() as session:
        left = [c for c in plan_changes(session, plan_id) if c.state == "applied"]
    assert [(c.field, c.why) for c in left] == [
        ("details", "The field details in Stash now is 'My own.'")
    ]


def test_tag_that_somebody_uses_is_kept(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """A created tag goes only when nothing uses it and nobody added to it."""
    plan_id = a_plan(database, scenes[:2])
    apply(client, database, plan_id)
    even = client.find_tag("Even")
    assert even is not None
    client.bulk_update_scenes([scenes[5]], add_tag_ids=[even.id])

    result = take_back(client, database, plan_id=plan_id)

    assert result.tags_dropped == ("Fresh", "Odd")
    assert result.tags_kept == {"Even": "scenes: 1"}
    assert [tag.name for tag in client.tags()] == ["Mine", "Even"]


def test_a_created_tag_goes_with_its_last_use(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """Whichever plan created the tag; but not while a run works on that plan."""
    fresh = add_member("tags", None, "Fresh", 0.9, "test", {})
    creator, user, other = (
        plan_of(database, {scene_id: [fresh]}) for scene_id in scenes[:3]
    )
    for plan_id in (creator, user, other):
        apply(client, database, plan_id)

    first = take_back(client, database, plan_id=creator)
    second = take_back(client, database, plan_id=user)
    with plan_lock(database, creator):
        held = take_back(client, database, plan_id=other)
    tags = [tag.name for tag in client.tags()]
    last = take_back(client, database, plan_id=creator)

    assert first.tags_kept == {"Fresh": "scenes: 2"}
    assert second.tags_kept == {"Fresh": "scenes: 1"}
    assert (held.tags_dropped, held.tags_kept) == ((), {})
    assert "Fresh" in tags
    assert last.tags_dropped == ("Fresh",)


def forget_created_ids(database: Database, plan_id: int) -> list[str]:
    """Leave a plan as a run does that dies once Stash has created its tags."""
    with database.transaction() as session:
        plan = session.get_one(AnalysisPlan, plan_id)
        created = plan.facts["created_tags"]
        plan.facts = {**plan.facts, "created_tags": dict.fromkeys(created)}
    return sorted(created)


@pytest.mark.parametrize("is_id_known", [True, False], ids=["id", "name"])
def test_the_undo_of_the_last_use_deletes_what_another_plan_created(
    client: StashClient, database: Database, scenes: list[int], is_id_known: bool
) -> None:
    """A tag of that plan which the undo did not touch stays, used or not.

    The tag is known by its id, or by its name if the run of that plan died too early.
    """
    fresh, odd = (
        add_member("tags", None, n, 0.9, "test", {}) for n in ("Fresh", "Odd")
    )
    creator = plan_of(database, {scenes[0]: [fresh, odd]})
    user = plan_of(database, {scenes[1]: [fresh]})
    for plan_id in (creator, user):
        apply(client, database, plan_id)
    if not is_id_known:
        forget_created_ids(database, creator)
    # A person takes both tags from the scene of the plan that created them.
    client.bulk_update_scenes(
        [scenes[0]], remove_tag_ids=[tag.id for tag in client.tags()]
    )

    result = take_back(client, database, plan_id=user)

    assert result.tags_dropped == ("Fresh",)
    assert [tag.name for tag in client.tags()] == ["Mine", "Odd"]


def test_a_created_tag_goes_with_its_last_use_under_whatever_name(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """A change that was proposed with an alias has used the tag all the same."""
    creator = plan_of(
        database, {scenes[0]: [add_member("tags", None, "Fresh", 0.9, "test", {})]}
    )
    apply(client, database, creator)
    fresh = client.find_tag("Fresh")
    assert fresh is not None
    user = plan_of(
        database, {scenes[1]: [add_member("tags", fresh.id, "New", 0.9, "test", {})]}
    )
    apply(client, database, user)
    client.bulk_update_scenes([scenes[0]], remove_tag_ids=[fresh.id])

    assert take_back(client, database, plan_id=user).tags_dropped == ("Fresh",)


def edit_in_stash(stand_in: StandIn, kind: str, row_id: int, **fields: Any) -> None:
    """Have somebody edit a tag or a marker."""
    types = {
        "tagUpdate": "TagUpdateInput",
        "sceneMarkerUpdate": "SceneMarkerUpdateInput",
    }
    query = f"mutation($input: {types[kind]}!) {{ {kind}(input: $input) {{ id }} }}"
    given = {"query": query, "variables": {"input": {"id": str(row_id), **fields}}}
    answer = loopback.post(f"{stand_in.url}/graphql", json=given)
    assert "errors" not in answer.json(), answer.text


@pytest.mark.parametrize(
    ("addition", "why"),
    [
        ({"sort_name": "Zebra"}, "sort_name"),
        ({"image": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}, "image"),
        ({"ignore_auto_tag": True}, "ignore_auto_tag"),
        ({"stash_ids": [{"endpoint": "http://box", "stash_id": "7"}]}, "stash_ids"),
        ({"name": "Fresher"}, "renamed to Fresher"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tag_that_somebody_added_to_is_kept(
    stand_in: StandIn,
    client: StashClient,
    database: Database,
    scenes: list[int],
    addition: dict[str, Any],
    why: str,
) -> None:
    """Undo deletes what it has made, never what a person has put there: it says so."""
    plan_id = a_plan(database, scenes[:2])
    apply(client, database, plan_id)
    fresh = client.find_tag("Fresh")
    assert fresh is not None
    edit_in_stash(stand_in, "tagUpdate", fresh.id, **addition)

    result = take_back(client, database, plan_id=plan_id)

    assert result.tags_kept == {"Fresh": why}
    assert result.tags_dropped == ("Even", "Odd")
    assert fresh.id in {tag.id for tag in client.tags()}


@pytest.mark.parametrize("field", ["tag_ids", "primary_tag_id"])
def test_marker_that_somebody_tagged_is_kept(
    stand_in: StandIn,
    client: StashClient,
    database: Database,
    scenes: list[int],
    field: str,
) -> None:
    """A marker is ours only while its tags are, too; then the tag stays as well."""
    plan_id = a_plan(database, scenes[1:3])
    apply(client, database, plan_id)
    (scene,), _ = client.scenes(scenes[2:3])
    (marker,) = scene.scene_markers
    mine = client.find_tag("Mine")
    assert mine is not None
    value = [str(mine.id)] if field == "tag_ids" else str(mine.id)
    edit_in_stash(stand_in, "sceneMarkerUpdate", marker.id, **{field: value})

    result = take_back(client, database, plan_id=plan_id)

    assert result.conflicts == 1
    (scene,), _ = client.scenes(scenes[2:3])
    assert [m.id for m in scene.scene_markers] == [marker.id]
    kept = {"Fresh": "scene_markers: 1"} if field == "tag_ids" else {}
    assert result.tags_kept == kept


def test_tag_whose_number_a_killed_run_could_not_record_is_deleted(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """It is found by its name."""
    plan_id = a_plan(database, scenes[1:3])
    apply(client, database, plan_id)
    created = forget_created_ids(database, plan_id)

    result = take_back(client, database, plan_id=plan_id)

    assert sorted(result.tags_dropped) == created != []
    assert {tag.name for tag in client.tags()}.isdisjoint(created)


def test_scene_that_is_gone_is_skipped(
    stand_in: StandIn, client: StashClient, database: Database, scenes: list[int]
) -> None:
    """There is nothing to undo, and the other scenes are undone."""
    made = {
        scenes[n]: [set_text("title", f"Scene {n}", "Better", 0.9, "test", {})]
        for n in (0, 1)
    }
    plan_id = plan_of(database, made, "approved")
    apply(client, database, plan_id)
    destroy_scenes(stand_in.store, [str(scenes[0])], {})

    result = take_back(client, database, plan_id=plan_id)

    assert (result.undone, result.skipped, result.failed) == (1, 1, 0)


def test_names_that_have_ids_of_earlier_ones_are_left_alone(
    stand_in: StandIn, client: StashClient, database: Database, scenes: list[int]
) -> None:
    """After Stash has lost names, their ids are others': undo takes these from nobody.

    A person has given the scene what has the ids by now. A plan that waits applies
    nothing of it.
    """
    tag, performer = client.find_tag("Mine"), client.performers()[0]
    studio = next(s for s in client.studios() if s.name == "Golden Hour")
    assert tag is not None
    made = [
        add_member("tags", tag.id, "Mine", 0.9, "test", {}),
        add_member("tags", None, "Fresh", 0.9, "test", {}),
        add_member("performers", performer.id, performer.name, 0.9, "test", {}),
        set_studio(studio.id, studio.name, 0.9, "test", {}),
    ]
    applied = plan_of(database, {scenes[3]: made}, "approved")
    waiting = plan_of(database, {scenes[4]: made[2:]}, "approved")
    apply(client, database, applied)
    for table in ("tags", "performers", "studios"):
        stand_in.store.rows(
            f"UPDATE {table} SET created_at = '2031-01-01T00:00:00Z', "  # noqa: S608
            "name = 'Another ' || id",
            [],
        )
    before = all_scenes(client)

    result = take_back(client, database, plan_id=applied)
    apply(client, database, waiting)

    assert (result.undone, result.conflicts, result.tags_dropped) == (0, 4, ())
    assert all_scenes(client) == before
    assert len(before[3].tags) == 2
    with database.transaction() as session:
        errors = {change.error for change in plan_changes(session, applied)}
    assert errors == {OBJECT_GONE}


@pytest.mark.parametrize("is_recreated", [True, False])
def test_tag_that_a_person_has_created_anew_is_kept(
    stand_in: StandIn,
    client: StashClient,
    database: Database,
    scenes: list[int],
    is_recreated: bool,
) -> None:
    """It has the name and the id of one that a plan created, and Stash has lost."""
    made = [add_member("tags", None, "Fresh", 0.9, "test", {})]
    plan_id = plan_of(database, {scenes[3]: made}, "approved")
    apply(client, database, plan_id)
    tag = client.find_tag("Fresh")
    assert tag is not None
    client.bulk_update_scenes([scenes[3]], remove_tag_ids=[tag.id])
    if is_recreated:
        stand_in.store.rows(
            "UPDATE tags SET created_at = '2031-01-01T00:00:00Z' WHERE id = ?",
            [tag.id],
        )

    result = take_back(client, database, plan_id=plan_id)

    assert (result.undone, result.already) == (0, 1)
    assert (client.find_tag("Fresh") is not None) == is_recreated
    kept = {"Fresh": "created anew by somebody"} if is_recreated else {}
    assert result.tags_kept == kept


def test_scenes_that_have_ids_of_earlier_scenes_are_left_alone(
    stand_in: StandIn, client: StashClient, database: Database, scenes: list[int]
) -> None:
    """After Stash has lost scenes, its ids name others: these get and lose nothing.

    A person has given the new scene what the plan had given to the lost one.
    """
    text = "A title of the lost scene"
    made = [set_text("title", "", text, 0.9, "test", {})]
    applied = plan_of(database, dict.fromkeys(scenes[:2], made), "approved")
    waiting = plan_of(database, dict.fromkeys(scenes[2:4], made), "approved")
    for scene_id in scenes:
        client.update_scene(scene_id, {"title": ""})
    apply(client, database, applied)
    lost = [scenes[0], scenes[2]]
    for scene_id in lost:
        stand_in.store.rows(
            "UPDATE scenes SET created_at = '2031-01-01T00:00:00Z', title = ? "
            "WHERE id = ?",
            [text if scene_id == scenes[0] else "", scene_id],
        )
    before = {s.id: s.title for s in all_scenes(client)}

    apply(client, database, waiting)
    result = take_back(client, database, plan_id=applied)

    assert (result.undone, result.skipped) == (1, 1)
    after = {s.id: s.title for s in all_scenes(client)}
    assert {i: after[i] for i in lost} == {i: before[i] for i in lost}
    assert (after[scenes[1]], after[scenes[3]]) == ("", text)
    with database.transaction() as session:
        states = {c.scene_id: c.state for c in plan_changes(session, waiting)}
    assert states == {scenes[2]: "skipped", scenes[3]: "applied"}


@dataclass
class Refusing(httpx.BaseTransport):
    """Has each change refused that sets a title or removes a certain tag."""

    tag_id: int
    inner: httpx.BaseTransport = field(default_factory=plain_transport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        given = body["variables"].get("input", {})
        tags = given.get("tag_ids", {})
        if "title" in given or str(self.tag_id) in tags.get("ids", []):
            answer: httpx.Response = FAULTS["refused"](request)
            return answer
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()


def test_what_stash_refuses_keeps_nothing_else_from_being_undone(
    stand_in: StandIn, client: StashClient, database: Database, scenes: list[int]
) -> None:
    """A request that is refused is sent again value by value."""
    mark = (0.9, "test", {"rule": "seen"})
    tags = [client.create_tag(name) for name in ("Bad", "Fine", "Good")]
    bad = tags[0]
    before = library(client)
    proposals = [
        set_text("title", "Scene 1", "Better", *mark),
        set_text("director", "", "Dora Example", *mark),
        *(add_member("tags", tag.id, tag.name, *mark) for tag in tags),
    ]
    plan_id = plan_of(database, {scenes[1]: proposals}, "approved")
    apply(client, database, plan_id)

    settings = StashSettings(url=stand_in.url)
    with StashClient(settings, Refusing(bad.id)) as refused:
        result = take_back(refused, database, plan_id=plan_id)

    assert result.status == "completed_with_errors"
    assert (result.undone, result.failed) == (3, 2)
    (scene,), _ = client.scenes([scenes[1]])
    assert (scene.title, scene.director) == ("Better", "")
    assert [tag for tag in tags if Ref(id=tag.id) in scene.tags] == [bad]
    with database.transaction() as session:
        local = session.get_one(Scene, scenes[1])
        assert (local.title, local.director) == ("Better", "")

    assert take_back(client, database, plan_id=plan_id).undone == 2
    assert library(client) == before


def test_part_of_a_plan(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """By scene, by change, by a detector's version; the rest stays applied."""
    plan_id = a_plan(database, scenes)
    with database.transaction() as session:
        session.get_one(AnalysisPlan, plan_id).detectors = {"test": "3"}
    apply(client, database, plan_id)
    with database.transaction() as session:
        change = plan_changes(session, plan_id, Selection(field="tags"))[-1]

    of_scene = take_back(client, database, scene_id=scenes[0])
    of_change = take_back(client, database, change_ids=(change.id,), remember=True)
    of_other = take_back(client, database, detector="test", detector_version="2")
    of_version = take_back(client, database, detector="test", detector_version="3")

    assert (of_scene.undone, of_scene.scene_ids) == (4, (scenes[0],))
    assert of_change.undone == 1
    assert of_other.undone == 0
    # One of the 24 was a conflict when it was to be applied.
    assert of_version.undone == 23 - 5
    with database.transaction() as session:
        remembered = session.scalars(select(ReviewMemory.value_key)).all()
    assert remembered == [change.proposed["name"].casefold()]


def test_one_value_of_two_changes_stays_until_both_are_undone(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """Two names of one tag are one tag in the scene."""
    mine = client.find_tag("Mine")
    assert mine is not None
    names = [
        add_member("tags", mine.id, name, 0.9, "test", {}) for name in ("Mine", "Alias")
    ]
    plan_id = plan_of(database, {scenes[3]: names})
    apply(client, database, plan_id)
    with database.transaction() as session:
        first, second = [c.id for c in plan_changes(session, plan_id)]

    take_back(client, database, change_ids=(first,))
    (scene,), _ = client.scenes([scenes[3]])
    take_back(client, database, change_ids=(second,))
    (after,), _ = client.scenes([scenes[3]])

    assert ([t.id for t in scene.tags], after.tags) == ([mine.id], ())


def test_killed_undo_ends_as_one_clean_run(
    stand_in: StandIn,
    client: StashClient,
    database: Database,
    database_url: str,
    scenes: list[int],
) -> None:
    """Killed again and again, the library is as it was in the end."""
    before = library(client)
    plan_id = wide_plan(database, client, scenes)
    apply(client, database, plan_id)
    arguments = [sys.executable, "-c", UNDO, stand_in.url, database_url, str(plan_id)]

    kills = 0
    for number in range(4):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=REPOSITORY)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(number * 0.03)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.stdout.close()
        kills += process.wait() == -signal.SIGKILL
        wait_until_unlocked(database)
    take_back(client, database, plan_id=plan_id)

    assert kills
    assert library(client) == before


def test_plan_that_does_not_exist_is_said(
    client: StashClient, database: Database
) -> None:
    """A wrong number does not look like a plan with nothing left to undo."""
    with pytest.raises(JobError, match="There is no plan 999"):
        undo(client, database, UndoParams(plan_id=999), Progress())


def test_change_that_does_not_exist_is_refused(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """A wrong number does not look like a change that was not applied."""
    plan = a_plan(database, scenes)
    with database.transaction() as session:
        known = session.scalars(select(PlanChange.id)).first()
    with pytest.raises(JobError, match="There is no change 9999:"):
        undo(client, database, UndoParams(change_ids=(known, 9999)), Progress())
    with pytest.raises(JobError, match=f"Plan {plan} has no change 9999"):
        undo(client, database, UndoParams(plan_id=plan, change_ids=(9999,)), Progress())


def test_undo_of_anything_is_refused(client: StashClient, database: Database) -> None:
    """Without a plan, scene, change or detector it is not everything."""
    with pytest.raises(JobError, match="No changes to undo"):
        take_back(client, database)


def test_a_plan_that_is_just_being_applied_is_not_undone(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """Undoing a plan is refused while a run holds it, also before its first change."""
    plan_id = a_plan(database, scenes)

    with (
        plan_lock(database, plan_id),
        pytest.raises(TransientError, match=f"Another run of plan {plan_id}"),
    ):
        take_back(client, database, plan_id=plan_id)


def test_only_plans_that_the_run_holds_are_undone(
    client: StashClient, database: Database, scenes: list[int]
) -> None:
    """What another plan brings to a scene while this one is undone stays applied."""
    first, second = (
        plan_of(
            database, {scenes[0]: [add_member("tags", None, name, 0.9, "test", {})]}
        )
        for name in ("Fresh", "Later")
    )
    apply(client, database, first)
    has_begun = False

    def meanwhile(_fraction: float | None, _message: str) -> None:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            apply(client, database, second)

    undo(client, database, UndoParams(scene_id=scenes[0]), Progress(meanwhile))

    with database.transaction() as session:
        states = [
            change.state
            for plan_id in (first, second)
            for change in plan_changes(session, plan_id)
        ]
    assert states == ["undone", "applied"]
    assert [tag.name for tag in client.tags()] == ["Mine", "Later"]
