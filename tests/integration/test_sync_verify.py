"""Proof that the mirror is right, and the deep look at what belongs to each scene."""

import sys
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, update

from stashhog_core.db.locks import job_lock
from stashhog_core.db.models import (
    Marker,
    MirrorCheck,
    Performer,
    Scene,
    SceneFile,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
    TagParent,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import JobCancelled, JobError
from stashhog_core.params import VerifyMirrorParams
from stashhog_core.progress import Progress
from stashhog_core.results import VerifyMirrorResult
from stashhog_core.sync import deep
from stashhog_core.sync.job import pending_scenes
from stashhog_core.sync.local_edits import SceneEdit, edit_scene
from stashhog_core.sync.verify import last_verification, verify_mirror
from tests.support.fake_stash import FakeStash, refs
from tests.support.statements import statements
from tests.support.sync import run

pytestmark = pytest.mark.slow


def verify(
    stash: FakeStash, database: Database, scenes: int = 500
) -> VerifyMirrorResult:
    return verify_mirror(
        stash, database, VerifyMirrorParams(scenes=scenes), Progress(), run_id="r"
    )


def change(database: Database, statement: Any) -> None:
    with database.transaction() as session:
        session.execute(statement)


@pytest.fixture
def stash() -> FakeStash:
    """A library with a little of everything."""
    stash = FakeStash()
    tag, other = stash.add_tag("tag"), stash.add_tag("other")
    stash.edit_tag(other, parents=refs(tag), aliases=("alias",))
    performer, studio = stash.add_performer("who"), stash.add_studio("where")
    for _ in range(4):
        scene = stash.add_scene(
            tags=refs(tag, other),
            performers=refs(performer),
            studio=refs(studio)[0],
            urls=("https://example.invalid",),
            date="2024-05",
        )
        stash.add_marker(scene, tag)
        stash.edit_markers(scene, tags=refs(other))
    return stash


def test_right_mirror_is_verified(stash: FakeStash, database: Database) -> None:
    """A mirror that is right has no difference, and the proof is kept."""
    run(stash, database)
    result = verify(stash, database)
    with database.transaction() as session:
        verification = last_verification(session)

    assert (result.status, result.differences, result.drift_rate) == ("completed", 0, 0)
    assert result.scenes_checked == 4
    assert result.counts == result.mirror_counts
    assert result.counts["markers"] == 4
    assert verification is not None
    assert (verification.checked_at, verification.run_id) == (result.last_proved, "r")


def test_progress_says_how_many_scenes_were_compared(
    stash: FakeStash, database: Database
) -> None:
    """The bar names what is under way, and in the end what was found."""
    run(stash, database)
    reports: list[tuple[float | None, str]] = []
    progress = Progress(lambda *report: reports.append(report))
    verify_mirror(stash, database, VerifyMirrorParams(scenes=3), progress)

    assert reports == [
        (0, "Counting in Stash"),
        (1, "Compared scenes 3/3"),
        (1, "0 differences"),
    ]


def test_sample_is_as_large_as_asked_for(stash: FakeStash, database: Database) -> None:
    """No more scenes are fetched than asked for."""
    run(stash, database)

    assert verify(stash, database, scenes=3).scenes_checked == 3


@pytest.mark.parametrize(
    ("statement", "field"),
    [
        pytest.param(update(Scene).values(title="x"), "title", id="title"),
        pytest.param(update(Scene).values(play_count=7), "play_count", id="counter"),
        pytest.param(delete(SceneFile), "files", id="files"),
        pytest.param(delete(SceneTag), "tags", id="tags"),
        pytest.param(delete(ScenePerformer), "performers", id="performers"),
        pytest.param(update(Marker).values(seconds=99), "markers", id="markers"),
    ],
)
def test_damage_is_found_and_mended(
    stash: FakeStash, database: Database, statement: Any, field: str
) -> None:
    """What differs in a scene is named, and the next sync fetches the scene."""
    run(stash, database)
    run(stash, database)
    first = min(stash.scene_rows)
    column = Scene.id if statement.table.name == "scene" else None
    if column is None:
        column = statement.table.c.scene_id
    change(database, statement.where(column == first))
    result = verify(stash, database)

    assert result.status == "completed_with_errors"
    assert (result.scenes_different, result.drift_rate) == (1, 0.25)
    assert result.awaiting_sync == 0
    assert result.errors[0].item == f"scene {first}"
    assert result.errors[0].reason.startswith(f"{field}: Stash has ")
    assert result.last_proved is None

    assert run(stash, database).updated == 1
    assert verify(stash, database).differences == 0


def test_wrong_entities_and_counts_are_found(
    stash: FakeStash, database: Database
) -> None:
    """Tags, performers and studios are compared one by one, and all are counted."""
    run(stash, database)
    change(database, update(Performer).values(name="wrong"))
    stash.add_tag("new")
    reasons = [(e.item, e.reason) for e in verify(stash, database).errors]

    assert ("tags", "count: Stash has 3, the mirror 2") in reasons
    assert any(
        reason == "name: Stash has who, the mirror wrong" for _, reason in reasons
    )
    assert any(reason == "tag: Stash has new, the mirror None" for _, reason in reasons)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(update(Tag).values(description="wrong"), id="tag"),
        pytest.param(delete(TagParent), id="parents"),
        pytest.param(update(Performer).values(country="wrong"), id="performer"),
        pytest.param(update(Studio).values(rating100=1), id="studio"),
    ],
)
def test_wrong_entity_is_mended(
    stash: FakeStash, database: Database, statement: Any
) -> None:
    """A tag, performer or studio that differs is stored anew by the next sync."""
    run(stash, database)
    run(stash, database)
    change(database, statement)

    assert verify(stash, database).differences > 0
    run(stash, database)
    assert verify(stash, database).differences == 0


