"""Deciding on proposals, on real PostgreSQL."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text, update

from stashhog_core.db.models import (
    AnalysisPlan,
    PlanChange,
    ReviewMemory,
)
from stashhog_core.db.session import Database, driver_connection
from stashhog_core.detection.readers import StashNames
from stashhog_core.detection.scene_facts import SceneFacts
from stashhog_core.errors import (
    JobError,
)
from stashhog_core.plans.plans import attention_needed, plan_changes
from stashhog_core.plans.proposals import RIVALS, Proposal, add_member
from stashhog_core.plans.records import applicable_plans
from stashhog_core.plans.rejections import remember_rejected
from stashhog_core.plans.review import (
    ReviewOutcome,
    approve,
    reject,
)
from stashhog_core.plans.selection import Selection
from stashhog_core.plans.summaries import list_plans
from stashhog_core.plans.writer import PlanOptions, PlanWriter
from stashhog_core.results import ONE_OF_SEVERAL
from tests.support.plans import (
    VIDEO_ONLY,
    Reader,
    add_scenes,
    changes,
    count,
    run,
)


@pytest.fixture
def scenes(database: Database) -> Database:
    add_scenes(database)
    return database


def test_review_moves_the_plan(scenes: Database) -> None:
    """Deciding makes a draft a plan in review; rejecting all cancels it."""
    plan_id = run(scenes, Reader({1: ["Outdoor", "Beach"]}), **VIDEO_ONLY).plan_id

    with scenes.transaction() as session:
        approved = approve(session, plan_id, Selection(value="beach")).changed
        state = session.get_one(AnalysisPlan, plan_id).state
    with scenes.transaction() as session:
        rejected = reject(session, plan_id, Selection(), again=True).changed
    with scenes.transaction() as session:
        (plan,) = list_plans(driver_connection(session))

    assert (approved, state) == (1, "reviewing")
    assert (rejected, plan.state) == (2, "cancelled")
    with (
        pytest.raises(JobError, match="cancelled"),
        scenes.transaction() as session,
    ):
        approve(session, plan_id, Selection())


def test_plans_are_listed_by_their_time(database: Database) -> None:
    """Plans that were imported later than they were made hide no newer one."""
    with database.transaction() as session:
        for name, day in (("new", 3), ("older", 1), ("old", 2), ("as old", 2)):
            session.add(
                AnalysisPlan(name=name, created_at=datetime(2025, 1, day, tzinfo=UTC))
            )
            session.flush()
        connection = driver_connection(session)
        listed = [plan.name for plan in list_plans(connection)]
        newest = [plan.name for plan in list_plans(connection, limit=1)]

    assert listed == ["new", "as old", "old", "older"]
    assert newest == ["new"]


def test_review_of_nothing_is_refused(scenes: Database) -> None:
    """A wrong number is an error that says so."""
    with (
        pytest.raises(JobError, match="There is no plan 7"),
        scenes.transaction() as session,
    ):
        reject(session, 7, Selection())


def test_rejected_values_are_not_proposed_again(scenes: Database) -> None:
    """A no holds for that scene, value and detector; a later yes takes it back."""
    reader = Reader({1: ["Outdoor", "Beach"], 2: ["Outdoor"]})
    first = run(scenes, reader, **VIDEO_ONLY)
    with scenes.transaction() as session:
        rejected = reject(session, first.plan_id, Selection(value="OUTDOOR")).changed
    with scenes.transaction() as session:
        approve(session, first.plan_id, Selection(change_ids=[changed(scenes, 2)]))

    second = run(scenes, reader, run_id="2", scene_ids=(1, 2), **VIDEO_ONLY)

    assert rejected == 2
    assert count(scenes, ReviewMemory) == 1
    with scenes.transaction() as session:
        proposed = [
            (c.scene_id, c.in_words) for c in plan_changes(session, second.plan_id)
        ]
    assert proposed == [(1, "add tag Beach"), (2, "add tag Outdoor")]


def changed(database: Database, scene_id: int) -> int:
    with database.transaction() as session:
        return session.scalars(
            select(PlanChange.id).where(PlanChange.scene_id == scene_id)
        ).one()


@pytest.fixture
def plan_id(scenes: Database) -> int:
    """A plan that adds the tag Beach to three scenes."""
    reader = Reader({1: ["Beach"], 2: ["Beach"], 3: ["Beach"]})
    made = run(scenes, reader, scene_ids=(1, 2, 3), **VIDEO_ONLY).plan_id
    assert made is not None
    return made


def states(database: Database) -> list[str]:
    return [state for *_, state in changes(database)]


def test_bulk_acceptance_leaves_rejected_changes_alone(
    scenes: Database, plan_id: int
) -> None:
    """Exceptions are rejected first and the rest accepted: the exceptions stay.

    They stay remembered, too, until one is named by id or all are decided again.
    """
    ids = [changed(scenes, scene_id) for scene_id in (1, 2, 3)]
    with scenes.transaction() as session:
        reject(session, plan_id, Selection(change_ids=ids[:2]))
    with scenes.transaction() as session:
        accepted = approve(session, plan_id, Selection(value="Beach"))
    after_bulk = states(scenes), count(scenes, ReviewMemory)
    with scenes.transaction() as session:
        named = approve(session, plan_id, Selection(change_ids=ids[:1]))
    after_name = states(scenes), count(scenes, ReviewMemory)
    with scenes.transaction() as session:
        again = approve(session, plan_id, Selection(), again=True)

    assert accepted == ReviewOutcome(changed=1, left_alone={"rejected": 2})
    assert after_bulk == (["rejected", "rejected", "approved"], 2)
    assert named == ReviewOutcome(changed=1, overruled=1)
    assert after_name == (["approved", "rejected", "approved"], 1)
    assert again == ReviewOutcome(changed=1, overruled=1, already=2)
    assert (states(scenes), count(scenes, ReviewMemory)) == (["approved"] * 3, 0)


class AlmostAlike(Reader):
    """Takes every word for one that is spelled almost like another."""

    def propose(
        self, scene: SceneFacts, output: Mapping[str, Any], names: StashNames
    ) -> list[Proposal]:
        proposals = super().propose(scene, output, names)
        return [
            replace(each, evidence={**each.evidence, RIVALS: ["another"]})
            for each in proposals
        ]


def test_bulk_acceptance_does_not_choose_between_almost_alike_names(
    scenes: Database,
) -> None:
    """Only one of them is right: a name, or a change of it, has to be named.

    Until then the report of the run that proposed them says so.
    """
    made = run(scenes, AlmostAlike({1: ["Ines", "Inés"]}), run_id="1", **VIDEO_ONLY)
    assert made.plan_id is not None
    with scenes.transaction() as session:
        in_bulk = [
            approve(session, made.plan_id, Selection(**some), again=again)
            for some in ({}, {"field": "tags"}, {"scene_ids": [1]})
            for again in (False, True)
        ]
        (waiting,) = attention_needed(session, "1")
        of_other_run = attention_needed(session, "2")
        named = approve(session, made.plan_id, Selection(value="Inés"))
        refused = reject(session, made.plan_id, Selection())
        decided = attention_needed(session, "1")

    assert in_bulk == [ReviewOutcome(left_alone={ONE_OF_SEVERAL: 2})] * 6
    assert waiting.item == f"plan {made.plan_id}"
    assert waiting.reason.startswith("2 changes propose names that are spelled almost")
    assert (of_other_run, decided) == ([], [])
    assert named == ReviewOutcome(changed=1)
    assert refused == ReviewOutcome(changed=1, left_alone={"approved": 1})


@pytest.mark.parametrize("by", ["user", "auto", "trust"])
def test_bulk_rejection_leaves_approved_changes_alone(
    scenes: Database, plan_id: int, by: str
) -> None:
    """Whoever approved them; by id or again they are rejected."""
    ids = [changed(scenes, scene_id) for scene_id in (1, 2, 3)]
    with scenes.transaction() as session:
        approve(session, plan_id, Selection(change_ids=ids[:2]))
        session.execute(update(PlanChange).values(approved_by=by))
    with scenes.transaction() as session:
        rejected = reject(session, plan_id, Selection(detector="reader"))
    after_bulk = states(scenes)
    with scenes.transaction() as session:
        named = reject(session, plan_id, Selection(change_ids=ids[:1]))
    with scenes.transaction() as session:
        again = reject(session, plan_id, Selection(), again=True)

    assert rejected == ReviewOutcome(changed=1, left_alone={"approved": 2})
    assert after_bulk == ["approved", "approved", "rejected"]
    assert named == ReviewOutcome(changed=1, overruled=1)
    assert again == ReviewOutcome(changed=1, overruled=1, already=2)


def test_value_that_was_rejected_in_another_plan_is_not_accepted_in_bulk(
    scenes: Database, plan_id: int
) -> None:
    """A no holds for the scene and the value, not for one plan: bulk leaves it open.

    Nor does a plan with nothing else wait to be approved automatically.
    """
    key = ("tags", "beach", "reader")
    with scenes.transaction() as session:
        remember_rejected(session, [(scene_id, *key) for scene_id in (1, 2)])
    with scenes.transaction() as session:
        accepted = approve(session, plan_id, Selection())
    after_bulk = states(scenes)
    with scenes.transaction() as session:
        session.execute(text("DELETE FROM plan_change WHERE state = 'approved'"))
    with scenes.transaction() as session:
        waiting = applicable_plans(session, [], with_pending=True)
        approve(session, plan_id, Selection(change_ids=[changed(scenes, 1)]))

    assert accepted == ReviewOutcome(changed=1, left_alone={"rejected": 2})
    assert after_bulk == ["pending", "pending", "approved"]
    assert waiting == []
    assert states(scenes) == ["approved", "pending"]
    assert count(scenes, ReviewMemory) == 1


def test_value_that_is_rejected_during_analysis_is_not_proposed(
    scenes: Database,
) -> None:
    """The rejection counts until the moment that the proposal is stored."""

    def tag(name: str) -> Proposal:
        return add_member("tags", 1, name, 0.9, "reader", {"rule": "seen"})

    options = PlanOptions("Plan", "run", {}, auto_approve=True)
    with PlanWriter(scenes, options, lambda _: {}) as plan:
        with scenes.transaction() as session:
            remember_rejected(session, [(1, "tags", "beach", "reader")])
        plan.save(
            {1: [tag("Beach"), tag("Outdoor")], 2: [tag("Beach")]}, lambda _: None
        )

    assert changes(scenes) == [(1, "outdoor", "approved"), (2, "beach", "approved")]
    assert plan.approved == 2


def test_change_that_is_being_applied_is_not_decided_on(
    scenes: Database, plan_id: int
) -> None:
    """It may be in Stash: rejected now, it could never be undone."""
    first = changed(scenes, 1)
    with scenes.transaction() as session:
        change = session.get_one(PlanChange, first)
        change.state, change.effect = "approved", {"id": 2, "intended": True}
    with scenes.transaction() as session:
        outcome = reject(session, plan_id, Selection(change_ids=[first]))

    assert outcome == ReviewOutcome(left_alone={"being applied": 1})
    assert states(scenes)[0] == "approved"


def test_two_reviewers_at_once_do_not_overwrite_one_another(
    scenes: Database, plan_id: int
) -> None:
    """The second waits for the first, and leaves alone what the first has decided."""

    def accept_all() -> ReviewOutcome:
        with scenes.transaction() as session:
            return approve(session, plan_id, Selection())

    with ThreadPoolExecutor(1) as other:
        with scenes.transaction() as session:
            reject(session, plan_id, Selection(change_ids=[changed(scenes, 2)]))
            waiting = other.submit(accept_all)
            while not session.scalar(
                text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            ):
                assert not waiting.done()
        outcome = waiting.result()

    assert outcome == ReviewOutcome(changed=2, left_alone={"rejected": 1})
    assert states(scenes) == ["approved", "rejected", "approved"]


@pytest.mark.slow
@pytest.mark.parametrize("explicit", [True, False])
def test_bulk_decision_takes_a_plan_of_any_size(
    scenes: Database, plan_id: int, explicit: bool
) -> None:
    """Also if the planner last looked at the tables when they held three rows."""

    def show(table: str) -> None:
        with scenes.transaction() as other:
            other.execute(text(f"ANALYZE {table}"))

    with scenes.transaction() as session:
        session.execute(
            text(
                "INSERT INTO review_memory "
                "SELECT n, 'tags', 'y', 'reader' FROM generate_series(1, 3) n"
            )
        )
    with scenes.transaction() as session:
        # More than a statement has parameters for.
        session.execute(
            text(
                "INSERT INTO plan_change (plan_id, scene_id, field, action, value_key, "
                "proposed, confidence, detector, evidence) SELECT :plan, n, 'tags', "
                "'add', 'x', :proposed, 1, 'reader', '{}' "
                "FROM generate_series(1, 70000) n"
            ),
            {"plan": plan_id, "proposed": '{"id": null, "name": "x"}'},
        )
        show("plan_change")
    with scenes.transaction() as session:
        ids = session.scalars(select(PlanChange.id)).all()
        rejected = reject(session, plan_id, Selection(value="x"))
        show("review_memory")
        if not explicit:
            session.execute(text("UPDATE plan_change SET state = 'pending'"))
        which = Selection(change_ids=ids) if explicit else Selection()
        accepted = approve(session, plan_id, which)

    assert rejected.changed == 70_000
    # A rejected value is approved only on explicit request.
    assert accepted.changed == (70_003 if explicit else 3)
