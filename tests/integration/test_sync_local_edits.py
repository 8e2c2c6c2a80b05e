"""Fields edited here win over Stash until they are pushed or discarded."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from stashhog_core.db.models import Scene, ScenePerformer, SceneTag
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.progress import Progress
from stashhog_core.stash.payloads import Ref
from stashhog_core.sync import store
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.local_edits import (
    Conflicts,
    FieldEdit,
    SceneEdit,
    discard_edits,
    edit_scene,
    keep_local,
    list_edits,
)
from stashhog_core.sync.push import Pushed, push_edits
from tests.support.fake_stash import FakeStash, refs
from tests.support.sync import run


@pytest.fixture
def stash() -> FakeStash:
    return FakeStash()


def edit(database: Database, scene_id: int, **values: Any) -> None:
    with database.transaction() as session:
        edit_scene(session, scene_id, SceneEdit(**values))


def edits(database: Database) -> list[FieldEdit]:
    with database.transaction() as session:
        return list_edits(session)


def title(database: Database, scene_id: int) -> str:
    with database.transaction() as session:
        return session.get_one(Scene, scene_id).title


def push(stash: FakeStash, database: Database) -> Pushed:
    return push_edits(stash, database, Progress())


def test_edit_survives_other_changes_in_stash(
    stash: FakeStash, database: Database
) -> None:
    """Stash's changes of other fields come in; the edited field stays."""
    scene = stash.add_scene("theirs")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.edit(scene, rating100=80)
    result = run(stash, database)
    run(stash, database, force=True)

    assert (result.updated, result.conflicts) == (1, 0)
    assert title(database, scene) == "mine"
    assert edits(database) == [FieldEdit(scene, "title", "theirs", "mine")]
    with database.transaction() as session:
        assert session.get_one(Scene, scene).rating100 == 80


@pytest.mark.parametrize(
    ("strategy", "expected", "in_conflict"),
    [("ask", "mine", 1), ("local_wins", "mine", 0), ("remote_wins", "newer", 0)],
)
def test_field_changed_on_both_sides(
    stash: FakeStash,
    database: Database,
    strategy: Conflicts,
    expected: str,
    in_conflict: int,
) -> None:
    """The strategy decides; to ask keeps the local value and lists the field."""
    scene = stash.add_scene("old")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.edit(scene, title="newer")
    result = run(stash, database, conflicts=strategy)

    assert result.conflicts == in_conflict
    assert title(database, scene) == expected
    assert [e.conflict for e in edits(database)] == {
        "ask": [True],
        "local_wins": [False],
        "remote_wins": [],
    }[strategy]


def test_conflict_waits_until_it_is_decided(
    stash: FakeStash, database: Database
) -> None:
    """A field in conflict is not pushed; once decided for the local value, it is."""
    scene = stash.add_scene("old")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.edit(scene, title="newer")
    run(stash, database)
    assert edits(database) == [FieldEdit(scene, "title", "old", "mine", True, "newer")]

    assert push(stash, database) == Pushed()
    with database.transaction() as session:
        keep_local(session, scene, "title")
    assert push(stash, database) == Pushed(pushed=1)
    assert stash.scene_rows[scene].title == "mine"
    run(stash, database)
    assert (edits(database), title(database, scene)) == ([], "mine")


def test_decision_against_nothing_is_refused(
    stash: FakeStash, database: Database
) -> None:
    """Only a conflict can be decided."""
    scene = stash.add_scene()
    run(stash, database)

    with (
        pytest.raises(JobError, match=f"title of scene {scene} is not in conflict"),
        database.transaction() as session,
    ):
        keep_local(session, scene, "title")


@pytest.mark.parametrize("conflict", [False, True])
def test_discarded_edit_gives_stash_its_value_back(
    stash: FakeStash, database: Database, conflict: bool
) -> None:
    """After a discard, the mirror is as Stash is, without waiting for a sync."""
    scene = stash.add_scene("old")
    tag = stash.add_tag("tag")
    run(stash, database)
    edit(database, scene, title="mine", tag_ids=[tag])
    if conflict:
        stash.edit(scene, title="newer")
        run(stash, database)
    with database.transaction() as session:
        assert discard_edits(session, scene) == ["tag_ids", "title"]

    assert title(database, scene) == stash.scene_rows[scene].title
    assert edits(database) == []
    with database.transaction() as session:
        assert session.scalars(select(SceneTag.tag_id)).all() == []


