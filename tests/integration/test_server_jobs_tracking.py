"""Both server jobs, whole, on a Stash that answers over the network."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.stash.server import StandIn
from stashhog_core.db.models import Scene, StashJob
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import StashGenerateParams, StashScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import StashGenerateResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.server_jobs.scan import scan
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.media import write_video
from tests.support.stand_in import until, until_stopped
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

QUICK = StashGenerateParams(preview_segments=2, preview_preset="ultrafast")
NOTHING = StashScanParams(
    scan_generate_covers=False,
    scan_generate_previews=False,
    scan_generate_sprites=False,
    scan_generate_phashes=False,
)
RUN = """
import sys
from stashhog_core.db.session import Database
from stashhog_core.server_jobs.generate import generate
from stashhog_core.params import StashGenerateParams
from stashhog_core.progress import Progress
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient

settings = StashSettings(url=sys.argv[1], poll_interval_seconds=0.05)
progress = Progress(lambda *report: print(*report, flush=True))
with StashClient(settings) as stash:
    generate(
        stash, Database(sys.argv[2]), StashGenerateParams(), progress,
        run_id="run-1", settings=settings,
    )
"""


@pytest.fixture
def settings(stand_in: StandIn) -> StashSettings:
    """Settings that lead to the stand-in."""
    return StashSettings(
        url=stand_in.url,
        scan_paths=(str(stand_in.library),),
        poll_interval_seconds=0.05,
    )


@pytest.fixture
def stash(settings: StashSettings) -> Iterator[StashClient]:
    """The product's client."""
    with StashClient(settings) as client:
        yield client


@pytest.fixture
def scene_ids(
    stand_in: StandIn, stash: StashClient, settings: StashSettings, database: Database
) -> list[int]:
    """Two scenes, scanned by the job and known to the mirror."""
    for number in range(2):
        write_video(stand_in.library / f"{number}.mp4", seconds=8, seed=number)
    result = scan(
        stash, database, NOTHING, Progress(), run_id="scan", settings=settings
    )
    ids = [stamp.id for page in stash.scene_stamps() for stamp in page]
    with database.transaction() as session:
        session.add_all(Scene(id=scene_id) for scene_id in ids)
    assert (result.status, len(ids)) == ("completed", 2)
    return ids


def marked(database: Database) -> list[int]:
    with database.transaction() as session:
        return list(session.scalars(select(Scene.id).where(Scene.generated)))


def states(database: Database, kind: str = "generate") -> list[str]:
    with database.transaction() as session:
        query = select(StashJob.state).where(StashJob.kind == kind)
        return list(session.scalars(query.order_by(StashJob.id)))


def run(
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    progress: Progress | None = None,
    run_id: str = "run-1",
    **changes: Any,
) -> StashGenerateResult:
    return generate(
        stash,
        database,
        QUICK.model_copy(update=changes),
        progress or Progress(),
        run_id=run_id,
        settings=settings,
    )


def interrupted_at(words: str) -> Progress:
    """A bar that is interrupted, as by Ctrl-C, when a message has these words."""

    def sink(_fraction: float | None, message: str) -> None:
        if words in message:
            raise KeyboardInterrupt

    return Progress(sink)


def held_until_seen(stand_in: StandIn) -> Progress:
    """Hold the job of the server until a report tells of it."""
    seen = threading.Event()
    stand_in.faults.on_item = until(seen)

    def sink(_fraction: float | None, message: str) -> None:
        if "Generating " in message:
            seen.set()

    return Progress(sink)


def test_generate_whole(
    stash: StashClient, database: Database, settings: StashSettings, scene_ids: Any
) -> None:
    """Media is made for exactly the scenes that are then marked; then there is none."""
    result = run(stash, database, settings)
    again = run(stash, database, settings)

    assert result.status == "completed"
    assert result.scenes_updated == tuple(str(scene_id) for scene_id in scene_ids)
    assert sorted(marked(database)) == scene_ids
    assert all(stash.media_exists(f"/scene/{i}/preview") for i in scene_ids)
    assert stash.scenes_lacking_phash(scene_ids) == []
    assert again.stash_job_id is None


