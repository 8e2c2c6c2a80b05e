"""What a check and a sync ask of Stash, and that they miss nothing by it."""

import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import delete, func, select

from sandbox.stash.server import StandIn
from stashhog_core.db.manifest import forget_hashes
from stashhog_core.db.models import Marker, Scene, Tag, TagParent
from stashhog_core.db.session import Database
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.settings import SyncSettings
from stashhog_core.sync.comparison import HOURLY, listing_rule
from stashhog_core.sync.verify import verify_mirror
from tests.support.watched_stash import WatchedStash, watched

pytestmark = pytest.mark.slow

CHANGES = ["Glance", "Changes"]
LISTING = ["Glance", "Library"]
LISTING_AFTER_CHANGES = ["Glance", "Changes", "Library"]


@pytest.fixture
def stash(tmp_path: Path, database: Database) -> Iterator[WatchedStash]:
    """A stand-in with some of everything, mirrored, and left alone for hours."""
    (tmp_path / "library").mkdir()
    server = StandIn(tmp_path / "home", tmp_path / "library", scenes=20)
    with server, watched(server, database) as watched_stash:
        for name in ("one", "two", "three"):
            watched_stash.change("tagCreate", name=name)
            watched_stash.change("performerCreate", name=name)
            watched_stash.change("studioCreate", name=name)
        watched_stash.change("tagUpdate", id=newest(watched_stash, "tags"))
        scene = newest(watched_stash, "scenes")
        for second in (1, 2):
            add_marker(watched_stash, scene, second)
        watched_stash.leave_alone()
        yield watched_stash


def newest(stash: WatchedStash, table: str) -> int:
    """Return the highest id in a table of the stand-in."""
    return int(
        stash.server.store.value(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", [table]
        )
    )


def newest_time(stash: WatchedStash) -> str:
    """Return the newest time of change of any scene in the stand-in."""
    return str(stash.server.store.value("SELECT MAX(updated_at) FROM scenes"))


def add_marker(stash: WatchedStash, scene_id: int, second: float) -> int:
    return stash.change(
        "sceneMarkerCreate",
        scene_id=scene_id,
        title="Marker",
        seconds=second,
        primary_tag_id=newest(stash, "tags"),
    )


def value(stash: WatchedStash, query: Any) -> Any:
    with stash.database.transaction() as session:
        return session.scalar(query)


# --- what is asked -------------------------------------------------------------------


def test_check_that_finds_nothing_takes_one_request(stash: WatchedStash) -> None:
    """So does a sync; neither lists anything."""
    assert not stash.pending()
    assert stash.asked == ["Glance"]
    result = stash.sync()

    assert stash.asked == ["Glance"]
    assert (result.created, result.updated, result.unchanged) == (0, 0, 20)


