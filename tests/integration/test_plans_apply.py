"""The job `apply_plan` on real PostgreSQL, against a Stash held in memory."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from stashhog_core.db.models import (
    AnalysisPlan,
    Marker,
    Performer,
    PlanChange,
    Scene,
    ScenePerformer,
    SceneTag,
    Studio,
    Tag,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    ConfigurationError,
    JobCancelled,
    JobError,
    TransientError,
)
from stashhog_core.params import ApplyPlanParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.plans import (
    changes_of_run,
    plan_changes,
    plan_lock,
    read_plan,
)
from stashhog_core.plans.proposals import (
    add_marker,
    add_member,
    set_studio,
    set_text,
)
from stashhog_core.plans.records import (
    MAX_ATTEMPTS,
    OPEN_STATES,
    unapplied_plan_ids,
)
from stashhog_core.plans.rejections import remember_rejected
from stashhog_core.plans.review import (
    approve,
    cancel,
    open_plan,
    reject,
    replace_value,
)
from stashhog_core.plans.selection import Selection
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult
from stashhog_core.settings import StashSettings
from stashhog_core.stash.payloads import Ref
from tests.support.fake_stash import BUSY, OUTAGE, FakeStash, refusal
from tests.support.faults import FaultyStatements
from tests.support.plans import plan_of

OUTDOOR = add_member("tags", 1, "Outdoor", 0.9, "test", {"rule": "seen"})
FRESH = add_member("tags", None, "Fresh", 0.9, "test", {"rule": "seen"})
JADE = add_member("performers", 2, "Jade Kush", 0.9, "test", {"rule": "seen"})
GOLDEN = set_studio(3, "Golden Hour", 0.9, "test", {"rule": "seen"})
DETAILS = set_text("details", "", "Fine.", 0.9, "test", {"rule": "seen"})
MARKER = add_marker(1, "Outdoor", 5.0, 9.0, 0.9, "test", {"rule": "seen"})
ALL = (OUTDOOR, FRESH, JADE, GOLDEN, DETAILS, MARKER)


class KilledError(BaseException):
    """The process died."""


def stash_with(*scene_ids: int) -> FakeStash:
    """Return a Stash with these scenes, and with what is known of the names."""
    stash = FakeStash(scenes=scene_ids)
    stash.add_tag("Outdoor", id=1, aliases=("Open Air",))
    stash.add_performer("Jade Kush", id=2)
    stash.add_studio("Golden Hour", id=3)
    return stash


def kill_at(stash: FakeStash, write: int, moment: str) -> None:
    """Have the process die before or after Stash does its write of this number."""

    def die() -> None:
        if len(stash.writes) == write:
            raise KilledError

    stash.on("writes", **{moment: die})


@pytest.fixture
def mirror(database: Database) -> Database:
    """Scenes 1 to 3 and what is known of the names, in the mirror."""
    with database.transaction() as session:
        session.add_all(
            [
                Tag(id=1, name="Outdoor", aliases=["Open Air"]),
                Performer(id=2, name="Jade Kush"),
                Studio(id=3, name="Golden Hour"),
                *(Scene(id=number) for number in (1, 2, 3)),
            ]
        )
    return database


def apply(
    stash: FakeStash,
    database: Database,
    plan_id: int,
    progress: Progress | None = None,
    *,
    create_missing_tags: bool = True,
    pauses_seconds: Sequence[float] = (),
    **params: Any,
) -> ApplyResult:
    return apply_plan(
        stash,
        database,
        ApplyPlanParams(plan_id=plan_id, **params),
        progress or Progress(),
        create_missing_tags=create_missing_tags,
        pauses_seconds=pauses_seconds,
    )


def states(database: Database, plan_id: int) -> list[str]:
    with database.transaction() as session:
        return [change.state for change in plan_changes(session, plan_id)]


def plan_state(database: Database, plan_id: int) -> str:
    with database.transaction() as session:
        return read_plan(session, plan_id).state


def test_all_kinds_of_change_are_applied(mirror: Database) -> None:
    """Stash has them, the mirror follows, and effects are kept for undoing."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: ALL})
    with mirror.transaction() as session:
        session.get_one(Scene, 1).generated = True

    result = apply(stash, mirror, plan_id)

    assert result == ApplyResult(
        status="completed", plan_id=plan_id, applied=6, scene_ids=(1,)
    )
    scene = stash.scene_rows[1]
    fresh = max(stash.tag_rows)
    assert [tag.id for tag in scene.tags] == [1, fresh]
    assert [p.id for p in scene.performers] == [2]
    assert scene.studio == Ref(id=3)
    assert scene.details == "Fine."
    assert [(m.title, m.seconds, m.end_seconds) for m in scene.scene_markers] == [
        ("Outdoor", 5.0, 9.0)
    ]
    assert stash.writes == [
        "CreateTag",
        "BulkUpdateScenes",
        "UpdateScene",
        "CreateMarker",
    ]
    with mirror.transaction() as session:
        effects = {c.field: c.effect for c in plan_changes(session, plan_id)}
        local = session.get_one(Scene, 1)
        assert (local.studio_id, local.details) == (3, "Fine.")
        # The new marker has no media yet.
        assert not local.generated
        assert set(session.scalars(select(SceneTag.tag_id))) == {1, fresh}
        assert list(session.scalars(select(ScenePerformer.performer_id))) == [2]
        assert session.scalars(select(Marker.primary_tag_id)).all() == [1]
        assert session.get_one(Tag, fresh).name == "Fresh"
        plan = read_plan(session, plan_id)
    assert effects == {
        "tags": {"id": fresh, "present_before": False},
        "performers": {"id": 2, "present_before": False},
        "studio": {"before": None, "after": 3},
        "details": {"before": "", "after": "Fine."},
        "markers": {
            "marker_id": scene.scene_markers[0].id,
            "tag_id": scene.scene_markers[0].primary_tag.id,
        },
    }
    assert plan.state == "applied"
    assert plan.applied_at is not None
    assert plan.facts["created_tags"] == {"Fresh": fresh}


