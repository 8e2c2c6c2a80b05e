"""Taking back what reviewers decided, on real PostgreSQL."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from stashhog_core.db.models import AnalysisPlan, PlanChange, ReviewDecision
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import ReviewPlanParams
from stashhog_core.plans.decisions import (
    decide,
    decide_on,
    decide_seen,
    edit,
    take_back,
)
from stashhog_core.plans.export import import_plan
from stashhog_core.plans.plans import plan_changes
from stashhog_core.plans.proposals import Proposal, add_member, set_text
from stashhog_core.plans.records import begin_applying
from stashhog_core.plans.selection import ALL_CHANGES, Selection
from stashhog_core.results import ReviewResult
from tests.conftest import UsedDatabase
from tests.support.plans import add_scenes
from tests.support.statements import answers


@pytest.fixture
def plan(database: Database) -> int:
    """A plan that adds two tags to three scenes and sets two titles."""
    add_scenes(database)
    return add_plan(database)


def add_plan(database: Database) -> int:
    proposals: list[tuple[int, Proposal]] = [
        (scene_id, add_member("tags", None, name, 0.8, "reader", {"rule": "seen"}))
        for scene_id in (1, 2, 3)
        for name in ("Dawn", "Dusk")
    ]
    proposals += [
        (scene_id, set_text("title", "", f"Title {scene_id}", 0.9, "reader", {}))
        for scene_id in (1, 2)
    ]
    with database.transaction() as session:
        plan = AnalysisPlan(name="Plan", state="draft")
        session.add(plan)
        session.flush()
        session.add_all(
            PlanChange(plan_id=plan.id, scene_id=scene_id, **proposal.row)
            for scene_id, proposal in proposals
        )
        return plan.id


def everything(database: Database) -> list[Any]:
    """Return all that a decision may change."""
    with database.transaction() as session:
        return [
            sorted(map(tuple, session.execute(text(query))), key=str)
            for query in (
                "SELECT id, state FROM analysis_plan",
                "SELECT id, state, approved_by, attempts, value_key, proposed::text, "
                "evidence::text FROM plan_change",
                "SELECT scene_id, field, value_key, detector FROM review_memory",
                "SELECT group_key, state, sum(changes) FROM value_count GROUP BY 1, 2 "
                "HAVING sum(changes) <> 0",
            )
        ]


def test_a_decision_is_taken_back_exactly(database: Database, plan: int) -> None:
    """Also that of the whole plan, which a rejection of everything closes."""
    before = everything(database)

    for selection in (ALL_CHANGES, Selection(value="dawn"), Selection(scene_ids=[1])):
        for decision in ("accept", "reject"):
            with database.transaction() as session:
                done = decide_on(session, plan, decision, selection)
            assert everything(database) != before
            with database.transaction() as session:
                back = take_back(session, plan, done.decision_id)
            assert (back.restored, back.left_alone) == (done.decided, {})
            assert everything(database) == before


def test_no_change_of_a_plan_is_read_to_decide_on_all(
    database: Database, plan: int
) -> None:
    """The memory that a decision takes does not grow with the plan."""
    chosen = {"plan_id": plan, "selection": ALL_CHANGES, "again": True}
    back = partial(take_back, plan_id=plan)
    work: list[Callable[[Session], object]] = [
        *(partial(decide_on, decision="accept", **chosen), back),
        *(partial(decide_on, decision="reject", **chosen), back),
        partial(
            begin_applying,
            plan_id=plan,
            change_ids=None,
            auto_approve=True,
            retry=False,
        ),
    ]
    for act in work:
        with answers() as sent, database.transaction() as session:
            act(session)
        assert any("UPDATE plan_change" in query for query, _ in sent)
        assert max(rows for _, rows in sent) < len(everything(database)[1]) / 2


def test_the_newest_decision_goes_first(database: Database, plan: int) -> None:
    """Any number of steps, until there is none left."""
    states = [everything(database)]
    for value in ("dawn", "dusk"):
        with database.transaction() as session:
            decide_on(session, plan, "accept", Selection(value=value))
        states.append(everything(database))

    for expected in reversed(states[:-1]):
        with database.transaction() as session:
            take_back(session, plan)
        assert everything(database) == expected
    with (
        pytest.raises(JobError, match="no decision that can be taken back"),
        database.transaction() as session,
    ):
        take_back(session, plan)


def test_what_was_decided_later_stays(database: Database, plan: int) -> None:
    """Taking back an earlier decision overwrites nobody's later one."""
    with database.transaction() as session:
        first = decide_on(session, plan, "accept", Selection(value="dawn"))
        later = Selection(value="dawn", scene_ids=[2])
        decide_on(session, plan, "reject", later, again=True)

    with database.transaction() as session:
        back = take_back(session, plan, first.decision_id)
        states = {
            change.scene_id: change.state
            for change in plan_changes(session, plan, Selection(value="dawn"))
        }

    assert (back.restored, back.left_alone) == (2, {"rejected": 1})
    assert states == {1: "pending", 2: "rejected", 3: "pending"}
    with (
        pytest.raises(JobError, match="taken back before"),
        database.transaction() as session,
    ):
        take_back(session, plan, first.decision_id)


