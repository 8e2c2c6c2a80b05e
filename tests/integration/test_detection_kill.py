"""Analysis and apply under SIGKILL: the end is that of one clean run."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from sandbox.stash.server import StandIn
from stashhog_core.db.models import AnalysisPlan, PlanChange, Scene
from stashhog_core.db.session import Database
from stashhog_core.detection.job import unanalyzed_scene_ids
from stashhog_core.params import SyncParams
from stashhog_core.plans.plans import plan_changes, read_plan
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from stashhog_core.sync.job import sync
from tests.support.locks import wait_until_unlocked
from tests.support.stand_in import a_plan, new_scene

pytestmark = pytest.mark.slow

APPLY = """
import sys
from stashhog_core.plans.apply import apply_plan
from stashhog_core.db.session import Database
from stashhog_core.params import ApplyPlanParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
with StashClient(StashSettings(url=sys.argv[1])) as stash:
    print("ready", flush=True)
    apply_plan(
        stash,
        Database(sys.argv[2]),
        ApplyPlanParams(plan_id=int(sys.argv[3])),
        Progress(),
        create_missing_tags=True,
    )
"""


ANALYZE = """
import sys, time
from stashhog_core.detection import job, run
from stashhog_core.db.session import Database
from stashhog_core.params import AnalysisParams
from stashhog_core.progress import Progress
from stashhog_core.settings import Settings
from tests.support.fake_stash import FakeStash
from tests.support.plans import Reader
run.SAVE_AFTER_SECONDS = 0.1
class Slow(Reader):
    def read(self, scene):
        time.sleep(0.03)
        return super().read(scene)
print("ready", flush=True)
job.analyze(
    Settings(),
    FakeStash(),
    Database(sys.argv[1]),
    AnalysisParams(detect_tags=False),
    Progress(),
    run_id=sys.argv[2],
    video=Slow({number: [f"Tag {number % 3}"] for number in range(100)}),
)
"""
REPOSITORY = Path(__file__).parents[2]


def kill_after(seconds: float, arguments: list[str]) -> bool:
    """Start a program that says "ready", kill it then; tell whether it still ran."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[StashClient]:
    with StashClient(StashSettings(url=stand_in.url)) as stash:
        yield stash


def test_killed_analysis_proposes_everything_once(
    database: Database, database_url: str
) -> None:
    """A scene is marked together with its changes, or not at all."""
    with database.transaction() as session:
        session.add_all(Scene(id=number) for number in range(1, 61))
    command = [sys.executable, "-c", ANALYZE, database_url]

    kills = sum(kill_after(0.6, [*command, f"run {n}"]) for n in range(3))
    wait_until_unlocked(database)
    subprocess.run(
        [*command, "last"], check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY
    )

    assert kills
    with database.transaction() as session:
        assert unanalyzed_scene_ids(session) == []
        proposed = sorted(session.scalars(select(PlanChange.scene_id)))
        states = set(session.scalars(select(AnalysisPlan.state)))
    assert proposed == list(range(1, 61))
    assert states == {"draft"}


def test_killed_apply_ends_as_one_clean_run(
    stand_in: StandIn, client: StashClient, database: Database, database_url: str
) -> None:
    """Killed again and again, every change is applied once, markers included."""
    scenes = 30
    ids = [new_scene(stand_in, f"Scene {number}") for number in range(scenes)]
    sync(
        client, database, SyncParams(), Progress(), trigger="test", stabilize_seconds=0
    )
    plan_id = a_plan(database, ids)
    arguments = [sys.executable, "-c", APPLY, stand_in.url, database_url, str(plan_id)]

    kills = sum(kill_after(n * 0.05, arguments) for n in range(1, 6))
    wait_until_unlocked(database)
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, cwd=REPOSITORY)

    assert kills
    found, _ = client.scenes(ids)
    with database.transaction() as session:
        assert {c.state for c in plan_changes(session, plan_id)} == {"applied"}
        assert read_plan(session, plan_id).state == "applied"
    assert [len(scene.scene_markers) for scene in found] == [1] * scenes
    assert [len(scene.tags) for scene in found] == [2] * scenes
    assert {scene.details for scene in found} == {"Clean."}
    assert sorted(tag.name for tag in client.tags()) == ["Even", "Fresh", "Odd"]