def test_run_reads_what_it_changed_in_words(mirror: Database) -> None:
    """The workflow's report says what happened to each scene."""
    plan_id = plan_of(mirror, {1: [OUTDOOR, JADE], 2: [GOLDEN]})
    with mirror.transaction() as session:
        session.execute(update(Scene).where(Scene.id == 1).values(title="My title"))
    apply(stash_with(1, 2), mirror, plan_id)

    with mirror.transaction() as session:
        all_scenes = changes_of_run(session, "run")
        first = changes_of_run(session, "run", limit=1)
        none = changes_of_run(session, "another run")

    assert [(s.scene_id, s.title, s.changes) for s in all_scenes] == [
        (1, "My title", ("add performer Jade Kush", "add tag Outdoor")),
        (2, "", ("set studio Golden Hour",)),
    ]
    assert first == all_scenes[:1]
    assert none == []


def test_live_state_decides(mirror: Database) -> None:
    """What is there already is left, what a user changed meanwhile is a conflict."""
    stash = stash_with(1, 2)
    stash.edit(1, tags=(Ref(id=1),), studio=Ref(id=8), details="Mine.")
    plan_id = plan_of(mirror, {1: [OUTDOOR, GOLDEN, DETAILS], 2: [OUTDOOR], 3: [JADE]})

    result = apply(stash, mirror, plan_id)

    assert (result.applied, result.already, result.conflicts, result.skipped) == (
        1,
        1,
        2,
        1,
    )
    assert result.status == "completed"
    assert states(mirror, plan_id) == [
        "already",
        "conflict",
        "conflict",
        "applied",
        "skipped",
    ]
    assert stash.scene_rows[1].details == "Mine."
    assert plan_state(mirror, plan_id) == "applied"
    with mirror.transaction() as session:
        conflicts = plan_changes(session, plan_id, Selection(states=["conflict"]))
    assert [c.why for c in conflicts] == [
        "Stash now has studio 8",
        "The field details in Stash now is 'Mine.'",
    ]


@pytest.mark.parametrize(
    ("limit", "backups"),
    [
        pytest.param(None, 0, id="not-set"),
        pytest.param(2, 0, id="not-more"),
        pytest.param(1, 1, id="more"),
    ],
)
def test_a_backup_before_many_changes(
    mirror: Database, limit: int | None, backups: int
) -> None:
    """Stash backs up its database once, before the first change."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR, DETAILS]})
    stash.on("writes", before=lambda: seen.append(len(stash.asked("BackUp"))))
    seen: list[int] = []

    apply_plan(
        stash,
        mirror,
        ApplyPlanParams(plan_id=plan_id),
        Progress(),
        create_missing_tags=True,
        settings=StashSettings(backup_before_changes=limit),
    )

    assert set(seen) == {backups}
    assert set(states(mirror, plan_id)) == {"applied"}


def test_without_its_backup_no_change_is_made(mirror: Database) -> None:
    """The changes stay approved."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR]})
    stash.on("BackUp", before=refusal("vacuum failed: disk full"))

    with pytest.raises(JobError, match="disk full"):
        apply_plan(
            stash,
            mirror,
            ApplyPlanParams(plan_id=plan_id),
            Progress(),
            create_missing_tags=True,
            settings=StashSettings(backup_before_changes=0),
        )

    assert stash.writes == []
    assert states(mirror, plan_id) == ["approved"]