@pytest.mark.parametrize(
    ("all_or_nothing", "expected"), [(True, 0), (False, 1)], ids=["all", "each"]
)
def test_failed_item(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    scene_ids: list[int],
    all_or_nothing: bool,
    expected: int,
) -> None:
    """Stash says FINISHED though one item failed: the run notices."""
    stand_in.faults.failing_items.add("1.mp4")
    settings = settings.model_copy(update={"all_or_nothing": all_or_nothing})

    result = run(stash, database, settings)

    assert result.status == "completed_with_errors"
    assert len(result.errors) == 1
    assert len(marked(database)) == expected


def test_restart_in_the_middle(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    scene_ids: list[int],
) -> None:
    """A server that restarts forgets its job: the run fails, and marks nothing."""
    stand_in.faults.on_item = until(threading.Event())
    restarts = []

    def restart(fraction: float | None, message: str) -> None:
        if "Generating " in message and not restarts:
            restarts.append(stand_in.restart())

    with pytest.raises(JobError, match="forgot"):
        run(stash, database, settings, Progress(restart))

    assert marked(database) == []
    assert states(database) == ["lost"]


def test_short_outage(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    scene_ids: list[int],
) -> None:
    """Looks that fail for a while do not matter."""
    stand_in.faults.answer_status(503, times=3, field="findJob")
    stand_in.faults.drop_connection(times=3, field="findJob")

    assert run(stash, database, settings).scenes_updated_count == 2


def test_lost_answer_to_the_start(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    scene_ids: list[int],
) -> None:
    """The connection breaks after Stash took the job: that job is followed."""
    progress = held_until_seen(stand_in)
    stand_in.faults.drop_connection(field="metadataGenerate", after=True)

    result = run(stash, database, settings, progress)

    # The scan was job 1.
    assert result.stash_job_id == "2"
    assert result.scenes_updated_count == 2
    assert stash.find_job(3) is None


def test_unreadable_answer_to_the_start(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    scene_ids: list[int],
) -> None:
    """A proxy answers in place of Stash, which took the job: that job is followed."""
    progress = held_until_seen(stand_in)
    stand_in.faults.answer_html(field="metadataGenerate", after=True)

    result = run(stash, database, settings, progress)

    assert result.stash_job_id == "2"
    assert result.scenes_updated_count == 2
    assert stash.find_job(3) is None


def test_cancelled_generate_stops_the_server(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
    scene_ids: list[int],
) -> None:
    """Ctrl-C in the middle: Stash's job ends as cancelled, nothing is marked."""
    stand_in.faults.on_item = until_stopped

    with pytest.raises(KeyboardInterrupt):
        run(stash, database, settings, interrupted_at("Generating "))

    wait_until(lambda: not stash.job_queue(), "the end of the job")
    job = stash.find_job(2)
    assert job is not None
    assert job.status == "CANCELLED"
    assert marked(database) == []
    assert states(database) == ["cancelled"]


def test_cancelled_scan_leaves_the_server_at_it(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    settings: StashSettings,
) -> None:
    """Ctrl-C in the middle: Stash scans on to the end."""
    interrupted = threading.Event()
    stand_in.faults.on_item = until(interrupted)
    for number in range(3):
        write_video(stand_in.library / f"{number}.mp4", seed=number)

    with pytest.raises(KeyboardInterrupt):
        scan(
            stash,
            database,
            NOTHING,
            interrupted_at("Metadata scan"),
            run_id="run-1",
            settings=settings,
        )

    interrupted.set()
    wait_until(lambda: not stash.job_queue(), "the end of the scan")
    job = stash.find_job(1)
    assert job is not None
    assert job.status == "FINISHED"
    assert stash.count_scenes() == 3
    assert states(database, "scan") == ["cancelled"]


@pytest.mark.parametrize("run_id", ["run-1", "run-2"], ids=["same", "next"])
def test_killed_run_is_resumed(
    stand_in: StandIn,
    stash: StashClient,
    database: Database,
    database_url: str,
    settings: StashSettings,
    scene_ids: list[int],
    run_id: str,
) -> None:
    """After `kill -9` the same run, or the next, follows the server job to its end."""
    killed = threading.Event()
    stand_in.faults.on_item = until(killed)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, stand_in.url, database_url],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            if "Generating " in line:
                break
        process.send_signal(signal.SIGKILL)
    process.wait()
    killed.set()

    result = run(stash, database, settings, run_id=run_id)

    assert result.stash_job_id == "2"
    assert sorted(marked(database)) == scene_ids
    assert states(database) == ["finished"]
    assert stash.find_job(3) is None