EDITS: dict[str, Callable[[WatchedStash], object]] = {
    "scene": lambda s: s.change("sceneUpdate", id=3, title="another"),
    "new scene": lambda s: s.change("sceneCreate", title="new"),
    "tag renamed": lambda s: s.change("tagUpdate", id=1, name="renamed"),
    "tag created": lambda s: s.change("tagCreate", name="new"),
    "performer": lambda s: s.change("performerUpdate", id=1, name="renamed"),
    "studio": lambda s: s.change("studioUpdate", id=1, details="another"),
    "marker": lambda s: s.change(
        "sceneMarkerUpdate", id=newest(s, "scene_markers"), title="another"
    ),
    "new marker": lambda s: add_marker(s, 5, 7),
    "marker of another scene": lambda s: s.change(
        "sceneMarkerUpdate", id=newest(s, "scene_markers"), scene_id=2
    ),
    "file": lambda s: s.execute(
        "UPDATE files SET size = size + 1, updated_at = ? WHERE id = 4",
        s.server.clock.now(),
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_changes_are_listed_alone(
    stash: WatchedStash, edit: Callable[[WatchedStash], object]
) -> None:
    """Check and sync ask what has changed, and find what a listing would find."""
    edit(stash)
    found = stash.pending()
    asked = stash.asked
    stash.listing_interval = timedelta()
    listed = stash.pending()
    assert stash.asked == LISTING
    stash.listing_interval = timedelta(days=1)

    assert asked == CHANGES
    assert found
    assert found == listed
    stash.sync()
    assert stash.asked[:2] == CHANGES
    assert "Library" not in stash.asked
    stash.listing_interval = timedelta()
    assert not stash.pending()


def test_many_changes_come_in_pages(stash: WatchedStash) -> None:
    """Pages go by the highest id; none of the changed rows is left out."""
    since = stash.server.clock.now()
    stash.later(seconds=1)
    ids = list(range(1, 16))
    update = "mutation($i:BulkSceneUpdateInput!){bulkSceneUpdate(input:$i){id}}"
    stash.ask(update, i={"ids": ids, "details": "same"})
    for second in range(10):
        add_marker(stash, 20, second)
    found = stash.client.changes(since, page_size=4)

    assert [row.id for page in found.pages for row in page] == ids
    assert len({row.id for page in found.marker_pages for row in page}) == 10


def test_everything_is_listed_once_in_the_interval(stash: WatchedStash) -> None:
    """The setting says how long a check may do without; 0 lists every time."""
    stash.listing_interval = timedelta(hours=5)
    assert not stash.pending()
    assert stash.asked == ["Glance"]
    stash.later(hours=2)
    assert not stash.pending()
    assert stash.asked == LISTING
    assert not stash.pending()
    assert stash.asked == ["Glance"]
    stash.listing_interval = timedelta()
    assert not stash.pending()

    assert stash.asked == LISTING


def test_deep_sync_lists_everything(stash: WatchedStash) -> None:
    """It finds what no time of change shows, and checks go on from there."""
    stash.execute("UPDATE scenes SET play_duration = 5 WHERE id = 2")
    assert not stash.pending()

    assert stash.sync(deep=True).updated == 1
    assert "Library" in stash.asked
    assert not stash.pending()
    assert stash.asked == ["Glance"]


# --- what the numbers do not explain -------------------------------------------------


REMOVALS: dict[str, Callable[[WatchedStash], object]] = {
    "scene": lambda s: s.ask("mutation{sceneDestroy(input:{id:3})}"),
    "marker": lambda s: s.ask(
        f"mutation{{sceneMarkerDestroy(id:{newest(s, 'scene_markers')})}}"
    ),
    "tag": lambda s: s.ask("mutation{tagDestroy(input:{id:1})}"),
    "performer": lambda s: s.ask("mutation{performerDestroy(input:{id:1})}"),
    "studio": lambda s: s.ask("mutation{studioDestroy(input:{id:1})}"),
    "tags merged": lambda s: s.ask(
        "mutation{tagsMerge(input:{source:[1],destination:2}){id}}"
    ),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS.keys())
def test_removal_wants_a_listing(
    stash: WatchedStash, remove: Callable[[WatchedStash], object]
) -> None:
    """The number of rows shows it, even if as many were created meanwhile."""
    remove(stash)
    assert stash.pending()
    assert stash.asked == LISTING
    stash.change("sceneCreate", title="new")
    stash.change("tagCreate", name="new")
    stash.change("performerCreate", name="new")
    stash.change("studioCreate", name="new")
    add_marker(stash, 5, 7)
    found = stash.pending()

    assert stash.asked == LISTING_AFTER_CHANGES
    stash.listing_interval = timedelta()
    assert found == stash.pending()


def test_child_of_an_edited_tag(stash: WatchedStash) -> None:
    """A tag that gets a parent by an edit of the parent keeps its own time."""
    parent, child = newest(stash, "tags"), newest(stash, "tags") - 1
    stash.change("tagUpdate", id=parent, child_ids=[child])
    assert stash.pending().entities == {"tag": 2}
    assert stash.asked == [*CHANGES, "Tags"]
    stash.sync()

    links = select(TagParent.parent_id).where(TagParent.tag_id == child)
    assert value(stash, links) == parent
    stash.later(hours=4)
    stash.change("tagUpdate", id=parent, child_ids=[])
    assert stash.pending().entities == {"tag": 2}
    stash.sync()
    assert value(stash, links) is None
    stash.change("tagUpdate", id=parent, description="only this")
    assert stash.pending().entities == {"tag": 1}
    assert stash.asked == CHANGES


def test_edited_tag_whose_child_is_removed(stash: WatchedStash) -> None:
    """The number of tags shows the removal, whatever is under the edited tag."""
    parent, child = newest(stash, "tags"), newest(stash, "tags") - 1
    stash.change("tagUpdate", id=parent, child_ids=[child])
    stash.sync()
    stash.later(hours=4)
    stash.change("tagUpdate", id=parent, description="changed")
    stash.ask(f"mutation{{tagDestroy(input:{{id:{child}}})}}")

    assert stash.pending().entities == {"tag": 2}
    assert stash.asked == LISTING


def test_row_created_between_two_requests(stash: WatchedStash) -> None:
    """A row that the glance did not count yet is no contradiction, nor is it lost."""
    stash.change("sceneUpdate", id=3, title="another")
    stash.transport.after["Glance"] = lambda: (
        stash.change("sceneCreate", title="new") and None
    )
    found = stash.pending()

    assert (found.reasons, stash.asked) == ({"new": 1, "changed": 1}, CHANGES)


def test_row_removed_between_two_requests(stash: WatchedStash) -> None:
    """A scene that was counted and then removed leaves the next check no doubt."""
    new = stash.change("sceneCreate", title="new")
    stash.transport.after["Glance"] = lambda: (
        stash.ask(f"mutation{{sceneDestroy(input:{{id:{new}}})}}") and None
    )
    assert not stash.pending()
    assert stash.asked == LISTING_AFTER_CHANGES

    stash.change("sceneCreate", title="newer")
    assert stash.pending().reasons == {"new": 1}


def test_scene_removed_while_it_is_synced(stash: WatchedStash) -> None:
    """A new scene that is gone before it is fetched does not count as mirrored."""
    new = stash.change("sceneCreate", title="new")
    stash.transport.after["Changes"] = lambda: (
        stash.ask(f"mutation{{sceneDestroy(input:{{id:{new}}})}}") and None
    )
    stash.sync()

    assert value(stash, select(func.count()).select_from(Scene)) == 20
    assert not stash.pending()
    assert stash.asked == LISTING


# --- times and clocks ----------------------------------------------------------------


def test_another_edit_in_the_second_of_the_newest(stash: WatchedStash) -> None:
    """A scene that changes in the very second of the newest change is found."""
    stash.change("sceneUpdate", id=3, title="another")
    stash.sync()
    assert not stash.pending()
    stash.execute(
        "UPDATE scenes SET title = 'late', updated_at = ? WHERE id = 4",
        newest_time(stash),
    )

    assert stash.pending().reasons == {"changed": 1}


def test_edit_that_was_stored_late(stash: WatchedStash) -> None:
    """Stash takes the time of an edit before it waits until it can be stored."""
    stash.change("sceneUpdate", id=3, title="another")
    stash.sync()
    newest_moment = datetime.fromisoformat(newest_time(stash))
    earlier = newest_moment - timedelta(minutes=10)
    stash.execute(
        "UPDATE scenes SET title = 'late', updated_at = ? WHERE id = 4",
        stash.server.clock.text(earlier),
    )

    assert stash.pending().reasons == {"changed": 1}
    assert stash.asked == CHANGES


def test_time_in_the_future(stash: WatchedStash) -> None:
    """One row with a wrong time does not hide what changes later."""
    stash.execute(
        "UPDATE scenes SET title = 'x', updated_at = '2199-01-01T00:00:00Z' "
        "WHERE id = 3"
    )
    assert stash.pending().reasons == {"changed": 1}
    stash.sync()
    stash.later(hours=5)
    assert not stash.pending()
    stash.change("sceneUpdate", id=4, title="later")

    assert stash.pending().reasons == {"changed": 1}
    assert stash.asked == CHANGES


def test_clock_of_stash_is_put_back(stash: WatchedStash) -> None:
    """An edit with an earlier time than the newest is found all the same."""
    stash.change("sceneUpdate", id=3, title="another")
    stash.sync()
    stash.server.clock.offset -= timedelta(hours=30)
    stash.change("sceneUpdate", id=4, title="earlier")

    assert stash.pending().reasons == {"changed": 1}
    assert stash.asked == LISTING


@pytest.mark.parametrize(
    ("zone", "night"),
    [
        ("Europe/Berlin", datetime(2026, 10, 25, 0, 50, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 5, 50, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 14, 50, tzinfo=UTC)),
    ],
)
def test_hour_that_is_repeated(
    tmp_path: Path, database: Database, zone: str, night: datetime
) -> None:
    """When clocks are put back, edits have earlier times than the newest of before."""
    (tmp_path / "library").mkdir()
    server = StandIn(tmp_path / "home", tmp_path / "library", zone, scenes=20)
    server.clock.offset = night - datetime.now(UTC)
    with server, watched(server, database) as stash:
        stash.change("sceneUpdate", id=3, title="before")
        stash.sync()
        assert not stash.pending()
        before = newest_time(stash)
        stash.later(minutes=20)
        stash.change("sceneUpdate", id=4, title="after")
        after = stash.server.store.value("SELECT updated_at FROM scenes WHERE id = 4")

        assert after < before
        assert stash.pending().reasons == {"changed": 1}
        assert stash.asked == CHANGES


def test_night_in_which_nothing_was_logged(stash: WatchedStash) -> None:
    """The last line of the log may be months old, and of another offset than now."""
    stash.server.clock.timezone = ZoneInfo("Europe/Berlin")
    summer = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    stash.server.clock.offset = summer - datetime.now(UTC)
    stash.server.store.log("Info", "the last line in summer")
    stash.sync()
    # 02:50 in summer, 02:10 in winter.
    stash.later(minutes=20)
    stash.change("sceneUpdate", id=3, title="before")
    stash.sync()
    stash.later(minutes=20)
    stash.change("sceneUpdate", id=4, title="after")

    assert stash.pending().reasons == {"changed": 1}
    assert stash.asked == CHANGES


def test_renamed_folder_whose_files_have_old_times(stash: WatchedStash) -> None:
    """A listing shows the old folder no longer, though it leaves out the files."""
    stash.execute("UPDATE files SET updated_at = '2000-01-01T00:00:00+00:00'")
    stash.execute("UPDATE folders SET path = path || '-renamed'")
    stash.listing_interval = timedelta()

    assert stash.pending().reasons == {"file": 20}


def test_interval_of_listings_is_a_setting() -> None:
    """Everything is listed once an hour, or as often as is set."""
    assert listing_rule(SyncSettings()) == HOURLY
    often = listing_rule(SyncSettings(listing_interval_minutes=5))
    assert often.interval == timedelta(minutes=5)


# --- another Stash, or another mirror ------------------------------------------------


def test_backup_of_stash_is_restored(stash: WatchedStash, tmp_path: Path) -> None:
    """What a backup takes back is found, though later edits hide that it was older."""
    backup = tmp_path / "backup.sqlite"
    stash.server.store.rows("VACUUM INTO ?", [str(backup)])
    stash.change("sceneUpdate", id=3, title="lost with the backup")
    stash.change("sceneUpdate", id=4, title="again")
    stash.sync()
    stash.server.stop()
    shutil.copyfile(backup, stash.server.home / "library.sqlite")
    for name in ("library.sqlite-wal", "library.sqlite-shm"):
        (stash.server.home / name).unlink(missing_ok=True)
    stash.server.start()
    stash.later(minutes=1)
    stash.change("sceneUpdate", id=4, title="again")
    found = stash.pending()

    assert (found.reasons, stash.asked) == ({"changed": 2}, LISTING)


def test_stash_that_has_written_many_lines(stash: WatchedStash) -> None:
    """If no line of the log is left, another process may answer: all is listed once."""
    shown = 30
    for number in range(shown - 1):
        stash.server.store.log("Info", f"line {number}")
    assert not stash.pending()
    assert stash.asked == ["Glance"]
    for number in range(shown):
        stash.server.store.log("Info", f"line {number}")
    assert not stash.pending()
    assert stash.asked == LISTING
    stash.server.store.log("Info", "one more")

    assert not stash.pending()
    assert stash.asked == ["Glance"]


def test_stash_without_a_listing_of_files(
    stash: WatchedStash, caplog: pytest.LogCaptureFixture
) -> None:
    """An older Stash is listed in full each time; the log says so once."""
    caplog.set_level(logging.INFO, "stashhog_core")
    stash.server.faults.unknown_fields = {"Query.findFiles"}
    stash.change("sceneUpdate", id=3, title="another")

    assert stash.pending().reasons == {"changed": 1}
    # The field is asked for, refused, and left out from then on.
    assert stash.asked == ["Glance", *LISTING]
    stash.sync()
    assert not stash.pending()
    assert stash.asked == LISTING
    (said,) = [line for line in caplog.messages if "findFiles" in line]
    assert said.endswith("each check for changes lists the whole library")


@pytest.mark.parametrize("trouble", ["add_errors", "refuse", "answer_html"])
def test_glance_that_is_refused(
    stash: WatchedStash, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """Errors, even beside data, have everything listed; they never mean "nothing"."""
    stash.change("sceneUpdate", id=3, title="another")
    stash.sync()
    stash.change("sceneUpdate", id=4, title="another")
    caplog.set_level(logging.INFO, "stashhog_core")
    getattr(stash.server.faults, trouble)(field="logs")

    assert stash.pending().reasons == {"changed": 1}
    assert stash.asked == LISTING
    assert caplog.text.count("StashHog lists the whole library instead") == 1


def test_changes_that_are_refused_are_an_error(stash: WatchedStash) -> None:
    """If Stash cannot say what has changed, the check fails, and says nothing else."""
    stash.change("sceneUpdate", id=3, title="another")
    refused = {"errors": [{"message": "broken"}], "data": None}
    stash.transport.after["Changes"] = lambda: httpx.Response(200, json=refused)

    with pytest.raises(Exception, match="Stash refused Changes: broken"):
        stash.pending()
    assert stash.pending().reasons == {"changed": 1}


def test_scene_that_fails_stays_pending(stash: WatchedStash) -> None:
    """A sync that could not store all keeps no glance, so the rest is found again."""
    stash.change("sceneUpdate", id=3, title="another")
    stash.later(hours=5)
    refused = {"errors": [{"message": "broken"}], "data": None}
    stash.transport.after["Scenes"] = lambda: httpx.Response(200, json=refused)
    result = stash.sync()
    stash.later(hours=5)

    assert result.failed == 1
    assert stash.pending().reasons == {"changed": 1}
    assert stash.sync().updated == 1
    assert not stash.pending()


def test_listing_that_lacks_a_scene(stash: WatchedStash) -> None:
    """If Stash lists fewer scenes than it counts, the next check lists them again."""
    stash.listing_interval = timedelta()
    stash.pending()
    incomplete = stash.transport.answers["Library"]
    stash.change("sceneCreate", title="new")
    stash.later(hours=5)
    answer = httpx.Response(200, content=incomplete)
    stash.transport.after["Library"] = lambda: answer
    assert not stash.pending()
    stash.listing_interval = timedelta(days=1)
    stash.later(hours=5)

    assert stash.pending().reasons == {"new": 1}


def test_scenes_marked_here_are_found_without_a_listing(stash: WatchedStash) -> None:
    """What the mirror marks to be fetched is pending, though Stash shows nothing."""
    with stash.database.transaction() as session:
        forget_hashes(session, [3, 4])

    assert stash.pending().reasons == {"changed": 2}
    assert "Library" not in stash.asked
    stash.sync()
    assert "Library" not in stash.asked
    assert not stash.pending()


def test_tag_marked_here_wants_a_listing(stash: WatchedStash) -> None:
    """A tag, performer or studio to be renewed is found by a listing."""
    tag_id = value(stash, select(func.max(Tag.id)))
    with stash.database.transaction() as session:
        forget_hashes(session, [tag_id], "tag")

    assert stash.pending().entities == {"tag": 1}
    assert stash.asked == LISTING


def test_difference_that_a_verification_finds_wants_a_listing(
    stash: WatchedStash,
) -> None:
    """A marker that the mirror has lost shows in no glance, but in the counts."""
    with stash.database.transaction() as session:
        lost = select(func.max(Marker.id)).scalar_subquery()
        session.execute(delete(Marker).where(Marker.id == lost))
    assert not stash.pending()

    verify_mirror(
        stash.client, stash.database, VerifyMirrorParams(scenes=1), Progress()
    )

    assert stash.pending()
    assert stash.asked == LISTING


def test_mark_during_a_check_is_not_lost(stash: WatchedStash) -> None:
    """A check that finds nothing does not undo what somebody marks meanwhile."""
    tag_id = value(stash, select(func.max(Tag.id)))

    def mark() -> None:
        with stash.database.transaction() as session:
            forget_hashes(session, [tag_id], "tag")

    stash.transport.after["Glance"] = mark
    assert not stash.pending()

    assert stash.pending().entities == {"tag": 1}


def test_rows_that_wait_for_removal(stash: WatchedStash) -> None:
    """They do not count as pending, and the next sync removes them at once."""
    stash.ask("mutation{sceneDestroy(input:{id:3})}")
    stash.sync()
    # The mark itself wants a listing once.
    assert not stash.pending()
    assert not stash.pending()
    assert stash.asked == ["Glance"]

    assert stash.sync().removed == 1
    assert "Library" in stash.asked
