"""What a run of sync leaves to the next, mends when told to, and does not remove."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from stashhog_core.db.models import (
    Marker,
    Performer,
    Scene,
    SceneFile,
    Studio,
    SyncRun,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import TransientError
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.local_edits import SceneEdit, edit_scene
from tests.support.fake_stash import OUTAGE, FakeStash, refs
from tests.support.sync import run

MODELS: dict[str, Any] = {
    "scene": Scene,
    "tag": Tag,
    "performer": Performer,
    "studio": Studio,
}


@pytest.fixture
def stash() -> FakeStash:
    return FakeStash()


def count(database: Database, model: Any) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def titles(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(Scene.title)))


def write(database: Database, statement: Any) -> None:
    with database.transaction() as session:
        session.execute(statement)


def time_ago(hours: float) -> str:
    moment = datetime.now(UTC) - timedelta(hours=hours)
    return moment.isoformat(timespec="seconds")


@pytest.mark.parametrize("force", [False, True])
def test_moved_file_of_a_scene_that_fails_is_not_forgotten(
    stash: FakeStash, database: Database, force: bool
) -> None:
    """However long it fails: the scene is pending, though the file's time is old."""
    scene, _ = stash.add_scene(), stash.add_scene()
    run(stash, database)
    stash.move_file(scene, "/data/moved.mp4")
    stash.broken_scenes.add(scene)
    assert run(stash, database, force=force).failed == 1
    # A day later, all files were changed long before the last run that succeeded.
    stash.file_times = dict.fromkeys(stash.file_times, time_ago(hours=27))
    stash.broken_scenes.clear()

    assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    with database.transaction() as session:
        paths = select(SceneFile.path).where(SceneFile.scene_id == scene)
        assert session.scalars(paths).all() == ["/data/moved.mp4"]


def test_scene_that_fails_when_it_loses_a_marker_is_not_forgotten(
    stash: FakeStash, database: Database
) -> None:
    """It stays pending, though the marker is mirrored where it is now."""
    scene, other = stash.add_scene(), stash.add_scene()
    stash.add_marker(scene, stash.add_tag("tag"))
    run(stash, database)
    stash.change_silently(other, scene_markers=stash.scene_rows[scene].scene_markers)
    stash.change_silently(scene, scene_markers=())
    stash.broken_scenes.add(scene)
    run(stash, database)
    stash.broken_scenes.clear()

    assert pending_scenes(stash, database).reasons == {"changed": 1}


def test_stash_that_goes_away_while_it_lists_markers(
    stash: FakeStash, database: Database
) -> None:
    """Scenes are stored meanwhile and stay; the run fails; the next has the rest."""
    # Only what comes after the first page is listed while scenes are stored.
    stash.page_size = 1
    stash.add_scene()
    marked = stash.add_scene()
    run(stash, database)
    stash.add_scene()
    stash.add_marker(marked, stash.add_tag("tag"))
    stash.on("MarkerStamps", before=OUTAGE)
    with pytest.raises(TransientError, match="503"):
        run(stash, database)
    stash.on("MarkerStamps")

    assert count(database, Scene) == 3
    with database.transaction() as session:
        assert (
            session.scalars(select(SyncRun.status).order_by(SyncRun.id.desc())).first()
            == "failed"
        )
    # The new scene is to be looked at once more, as its time is the newest.
    assert pending_scenes(stash, database).reasons == {"changed": 1, "marker": 1}
    assert run(stash, database).updated == 1
    assert count(database, Marker) == 1


def test_scene_of_another_time_and_other_markers_is_fetched_once(
    stash: FakeStash, database: Database
) -> None:
    """It is stored while markers are still being compared."""
    scene = stash.add_scene()
    run(stash, database)
    stash.add_marker(scene, stash.add_tag("tag"))
    # The newest change is of another scene, so that none is looked at once more.
    stash.edit(scene, title="edited")
    stash.add_scene()
    run(stash, database)
    stash.edit(scene, title="edited again")
    stash.add_marker(scene, stash.add_tag("other"))
    stash.add_scene()
    stash.requests.clear()
    run(stash, database)

    assert len(stash.asked("scenes")) == 2  # these two, and the newest again
    assert not pending_scenes(stash, database)


def test_force_and_deep_trust_nothing_that_is_mirrored(
    stash: FakeStash, database: Database
) -> None:
    """Together they mend a wrong row whose hash says that it is right."""
    stash.add_scene("right", tags=refs(stash.add_tag("right")))
    run(stash, database)
    write(database, update(Scene).values(title="wrong"))
    write(database, update(Tag).values(description="wrong"))

    result = run(stash, database, force=True, deep=True)

    assert result.updated == 1
    assert titles(database) == ["right"]
    with database.transaction() as session:
        assert session.scalars(select(Tag.description)).all() == [""]
    assert run(stash, database, force=True, deep=True).updated == 0


def test_empty_stash_empties_no_small_library(
    stash: FakeStash, database: Database
) -> None:
    """A Stash that shows no scene keeps the mirror's, whatever is known of them."""
    for _ in range(18):
        stash.add_scene()
    run(stash, database)
    write(database, update(Scene).values(generated=True, video_analyzed=True))
    rows, stash.scene_rows = stash.scene_rows, {}
    results = [run(stash, database) for _ in range(3)]
    stash.scene_rows = rows
    back = run(stash, database)

    assert [result.removed for result in results] == [0, 0, 0]
    assert {result.status for result in results} == {"completed_with_errors"}
    assert back.held is None
    with database.transaction() as session:
        known = Scene.generated & Scene.video_analyzed & Scene.missing_since.is_(None)
        assert session.scalar(select(func.count()).where(known)) == 18


def test_last_scene_goes_when_confirmed(stash: FakeStash, database: Database) -> None:
    """It is held in one sentence that says how to go on."""
    stash.add_scene()
    run(stash, database)
    stash.scene_rows.clear()
    run(stash, database)
    held = run(stash, database)
    kept = count(database, Scene)
    confirmed = run(stash, database, confirm_removals=True)

    assert kept == 1
    assert held.held == (
        "Stash lists no scene at all. This may be an error, so no scene was removed. "
        "If Stash really has no scenes, run sync with confirm_removals=true"
    )
    assert confirmed.held is None
    assert count(database, Scene) == 0


def test_edits_that_go_with_their_scene_are_reported(
    stash: FakeStash, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A scene that is removed takes edits along that were never pushed: a warning."""
    scene, _ = stash.add_scene(), stash.add_scene()
    run(stash, database)
    with database.transaction() as session:
        edit_scene(session, scene, SceneEdit(title="mine", rating100=80))
    stash.destroy_scene(scene)
    run(stash, database)
    before = caplog.messages.copy()
    assert run(stash, database).removed == 1

    warning = (
        f"Scene {scene} is gone from Stash. Its local edits are removed too, although "
        "they were never pushed: rating100, title"
    )
    assert warning not in before
    assert caplog.messages.count(warning) == 1
