"""Which plans the automatic jobs choose, on real PostgreSQL."""

import pytest

from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.session import Database
from stashhog_core.plans.records import applicable_plans


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
