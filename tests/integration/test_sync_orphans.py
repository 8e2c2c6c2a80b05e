"""Taking away what Stash has no longer, by the rules of sync."""

from typing import Any

import pytest
from sqlalchemy import func, select

from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import Scene, Studio, Tag
from stashhog_core.db.session import Database
from stashhog_core.errors import TransientError
from stashhog_core.params import RemoveOrphansParams
from stashhog_core.progress import Progress
from stashhog_core.results import RemoveOrphansResult
from stashhog_core.sync.orphans import remove_orphans
from tests.support.fake_stash import FakeStash, refs
from tests.support.sync import run as mirror


@pytest.fixture
def stash(database: Database) -> FakeStash:
    """A library of three scenes, mirrored; each has one of two tags."""
    stash = FakeStash()
    one, two = stash.add_tag("One"), stash.add_tag("Two")
    for tag in (one, two, two):
        stash.add_scene(tags=refs(tag))
    mirror(stash, database)
    return stash


def run(stash: FakeStash, database: Database, **params: Any) -> RemoveOrphansResult:
    return remove_orphans(stash, database, RemoveOrphansParams(**params), Progress())


def ids(database: Database, model: Any) -> list[int]:
    with database.transaction() as session:
        return list(session.scalars(select(model.id).order_by(model.id)))


def test_what_is_gone_is_marked_then_removed(
    stash: FakeStash, database: Database
) -> None:
    """A first run only marks; a later one, which still misses it, removes."""
    gone = ids(database, Scene)[0]
    stash.destroy_scene(gone)

    first = run(stash, database)
    after_first = ids(database, Scene)
    second = run(stash, database)

    assert (first.marked, first.removed) == ({"scene": 1}, {"scene": 0})
    assert gone in after_first
    assert (second.marked, second.removed) == ({"scene": 0}, {"scene": 1})
    assert gone not in ids(database, Scene)


def test_what_comes_back_between_two_runs_stays(
    stash: FakeStash, database: Database
) -> None:
    """A row that was marked is taken for missing only as long as Stash lacks it."""
    hidden = ids(database, Scene)[0]
    kept = stash.scene_rows.pop(hidden)
    run(stash, database)
    stash.scene_rows[hidden] = kept

    result = run(stash, database)

    assert result.removed == {}
    assert hidden in ids(database, Scene)


def test_a_dry_run_lists_and_changes_nothing(
    stash: FakeStash, database: Database
) -> None:
    """It names what is gone; nothing is even marked."""
    gone = ids(database, Scene)[0]
    stash.destroy_scene(gone)

    result = run(stash, database, dry_run=True)

    assert result.marked == {"scene": 1}
    assert result.samples[0].startswith(f"scene {gone}:")
    with database.transaction() as session:
        marked = select(func.count()).where(Scene.missing_since.is_not(None))
        assert session.scalar(marked) == 0


def test_only_the_kinds_asked_for_are_touched(
    stash: FakeStash, database: Database
) -> None:
    """A kind that is left out is neither marked nor removed."""
    stash.destroy_scene(ids(database, Scene)[0])

    result = run(stash, database, remove_scenes=False)

    assert result.marked == {}
    assert len(ids(database, Scene)) == 3


def test_an_empty_stash_proves_nothing(stash: FakeStash, database: Database) -> None:
    """A Stash that shows no scene at all may have lost its library for a while."""
    for scene_id in ids(database, Scene):
        stash.destroy_scene(scene_id)

    held = run(stash, database)
    confirmed = [run(stash, database, confirm_removals=True) for _ in range(2)]

    assert held.marked == {}
    assert "no scene at all" in (held.held or "")
    assert confirmed[1].removed["scene"] == 3
    assert ids(database, Scene) == []


def test_too_much_is_blocked(stash: FakeStash, database: Database) -> None:
    """More than 20 rows and 5 % at once wait for a confirmation."""
    extra = [stash.add_studio(f"Studio {number}") for number in range(30)]
    mirror(stash, database)
    for studio_id in extra:
        del stash.studio_rows[studio_id]
    run(stash, database)

    held = run(stash, database)
    confirmed = run(stash, database, confirm_removals=True)

    assert held.removed == {"studio": 0}
    assert "run remove_orphans with confirm_removals=true" in (held.held or "")
    assert confirmed.removed == {"studio": 30}
    assert ids(database, Studio) == []


def test_scenes_of_a_tag_that_vanished_are_synced_again(
    stash: FakeStash, database: Database
) -> None:
    """A merged tag's scenes have another one now, though no time of change moved."""
    one = ids(database, Tag)[0]
    (scene_id,) = (i for i, row in stash.scene_rows.items() if row.tags[0].id == one)
    del stash.tag_rows[one]

    result = run(stash, database)

    assert result.marked == {"tag": 1}
    with database.transaction() as session:
        marked = select(Scene.id).where(Scene.content.is_(None))
        assert session.scalars(marked).all() == [scene_id]


def test_it_waits_for_no_sync(stash: FakeStash, database: Database) -> None:
    """Both write the mirror: while a sync is under way it is refused, for later."""
    with (
        job_lock(database, "sync"),
        pytest.raises(TransientError, match="Another run of sync"),
    ):
        run(stash, database)
