"""Approval that people's decisions have earned, on real PostgreSQL."""

import pytest
from sqlalchemy import select

from stashhog_core.db.models import AnalysisPlan, PlanChange, ReviewMemory, Scene
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import Proposal, add_marker, add_member
from stashhog_core.plans.trust import Trust, acceptances, wilson_lower_bound
from stashhog_core.settings import AnalysisSettings, Settings
from tests.support.plans import VIDEO_ONLY, Reader, add_scenes, run

OUTDOOR = add_member("tags", 1, "Outdoor", 0.9, "reader", {})
BEACH = add_member("tags", 2, "Beach", 0.9, "reader", {})
MARKER = add_marker(1, "Outdoor", 5.0, None, 0.9, "reader", {})
SETTINGS = AnalysisSettings(auto_approve_trusted=True, audit_share=0)


@pytest.mark.parametrize(
    ("accepted", "votes", "bound"),
    [(0, 0, 0.0), (20, 20, 0.839), (100, 100, 0.963), (95, 100, 0.888), (0, 9, 0.0)],
)
def test_bound(accepted: int, votes: int, bound: float) -> None:
    """Few votes prove little, however good they are."""
    assert wilson_lower_bound(accepted, votes) == pytest.approx(bound, abs=0.001)


def vote(
    database: Database, proposal: Proposal, count: int, state: str, by: str | None
) -> None:
    """Store a number of decisions, each for a scene of its own."""
    with database.transaction() as session:
        plan = AnalysisPlan(name="Past", state="applied")
        session.add(plan)
        session.flush()
        session.add_all(
            PlanChange(
                plan_id=plan.id,
                scene_id=1000 + number,
                state=state,
                approved_by=by,
                **proposal.row,
            )
            for number in range(count)
        )


def test_a_scene_has_one_vote_on_a_value(database: Database) -> None:
    """Later plans with the same value for the scene add none; the newest one counts."""
    for state, by in [("applied", "user"), ("rejected", None), ("pending", None)]:
        vote(database, BEACH, 3, state, by)
    vote(database, OUTDOOR, 3, "rejected", None)
    vote(database, OUTDOOR, 3, "applied", "user")

    assert trusted(database) == {
        "tags beach": (0, 3, False),
        "tags outdoor": (3, 0, False),
    }


def trusted(database: Database) -> dict[str, tuple[int, int, bool]]:
    with database.transaction() as session:
        return {
            f"{r.field} {r.value}": (r.accepted, r.rejected, r.trusted)
            for r in acceptances(session, SETTINGS)
        }


def test_only_votes_of_people_count(database: Database) -> None:
    """Automatic approvals prove nothing; open changes are no votes."""
    vote(database, OUTDOOR, 100, "applied", "auto")
    vote(database, OUTDOOR, 100, "applied", "trust")
    vote(database, OUTDOOR, 100, "pending", None)
    assert trusted(database) == {}

    vote(database, OUTDOOR, 80, "applied", "user")
    vote(database, MARKER, 19, "already", "user")
    vote(database, BEACH, 1, "rejected", None)

    assert trusted(database) == {
        "tags outdoor": (80, 0, True),
        "markers outdoor": (19, 0, False),
        "tags beach": (0, 1, False),
    }


def test_values_removed_in_stash_end_the_trust(database: Database) -> None:
    """A rejection after an automatic approval counts, and ends the trust."""
    vote(database, OUTDOOR, 100, "applied", "user")
    vote(database, OUTDOOR, 3, "applied", "trust")
    assert trusted(database)["tags outdoor"] == (100, 0, True)
    with database.transaction() as session:
        session.add_all(Scene(id=1000 + number) for number in range(3))
        session.flush()
        session.add_all(
            ReviewMemory(
                scene_id=1000 + number,
                field="tags",
                value_key="outdoor",
                detector="reader",
            )
            for number in range(3)
        )

    accepted, rejected, is_trusted = trusted(database)["tags outdoor"]

    assert (accepted, rejected, is_trusted) == (97, 3, False)


def test_trusted_changes_need_no_person(database: Database) -> None:
    """Recorded as approved by trust; others wait, and so does all when it is off."""
    add_scenes(database)
    vote(database, OUTDOOR, 100, "applied", "user")
    reader = Reader({1: ["Outdoor", "Beach"]})

    on = run(database, reader, settings=Settings(analysis=SETTINGS), **VIDEO_ONLY)
    off = run(database, reader, run_id="2", scene_ids=(1,), **VIDEO_ONLY)

    assert (on.changes_proposed, on.changes_approved) == (2, 1)
    assert off.changes_approved == 0
    with database.transaction() as session:
        rows = session.execute(
            select(PlanChange.value_key, PlanChange.state, PlanChange.approved_by)
            .where(PlanChange.plan_id == on.plan_id)
            .order_by(PlanChange.id)
        ).all()
    assert [tuple(row) for row in rows] == [
        ("outdoor", "approved", "trust"),
        ("beach", "pending", None),
    ]


def test_a_random_share_is_left_to_people() -> None:
    """The audit sample is drawn from what is trusted."""
    key = ("reader", "tags", "add", "outdoor")
    drawn = iter([0.04, 0.06])
    trust = Trust(frozenset([key]), 0.05, lambda: next(drawn))

    assert [trust.approves(OUTDOOR) for _ in range(2)] == [False, True]
    assert not trust.approves(BEACH)