def test_wrong_count_has_the_next_sync_compare_all(
    stash: FakeStash, database: Database
) -> None:
    """A marker too many is removed, though no lot has drawn its scene."""
    values = {"id": 999, "scene_id": min(stash.scene_rows), "seconds": 1}
    # The lot draws this one of the four scenes now and then: once more, then.
    for _ in range(100):
        run(stash, database)
        run(stash, database)
        change(database, insert(Marker).values(**values))
        found = verify(stash, database, scenes=1)
        if not found.scenes_different:
            break
    run(stash, database)

    assert (found.differences, found.scenes_checked) == (1, 1)
    assert verify(stash, database).differences == 0


def lines_run(stash: FakeStash, database: Database) -> int:
    """Return how many lines of the comparison run while the mirror is verified."""
    counted = 0

    def trace(frame: FrameType, what: str, _: Any) -> Any:
        nonlocal counted
        if not frame.f_code.co_filename.endswith("sync/verify.py"):
            return None
        counted += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        verify(stash, database)
    finally:
        sys.settrace(before)
    return counted


def test_work_grows_no_faster_than_the_library(database: Database) -> None:
    """Four times the tags and different scenes are four times the work, not sixteen."""
    stash = FakeStash()
    work = []
    for wanted in (50, 200):
        while len(stash.tag_rows) < wanted:
            tag = stash.add_tag(f"tag {len(stash.tag_rows)}")
            stash.edit_tag(tag, parents=refs(min(stash.tag_rows)))
            stash.add_scene(tags=refs(tag))
        run(stash, database)
        change(database, delete(SceneTag))
        work.append(lines_run(stash, database))
        run(stash, database)

    assert work[0] > 50
    assert work[1] < 6 * work[0]


def test_waiting_for_a_sync_can_be_stopped(
    stash: FakeStash, database: Database
) -> None:
    """A stop does not wait until the sync that is under way has ended."""
    stop = threading.Event()
    stop.set()

    with job_lock(database, "sync"), pytest.raises(JobCancelled):
        verify_mirror(stash, database, VerifyMirrorParams(), Progress(stop=stop))


def test_stash_is_asked_once_the_sync_has_ended(
    stash: FakeStash, database: Database
) -> None:
    """While a sync is under way, the verification waits and asks nothing in vain."""
    run(stash, database)
    running = ExitStack()
    running.enter_context(job_lock(database, "sync"))

    class EndOfTheSync(threading.Event):
        calls = 0

        def is_set(self) -> bool:
            self.calls += 1
            if self.calls == 3:
                running.close()
            return False

    end = EndOfTheSync()

    def ask() -> None:
        assert end.calls >= 3, "Stash is asked while the sync is under way"

    stash.on("SceneCount", before=ask)
    result = verify_mirror(stash, database, VerifyMirrorParams(), Progress(stop=end))

    assert result.differences == 0


def test_stop_while_scenes_wait_for_a_sync(
    stash: FakeStash, database: Database
) -> None:
    """A sync that begins once scenes were fetched is waited for, until a stop."""
    run(stash, database)
    stop = threading.Event()

    with ExitStack() as running:

        def begin() -> None:
            running.enter_context(job_lock(database, "sync"))
            stop.set()

        stash.on("ScenesBetween", after=begin)
        with pytest.raises(JobCancelled):
            verify_mirror(stash, database, VerifyMirrorParams(), Progress(stop=stop))