def test_other_peoples_tags_stay(mirror: Database) -> None:
    """Adding never replaces the set."""
    stash = stash_with(1)
    stash.edit(1, tags=(Ref(id=50), Ref(id=51)))

    apply(stash, mirror, plan_of(mirror, {1: [OUTDOOR]}))

    assert {tag.id for tag in stash.scene_rows[1].tags} == {50, 51, 1}


@pytest.mark.slow
def test_many_changes_need_few_requests(mirror: Database) -> None:
    """Five tags in a thousand scenes are five requests a page at most."""
    ids = range(1, 1001)
    stash = stash_with(*ids)
    tags = [
        add_member("tags", None, f"Tag {number}", 0.9, "test", {})
        for number in range(7)
    ]
    plan_id = plan_of(
        mirror,
        {i: [tags[(i + step * (1 + i % 2)) % 7] for step in range(5)] for i in ids},
    )

    result = apply(stash, mirror, plan_id)

    assert result.applied == 5000
    assert len(stash.writes) <= 7 + 2 * 7
    assert all(len(scene.tags) == 5 for scene in stash.scene_rows.values())


def test_unreviewed_changes_are_never_applied(mirror: Database) -> None:
    """Only approved ones are; the plan stays open for the rest."""
    plan_id = plan_of(mirror, {1: [OUTDOOR, JADE]}, state="pending")
    with mirror.transaction() as session:
        approve(session, plan_id, Selection(field="tags"))

    apply(stash_with(1), mirror, plan_id)

    assert states(mirror, plan_id) == ["applied", "pending"]
    assert plan_state(mirror, plan_id) == "reviewing"


def test_automatic_approval_is_recorded(mirror: Database) -> None:
    """Approving on the way is possible and visible."""
    plan_id = plan_of(mirror, {1: [OUTDOOR]}, state="pending")

    result = apply(stash_with(1), mirror, plan_id, auto_approve=True)

    assert result.applied == 1
    with mirror.transaction() as session:
        assert [c.approved_by for c in plan_changes(session, plan_id)] == ["auto"]


def test_automatic_approval_leaves_rejected_changes_alone(mirror: Database) -> None:
    """Rejected in this plan or in another one, named or not: it is not applied."""
    plan_id = plan_of(mirror, {1: [OUTDOOR, JADE], 2: [OUTDOOR]}, state="pending")
    with mirror.transaction() as session:
        ids = [change.id for change in plan_changes(session, plan_id)]
        reject(session, plan_id, Selection(change_ids=ids[:1]))
        remember_rejected(session, [(1, JADE.field, JADE.value_key, JADE.detector)])

    stash = stash_with(1, 2)
    named = apply(stash, mirror, plan_id, auto_approve=True, change_ids=tuple(ids[:2]))
    result = apply(stash, mirror, plan_id, auto_approve=True)

    assert (named.applied, named.rejected) == (0, 2)
    assert (result.applied, result.rejected) == (1, 2)
    assert states(mirror, plan_id) == ["rejected", "pending", "applied"]
    assert not stash.scene_rows[1].tags


@pytest.mark.parametrize("by", ["auto", "trust", "user"])
def test_automatic_approval_does_not_outlive_a_rejection(
    mirror: Database, by: str
) -> None:
    """A value rejected in another plan waits for a person, unless one approved it.

    Named by id it is approved after all, and the rejection is forgotten.
    """
    plan_id = plan_of(mirror, {1: [OUTDOOR]}, state="pending")
    with mirror.transaction() as session:
        chosen = Selection(change_ids=[plan_changes(session, plan_id)[0].id])
        approve(session, plan_id, chosen)
        session.execute(update(PlanChange).values(approved_by=by))
        remember_rejected(session, [(1, "tags", OUTDOOR.value_key, OUTDOOR.detector)])

    first = apply(stash_with(1), mirror, plan_id)
    after = states(mirror, plan_id)
    if by != "user":
        with mirror.transaction() as session:
            approve(session, plan_id, chosen)
        apply(stash_with(1), mirror, plan_id)

    assert (first.applied, after) == (
        (1, ["applied"]) if by == "user" else (0, ["pending"])
    )
    assert states(mirror, plan_id) == ["applied"]


@pytest.mark.parametrize("doing", ["rejected", "replaced"])
def test_decision_made_while_a_plan_is_applied_counts(
    mirror: Database, doing: str
) -> None:
    """Until a change is sent a person may decide otherwise; it is not overwritten."""

    def decide() -> None:
        with mirror.transaction() as session:
            chosen = Selection(change_ids=[first])
            if doing == "rejected":
                reject(session, plan_id, chosen)
            else:
                replace_value(session, plan_id, chosen, "Beach")

    plan_id = plan_of(mirror, {1: [OUTDOOR, JADE]})
    with mirror.transaction() as session:
        session.add(Tag(id=77, name="Beach"))
        first = plan_changes(session, plan_id)[0].id
    stash = stash_with(1)
    stash.on("scenes", after=decide)

    result = apply(stash, mirror, plan_id)

    assert result.applied == 1
    assert not stash.scene_rows[1].tags
    left = "rejected" if doing == "rejected" else "approved"
    assert states(mirror, plan_id) == [left, "applied"]


