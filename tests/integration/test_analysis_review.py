"""Deciding on proposals, on real PostgreSQL."""

import pytest
from sqlalchemy import select

from stashhog_core.analysis.plans import list_plans, plan_changes
from stashhog_core.analysis.review import Selection, approve, reject
from stashhog_core.db.models import (
    AnalysisPlan,
    PlanChange,
    ReviewMemory,
)
from stashhog_core.db.session import Database
from stashhog_core.errors import (
    JobError,
)
from tests.analysis_mirror import VIDEO_ONLY, Reader, add_scenes, count, run


@pytest.fixture
def scenes(database: Database) -> Database:
    add_scenes(database)
    return database


def test_review_moves_the_plan(scenes: Database) -> None:
    """Deciding makes a draft a plan in review; turning all down cancels it."""
    plan_id = run(scenes, Reader({1: ["Outdoor", "Beach"]}), **VIDEO_ONLY).plan_id

    with scenes.transaction() as session:
        approved = approve(session, plan_id, Selection(value="beach"), by="ann")
        state = session.get_one(AnalysisPlan, plan_id).state
    with scenes.transaction() as session:
        rejected = reject(session, plan_id, Selection())
    with scenes.transaction() as session:
        (plan,) = list_plans(session)

    assert (approved, state) == (1, "reviewing")
    assert (rejected, plan.state) == (2, "cancelled")
    with (
        pytest.raises(JobError, match="cancelled"),
        scenes.transaction() as session,
    ):
        approve(session, plan_id, Selection())


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
        turned_down = reject(session, first.plan_id, Selection(value="OUTDOOR"))
    with scenes.transaction() as session:
        approve(session, first.plan_id, Selection(change_ids=[changed(scenes, 2)]))

    second = run(scenes, reader, run_id="2", scene_ids=(1, 2), **VIDEO_ONLY)

    assert turned_down == 2
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
