"""URLs, and ids at stash-boxes: applied and undone, over HTTP against the stand-in."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.stash.server import StandIn
from stashhog_core.db.models import PlanChange, ReviewMemory, Scene
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import ApplyPlanParams, SyncParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import plan_changes
from stashhog_core.plans.proposals import (
    Proposal,
    add_box_id,
    add_url,
    set_studio,
    set_text,
)
from stashhog_core.plans.rejections import remember_removed
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult, UndoResult
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.stash.payloads import StashBoxId, StashScene
from stashhog_core.sync.job import sync
from tests.support.creating import create_studio
from tests.support.http import loopback
from tests.support.plans import plan_of
from tests.support.stand_in import new_scene

pytestmark = pytest.mark.slow

BOX, OTHER = "https://box.example/graphql", "https://other.example/graphql"
MINE, FIRST, SECOND = (f"https://films.example/{n}" for n in ("mine", 1, 2))


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[StashClient]:
    with StashClient(StashSettings(url=stand_in.url)) as stash:
        yield stash


@pytest.fixture
def scene_id(stand_in: StandIn, client: StashClient, database: Database) -> int:
    """A mirrored scene with a URL, and with an id at another stash-box."""
    scene_id = new_scene(stand_in, "Scene")
    client.change_urls(scene_id, "ADD", [MINE])
    client.set_box_id(scene_id, OTHER, "mine")
    mirror(client, database)
    return scene_id


def mirror(client: StashClient, database: Database) -> None:
    sync(
        client, database, SyncParams(), Progress(), trigger="test", stabilize_seconds=0
    )


def scene_of(client: StashClient, scene_id: int) -> StashScene:
    (scene,), _ = client.scenes([scene_id])
    return scene


def dated(stand_in: StandIn, scene_id: int) -> list[dict[str, Any]]:
    """Return the ids of a scene at stash-boxes, with their dates."""
    query = "query($id:ID){findScene(id:$id){stash_ids{endpoint stash_id updated_at}}}"
    answer = loopback.post(
        f"{stand_in.url}/graphql",
        json={"query": query, "variables": {"id": str(scene_id)}},
    )
    ids: list[dict[str, Any]] = answer.json()["data"]["findScene"]["stash_ids"]
    return ids


def apply(
    client: StashClient, database: Database, scene_id: int, *proposals: Proposal
) -> tuple[int, ApplyResult]:
    """Apply a plan of these proposals; return its id and the result."""
    plan_id = plan_of(database, {scene_id: proposals})
    params = ApplyPlanParams(plan_id=plan_id)
    result = apply_plan(client, database, params, Progress(), create_missing_tags=False)
    return plan_id, result


def take_back(client: StashClient, database: Database, plan_id: int) -> UndoResult:
    return undo(client, database, UndoParams(plan_id=plan_id), Progress())


def mirrored(database: Database, scene_id: int) -> tuple[Any, ...]:
    with database.transaction() as session:
        columns = (Scene.urls, Scene.stash_ids)
        row = session.execute(select(*columns).where(Scene.id == scene_id)).one()
    return tuple(row)


def test_urls_come_behind_and_ids_beside_what_is_there(
    client: StashClient, database: Database, scene_id: int
) -> None:
    """Nothing is replaced; the mirror has the same, without a sync."""
    _, result = apply(
        client,
        database,
        scene_id,
        add_url(FIRST, 0.9, "test", {}),
        add_url(SECOND, 0.9, "test", {}),
        add_box_id(BOX, "one", 0.9, "test", {}),
    )

    scene = scene_of(client, scene_id)
    assert scene.urls == (MINE, FIRST, SECOND)
    assert scene.stash_ids == (
        StashBoxId(endpoint=BOX, stash_id="one"),
        StashBoxId(endpoint=OTHER, stash_id="mine"),
    )
    assert result.applied == 3
    here = mirrored(database, scene_id)
    mirror(client, database)
    assert here == mirrored(database, scene_id)


def test_undo_restores_ids_with_their_dates(
    stand_in: StandIn, client: StashClient, database: Database, scene_id: int
) -> None:
    """Stash dates every id anew that is sent without its date. The mirror follows."""
    before = mirrored(database, scene_id)
    ids, urls = dated(stand_in, scene_id), scene_of(client, scene_id).urls
    plan_id, _ = apply(
        client,
        database,
        scene_id,
        add_box_id(BOX, "one", 0.9, "test", {}),
        add_url(FIRST, 0.9, "test", {}),
    )
    during = [box for box in dated(stand_in, scene_id) if box["endpoint"] == OTHER]

    result = take_back(client, database, plan_id)

    assert during == ids
    assert dated(stand_in, scene_id) == ids
    assert scene_of(client, scene_id).urls == urls
    assert mirrored(database, scene_id) == before
    assert (result.undone, result.conflicts) == (2, 0)


def test_another_id_at_the_same_stash_box_is_a_conflict(
    client: StashClient, database: Database, scene_id: int
) -> None:
    """Neither applying nor undoing touches an id that somebody else has set."""
    _, applied = apply(
        client, database, scene_id, add_box_id(OTHER, "one", 0.9, "test", {})
    )
    assert applied.conflicts == 1
    plan_id, _ = apply(
        client, database, scene_id, add_box_id(BOX, "one", 0.9, "test", {})
    )
    client.set_box_id(scene_id, BOX, "two")

    undone = take_back(client, database, plan_id)

    assert undone.conflicts == 1
    ids = {box.stash_id for box in scene_of(client, scene_id).stash_ids}
    assert ids == {"mine", "two"}


def test_one_value_for_each_place(
    client: StashClient, database: Database, scene_id: int
) -> None:
    """Of several approved values for one field the first is set; others conflict."""
    settings = StashSettings(url=client.address)
    studios = [create_studio(settings, name) for name in ("One", "Two")]

    plan_id, result = apply(
        client,
        database,
        scene_id,
        *(set_text("code", "", code, 0.9, "test", {}) for code in ("A", "B")),
        *(set_studio(s.id, s.name, 0.9, "test", {}) for s in studios),
        *(add_box_id(BOX, stash_id, 0.9, "test", {}) for stash_id in ("one", "two")),
    )

    scene = scene_of(client, scene_id)
    assert (scene.code, scene.studio and scene.studio.id) == ("A", studios[0].id)
    assert StashBoxId(endpoint=BOX, stash_id="one") in scene.stash_ids
    assert (result.applied, result.conflicts) == (3, 3)
    with database.transaction() as session:
        reasons = {
            c.why for c in plan_changes(session, plan_id) if c.state == "conflict"
        }
    assert reasons == {
        f"Another approved change sets the field {field}"
        for field in ("code", "studio", "stash_ids")
    }
    take_back(client, database, plan_id)
    scene = scene_of(client, scene_id)
    assert (scene.code, scene.studio) == ("", None)


@pytest.mark.parametrize("field", ["urls", "stash_ids", "code", "director", "date"])
def test_what_a_user_removes_in_stash_is_remembered(
    client: StashClient, database: Database, scene_id: int, field: str
) -> None:
    """A value that was applied and is gone again counts as rejected."""
    apply(
        client,
        database,
        scene_id,
        add_url(FIRST, 0.9, "test", {}),
        add_box_id(BOX, "one", 0.9, "test", {}),
        set_text("code", "", "A", 0.9, "test", {}),
        set_text("director", "", "Dora Example", 0.9, "test", {}),
        set_text("date", "", "2023-04", 0.9, "test", {}),
    )
    if field == "urls":
        client.change_urls(scene_id, "REMOVE", [FIRST])
    elif field == "stash_ids":
        client.set_box_id(scene_id, BOX, None)
    else:
        client.update_scene(scene_id, {field: None})
    mirror(client, database)

    with database.transaction() as session:
        remember_removed(session, [scene_id])
        remembered = session.scalars(select(ReviewMemory.field)).all()

    assert remembered == [field]


def test_a_value_that_a_later_plan_added_again_belongs_to_that_plan(
    client: StashClient, database: Database, scene_id: int
) -> None:
    """Undoing the first plan leaves what a user removed and a second plan added."""
    proposals = (
        add_url(FIRST, 0.9, "test", {}),
        add_box_id(BOX, "one", 0.9, "test", {}),
    )
    first, _ = apply(client, database, scene_id, *proposals)
    client.change_urls(scene_id, "REMOVE", [FIRST])
    client.set_box_id(scene_id, BOX, None)
    second, _ = apply(client, database, scene_id, *proposals)

    take_back(client, database, first)

    scene = scene_of(client, scene_id)
    assert FIRST in scene.urls
    assert StashBoxId(endpoint=BOX, stash_id="one") in scene.stash_ids
    take_back(client, database, second)
    assert scene_of(client, scene_id).urls == (MINE,)
    with database.transaction() as session:
        states = session.scalars(select(PlanChange.state)).all()
    assert set(states) == {"undone"}


def test_a_scene_that_is_gone(client: StashClient) -> None:
    """The id of a scene that Stash does not have is a sentence, not a new scene."""
    with pytest.raises(JobError, match="Stash has no scene 999999"):
        client.set_box_id(999_999, BOX, "one")
