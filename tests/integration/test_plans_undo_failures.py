"""What `undo_plan` does about refusals, lost answers and outages of Stash."""

import itertools
import threading
from collections.abc import Sequence

import httpx
import pytest
from sqlalchemy import select

from stashhog_core.db.models import Scene, SceneTag, Tag
from stashhog_core.db.session import Database
from stashhog_core.errors import ConfigurationError, JobCancelled, TransientError
from stashhog_core.params import ApplyPlanParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import plan_changes
from stashhog_core.plans.proposals import Proposal, add_member, set_text
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import UndoResult
from tests.support.fake_stash import BUSY, OUTAGE, FakeStash, refusal
from tests.support.plans import plan_of

OUTDOOR = add_member("tags", 1, "Outdoor", 0.9, "test", {"rule": "seen"})
FRESH = add_member("tags", None, "Fresh", 0.9, "test", {"rule": "seen"})
DETAILS = set_text("details", "", "Fine.", 0.9, "test", {"rule": "seen"})
SCENES = range(1, 6)
REFUSED = refusal("FOREIGN KEY constraint failed")


@pytest.fixture
def stash() -> FakeStash:
    stash = FakeStash(scenes=SCENES)
    stash.add_tag("Outdoor", id=1)
    return stash


@pytest.fixture
def mirror(database: Database) -> Database:
    with database.transaction() as session:
        session.add_all([Tag(id=1, name="Outdoor"), *(Scene(id=i) for i in SCENES)])
    return database


def applied(
    stash: FakeStash, mirror: Database, proposals: dict[int, list[Proposal]]
) -> int:
    """Return a plan that was applied; its requests are forgotten."""
    plan_id = plan_of(mirror, proposals)
    params = ApplyPlanParams(plan_id=plan_id)
    apply_plan(stash, mirror, params, Progress(), create_missing_tags=True)
    stash.requests.clear()
    return plan_id


def take_back(
    stash: FakeStash,
    mirror: Database,
    plan_id: int,
    progress: Progress | None = None,
    pauses_seconds: Sequence[float] = (0, 0),
) -> UndoResult:
    return undo(
        stash,
        mirror,
        UndoParams(plan_id=plan_id),
        progress or Progress(),
        pauses_seconds=pauses_seconds,
    )


def reasons(mirror: Database, plan_id: int) -> list[tuple[str, str | None]]:
    """Return the state of each change, and why it is not undone."""
    with mirror.transaction() as session:
        return [(c.state, c.error) for c in plan_changes(session, plan_id)]


def test_a_busy_server_is_asked_again_by_the_same_run(
    stash: FakeStash, mirror: Database
) -> None:
    """A database that is locked for a moment leaves nothing to the next run.

    The mirror follows both tries.
    """
    plan_id = applied(stash, mirror, {1: [OUTDOOR, DETAILS]})
    busy = iter([BUSY, BUSY])
    stash.on("UpdateScene", before=lambda: next(busy, None))

    result = take_back(stash, mirror, plan_id)

    assert (result.undone, result.already, result.errors) == (2, 0, ())
    # What was undone at once is not sent again.
    assert stash.writes == ["BulkUpdateScenes", *["UpdateScene"] * 3]
    with mirror.transaction() as session:
        assert session.get_one(Scene, 1).details == ""
        assert session.scalars(select(SceneTag.tag_id)).all() == []


def test_a_stop_before_the_second_try_is_noticed_at_once(
    stash: FakeStash, mirror: Database
) -> None:
    """Stash is not read again."""
    stop = threading.Event()
    plan_id = applied(stash, mirror, {1: [DETAILS]})
    stash.on("UpdateScene", before=BUSY)

    def sink(fraction: float | None, message: str) -> None:
        stop.set()

    with pytest.raises(JobCancelled):
        take_back(stash, mirror, plan_id, Progress(sink, stop), pauses_seconds=(1,))

    # Before the request, and after it.
    assert len(stash.asked("Scenes")) == 2


def test_a_refused_change_waits_for_the_next_run(
    stash: FakeStash, mirror: Database
) -> None:
    """It stays applied, and says why; the same run does not send it again."""
    plan_id = applied(stash, mirror, {1: [DETAILS]})
    stash.on("UpdateScene", before=REFUSED)

    result = take_back(stash, mirror, plan_id)

    assert (result.undone, result.failed) == (0, 1)
    assert result.errors[0].item == "scene 1, details"
    assert stash.writes == ["UpdateScene"]
    ((state, reason),) = reasons(mirror, plan_id)
    assert state == "applied"
    assert "FOREIGN KEY" in str(reason)
    stash.on("UpdateScene")
    assert take_back(stash, mirror, plan_id).undone == 1
    assert reasons(mirror, plan_id) == [("undone", None)]


