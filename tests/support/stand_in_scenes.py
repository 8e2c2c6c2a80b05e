"""Scenes and plans for tests against the stand-in Stash."""

import httpx

from sandbox.stash.server import StandIn
from stashhog_core.db.models import AnalysisPlan, PlanChange
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_marker, add_member, set_text


def new_scene(stand_in: StandIn, title: str) -> int:
    query = "mutation($input: SceneCreateInput!) { sceneCreate(input: $input) { id } }"
    answer = httpx.post(
        f"{stand_in.url}/graphql",
        json={"query": query, "variables": {"input": {"title": title}}},
    )
    return int(answer.json()["data"]["sceneCreate"]["id"])


def a_plan(database: Database, scene_ids: list[int]) -> int:
    with database.transaction() as session:
        plan = AnalysisPlan(name="Plan", state="draft", run_id="run")
        session.add(plan)
        session.flush()
        for number, scene_id in enumerate(scene_ids):
            parity = "Odd" if number % 2 else "Even"
            for p in (
                add_member("tags", None, "Fresh", 0.9, "test", {}),
                add_member("tags", None, parity, 0.9, "test", {}),
                set_text("details", "", "Clean.", 0.9, "test", {}),
                add_marker(None, "Fresh", 1.0, None, 0.9, "test", {}),
            ):
                session.add(
                    PlanChange(
                        plan_id=plan.id,
                        scene_id=scene_id,
                        state="approved",
                        **p.row,
                    )
                )
    return plan.id