def test_discard_in_the_middle_of_a_check_is_seen_by_the_next(
    stash: FakeStash, database: Database
) -> None:
    """A look that finds nothing else does not count a scene given up meanwhile."""
    scene = stash.add_scene("old")
    stash.add_marker(scene, stash.add_tag("tag"))
    run(stash, database)
    edit(database, scene, title="mine")

    def discard() -> None:
        with database.transaction() as session:
            discard_edits(session, scene)

    # More markers are listed when all scenes have been compared.
    stash.page_size = 1
    stash.on("MarkerStamps", before=discard)
    run(stash, database)
    stash.on("MarkerStamps")

    assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    assert pending_scenes(stash, database).count == 0


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Thread:
    """Let somebody else act as soon as sync has read the edits of a page."""
    other = Thread(target=act)
    decide = store.decide_edits

    def decided(*args: Any) -> Any:
        scenes = decide(*args)
        if other.ident is None:
            other.start()
            # Who is not kept waiting is done by then.
            other.join(0.3)
        return scenes

    monkeypatch.setattr(store, "decide_edits", decided)
    return other


def test_discard_while_its_scene_is_stored(
    stash: FakeStash, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, the mirror ends as Stash is."""
    scene = stash.add_scene("theirs")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.edit(scene, rating100=80)

    def discard() -> None:
        with database.transaction() as session:
            discard_edits(session, scene)

    other = meanwhile(monkeypatch, discard)
    run(stash, database)
    other.join()
    run(stash, database)

    assert edits(database) == []
    assert title(database, scene) == "theirs"


def test_edit_while_its_scene_is_stored(
    stash: FakeStash, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit waits for the scene to be stored, and then stands."""
    scene = stash.add_scene("theirs")
    run(stash, database)
    edit(database, scene, code="mine")
    stash.edit(scene, code="newer")

    other = meanwhile(monkeypatch, lambda: edit(database, scene, title="mine"))
    run(stash, database)
    other.join()
    run(stash, database)

    assert [e.field for e in edits(database)] == ["code", "title"]
    assert title(database, scene) == "mine"


@pytest.mark.parametrize("strategy", ["ask", "remote_wins"])
def test_edit_while_an_older_one_is_pushed(
    stash: FakeStash, database: Database, strategy: Conflicts
) -> None:
    """The newer value is based on the pushed one: it is no conflict, nor lost."""
    scene = stash.add_scene("theirs")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.on("UpdateScene", after=lambda: edit(database, scene, title="newest"))
    push(stash, database)
    stash.on("UpdateScene")

    assert run(stash, database, conflicts=strategy).conflicts == 0
    assert title(database, scene) == "newest"
    push(stash, database)
    assert stash.scene_rows[scene].title == "newest"


@pytest.mark.parametrize("kind", ["tag", "studio"])
def test_edit_that_names_what_stash_removes(
    stash: FakeStash, database: Database, kind: str
) -> None:
    """It loses what is gone, and keeps nothing else of its scene from coming in."""
    gone, kept = stash.add_tag("gone"), stash.add_tag("kept")
    studio = stash.add_studio("gone")
    scene = stash.add_scene("old")
    run(stash, database)
    if kind == "tag":
        edit(database, scene, tag_ids=[gone, kept])
        stash.merge_tag(gone, stash.add_tag("other"))
    else:
        edit(database, scene, studio_id=studio)
        stash.destroy_studio(studio)
    for _ in range(2):
        run(stash, database, confirm_removals=True)
    stash.edit(scene, title="new")

    assert run(stash, database).failed == 0
    assert title(database, scene) == "new"
    left = [e.value for e in edits(database)]
    assert left == ([[kept]] if kind == "tag" else [])


@pytest.mark.parametrize("kind", ["tag", "studio"])
def test_edit_that_replaced_what_stash_removes(
    stash: FakeStash, database: Database, kind: str
) -> None:
    """It can be given up: the scene is as Stash has it now."""
    gone, kept = stash.add_tag("gone"), stash.add_tag("kept")
    studio = stash.add_studio("gone")
    scene = stash.add_scene("a", tags=refs(gone), studio=refs(studio)[0])
    run(stash, database)
    if kind == "tag":
        edit(database, scene, tag_ids=[kept])
        stash.merge_tag(gone, stash.add_tag("other"))
    else:
        edit(database, scene, studio_id=None)
        stash.destroy_studio(studio)
    for _ in range(2):
        run(stash, database, confirm_removals=True)
    with database.transaction() as session:
        discard_edits(session, scene)
    run(stash, database)

    assert edits(database) == []
    with database.transaction() as session:
        tags = set(session.scalars(select(SceneTag.tag_id)))
        assert session.get_one(Scene, scene).studio_id == (
            studio if kind == "tag" else None
        )
    assert tags == {ref.id for ref in stash.scene_rows[scene].tags}


def test_character_that_the_mirror_cannot_hold(
    stash: FakeStash, database: Database
) -> None:
    """A NUL of Stash's is no change of an edited field, for sync and for push."""
    scene = stash.add_scene("a\0b")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.edit(scene, rating100=5)
    result = run(stash, database)

    assert (result.failed, result.conflicts) == (0, 0)
    assert push(stash, database) == Pushed(pushed=1)


@pytest.mark.parametrize(
    "values",
    [
        {"title": "a\0b"},
        {"urls": ["\ud800"]},
        {"date": "2024-99-99"},
        {"date": "2024-13"},
        {"studio_id": 2**63},
        {"tag_ids": [2**63]},
    ],
)
def test_value_that_cannot_be_stored_is_no_edit(values: dict[str, Any]) -> None:
    """It is refused before anything is written."""
    with pytest.raises(ValidationError):
        SceneEdit(**values)


@pytest.mark.parametrize("date", ["2024", "2024-05", "2024-02-29"])
def test_year_or_month_is_a_date(date: str) -> None:
    """As for Stash."""
    assert SceneEdit(date=date).values() == {"date": date}


def test_all_kinds_of_fields_are_pushed(stash: FakeStash, database: Database) -> None:
    """Texts, numbers, sets and the studio reach Stash; then nothing is left to push."""
    old, new = stash.add_tag("old"), stash.add_tag("new")
    who, studio = stash.add_performer("who"), stash.add_studio("studio")
    scene = stash.add_scene("old", tags=refs(old), rating100=20)
    run(stash, database)
    edit(
        database,
        scene,
        title="mine",
        rating100=None,
        organized=True,
        urls=["https://example.invalid"],
        studio_id=studio,
        tag_ids=[new],
        performer_ids=[who],
    )
    assert push(stash, database).pushed == 7
    row = stash.scene_rows[scene]

    assert (row.title, row.rating100, row.organized) == ("mine", None, True)
    assert (row.studio, row.tags, row.performers) == (
        Ref(id=studio),
        refs(new),
        refs(who),
    )
    assert edits(database) == []
    assert run(stash, database).conflicts == 0
    assert title(database, scene) == "mine"
    with database.transaction() as session:
        assert session.scalars(select(SceneTag.tag_id)).all() == [new]
        assert session.scalars(select(ScenePerformer.performer_id)).all() == [who]


def test_killed_push_is_finished_by_the_next(
    stash: FakeStash, database: Database
) -> None:
    """An edit that reached Stash before the kill is not sent again."""
    scene = stash.add_scene("old")
    run(stash, database)
    edit(database, scene, title="mine")
    stash.update_scene(scene, {"title": "mine"})

    assert push(stash, database) == Pushed(already=1)
    assert (stash.writes, edits(database)) == (["UpdateScene"], [])


@pytest.mark.parametrize("is_synced", [False, True], ids=["at once", "after a sync"])
def test_push_that_was_cut_off_between_adding_and_removing(
    stash: FakeStash, database: Database, *, is_synced: bool
) -> None:
    """Half of our own push is no conflict; the next push ends it."""
    old, new = stash.add_tag("old"), stash.add_tag("new")
    scene = stash.add_scene("scene", tags=refs(old))
    run(stash, database)
    edit(database, scene, tag_ids=[new])
    stash.bulk_update_scenes([scene], add_tag_ids=[new])
    if is_synced:
        assert run(stash, database).conflicts == 0

    assert push(stash, database) == Pushed(pushed=1)
    assert stash.scene_rows[scene].tags == refs(new)
    assert edits(database) == []


def test_push_sees_a_change_that_no_sync_has_seen(
    stash: FakeStash, database: Database
) -> None:
    """What Stash has changed meanwhile is not overwritten, but becomes a conflict."""
    scene, gone = stash.add_scene("old"), stash.add_scene("gone")
    run(stash, database)
    edit(database, scene, title="mine")
    edit(database, gone, title="mine")
    stash.edit(scene, title="newer")
    stash.destroy_scene(gone)
    done = push(stash, database)

    assert (done.pushed, done.conflicts) == (0, 1)
    assert [failure.item for failure in done.failures] == [f"scene {gone}"]
    assert stash.scene_rows[scene].title == "newer"


def test_edit_that_is_taken_back_is_none(stash: FakeStash, database: Database) -> None:
    """Editing a field back to Stash's value leaves nothing to push."""
    scene = stash.add_scene("old")
    run(stash, database)
    edit(database, scene, title="mine")
    edit(database, scene, title="old")

    assert edits(database) == []


def test_bad_edits_are_refused(stash: FakeStash, database: Database) -> None:
    """Unknown scenes, tags and fields, and values out of range, are refused."""
    scene = stash.add_scene()
    run(stash, database)

    with pytest.raises(JobError, match="Scene 9999 is not in the mirror"):
        edit(database, 9999, title="x")
    with pytest.raises(JobError, match="The mirror has no tag 777"):
        edit(database, scene, tag_ids=[777])
    with pytest.raises(ValidationError):
        SceneEdit(rating100=101)
    with pytest.raises(ValidationError):
        SceneEdit.model_validate({"colour": "red"})
    assert edits(database) == []