def test_a_scene_that_vanishes_meanwhile_is_skipped(
    stash: FakeStash, mirror: Database
) -> None:
    """Stash refuses the whole group for it; the rest of the group is still undone."""
    plan_id = applied(stash, mirror, {i: [OUTDOOR] for i in (1, 2, 3)})
    stash.on("BulkUpdateScenes", before=lambda: stash.scene_rows.pop(2, None))

    result = take_back(stash, mirror, plan_id)

    assert (result.undone, result.skipped, result.failed) == (2, 1, 0)
    assert [stash.scene_rows[i].tags for i in (1, 3)] == [(), ()]
    assert len(stash.writes) == 2


def test_what_stash_undid_without_an_answer_is_undone(
    stash: FakeStash, mirror: Database
) -> None:
    """The run has done it, so it was not so already; the mirror follows."""
    plan_id = applied(stash, mirror, {1: [OUTDOOR, FRESH, DETAILS]})
    stash.on("writes", after=OUTAGE)

    result = take_back(stash, mirror, plan_id)

    assert (result.undone, result.already, result.errors) == (3, 0, ())
    assert (result.scene_ids, result.tags_dropped) == ((1,), ("Fresh",))
    assert set(reasons(mirror, plan_id)) == {("undone", None)}
    with mirror.transaction() as session:
        assert session.get_one(Scene, 1).details == ""
        assert session.scalars(select(SceneTag.tag_id)).all() == []
        assert session.scalars(select(Tag.name)).all() == ["Outdoor"]


@pytest.mark.parametrize("is_answered", [True, False], ids=["answer", "no answer"])
def test_requests_without_effect_count_as_an_outage_if_in_a_row(
    stash: FakeStash, mirror: Database, is_answered: bool
) -> None:
    """One that Stash answers, or carries out without an answer, ends the row."""
    plan_id = applied(stash, mirror, {i: [DETAILS] for i in SCENES})

    def is_third() -> bool:
        return len(stash.writes) == 3

    stash.on(
        "UpdateScene",
        before=lambda: None if is_third() else OUTAGE,
        after=None if is_answered else OUTAGE,
    )

    result = take_back(stash, mirror, plan_id, pauses_seconds=())

    assert (result.undone, result.failed) == (1, 4)
    stash.requests.clear()
    stash.on("UpdateScene", before=OUTAGE)
    with pytest.raises(TransientError):
        take_back(stash, mirror, plan_id)
    assert len(stash.writes) == 3


def test_a_key_that_stash_refuses_ends_the_run(
    stash: FakeStash, mirror: Database
) -> None:
    """Nothing is undone, and nothing recorded."""
    plan_id = applied(stash, mirror, {1: [DETAILS]})
    stash.on("UpdateScene", before=httpx.Response(401))

    with pytest.raises(ConfigurationError):
        take_back(stash, mirror, plan_id)

    assert reasons(mirror, plan_id) == [("applied", None)]


def test_what_somebody_edits_before_the_second_try_is_a_conflict(
    stash: FakeStash, mirror: Database
) -> None:
    """It does not count as failed as well."""
    plan_id = applied(stash, mirror, {1: [DETAILS]})
    stash.on("UpdateScene", before=BUSY)
    # Before the request, after it, and before the next one.
    reads = itertools.count(1)
    stash.on(
        "Scenes",
        before=lambda: stash.edit(1, details="Mine.") if next(reads) == 3 else None,
    )

    result = take_back(stash, mirror, plan_id)

    assert (result.conflicts, result.failed, result.errors) == (1, 0, ())


@pytest.mark.parametrize(
    ("moment", "errors"), [("before", ["tag Fresh"]), ("after", [])]
)
def test_a_created_tag_that_stash_does_not_delete_is_a_failure(
    stash: FakeStash, mirror: Database, moment: str, errors: list[str]
) -> None:
    """It is none if the tag is gone, whatever Stash has answered."""
    plan_id = applied(stash, mirror, {1: [FRESH]})
    stash.on("DestroyTag", **{moment: REFUSED})

    result = take_back(stash, mirror, plan_id)

    assert (result.undone, result.failed) == (1, 0)
    assert [error.item for error in result.errors] == errors
    assert result.status == ("completed_with_errors" if errors else "completed")
    assert result.tags_dropped == (() if errors else ("Fresh",))


def test_progress_counts_the_scenes(stash: FakeStash, mirror: Database) -> None:
    """In the end it says how many changes were undone."""
    said: list[tuple[float | None, str]] = []
    plan_id = applied(stash, mirror, {1: [OUTDOOR, DETAILS], 2: [DETAILS]})

    take_back(stash, mirror, plan_id, Progress(lambda *report: said.append(report)))

    assert said == [(0, "Undone scenes 0/2"), (1, "Undone changes: 3")]
