"""Changes in conflict: what Stash has, and the choice between the two values."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene, Studio
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import ApplyPlanParams, ReviewPlanParams, UndoParams
from stashhog_core.plans.apply import apply_plan
from stashhog_core.plans.conflicts import key_of, text_of, values_in_stash
from stashhog_core.plans.decisions import decide, decide_seen, edit, take_back
from stashhog_core.plans.proposals import TextValue, add_member, set_studio, set_text
from stashhog_core.plans.rejections import rejected_before
from stashhog_core.plans.undo import undo
from stashhog_core.progress import Progress
from stashhog_core.results import ApplyResult, ReviewResult
from stashhog_core.stash.payloads import Ref
from tests.conftest import UsedDatabase
from tests.support.fake_stash import FakeStash
from tests.support.plans import plan_of

PROPOSED = (
    set_text("title", "Old", "New", 0.9, "reader", {"rule": "seen"}),
    set_studio(3, "Golden Hour", 0.9, "reader", {"rule": "seen"}),
    set_text("details", "", "Fine.", 0.9, "reader", {"rule": "seen"}),
    add_member("tags", None, "Dawn", 0.9, "reader", {"rule": "seen"}),
)
TITLE, STUDIO, DETAILS, TAG = range(4)


@pytest.fixture
def stash() -> FakeStash:
    """A Stash in which somebody has changed three fields since the proposal."""
    stash = FakeStash(scenes=(1,))
    stash.add_studio("Golden Hour", id=3)
    stash.add_studio("Silver Hour", id=8)
    stash.edit(1, title="Mine", studio=Ref(id=8), details="")
    return stash


@pytest.fixture
def plan(database: Database, stash: FakeStash) -> int:
    """An applied plan: its title and studio are in conflict, the rest is in Stash."""
    with database.transaction() as session:
        session.add_all(
            [
                Studio(id=3, name="Golden Hour"),
                Studio(id=8, name="Silver Hour"),
                Scene(id=1, title="Old"),
            ]
        )
    plan_id = plan_of(database, {1: PROPOSED})
    apply(stash, database, plan_id)
    return plan_id


def apply(stash: FakeStash, database: Database, plan_id: int) -> ApplyResult:
    return apply_plan(
        stash,
        database,
        ApplyPlanParams(plan_id=plan_id),
        Progress(),
        create_missing_tags=True,
    )


def ids(database: Database) -> list[int]:
    with database.transaction() as session:
        return list(session.scalars(select(PlanChange.id).order_by(PlanChange.id)))


def states(database: Database, plan_id: int) -> tuple[str, list[str]]:
    with database.transaction() as session:
        query = select(PlanChange.state).order_by(PlanChange.id)
        state = session.get_one(AnalysisPlan, plan_id).state
        return state, list(session.scalars(query))


def in_stash(database: Database, plan_id: int) -> list[str]:
    with database.transaction() as session:
        found = values_in_stash(session, plan_id)
        return [text_of(found[id_]) for id_ in sorted(found)]


def accept_seen(
    database: Database, plan_id: int, change_ids: Sequence[int]
) -> ReviewResult:
    """Accept changes in conflict as a page does that shows what Stash has."""
    with database.transaction() as session:
        found = values_in_stash(session, plan_id)
        return decide_seen(
            session,
            plan_id,
            "accept",
            dict.fromkeys(change_ids, "conflict"),
            {id_: key_of(found.get(id_)) for id_ in change_ids},
        )


def everything(database: Database) -> list[Any]:
    """Return all that a decision may change."""
    with database.transaction() as session:
        return [
            sorted(map(tuple, session.execute(text(query))), key=str)
            for query in (
                "SELECT id, state, applied_at FROM analysis_plan",
                "SELECT id, state, approved_by, attempts, value_key, proposed::text, "
                "evidence::text, coalesce(base, 'null')::text, error, "
                "coalesce(effect, 'null')::text FROM plan_change",
                "SELECT scene_id, field, value_key, detector FROM review_memory",
            )
        ]


def test_the_value_that_was_found_is_shown(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """Before a sync that which applying met; after a sync that of the mirror."""
    before = in_stash(database, plan)
    with database.transaction() as session:
        scene = session.get_one(Scene, 1)
        scene.title = "Another"

    assert states(database, plan) == (
        "applied",
        ["conflict", "conflict", "applied", "applied"],
    )
    assert before == ["Mine", "Silver Hour"]
    assert in_stash(database, plan) == ["Another", "Silver Hour"]
    assert stash.scene_rows[1].title == "Mine"


def test_the_proposal_goes_over_the_value_in_stash(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """The plan is open again until it is applied; undoing brings back Stash's value."""
    title, studio, *_ = ids(database)
    done = accept_seen(database, plan, [title, studio])
    opened = states(database, plan)
    result = apply(stash, database, plan)
    scene = stash.scene_rows[1]

    assert (done.decided, done.overruled, done.plan_state) == (2, 0, "reviewing")
    assert opened[1][:2] == ["approved", "approved"]
    assert (result.applied, result.conflicts) == (2, 0)
    assert (scene.title, scene.studio) == ("New", Ref(id=3))
    assert states(database, plan) == ("applied", ["applied"] * 4)

    undo(stash, database, UndoParams(change_ids=(title, studio)), Progress())

    scene = stash.scene_rows[1]
    assert (scene.title, scene.studio) == ("Mine", Ref(id=8))


