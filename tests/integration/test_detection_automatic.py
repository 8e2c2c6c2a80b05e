"""What the jobs that run by themselves choose to work on."""

from datetime import UTC, datetime, timedelta

import pytest

from stashhog_core.db.models import AnalysisPlan, JobReport, PlanChange, Scene
from stashhog_core.db.session import Database
from stashhog_core.detection.automatic import applicable_plans, next_scenes

NOW = datetime.now(UTC)


def chosen(database: Database, size: int) -> list[int]:
    with database.transaction() as session:
        return next_scenes(session, size, failed_since=NOW - timedelta(days=1))


def failed(database: Database, run_id: str, when: datetime, *scene_ids: int) -> None:
    errors = [{"item": f"scene {id_}", "reason": "unreadable"} for id_ in scene_ids]
    with database.transaction() as session:
        session.add(
            JobReport(
                run_id=run_id,
                job="auto_video_analysis",
                status="completed_with_errors",
                started_at=when,
                finished_at=when,
                report={"errors": errors},
            )
        )


def test_the_newest_unanalyzed_scenes_come_first(database: Database) -> None:
    """Scenes that were video-analyzed, or are missing in Stash, are left out."""
    with database.transaction() as session:
        for id_ in range(1, 6):
            session.add(Scene(id=id_, created_at=NOW + timedelta(seconds=id_)))
        session.add(Scene(id=6, video_analyzed=True))
        session.add(Scene(id=7, missing_since=NOW))

    assert chosen(database, 3) == [5, 4, 3]
    assert chosen(database, 50) == [5, 4, 3, 2, 1]


def test_scenes_that_failed_lately_keep_nobody_waiting(database: Database) -> None:
    """They are tried again after all others, and like others a day later."""
    with database.transaction() as session:
        for id_ in range(1, 5):
            session.add(Scene(id=id_, created_at=NOW + timedelta(seconds=id_)))
    failed(database, "lately", NOW, 4, 3)
    failed(database, "long-ago", NOW - timedelta(days=2), 2)

    assert chosen(database, 4) == [2, 1, 4, 3]


@pytest.fixture
def plans(database: Database) -> dict[str, int]:
    """Plans of several names, states and changes."""
    ids = {}
    with database.transaction() as session:
        for name, state, change in (
            ("Auto 100% a", "draft", "approved"),
            ("Auto 100 b", "reviewing", "approved"),
            ("Mine", "draft", "pending"),
            ("Built", "pending", "approved"),
            ("Turned down", "cancelled", "approved"),
            ("Done", "applied", "applied"),
        ):
            plan = AnalysisPlan(name=name, state=state, run_id=name)
            session.add(plan)
            session.flush()
            ids[name] = plan.id
            session.add(
                PlanChange(
                    plan_id=plan.id,
                    scene_id=1,
                    field="tags",
                    action="add",
                    value_key="a",
                    proposed="A",
                    confidence=1.0,
                    detector="test",
                    state=change,
                )
            )
    return ids


@pytest.mark.parametrize(
    ("prefixes", "with_pending", "names"),
    [
        pytest.param((), False, ["Auto 100% a", "Auto 100 b"], id="all"),
        pytest.param(("Auto 100%",), False, ["Auto 100% a"], id="literally"),
        pytest.param(("auto",), False, [], id="case counts"),
        pytest.param(("Mi", "Auto 100 "), True, ["Auto 100 b", "Mine"], id="several"),
        pytest.param(("Mine",), False, [], id="nothing approved"),
    ],
)
def test_plans_under_review_with_something_to_apply(
    database: Database,
    plans: dict[str, int],
    prefixes: tuple[str, ...],
    with_pending: bool,
    names: list[str],
) -> None:
    """Oldest first, by the start of their names; none that is built or closed."""
    with database.transaction() as session:
        found = applicable_plans(session, prefixes, with_pending=with_pending)

    assert [plan.id for plan in found] == [plans[name] for name in names]
    assert [plan.run_id for plan in found] == names