def test_plan_that_is_cancelled_while_it_is_applied_stays_cancelled(
    mirror: Database,
) -> None:
    """What was not sent by then is never sent; what was sent can be undone."""

    def cancel_it() -> None:
        if not stash.writes:
            with mirror.transaction() as session:
                cancel(session, open_plan(session, plan_id))

    plan_id = plan_of(mirror, {1: [OUTDOOR, JADE]})
    stash = stash_with(1)
    stash.on("scenes", after=cancel_it)

    result = apply(stash, mirror, plan_id)

    assert result.applied == 0
    assert not stash.writes
    assert plan_state(mirror, plan_id) == "cancelled"


def test_only_the_named_changes(mirror: Database) -> None:
    """Others stay approved; one that is not of the plan is refused."""
    plan_id = plan_of(mirror, {1: [OUTDOOR, JADE]})
    with mirror.transaction() as session:
        first = plan_changes(session, plan_id)[0].id

    apply(stash_with(1), mirror, plan_id, change_ids=(first,))

    assert states(mirror, plan_id) == ["applied", "approved"]
    with pytest.raises(JobError, match="has no change 9999"):
        apply(stash_with(1), mirror, plan_id, change_ids=(9999,))


def test_people_are_never_created(mirror: Database) -> None:
    """A performer that Stash lacks hinders that change only, not its neighbours."""
    nobody = add_member("performers", 99, "Nobody", 0.9, "test", {})
    stash = stash_with(1, 2)
    plan_id = plan_of(mirror, {1: [nobody, OUTDOOR], 2: [OUTDOOR]})

    result = apply(stash, mirror, plan_id)

    assert result.status == "completed_with_errors"
    assert (result.applied, result.to_retry, result.failed) == (2, 1, 0)
    assert "no longer has the performer 'Nobody'" in result.errors[0].reason
    assert states(mirror, plan_id) == ["approved", "applied", "applied"]


def test_refused_change_needs_a_person_after_some_runs(mirror: Database) -> None:
    """It stays approved for five runs; then a person retries or rejects it.

    Until then the plan is not done.
    """
    stash = stash_with(1)
    stash.on("UpdateScene", before=refusal("FOREIGN KEY constraint failed"))
    plan_id = plan_of(mirror, {1: [DETAILS, OUTDOOR]})

    for _ in range(MAX_ATTEMPTS - 1):
        result = apply(stash, mirror, plan_id)
        assert (result.to_retry, result.failed) == (1, 0)
        with mirror.transaction() as session:
            assert unapplied_plan_ids(session) == [plan_id]
    result = apply(stash, mirror, plan_id)

    assert (result.to_retry, result.failed) == (0, 1)
    assert f"plans apply {plan_id} --retry" in result.errors[0].reason
    with mirror.transaction() as session:
        (change,) = plan_changes(session, plan_id, Selection(states=["failed"]))
        assert unapplied_plan_ids(session) == []
        assert read_plan(session, plan_id).needs_attention == 1
    assert "FOREIGN KEY" in change.why
    assert plan_state(mirror, plan_id) == "reviewing"

    sent = len(stash.writes)
    assert apply(stash, mirror, plan_id).errors == ()
    assert len(stash.writes) == sent
    assert apply(stash, mirror, plan_id, retry=True).to_retry == 1
    assert states(mirror, plan_id) == ["approved", "applied"]
    with mirror.transaction() as session:
        reject(session, plan_id, Selection(change_ids=[change.id]))
    apply(stash, mirror, plan_id)
    assert states(mirror, plan_id) == ["rejected", "applied"]
    assert plan_state(mirror, plan_id) == "applied"


@pytest.mark.parametrize("trouble", ["refused", "no answer"])
def test_what_people_applied_in_vain_is_tried_by_the_next_runs(
    mirror: Database, trouble: str
) -> None:
    """Whoever approved it; what nobody has asked to apply yet waits for that."""
    plan_id = plan_of(mirror, {1: [DETAILS]}, state="pending")
    stash = stash_with(1)
    with mirror.transaction() as session:
        approve(session, plan_id, Selection())
        assert unapplied_plan_ids(session) == []

    if trouble == "refused":
        stash.on("UpdateScene", before=refusal("FOREIGN KEY constraint failed"))
        assert apply(stash, mirror, plan_id).to_retry == 1
    else:
        kill_at(stash, 1, "before")
        with pytest.raises(KilledError):
            apply(stash, mirror, plan_id)

    with mirror.transaction() as session:
        assert unapplied_plan_ids(session) == [plan_id]


