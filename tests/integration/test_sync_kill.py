"""A sync that is killed, and the one after it."""

import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from stashhog_core.db.models import Scene, SyncRun
from stashhog_core.db.session import Database
from stashhog_core.sync.job import pending_scenes
from tests.integration.test_sync_mirror import EDITS, expected, mirrored
from tests.support.fake_stash import FakeStash
from tests.support.locks import wait_until_unlocked
from tests.support.sync import run

pytestmark = pytest.mark.slow

SCENES = 2200
ROOT = Path(__file__).parents[2]
VICTIM = """
import sys, time
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.sync.job import sync
from tests.integration.test_sync_kill import make_library

pages = []

def report(fraction, message):
    if message.startswith("Synced "):
        pages.append(message)
    if len(pages) == 3:
        print(message, flush=True)
        time.sleep(3600)

sync(make_library(), Database(sys.argv[1]), SyncParams(), Progress(report),
     trigger="manual")
"""

VICTIM_OF_CHANGES = """
import os, signal, sys
from stashhog_core.db.session import Database
from stashhog_core.params import SyncParams
from stashhog_core.progress import Progress
from stashhog_core.sync.job import sync
from tests.integration.test_sync_kill import changing_library

def report(fraction, message):
    if message.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

sync(changing_library(later=True), Database(sys.argv[1]), SyncParams(),
     Progress(report), trigger="manual")
"""


def changing_library(*, later: bool) -> FakeStash:
    """Return the same library in each process, as it is first, or some time later."""
    stash, rng = FakeStash(), random.Random(5)
    for _ in range(120 if later else 60):
        rng.choice(EDITS)(stash, rng)
    return stash


def make_library() -> FakeStash:
    """Return the same library in each process."""
    stash = FakeStash(page_size=1000)
    for _ in range(SCENES):
        stash.add_scene()
    return stash


def test_killed_sync_is_finished_by_the_next(
    database: Database, database_url: str
) -> None:
    """Committed pages stay, nothing is counted twice, and the history tells of it."""
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, database_url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert victim.stdout is not None
    with victim.stdout:
        said = re.fullmatch(r"Synced (\d+)/2200 scenes\n", victim.stdout.readline())
        victim.kill()
        victim.wait()
    wait_until_unlocked(database)
    stash = make_library()
    assert said is not None
    stored = int(said[1])
    left = SCENES - stored

    assert 0 < left < SCENES
    assert pending_scenes(stash, database).reasons == {"new": left}
    result = run(stash, database)
    assert (result.created, result.updated, result.unchanged) == (left, 0, stored)
    with database.transaction() as session:
        runs = session.execute(
            select(SyncRun.status, SyncRun.created).order_by(SyncRun.id)
        ).all()
        mine = session.scalars(select(Scene.id)).all()
    assert [tuple(run) for run in runs] == [
        ("interrupted", stored),
        ("completed", left),
    ]
    assert len(mine) == SCENES
    assert pending_scenes(stash, database).count == 0


@pytest.mark.parametrize(
    "moment",
    ["Comparing", "Storing tags", "Synced 0/", "Checking what is gone"],
)
def test_sync_of_changes_killed_at_any_moment(
    database: Database, database_url: str, moment: str
) -> None:
    """The next one makes the mirror equal, and finds nothing more to do."""
    run(changing_library(later=False), database)
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM_OF_CHANGES, database_url, moment],
        check=False,
        cwd=ROOT,
    )
    assert victim.returncode == -signal.SIGKILL
    wait_until_unlocked(database)
    stash = changing_library(later=True)
    run(stash, database)

    assert mirrored(database) == expected(stash)
    assert pending_scenes(stash, database).count == 0
    with database.transaction() as session:
        statuses = session.scalars(select(SyncRun.status).order_by(SyncRun.id)).all()
    assert statuses == ["completed", "interrupted", "completed"]