def test_scene_that_stash_refuses_fails_the_verification(
    stash: FakeStash, database: Database
) -> None:
    """Nothing is proved of scenes that Stash does not give."""
    run(stash, database)
    stash.broken_scenes.add(min(stash.scene_rows))

    with pytest.raises(JobError):
        verify(stash, database)
    with database.transaction() as session:
        assert last_verification(session) is None


def test_scene_that_is_not_mirrored_yet_is_not_compared(database: Database) -> None:
    """Of a range, only mirrored scenes are; the counts tell of the others."""
    stash = FakeStash(scenes=(1, 3))
    run(stash, database)
    stash.add_scene(id=2)
    result = verify(stash, database)

    assert (result.scenes_checked, result.scenes_different) == (2, 0)
    assert [error.item for error in result.errors] == ["scenes"]


def test_a_sync_goes_on_while_stash_is_asked(
    stash: FakeStash, database: Database
) -> None:
    """Syncs are not refused while Stash is asked; what they stored is compared again.

    The answer that was under way is older than what the sync has stored.
    """
    run(stash, database)
    run(stash, database)
    first = min(stash.scene_rows)

    def edit_and_sync() -> None:
        stash.on("ScenesBetween")
        stash.edit(first, title="newer")
        assert run(stash, database).updated == 1

    stash.on("ScenesBetween", after=edit_and_sync)
    stash.requests.clear()
    result = verify(stash, database)

    assert (result.differences, result.scenes_checked) == (0, 4)
    assert len(stash.asked("ScenesBetween")) == 2
    assert pending_scenes(stash, database).count == 0


def test_counts_are_taken_again_after_a_sync(
    stash: FakeStash, database: Database
) -> None:
    """Counts that Stash gave before a sync are not compared after the sync."""
    run(stash, database)

    def add_and_sync() -> None:
        stash.on("SceneCount")
        stash.add_scene()
        run(stash, database)

    stash.on("SceneCount", after=add_and_sync)
    result = verify(stash, database)

    assert (result.differences, result.counts["scenes"]) == (0, 5)


def test_a_scene_that_changes_again_and_again_is_compared_in_the_end(
    stash: FakeStash, database: Database
) -> None:
    """A page is fetched anew until nothing was stored meanwhile, and counts once."""
    run(stash, database)
    first = min(stash.scene_rows)
    titles = iter(("one", "two", "three"))

    def edit_and_sync() -> None:
        stash.on("ScenesBetween")
        if title := next(titles, ""):
            stash.edit(first, title=title)
            run(stash, database)
            stash.on("ScenesBetween", after=edit_and_sync)

    stash.on("ScenesBetween", after=edit_and_sync)
    stash.requests.clear()
    result = verify(stash, database)

    assert (result.differences, result.scenes_checked) == (0, 4)
    assert len(stash.asked("ScenesBetween")) == 4


