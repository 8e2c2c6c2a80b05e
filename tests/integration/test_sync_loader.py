"""Runs that end before their time lose no change, and are counted as what they did."""

import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from stashhog_core.db.models import Scene, SyncIssue, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, TransientError
from stashhog_core.progress import Progress
from stashhog_core.sync import loader
from stashhog_core.sync.history import note_progress
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.store import NewScenes, store_scenes
from tests.support.fake_stash import OUTAGE, FakeStash, Hook, refusal
from tests.support.sync import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOO_FAST = 2**40
"""An interactive speed that the database refuses."""


def titles(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(Scene.title).order_by(Scene.id)))


def stored_and_noted(database: Database) -> tuple[int, int]:
    """Return how many scenes are mirrored, and how many the one run says it made."""
    with database.transaction() as session:
        stored = session.scalar(select(func.count()).select_from(Scene)) or 0
        return stored, session.scalars(select(SyncRun.created)).one()


@pytest.fixture
def stash() -> FakeStash:
    """A library of one scene, which has the id 1."""
    stash = FakeStash()
    stash.add_scene("old")
    return stash


def edited(stash: FakeStash, database: Database, again: Hook | None = None) -> None:
    """Mirror the library, then edit scene 1.

    From then on the scene changes right after it is given, in the second of its last
    change.

    Args:
        stash: The library.
        database: The mirror.
        again: What befalls it when the scene is asked for again.
    """
    run(stash, database)
    stash.edit(1, title="before")
    asked = count(1)

    def change() -> None:
        stash.change_silently(1, title=f"change {next(asked)}")
        stash.on("scenes", before=again, after=change)

    stash.on("scenes", after=change)


def test_change_is_not_lost_with_a_stash_that_goes_away(
    stash: FakeStash, database: Database
) -> None:
    """A scene that may yet change in its second is pending until it is looked at."""
    edited(stash, database, again=OUTAGE)
    with pytest.raises(TransientError):
        run(stash, database)
    stash.on("scenes")

    assert titles(database) == ["before"]
    assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    assert titles(database) == ["change 1"]
    assert not pending_scenes(stash, database)


@pytest.mark.parametrize("force", [False, True])
def test_change_is_not_lost_with_a_run_that_is_stopped(
    stash: FakeStash, database: Database, force: bool
) -> None:
    """A stop before scenes are looked at again leaves them pending."""
    edited(stash, database)
    stop = threading.Event()

    def sink(_: float | None, message: str) -> None:
        if message == "Synced 1/1 scenes":
            stop.set()

    with pytest.raises(JobCancelled):
        run(stash, database, Progress(sink, stop), force=force)
    stash.on("scenes")

    run(stash, database)
    assert titles(database) == [stash.scene_rows[1].title]
    assert not pending_scenes(stash, database)


def test_scene_that_changes_once_more_stays_pending(
    stash: FakeStash, database: Database
) -> None:
    """A scene that is found changed in a later second is left to the next run."""
    edited(stash, database, again=lambda: stash.edit(1, title="later"))
    result = run(stash, database)
    stash.on("scenes")

    assert (result.updated, titles(database)) == (1, ["later"])
    assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    assert titles(database) == ["change 2"]
    assert not pending_scenes(stash, database)


def test_scene_that_fails_when_fetched_again_counts_once(
    stash: FakeStash, database: Database
) -> None:
    """It was stored: it is listed as an issue, stays pending, and is no failed one."""
    stash.add_scene("other")
    edited(stash, database, again=refusal("Stash fails"))
    result = run(stash, database)
    stash.on("scenes")

    counts = (result.created, result.updated, result.unchanged, result.failed)
    assert counts == (0, 1, 1, 0)
    assert result.status == "completed_with_errors"
    assert [error.item for error in result.errors] == ["scene 1"]
    assert pending_scenes(stash, database).reasons == {"changed": 1}
    run(stash, database)
    assert titles(database) == ["change 1", "other"]


