"""A plan reviewed by the form, applied and undone, all as Prefect runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from sandbox.stash.server import StandIn
from stashhog_core.db.models import Scene
from stashhog_core.db.session import Database
from stashhog_core.plans.proposals import add_member
from stashhog_core.settings import StashSettings, get_settings
from stashhog_core.stash.client import StashClient
from tests.support.plans import plan_of
from tests.support.stand_in import a_plan, new_scene

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def client(
    stand_in: StandIn,
    database_url: str,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StashClient]:
    """The stand-in Stash and the database are the settings' own."""
    del prefect_api
    monkeypatch.setenv("STASHHOG_DATABASE__URL", database_url)
    monkeypatch.setenv("STASHHOG_STASH__URL", stand_in.url)
    get_settings.cache_clear()
    with StashClient(StashSettings(url=stand_in.url)) as stash:
        yield stash


def test_plan_is_reviewed_applied_and_undone(
    stand_in: StandIn, client: StashClient, database: Database
) -> None:
    """The form decides; tables show values, evidence and links; undo takes it back."""
    from flows.jobs import review_plan, undo_plan

    scene_id = new_scene(stand_in, "Scene")
    tag = add_member("tags", None, "Fresh", 0.9, "test", {"rule": "seen", "second": 7})
    with database.transaction() as session:
        session.add(Scene(id=scene_id))
    plan_id = plan_of(database, {scene_id: [tag]}, state="pending")

    shown = review_plan(plan_id=plan_id)
    accepted = review_plan(
        plan_id=plan_id, decision="accept", value="fresh", apply=True
    )

    assert (shown.plan_state, shown.pending) == ("draft", 1)
    assert (accepted.decided, accepted.applied, accepted.pending) == (1, 1, 0)
    (scene,), _ = client.scenes([scene_id])
    assert len(scene.tags) == 1
    with get_client(sync_client=True) as prefect:
        (changes, *_) = prefect.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=[f"plan-{plan_id}-changes"])
            )
        )
    assert f"{stand_in.url}/scenes/{scene_id}?t=7" in str(changes.data)
    page = f"http://127.0.0.1:4201/plans/{plan_id}"
    assert f"[Review the plan in the browser]({page})" in str(changes.description)

    undone = undo_plan(plan_id=plan_id)

    assert (undone.undone, undone.tags_dropped) == (1, ("Fresh",))
    (scene,), _ = client.scenes([scene_id])
    assert scene.tags == ()
    assert client.tags() == []


def test_plan_is_applied_and_undone_in_the_terminal(
    stand_in: StandIn,
    client: StashClient,
    database: Database,
    prefect_api: str,
    tmp_path: Path,
) -> None:
    """`stashhog plans apply` and `undo` change Stash, and say what they did."""
    scene_id = new_scene(stand_in, "Scene")
    plan_id = str(a_plan(database, [scene_id]))

    def tags() -> list[str]:
        (scene,), _ = client.scenes([scene_id])
        names = {tag.id: tag.name for tag in client.tags()}
        return sorted(names[tag.id] for tag in scene.tags)

    def stashhog(command: str) -> Any:
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from stashhog.cli.app import main; main()"),
                *("plans", command, plan_id, "--json"),
            ],
            cwd=tmp_path,
            env=os.environ
            | {
                "PREFECT_API_URL": prefect_api,
                "PYTHONPATH": str(REPOSITORY),
                "STASHHOG_HOME": str(tmp_path / "home"),
            },
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    applied, with_them = stashhog("apply"), tags()
    undone = stashhog("undo")

    assert (applied["applied"], with_them) == (4, ["Even", "Fresh"])
    assert (undone["undone"], tags()) == (4, [])
    assert undone["tags_dropped"] == ["Even", "Fresh"]