def test_the_whole_library_is_compared_page_by_page(
    stash: FakeStash, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further page takes the same statements, whatever its scenes have."""
    monkeypatch.setattr(deep, "PAGE_SIZE", 4)
    taken: list[int] = []
    for wanted in (4, 8, 12):
        while len(stash.scene_rows) < wanted:
            scene = stash.add_scene(tags=refs(*stash.tag_rows))
            for _ in range(wanted // 4):
                stash.add_marker(scene, min(stash.tag_rows))
        run(stash, database)
        with statements() as sent:
            result = verify(stash, database)
        assert (result.differences, result.scenes_checked) == (0, wanted)
        # A semicolon asks whether a connection that was used before still works.
        taken.append(sum(statement != ";" for statement, _ in sent))

    assert taken[1] > taken[0]
    assert taken[2] - taken[1] <= taken[1] - taken[0]


def test_empty_library_is_verified(database: Database) -> None:
    """Without any scene nothing differs."""
    result = verify(FakeStash(), database)

    assert (result.status, result.scenes_checked, result.drift_rate) == (
        "completed",
        0,
        0,
    )


def test_long_values_are_cut(stash: FakeStash, database: Database) -> None:
    """A difference shows the first 80 characters of each value."""
    run(stash, database)
    change(database, update(Scene).values(details="x" * 200))
    result = verify(stash, database)

    assert result.errors[0].reason == f"details: Stash has , the mirror {'x' * 80}"


def test_only_the_first_differences_are_kept(database: Database) -> None:
    """All differences are counted, and the first hundred are named."""
    stash = FakeStash()
    for _ in range(120):
        stash.add_scene()
    run(stash, database)
    change(database, update(Scene).values(title="wrong"))
    result = verify(stash, database)

    assert (result.differences, result.scenes_different) == (120, 120)
    assert len(result.errors) == 100


def test_change_not_yet_synced_is_distinguished(
    stash: FakeStash, database: Database
) -> None:
    """A scene that Stash has changed since the last sync differs, but is no damage."""
    run(stash, database)
    scenes = sorted(stash.scene_rows)
    stash.edit(scenes[0], title="newer")
    stash.destroy_scene(scenes[1])
    result = verify(stash, database)

    assert (result.scenes_different, result.awaiting_sync) == (2, 2)


def test_local_edits_are_no_drift(stash: FakeStash, database: Database) -> None:
    """What was edited here on purpose is not reported as a difference."""
    run(stash, database)
    with database.transaction() as session:
        edit_scene(session, min(stash.scene_rows), SceneEdit(title="mine", tag_ids=()))

    assert verify(stash, database).differences == 0
    with database.transaction() as session:
        assert session.scalars(select(MirrorCheck.proved)).all() == [True]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(delete(SceneFile), id="files"),
        pytest.param(delete(SceneTag), id="tags"),
        pytest.param(delete(ScenePerformer), id="performers"),
        pytest.param(delete(Marker), id="markers"),
        pytest.param(update(Scene).values(studio_id=None), id="studio"),
    ],
)
def test_deep_sync_finds_what_no_stamp_shows(
    stash: FakeStash, database: Database, statement: Any
) -> None:
    """A relation that is wrong on our side is seen by the deep look, and mended."""
    run(stash, database)
    run(stash, database)
    light = run(stash, database)
    is_scene = statement.table.name == "scene"
    column = statement.table.c["id" if is_scene else "scene_id"]
    change(database, statement.where(column == min(stash.scene_rows)))

    assert light.updated == 0
    assert run(stash, database, deep=True).updated == 1
    assert verify(stash, database).differences == 0
    assert run(stash, database, deep=True).updated == 0


def test_deep_sync_finds_a_silent_change_in_stash(
    stash: FakeStash, database: Database
) -> None:
    """A relation that changed in Stash without any time moving is seen as well."""
    run(stash, database)
    scene, tag = min(stash.scene_rows), min(stash.tag_rows)
    stash.change_silently(scene, tags=refs(tag))

    assert pending_scenes(stash, database).count == 0
    assert run(stash, database, deep=True).updated == 1
    with database.transaction() as session:
        tags = select(SceneTag.tag_id).where(SceneTag.scene_id == scene)
        assert session.scalars(tags).all() == [tag]


def test_unchanged_library_is_not_compared_row_by_row(
    stash: FakeStash, database: Database
) -> None:
    """Once all was found mirrored, an equal listing is enough; another is compared.

    After a sync that stored anything, all of them are.
    """
    run(stash, database)
    run(stash, database)
    # Behind our back: only a comparison of rows would tell.
    change(database, update(Tag).values(name="damaged"))

    assert not pending_scenes(stash, database)
    stash.add_scene()
    assert pending_scenes(stash, database).reasons == {"new": 1}
    run(stash, database)
    assert pending_scenes(stash, database).reasons == {"entity": 4}
    run(stash, database)
    assert not pending_scenes(stash, database)


def test_unchanged_scenes_are_not_compared_row_by_row(
    stash: FakeStash, database: Database
) -> None:
    """The same of scenes: a page that is as it was when all was mirrored is skipped."""
    run(stash, database)
    run(stash, database)
    change(database, update(Scene).values(stash_updated_text="damaged"))

    assert not pending_scenes(stash, database)


def test_known_listing_has_no_row_read_and_is_not_noted_again(
    stash: FakeStash, database: Database
) -> None:
    """A sync of a library that is as it was reads no listing from the database."""
    run(stash, database)
    run(stash, database)
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    run(stash, database)
    event.remove(database.engine, "before_cursor_execute", note)

    work = ("enable_sort", "LOCK TABLE manifest")
    assert statements
    assert not [text for text in statements if any(word in text for word in work)]


def test_entities_alone_are_pending(stash: FakeStash, database: Database) -> None:
    """A new tag without a scene is something to sync, though no scene is pending."""
    run(stash, database)
    stash.add_tag("lonely")
    pending = pending_scenes(stash, database)

    assert (pending.count, bool(pending)) == (0, True)
    run(stash, database)
    assert not pending_scenes(stash, database)