def test_failed_change_is_decided_on_by_name_only(mirror: Database) -> None:
    """Naming it applies, approves or rejects it; a bulk decision leaves it alone."""
    plan_id = plan_of(mirror, {1: [OUTDOOR]}, state="failed")
    with mirror.transaction() as session:
        (change,) = plan_changes(session, plan_id)
        for decide in (approve, reject):
            outcome = decide(session, plan_id, Selection(field="tags"))
            assert (outcome.changed, outcome.left_alone) == (0, {"failed": 1})
        assert approve(session, plan_id, Selection(change_ids=[change.id])).changed == 1
        session.get_one(PlanChange, change.id).state = "failed"

    assert apply(stash_with(1), mirror, plan_id).applied == 0
    assert apply(stash_with(1), mirror, plan_id, change_ids=(change.id,)).applied == 1


def test_missing_tag_without_leave_to_create_it(mirror: Database) -> None:
    """The change waits and says what to do; with leave, the next run applies it."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [FRESH]})

    result = apply(stash, mirror, plan_id, create_missing_tags=False)

    assert result.to_retry == 1
    assert "CREATE_MISSING_TAGS" in result.errors[0].reason
    assert stash.writes == []
    assert apply(stash, mirror, plan_id).applied == 1


def test_scene_that_vanishes_meanwhile_is_skipped(mirror: Database) -> None:
    """Stash refuses the whole group for it; the rest of the group is still done."""
    stash = stash_with(1, 2, 3)
    stash.on("BulkUpdateScenes", before=lambda: stash.scene_rows.pop(2, None))
    plan_id = plan_of(mirror, {1: [OUTDOOR], 2: [OUTDOOR], 3: [OUTDOOR]})

    result = apply(stash, mirror, plan_id)

    assert (result.applied, result.skipped) == (2, 1)
    assert states(mirror, plan_id) == ["applied", "skipped", "applied"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_run_goes_on_and_each_change_is_applied_once(
    mirror: Database, moment: str
) -> None:
    """Killed at every write in turn, it ends as one clean run would."""
    stash = stash_with(1, 2)
    plan_id = plan_of(mirror, {1: ALL, 2: [OUTDOOR, MARKER]})

    # Before its second write, or after its first: each run gets one write done.
    kills = 0
    while plan_state(mirror, plan_id) != "applied":
        done = len(stash.writes)
        kill_at(stash, done + 2 if moment == "before" else done + 1, moment)
        try:
            apply(stash, mirror, plan_id)
        except KilledError:
            kills += 1

    assert kills >= 4
    assert set(states(mirror, plan_id)) == {"applied"}
    assert [len(stash.scene_rows[i].scene_markers) for i in (1, 2)] == [1, 1]
    assert [tag.name for tag in stash.tags()] == ["Outdoor", "Fresh"]
    with mirror.transaction() as session:
        effects = [c.effect for c in plan_changes(session, plan_id)]
        plan = read_plan(session, plan_id)
    assert all("intended" not in effect for effect in effects)
    assert all(effect.get("present_before") is not True for effect in effects)
    assert "Fresh" in plan.facts["created_tags"]


@pytest.mark.parametrize(
    ("moment", "somebodys"),
    [("after", ()), ("before", ()), ("before", ("Fresh",))],
    ids=["created", "not created", "an alias by now"],
)
def test_a_tag_belongs_to_the_plan_whose_dead_run_has_created_it(
    mirror: Database, moment: str, somebodys: Sequence[str]
) -> None:
    """The next run finds out, though it does not need the tag itself."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [FRESH, OUTDOOR]})
    kill_at(stash, 1, moment)
    with pytest.raises(KilledError):
        apply(stash, mirror, plan_id)
    stash.on("writes")
    stash.add_tag("Another", aliases=somebodys)
    with mirror.transaction() as session:
        other = plan_changes(session, plan_id)[1].id

    apply(stash, mirror, plan_id, change_ids=(other,))

    fresh = {t.name: t.id for t in stash.tags() if t.name == "Fresh"}
    with mirror.transaction() as session:
        assert read_plan(session, plan_id).facts["created_tags"] == fresh
        ids = session.scalars(select(Tag.id).where(Tag.name == "Fresh")).all()
    assert ids == list(fresh.values())
    assert bool(fresh) == (moment == "after")


