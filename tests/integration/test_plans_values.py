"""A plan by value, and the counts that are kept with its changes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from stashhog_core.db.models import (
    AnalysisPlan,
    PlanChange,
    ReviewMemory,
    Tag,
    ValueCount,
)
from stashhog_core.db.session import Database
from stashhog_core.plans.decisions import decide_on, edit, take_back
from stashhog_core.plans.proposals import (
    Proposal,
    add_marker,
    add_member,
    set_text,
)
from stashhog_core.plans.records import record
from stashhog_core.plans.review import open_plan, replace_value
from stashhog_core.plans.selection import ALL_CHANGES, Selection
from stashhog_core.plans.three_way import ChangeResult
from stashhog_core.plans.values import ValueGroup, values_page
from tests.support.plans import add_scenes, plan_of
from tests.support.statements import statements

NAMES = ("Dawn", "Full Moon", " 1 2 ", "café")
COUNTED = text(
    "SELECT plan_id, field, action, group_key, name, detector, state, sum(changes) "
    "FROM value_count GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(changes) <> 0"
)
THERE = text(
    "SELECT plan_id, field, action, group_key, coalesce(proposed->>'name', "
    "proposed->>'title', ''), detector, state, count(*) "
    "FROM plan_change GROUP BY 1, 2, 3, 4, 5, 6, 7"
)


def proposals(scene_id: int) -> list[Proposal]:
    return [
        *(
            add_member("tags", None, name, 0.5 + place / 10, detector, {"second": 2.0})
            for place, (name, detector) in enumerate(
                zip(NAMES[: scene_id + 1], ("reader", "seer") * 2, strict=False)
            )
        ),
        add_marker(None, "Dawn", 1.0, None, 0.9, "seer", {}),
        add_marker(None, "dawn", 7.0, None, 0.6, "seer", {}),
        set_text("title", "", f"Title {scene_id}", 0.8, "reader", {"rule": "r"}),
    ]


@pytest.fixture
def plan(database: Database) -> int:
    """A plan for three scenes: tags of two detectors, markers and titles."""
    add_scenes(database)
    return plan_of(database, {id_: proposals(id_) for id_ in (1, 2, 3)}, "pending")


def assert_counted(database: Database) -> None:
    with database.transaction() as session:
        kept, there = (
            sorted(map(tuple, session.execute(query))) for query in (COUNTED, THERE)
        )
        assert kept == there


def groups(
    session: Session, plan_id: int, selection: Selection = ALL_CHANGES, size: int = 60
) -> Iterator[ValueGroup]:
    after: str | None = None
    while True:
        page = values_page(session, plan_id, selection, after, size)
        yield from page.rows
        after = page.after
        if after is None:
            return


Step = Literal["accept", "reject", "replace", "edit", "remove", "take back"]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["accept", "reject"]), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["replace", "edit", "remove", "take back"]), st.none()),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=8))
def test_the_counts_are_those_of_the_changes(
    database: Database, steps: list[tuple[Step, str | None]]
) -> None:
    """Whatever writes changes: detection, decisions, edits, and taking these back."""
    with database.transaction() as session:
        session.execute(delete(AnalysisPlan))
        session.execute(delete(ReviewMemory))
        session.merge(Tag(id=2, name="Beach"))
    plan_id = plan_of(database, {id_: proposals(id_) for id_ in (1, 2)}, "pending")
    assert_counted(database)
    for step, name in steps:
        with database.transaction() as session:
            act(session, plan_id, step, name)
        assert_counted(database)


def act(session: Session, plan_id: int, step: Step, name: str | None) -> None:
    ids = session.scalars(select(PlanChange.id).order_by(PlanChange.id)).all()
    plan = session.get_one(AnalysisPlan, plan_id)
    if plan.state not in ("draft", "reviewing"):
        return
    if step == "accept" or step == "reject":
        decide_on(session, plan_id, step, Selection(value=name))
    elif step == "replace":
        replace_value(session, plan_id, Selection(change_ids=ids[:2]), "Beach")
    elif step == "edit":
        title = select(PlanChange.id).where(
            PlanChange.field == "title", PlanChange.state == "pending"
        )
        if (found := session.scalar(title.limit(1))) is not None:
            edit(session, plan_id, found, "Another")
    elif step == "remove":
        session.execute(delete(PlanChange).where(PlanChange.id == ids[-1]))
    elif session.scalar(
        text("SELECT count(*) FROM review_decision WHERE taken_back_at IS NULL")
    ):
        take_back(session, plan_id)


@pytest.mark.parametrize(
    "selection",
    [
        ALL_CHANGES,
        Selection(field="tags"),
        Selection(value="DAWN"),
        Selection(field="markers", value="dawn"),
        Selection(detector="seer"),
        Selection(states=["rejected"]),
        Selection(field="tags", detector="reader", states=["pending", "approved"]),
        Selection(value=""),
        Selection(detector="nobody"),
    ],
    ids=lambda selection: selection.in_words or "all",
)
def test_kept_counts_say_what_counting_says(
    database: Database, plan: int, selection: Selection
) -> None:
    """A filter shows the same groups, whether the counts know it or not."""
    with database.transaction() as session:
        decide_on(session, plan, "reject", Selection(value="dawn", scene_ids=[2]))
        decide_on(session, plan, "accept", Selection(field="title", scene_ids=[1]))
        kept = list(groups(session, plan, selection))
        anew = list(groups(session, plan, replace(selection, confidence_from=0.0)))

    assert selection.counted is not None
    assert kept == anew


@pytest.mark.parametrize("size", [1, 2, 3, 60])
def test_each_value_comes_once_and_the_most_frequent_first(
    database: Database, plan: int, size: int
) -> None:
    """Whatever the size of a page, and with blanks in names and texts without one."""
    with database.transaction() as session:
        found = list(groups(session, plan, size=size))

    numbers = [group.changes for group in found]
    assert numbers == sorted(numbers, reverse=True)
    assert len(found) == 6
    assert {(group.field, group.name): group.changes for group in found} == {
        ("markers", "Dawn"): 6,
        ("tags", "Dawn"): 3,
        ("tags", "Full Moon"): 3,
        ("tags", " 1 2 "): 2,
        ("tags", "café"): 1,
        ("title", ""): 3,
    }


def test_a_page_reads_as_few_changes_of_a_long_plan(database: Database) -> None:
    """The changes of a value are read by an index: those with a picture, no more."""
    add_scenes(database)
    with database.transaction() as session:
        plan = AnalysisPlan(name="long", state="draft")
        session.add(plan)
        session.flush()
        session.execute(
            text(
                "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, "
                "proposed, confidence, detector) SELECT :plan, n, 'tags', 'add', "
                "'tag ' || n % 3, jsonb_build_object('id', null, 'name', 'Tag ' || "
                "n % 3), n % 7 / 10.0, 'reader' FROM generate_series(1, 6000) n"
            ),
            {"plan": plan.id},
        )
        plan_id = plan.id
    with database.connect() as connection:
        connection.execute("VACUUM ANALYZE plan_change")

    with database.transaction() as session:
        session.connection()
        with statements() as sent:
            page = values_page(session, plan_id)
        cursor = session.connection().connection.cursor()
        read = 0
        for statement, values in sent:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
            row: Any = cursor.fetchone()
            read += sum(rows_read(row[0][0]["Plan"]))

    assert [group.changes for group in page.rows] == [2000, 2000, 2000]
    assert 0 < read <= 3 * (6 + 1)


def rows_read(node: dict[str, Any]) -> Iterator[float]:
    if node.get("Relation Name") == "plan_change":
        left_out = node.get("Rows Removed by Filter", 0)
        yield (node["Actual Rows"] + left_out) * node["Actual Loops"]
    for below in node.get("Plans", ()):
        yield from rows_read(below)


def test_many_decisions_on_a_value_leave_few_rows(
    database: Database, plan: int
) -> None:
    """The rows that count a value are folded now and then."""
    for number in range(200):
        state = "rejected" if number % 2 else "approved"
        with database.transaction() as session:
            session.execute(
                update(PlanChange)
                .where(PlanChange.field == "title", PlanChange.scene_id == 1)
                .values(state=state)
            )
    with database.transaction() as session:
        rows = session.scalars(select(ValueCount.id)).all()

    assert len(rows) < 100
    assert_counted(database)


def test_a_run_that_applies_does_not_wait_for_a_reviewer(
    database: Database, plan: int
) -> None:
    """A reviewer holds the plan while deciding; to count keeps nobody waiting."""
    with database.transaction() as reviewer:
        open_plan(reviewer, plan)
        decide_on(reviewer, plan, "accept", Selection(field="tags"))
        with database.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            title = session.scalars(
                select(PlanChange.id).where(PlanChange.field == "title").limit(1)
            ).one()
            record(session, [ChangeResult(title, "applied", None, None)])
    assert_counted(database)


def test_a_plan_takes_its_counts_along(database: Database, plan: int) -> None:
    """A plan that is removed leaves no counts."""
    with database.transaction() as session:
        session.execute(delete(AnalysisPlan))
    with database.transaction() as session:
        assert session.scalars(select(ValueCount)).all() == []