def test_scene_that_is_destroyed_before_it_is_fetched_again(
    stash: FakeStash, database: Database
) -> None:
    """A scene that was stored and then is gone is not said to be unknown to Stash."""
    stash.add_scene("other")
    edited(stash, database, again=lambda: stash.scene_rows.pop(1, None))
    result = run(stash, database, scene_ids=[1])

    assert (result.updated, result.failed, result.errors) == (1, 0, ())
    assert pending_scenes(stash, database).reasons == {"vanished": 1}


def test_history_of_a_page_that_is_stored_in_halves(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each half is noted in its transaction, with those before: a kill may follow."""
    stash = FakeStash()
    scenes = [stash.add_scene() for _ in range(8)]
    stash.edit(scenes[0], interactive_speed=TOO_FAST)
    seen: list[tuple[int, int]] = []

    def noting(session: Session, *args: Any) -> None:
        seen.append(stored_and_noted(database))
        note_progress(session, *args)

    monkeypatch.setattr(loader, "note_progress", noting)
    result = run(stash, database)

    assert (result.created, result.failed) == (7, 1)
    assert len(seen) > 2
    assert all(stored == noted for stored, noted in seen)
    assert stored_and_noted(database) == (7, 7)


def test_history_when_the_database_drops_in_a_page_stored_in_halves(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the halves before had stored is in the history of the run that failed."""
    stash = FakeStash()
    scenes = [stash.add_scene() for _ in range(8)]
    stash.edit(scenes[0], interactive_speed=TOO_FAST)

    def dropping(session: Session, part: Any, **how: Any) -> Any:
        if part[0].id == scenes[4]:
            raise TransientError("The database did not answer")
        return store_scenes(session, part, **how)

    monkeypatch.setattr(loader, "store_scenes", dropping)
    with pytest.raises(TransientError):
        run(stash, database)

    assert stored_and_noted(database) == (3, 3)


def test_what_fails_to_commit_is_not_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is rolled back at its very end has stored nothing."""
    stash = FakeStash()
    stash.add_scene()

    def failing(session: Session, *args: Any) -> None:
        note_progress(session, *args)
        event.listen(session, "before_commit", refuse)

    def refuse(_: Session) -> None:
        raise TransientError("The database did not answer")

    monkeypatch.setattr(loader, "note_progress", failing)
    with pytest.raises(TransientError):
        run(stash, database)

    assert stored_and_noted(database) == (0, 0)


def test_rows_that_were_made_for_other_scenes_are_not_stored(
    database: Database,
) -> None:
    """Somebody else may mirror a scene between its fetching and its storing."""
    stash = FakeStash()
    ids = [stash.add_scene("first"), stash.add_scene("second")]
    made = NewScenes(stash.scenes(ids)[0])
    run(stash, database, scene_ids=ids[:1])
    stash.edit(ids[0], title="first, edited")
    scenes, _ = stash.scenes(ids)
    with database.transaction() as session:
        stored = store_scenes(session, scenes, encoded=made)

    assert (stored.created, stored.updated) == ({ids[1]}, {ids[0]})
    assert titles(database) == ["first, edited", "second"]


INTERRUPTED = """
import os, signal, sys, time
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.sync.job import sync
from tests.support.fake_stash import FakeStash

signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    # Python loses the signal where it is in the middle of cleaning up an object.
    for _ in range(100):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

stash = FakeStash()
stash.add_scene()
stash.on("scenes", before=interrupt)
try:
    sync(stash, Database(sys.argv[1]), SyncParams(), Progress(), trigger="manual")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_stopped_process_does_not_wait_for_stash(
    database: Database, database_url: str
) -> None:
    """It ends, though a request to Stash is under way in another thread for long."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, database_url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as victim:
        assert victim.stdout
        said = victim.stdout.readline()
        # The thread would keep it for as long as the request takes.
        victim.kill()

    assert said == "interrupted\n"
    with database.transaction() as session:
        assert session.scalars(select(SyncRun.status)).all() == ["cancelled"]
        assert session.scalars(select(SyncIssue.id)).all() == []