def test_a_tag_that_is_renamed_still_belongs_to_the_plan(mirror: Database) -> None:
    """A further run does not look for it by its name: it knows the id."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [FRESH, OUTDOOR]})
    with mirror.transaction() as session:
        first = plan_changes(session, plan_id)[0].id
    apply(stash, mirror, plan_id, change_ids=(first,))
    fresh = max(stash.tag_rows)
    stash.edit_tag(fresh, name="Fresher")

    apply(stash, mirror, plan_id)

    with mirror.transaction() as session:
        plan = read_plan(session, plan_id)
        assert plan.facts["created_tags"] == {"Fresh": fresh}


def test_a_key_that_stash_refuses_ends_the_run(mirror: Database) -> None:
    """Nothing counts as applied, or as tried."""
    stash = stash_with(1)
    stash.on("writes", before=httpx.Response(401))
    plan_id = plan_of(mirror, {1: [DETAILS]})

    with pytest.raises(ConfigurationError):
        apply(stash, mirror, plan_id)

    assert states(mirror, plan_id) == ["approved"]
    assert stash.writes == ["UpdateScene"]


@pytest.mark.slow
def test_a_plan_is_closed_together_with_its_last_change(
    mirror: Database, database_url: str
) -> None:
    """Whenever a run dies, only plans with an open change seem to wait for one."""
    seen = Counter[str]()
    for number in itertools.count(1):
        plan_id = plan_of(mirror, {1: ALL, 2: [OUTDOOR, MARKER]})
        statements = FaultyStatements(KilledError, number)
        database = statements.watch(Database(database_url))
        try:
            apply(stash_with(1, 2), database, plan_id)
        except KilledError:
            pass
        finally:
            database.close()
        is_open = not set(states(mirror, plan_id)).isdisjoint(OPEN_STATES)
        state = plan_state(mirror, plan_id)
        seen[state] += 1

        assert is_open == (state != "applied")
        if statements.count < number:
            break

    assert seen["applied"] > 1
    assert seen["reviewing"] > 1


def test_outage_leaves_the_rest_approved(mirror: Database) -> None:
    """Nothing counts as failed, or as a try, because Stash was away."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR]})
    stash.on("any", before=OUTAGE)

    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(TransientError):
            apply(stash, mirror, plan_id)

    assert states(mirror, plan_id) == ["approved"]
    with mirror.transaction() as session:
        assert unapplied_plan_ids(session) == [plan_id]
    stash.on("any")
    assert apply(stash, mirror, plan_id).applied == 1
    with mirror.transaction() as session:
        assert unapplied_plan_ids(session) == []


def test_server_that_answers_reads_only_is_an_outage(mirror: Database) -> None:
    """After three requests in a row without an answer the run ends.

    Each further one may take the whole time limit.
    """
    ids = range(1, 11)
    stash = stash_with(*ids)
    plan_id = plan_of(mirror, {i: [DETAILS] for i in ids})
    stash.on("writes", before=OUTAGE)

    with pytest.raises(TransientError):
        apply(stash, mirror, plan_id)

    assert len(stash.writes) == 3
    assert set(states(mirror, plan_id)) == {"approved"}
    stash.on("writes")
    assert apply(stash, mirror, plan_id).applied == 10


def test_busy_server_is_asked_again_by_the_same_run(mirror: Database) -> None:
    """A database that is locked for a moment leaves nothing to the next run."""
    stash = stash_with(1)
    busy = iter([BUSY, BUSY])
    stash.on("writes", before=lambda: next(busy, None))
    plan_id = plan_of(mirror, {1: ALL})

    result = apply(stash, mirror, plan_id, pauses_seconds=(0, 0))

    assert (result.applied, result.to_retry, result.errors) == (6, 0, ())
    assert plan_state(mirror, plan_id) == "applied"


def test_a_stop_before_the_second_try_is_noticed_at_once(mirror: Database) -> None:
    """Stash is not read again."""
    stop = threading.Event()
    stash = stash_with(1)
    stash.on("UpdateScene", before=BUSY)
    plan_id = plan_of(mirror, {1: [DETAILS]})

    def sink(fraction: float | None, message: str) -> None:
        if message == "Applied changes 1/1":
            stop.set()

    with pytest.raises(JobCancelled):
        apply(stash, mirror, plan_id, Progress(sink, stop), pauses_seconds=(1,))

    # Before the request, and after it.
    assert len(stash.asked("Scenes")) == 2


def test_a_refused_change_waits_for_the_next_run(mirror: Database) -> None:
    """Only what may succeed a moment later is sent again by the same run."""
    stash = stash_with(1)
    stash.on("UpdateScene", before=refusal("FOREIGN KEY constraint failed"))
    busy = iter([BUSY])
    stash.on("BulkUpdateScenes", before=lambda: next(busy, None))
    plan_id = plan_of(mirror, {1: [OUTDOOR, DETAILS]})

    result = apply(stash, mirror, plan_id, pauses_seconds=(0, 0))

    assert (result.applied, result.to_retry) == (1, 1)
    assert stash.writes == ["BulkUpdateScenes", "UpdateScene", "BulkUpdateScenes"]