def test_a_value_that_was_not_shown_is_not_overwritten(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """Neither one of the mirror by now, nor one that Stash has got since."""
    title = ids(database)[TITLE]
    with database.transaction() as session:
        session.get_one(Scene, 1).title = "Another"
        late = decide_seen(
            session,
            plan,
            "accept",
            {title: "conflict"},
            {title: TextValue("Mine").key},
        )
    without = accept_without_value(database, plan, title)

    assert late.left_alone == without.left_alone == {"conflict": 1}
    assert states(database, plan)[1][TITLE] == "conflict"

    accept_seen(database, plan, [title])
    stash.edit(1, title="The newest")
    result = apply(stash, database, plan)

    assert (result.applied, result.conflicts) == (0, 1)
    assert stash.scene_rows[1].title == "The newest"
    assert states(database, plan)[0] == "applied"


def accept_without_value(database: Database, plan_id: int, id_: int) -> ReviewResult:
    with database.transaction() as session:
        return decide_seen(session, plan_id, "accept", {id_: "conflict"})


def test_a_conflict_found_again_shows_the_newer_value(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """So that the next choice is between values that are there."""
    title = ids(database)[TITLE]
    accept_seen(database, plan, [title])
    stash.edit(1, title="The newest")
    apply(stash, database, plan)
    with database.transaction() as session:
        # As a sync of the earlier value has left it.
        session.get_one(Scene, 1).title = "Mine"

    assert in_stash(database, plan)[0] == "The newest"

    accept_seen(database, plan, [title])
    apply(stash, database, plan)

    assert stash.scene_rows[1].title == "New"


def test_rejecting_keeps_the_value_in_stash(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """The plan stays applied, and the value is not proposed again."""
    title, studio, *_ = ids(database)
    with database.transaction() as session:
        done = decide_seen(
            session, plan, "reject", {title: "conflict", studio: "conflict"}
        )

    assert (done.decided, done.overruled, done.plan_state) == (2, 0, "applied")
    assert apply(stash, database, plan).applied == 0
    assert stash.scene_rows[1].title == "Mine"
    with database.transaction() as session:
        fields = {row[1] for row in rejected_before(session, [1])}
    assert fields == {"title", "studio"}


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_bulk_decisions_leave_conflicts_alone(
    database: Database, plan: int, decision: str
) -> None:
    """A conflict is decided by itself: its two values have to be compared."""
    before = everything(database)
    with database.transaction() as session:
        done = decide(session, ReviewPlanParams(plan_id=plan, decision=decision))

    assert done.decided == 0
    assert done.left_alone["conflict"] == 2
    assert everything(database) == before


def test_a_choice_is_taken_back_exactly(database: Database, plan: int) -> None:
    """Each by itself, in any order, and both at once."""
    title, studio, *_ = ids(database)
    before = everything(database)
    for change_ids in ([title], [title, studio]):
        done = accept_seen(database, plan, change_ids)
        assert everything(database) != before
        with database.transaction() as session:
            take_back(session, plan, done.decision_id)
        assert everything(database) == before

    first = accept_seen(database, plan, [title])
    second = accept_seen(database, plan, [studio])
    for done in (first, second):
        with database.transaction() as session:
            take_back(session, plan, done.decision_id)
    assert everything(database) == before


def test_what_was_applied_since_is_not_taken_back(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """Undo takes it out of Stash; a decision alone would hide that it is there."""
    done = accept_seen(database, plan, [ids(database)[TITLE]])
    apply(stash, database, plan)

    with (
        pytest.raises(JobError, match="is applied"),
        database.transaction() as session,
    ):
        take_back(session, plan, done.decision_id)


def test_another_value_is_put_over_that_in_stash(
    database: Database, stash: FakeStash, plan: int
) -> None:
    """Texts are edited and studios replaced first; then they are accepted."""
    title, studio, *_ = ids(database)
    before = everything(database)
    with database.transaction() as session:
        edited = edit(session, plan, title, "Better")
        other = ReviewPlanParams(
            plan_id=plan, change_ids=(studio,), replace_by="Silver Hour"
        )
        replaced = decide(session, other)
    assert states(database, plan)[1][:2] == ["conflict", "conflict"]

    accept_seen(database, plan, [title, studio])
    apply(stash, database, plan)

    assert stash.scene_rows[1].title == "Better"
    assert stash.scene_rows[1].studio == Ref(id=8)
    assert (edited.replaced, replaced.replaced) == (1, 1)
    assert everything(database) != before


def test_the_form_and_the_terminal_name_the_value(
    database: Database, plan: int
) -> None:
    """`over` is what Stash has; any other value is refused, and said what Stash has."""
    title, studio, rejected, _ = ids(database)
    with database.transaction() as session:
        session.get_one(PlanChange, rejected).state = "rejected"

    def ask(**values: Any) -> ReviewResult:
        with database.transaction() as session:
            params = {"plan_id": plan, "decision": "accept", **values}
            return decide(session, ReviewPlanParams(**params))

    with pytest.raises(JobError, match=r"'Guessed'.*Stash now has 'Mine'"):
        ask(change_ids=(title,), over="Guessed")
    with pytest.raises(JobError, match="No selected change of plan 1 is in conflict"):
        ask(change_ids=(rejected,), over="Mine")
    with pytest.raises(JobError, match="Only accepting"):
        ask(change_ids=(title,), decision="reject", over="Mine")

    done = ask(over="Mine")
    again = ask(change_ids=(title,), over="Mine")

    assert (done.decided, again.decided, again.already) == (1, 0, 1)
    assert states(database, plan)[1][:2] == ["approved", "conflict"]
    with pytest.raises(JobError, match="cannot be cancelled"):
        ask(decision="cancel")
    assert ask(change_ids=(studio,), over="Silver Hour").decided == 1


def test_a_plan_without_conflicts_stays_closed(database: Database, plan: int) -> None:
    """An applied plan opens for its conflicts only."""
    with database.transaction() as session:
        for id_ in ids(database)[:2]:
            decide_seen(session, plan, "reject", {id_: "conflict"})
    with (
        pytest.raises(JobError, match="is applied and cannot be reviewed"),
        database.transaction() as session,
    ):
        decide_seen(session, plan, "accept", {ids(database)[TITLE]: "rejected"})


ACTS: st.SearchStrategy[Callable[[Database, int], Any]] = st.sampled_from(
    [
        lambda database, plan: accept_seen(database, plan, ids(database)[:1]),
        lambda database, plan: accept_seen(database, plan, ids(database)[:2]),
        lambda database, plan: _act(database, plan, decision="accept", over="Mine"),
        lambda database, plan: _act(database, plan, decision="reject", again=True),
        lambda database, plan: _act(database, plan, decision="accept", again=True),
        lambda database, plan: _act(
            database,
            plan,
            field="studio",
            value="Golden Hour",
            replace_by="Silver Hour",
        ),
        lambda database, plan: _edit(database, plan),
    ]
)


def _act(database: Database, plan_id: int, **values: Any) -> ReviewResult:
    with database.transaction() as session:
        return decide(session, ReviewPlanParams(plan_id=plan_id, **values))


def _edit(database: Database, plan_id: int) -> ReviewResult:
    with database.transaction() as session:
        first = select(PlanChange.id).order_by(PlanChange.id)
        change_id = session.scalars(first.limit(1)).one()
        return edit(session, plan_id, change_id, "Edited")


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, min_size=1, max_size=5))
def test_all_choices_are_taken_back_in_turn(
    used_database: UsedDatabase,
    database: Database,
    acts: list[Callable[[Database, int], Any]],
) -> None:
    """Each step backwards is exactly what was before the step forwards."""
    used_database.remove_rows()
    with database.transaction() as session:
        session.add_all([Studio(id=3, name="Golden Hour")])
        session.add_all([Studio(id=8, name="Silver Hour"), Scene(id=1, title="Old")])
    stash = FakeStash(scenes=(1,))
    stash.edit(1, title="Mine", studio=Ref(id=8))
    plan_id = plan_of(database, {1: PROPOSED})
    apply(stash, database, plan_id)
    history = []
    for act in acts:
        before = everything(database)
        try:
            done = act(database, plan_id)
        except JobError:
            assert everything(database) == before
            continue
        if done.decision_id is not None:
            history.append(before)

    for expected in reversed(history):
        with database.transaction() as session:
            take_back(session, plan_id)
        assert everything(database) == expected