def test_what_a_run_is_sending_stays(database: Database, plan: int) -> None:
    """A change that was applied, or may have been, is undone and not taken back."""
    with database.transaction() as session:
        done = decide_on(session, plan, "accept", Selection(value="dawn"))
        sent, applied, _ = plan_changes(session, plan, Selection(value="dawn"))
        session.get_one(PlanChange, sent.id).effect = {"intended": True}
        session.get_one(PlanChange, applied.id).state = "applied"

    with database.transaction() as session:
        back = take_back(session, plan, done.decision_id)

    assert (back.restored, back.left_alone) == (1, {"applied": 1, "being applied": 1})


def test_a_closed_plan_stays_closed(database: Database, plan: int) -> None:
    """Unless the decision itself has closed the plan."""
    with database.transaction() as session:
        first = decide_on(session, plan, "accept", ALL_CHANGES)
        closing = decide(session, ReviewPlanParams(plan_id=plan, decision="cancel"))

    with (
        pytest.raises(JobError, match="is cancelled: no decision on it"),
        database.transaction() as session,
    ):
        take_back(session, plan, first.decision_id)
    with database.transaction() as session:
        take_back(session, plan, closing.decision_id)
        assert session.get_one(AnalysisPlan, plan).state == "reviewing"


def test_nothing_is_recorded_where_nothing_changed(
    database: Database, plan: int
) -> None:
    """The newest decision is one that a reviewer remembers."""
    with database.transaction() as session:
        decide_on(session, plan, "accept", ALL_CHANGES)
        again = decide_on(session, plan, "accept", ALL_CHANGES)
        shown = decide(session, ReviewPlanParams(plan_id=plan))
        recorded = session.scalars(select(ReviewDecision.what)).all()

    assert (again.decision_id, shown.decision_id) == (None, None)
    assert recorded == ["accept all changes"]


def test_a_change_that_was_decided_meanwhile_is_left_alone(
    database: Database, plan: int
) -> None:
    """A reviewer decides on what the reviewer sees, and hears what is different now."""
    with database.transaction() as session:
        first, second, *_ = plan_changes(session, plan)
        decide_on(session, plan, "reject", Selection(change_ids=[first.id]))

    seen = {first.id: "pending", second.id: "pending"}
    with database.transaction() as session:
        outcome = decide_seen(session, plan, "accept", seen)
        none = decide_seen(session, plan, "accept", seen)

    assert (outcome.decided, outcome.left_alone) == (1, {"rejected": 1})
    assert (none.decided, none.left_alone) == (0, {"approved": 1, "rejected": 1})
    assert none.decision_id is None
    with (
        pytest.raises(JobError, match="has no change 999"),
        database.transaction() as session,
    ):
        decide_seen(session, plan, "accept", {999: "pending"})


def replace_dawn(session: Any, plan: int) -> ReviewResult:
    return decide(
        session, ReviewPlanParams(plan_id=plan, value="Dawn", replace_by="Beach")
    )


def edit_title(session: Any, plan: int) -> ReviewResult:
    (change, *_) = plan_changes(session, plan, Selection(field="title"))
    return edit(session, plan, change.id, "Another title")


def import_file(session: Any, plan: int) -> Any:
    dawn, *_ = plan_changes(session, plan, Selection(value="dawn"))
    title, *_ = plan_changes(session, plan, Selection(field="title"))
    rows = f'[{{"id": {dawn.id}, "decision": "accept", "value": "Beach"}},'
    rows += f' {{"id": {title.id}, "decision": "reject"}}]'
    return import_plan(session, plan, rows, "json")


@pytest.mark.parametrize("act", [replace_dawn, edit_title, import_file])
def test_new_values_are_taken_back(
    database: Database, plan: int, act: Callable[[Any, int], Any]
) -> None:
    """The proposed values are the earlier ones again, and nothing stays rejected."""
    before = everything(database)
    with database.transaction() as session:
        done = act(session, plan)
    assert everything(database) != before

    with database.transaction() as session:
        take_back(session, plan, done.decision_id)

    assert everything(database) == before


ACTS = st.one_of(
    st.builds(
        lambda decision, again, where: {"decision": decision, "again": again, **where},
        st.sampled_from(["accept", "reject", "cancel"]),
        st.booleans(),
        st.sampled_from(
            [{}, {"value": "Dawn"}, {"value": "Dusk"}, {"field": "tags"}]
            + [{"scene_ids": [number]} for number in (1, 2, 3)]
        ),
    ),
    st.builds(
        lambda value, by: {"value": value, "replace_by": by, "decision": "accept"},
        st.sampled_from(["Dawn", "Dusk", "Beach"]),
        st.sampled_from(["Beach", "Outdoor"]),
    ),
)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, min_size=1, max_size=6))
def test_all_decisions_are_taken_back_in_turn(
    used_database: UsedDatabase, database: Database, acts: list[dict[str, Any]]
) -> None:
    """Each step backwards is exactly what was before the step forwards."""
    used_database.remove_rows()
    add_scenes(database)
    plan = add_plan(database)
    states = []
    for act in acts:
        before = everything(database)
        try:
            with database.transaction() as session:
                done = decide(session, ReviewPlanParams(plan_id=plan, **act))
        except JobError:
            assert everything(database) == before
            continue
        if done.decision_id is not None:
            states.append(before)

    for expected in reversed(states):
        with database.transaction() as session:
            take_back(session, plan)
        assert everything(database) == expected