def test_the_mirror_follows_what_stash_did_without_an_answer(mirror: Database) -> None:
    """What is found in Stash afterwards counts as applied, with its marker's id."""
    stash = stash_with(1)
    stash.on("writes", after=OUTAGE)
    plan_id = plan_of(mirror, {1: ALL})

    assert apply(stash, mirror, plan_id).applied == len(ALL)

    (marker,) = stash.scene_rows[1].scene_markers
    with mirror.transaction() as session:
        local = session.get_one(Scene, 1)
        assert (local.studio_id, local.details) == (3, "Fine.")
        assert set(session.scalars(select(SceneTag.tag_id))) == {1, max(stash.tag_rows)}
        assert session.scalars(select(ScenePerformer.performer_id)).all() == [2]
        assert session.scalars(select(Marker.id)).all() == [marker.id]


@pytest.mark.parametrize("is_answered", [True, False], ids=["answer", "no answer"])
def test_requests_without_effect_count_as_an_outage_if_in_a_row(
    mirror: Database, is_answered: bool
) -> None:
    """One that Stash answers, or carries out without an answer, ends the row."""
    stash = stash_with(*range(1, 6))
    plan_id = plan_of(mirror, {i: [DETAILS] for i in stash.scene_rows})

    def is_third() -> bool:
        return len(stash.writes) == 3

    stash.on(
        "UpdateScene",
        before=lambda: None if is_third() else OUTAGE,
        after=None if is_answered else OUTAGE,
    )

    result = apply(stash, mirror, plan_id)

    assert (result.applied, result.to_retry) == (1, 4)
    assert len(stash.writes) == 5


def test_progress_counts_the_changes_that_are_done(mirror: Database) -> None:
    """A request that is sent again in parts counts with its parts."""
    said: list[tuple[float | None, str]] = []
    stash = stash_with(1, 2)
    stash.on("BulkUpdateScenes", before=lambda: stash.scene_rows.pop(2, None))
    plan_id = plan_of(mirror, {1: [OUTDOOR, DETAILS], 2: [OUTDOOR], 3: [JADE]})

    apply(stash, mirror, plan_id, Progress(lambda *report: said.append(report)))

    assert said == [(n / 4, f"Applied changes {n}/4") for n in (1, 1, 2, 4)]


def test_what_a_user_adds_after_a_refusal_is_the_users(mirror: Database) -> None:
    """Only what was sent and may have come about counts as ours, to be undone."""
    stash = stash_with(1)
    stash.on("writes", before=BUSY)
    plan_id = plan_of(mirror, {1: [OUTDOOR]})
    apply(stash, mirror, plan_id)
    stash.on("writes")
    stash.edit(1, tags=(Ref(id=1),))

    result = apply(stash, mirror, plan_id)

    assert (result.applied, result.already) == (0, 1)


def test_what_a_user_adds_after_a_stop_is_the_users(mirror: Database) -> None:
    """Changes that a stopped run has not sent are not taken for its work later."""
    stop = threading.Event()
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR, DETAILS]})

    def sink(fraction: float | None, message: str) -> None:
        if message == "Applied changes 0/2":
            stop.set()

    with pytest.raises(JobCancelled):
        apply(stash, mirror, plan_id, Progress(sink, stop))
    stash.edit(1, details="Fine.")

    assert apply(stash, mirror, plan_id).already == 1


def test_stop_leaves_the_rest_approved(mirror: Database) -> None:
    """What was sent is recorded; nothing more is sent."""
    stop = threading.Event()
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR, DETAILS]})

    def sink(fraction: float | None, message: str) -> None:
        if message == "Applied changes 0/2":
            stop.set()

    with pytest.raises(JobCancelled):
        apply(stash, mirror, plan_id, Progress(sink, stop))

    assert states(mirror, plan_id) == ["applied", "approved"]
    assert stash.scene_rows[1].details == ""


def test_applied_plan_is_left_alone(mirror: Database) -> None:
    """Applying again asks nothing of Stash."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR]})
    apply(stash, mirror, plan_id)

    again = apply(stash, mirror, plan_id)

    assert again == ApplyResult(status="completed", plan_id=plan_id)
    assert len(stash.writes) == 1


def test_plans_that_cannot_be_applied(mirror: Database) -> None:
    """No plan, a cancelled one, one that another run works on: each says so."""
    stash = stash_with(1)
    plan_id = plan_of(mirror, {1: [OUTDOOR]})

    with pytest.raises(JobError, match="There is no plan 77"):
        apply(stash, mirror, 77)
    with plan_lock(mirror, plan_id), pytest.raises(TransientError, match="Another run"):
        apply(stash, mirror, plan_id)
    with mirror.transaction() as session:
        session.get_one(AnalysisPlan, plan_id).state = "cancelled"
    with pytest.raises(JobError, match="was cancelled"):
        apply(stash, mirror, plan_id)
    assert stash.writes == []


def know_since(database: Database, moment: datetime) -> None:
    """Have the mirror know when Stash created the names that it has."""
    with database.transaction() as session:
        for model in (Tag, Performer, Studio):
            session.execute(update(model).values(stash_created_at=moment))


def restored_stash(**others: str) -> FakeStash:
    """Return a Stash in which the ids of the names belong to others.

    `others` are the names that it has besides: kind → name, each with the id 9.
    """
    stash = FakeStash(scenes=[1])
    facts = {"created_at": "2026-06-02T00:00:00Z"}
    for kind, id_, name in (
        ("tag", 1, "Indoor"),
        ("performer", 2, "Bob"),
        ("studio", 3, "Silver Hour"),
    ):
        add = getattr(stash, f"add_{kind}")
        add(name, id=id_, **facts)
        if kind in others:
            add(others[kind], id=9, **facts)
    return stash


KNOWN_SINCE = datetime(2026, 6, 1, tzinfo=UTC)
NAMED = (OUTDOOR, JADE, GOLDEN, MARKER)


def test_what_has_the_id_by_now_is_not_what_was_approved(mirror: Database) -> None:
    """A restored Stash gives ids again: nothing of another name gets into the scene.

    A tag is created anew; a performer or a studio never is without a stash-box.
    """
    know_since(mirror, KNOWN_SINCE)
    stash = restored_stash()
    plan_id = plan_of(mirror, {1: NAMED})

    result = apply(stash, mirror, plan_id)

    (created,) = (tag.id for tag in stash.tag_rows.values() if tag.name == "Outdoor")
    scene = stash.scene_rows[1]
    assert (result.applied, result.to_retry) == (2, 2)
    assert [tag.id for tag in scene.tags] == [created]
    assert [marker.primary_tag.id for marker in scene.scene_markers] == [created]
    assert (scene.performers, scene.studio) == ((), None)
    reasons = {error.item: error.reason for error in result.errors}
    assert "no longer has the performer 'Jade Kush'" in reasons["scene 1, performers"]
    assert "no longer has the studio 'Golden Hour'" in reasons["scene 1, studio"]


def test_what_has_the_name_by_now_is_what_was_approved(mirror: Database) -> None:
    """Whatever its id is: the name is what a person has seen."""
    know_since(mirror, KNOWN_SINCE)
    stash = restored_stash(tag="outdoor", performer="Jade Kush", studio="Golden Hour")
    plan_id = plan_of(mirror, {1: NAMED})

    result = apply(stash, mirror, plan_id)

    scene = stash.scene_rows[1]
    assert (result.applied, result.errors) == (4, ())
    assert scene.tags == scene.performers == (Ref(id=9),)
    assert scene.studio == scene.scene_markers[0].primary_tag == Ref(id=9)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "not known"])
def test_what_was_renamed_since_is_what_was_approved(
    mirror: Database, is_known: bool
) -> None:
    """It was created when the approved one was, as far as that is known."""
    if is_known:
        know_since(mirror, KNOWN_SINCE)
    stash = FakeStash(scenes=[1])
    facts = {"created_at": "2026-06-01T02:00:00+02:00"}
    stash.add_tag("Outside", id=1, **facts)
    stash.add_performer("Jade", id=2, **facts)
    stash.add_studio("Gold", id=3, **facts)
    plan_id = plan_of(mirror, {1: NAMED})

    assert apply(stash, mirror, plan_id).applied == 4

    scene = stash.scene_rows[1]
    assert (scene.tags, scene.performers) == ((Ref(id=1),), (Ref(id=2),))
    assert scene.studio == Ref(id=3)


def test_one_of_several_performers_of_a_name_is_not_guessed(mirror: Database) -> None:
    """A person has to look, and the change waits."""
    know_since(mirror, KNOWN_SINCE)
    stash = restored_stash(performer="Jade Kush")
    stash.add_performer("Jade Kush", id=10, disambiguation="the other")
    plan_id = plan_of(mirror, {1: [JADE]})

    result = apply(stash, mirror, plan_id)

    assert result.to_retry == 1
    assert "Stash has 2 performers called 'Jade Kush'" in result.errors[0].reason
    assert stash.scene_rows[1].performers == ()


def test_a_value_that_a_reviewer_has_chosen_is_not_a_later_one(
    mirror: Database,
) -> None:
    """Its time is that of the chosen one, also after the mirror has lost it."""
    know_since(mirror, KNOWN_SINCE)
    plan_id = plan_of(mirror, {1: [FRESH]}, state="pending")
    with mirror.transaction() as session:
        replace_value(session, plan_id, Selection(), "Open Air")
        approve(session, plan_id, Selection())
    with mirror.transaction() as session:
        session.get_one(Tag, 1).name = "Indoor"
    stash = restored_stash()

    apply(stash, mirror, plan_id)

    tags = {stash.tag_rows[tag.id].name for tag in stash.scene_rows[1].tags}
    assert tags == {"Outdoor"}
