"""Both server jobs, whole, on a Stash that answers over the network."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from sandbox.stash.server import StandIn
from stashhog_core.db.models import Scene, StashJob
from stashhog_core.db.session import Database
from stashhog_core.errors import JobError
from stashhog_core.params import StashGenerateParams, StashScanParams
from stashhog_core.progress import Progress
from stashhog_core.results import StashGenerateResult, StashScanResult
from stashhog_core.server_jobs.generate import generate
from stashhog_core.server_jobs.scan import scan
from stashhog_core.settings import StashSettings
from stashhog_core.stash.client import StashClient
from tests.support.media import write_video
from tests.support.server_jobs import marked
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


@dataclass
class Jobs:
    """The two jobs on a stand-in, with a mirror."""

    server: StandIn
    stash: StashClient
    settings: StashSettings
    database: Database

    def scan(self, progress: Progress | None = None) -> StashScanResult:
        return scan(
            self.stash,
            self.database,
            NOTHING,
            progress or Progress(),
            run_id="scan",
            settings=self.settings,
        )

    def generate(
        self, progress: Progress | None = None, run_id: str = "run-1"
    ) -> StashGenerateResult:
        return generate(
            self.stash,
            self.database,
            QUICK,
            progress or Progress(),
            run_id=run_id,
            settings=self.settings,
        )

    def marked(self) -> list[int]:
        """Return the scenes that are marked as generated."""
        return marked(self.database)

    def states(self, kind: str = "generate") -> list[str]:
        """Return the states of the jobs of this kind."""
        with self.database.transaction() as session:
            query = select(StashJob.state).where(StashJob.kind == kind)
            return list(session.scalars(query.order_by(StashJob.id)))

    def end_of(self, job_id: int) -> str:
        """Wait until Stash has nothing to do; return how the job ended."""
        wait_until(lambda: not self.stash.job_queue(), "the end of the job")
        job = self.stash.find_job(job_id)
        assert job is not None
        return job.status


@pytest.fixture
def jobs(stand_in: StandIn, database: Database) -> Iterator[Jobs]:
    """The jobs, before anything was scanned."""
    settings = StashSettings(
        url=stand_in.url,
        scan_paths=(str(stand_in.library),),
        poll_interval_seconds=0.05,
    )
    with StashClient(settings) as stash:
        yield Jobs(stand_in, stash, settings, database)


@pytest.fixture
def scene_ids(jobs: Jobs) -> list[int]:
    """Two scenes, scanned by the job and known to the mirror."""
    for number in range(2):
        write_video(jobs.server.library / f"{number}.mp4", seconds=8, seed=number)
    result = jobs.scan()
    ids = [stamp.id for page in jobs.stash.scene_stamps() for stamp in page]
    with jobs.database.transaction() as session:
        session.add_all(Scene(id=scene_id) for scene_id in ids)
    assert (result.status, len(ids)) == ("completed", 2)
    return ids


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


def test_generate_whole(jobs: Jobs, scene_ids: list[int]) -> None:
    """Media is made for exactly the scenes that are then marked; then there is none."""
    result = jobs.generate()
    again = jobs.generate()

    assert result.status == "completed"
    assert result.scenes_updated == tuple(str(scene_id) for scene_id in scene_ids)
    assert jobs.marked() == scene_ids
    assert all(jobs.stash.media_exists(f"/scene/{i}/preview") for i in scene_ids)
    assert jobs.stash.scenes_lacking_phash(scene_ids) == []
    assert again.stash_job_id is None


@pytest.mark.parametrize(
    ("all_or_nothing", "expected"), [(True, 0), (False, 1)], ids=["all", "each"]
)
@pytest.mark.usefixtures("scene_ids")
def test_failed_item(jobs: Jobs, all_or_nothing: bool, expected: int) -> None:
    """Stash says FINISHED though one item failed: the run notices."""
    jobs.server.faults.failing_items.add("1.mp4")
    jobs.settings = jobs.settings.model_copy(update={"all_or_nothing": all_or_nothing})

    result = jobs.generate()

    assert result.status == "completed_with_errors"
    assert len(result.errors) == 1
    assert len(jobs.marked()) == expected


@pytest.mark.usefixtures("scene_ids")
def test_restart_in_the_middle(jobs: Jobs) -> None:
    """A server that restarts forgets its job: the run fails, and marks nothing."""
    jobs.server.faults.on_item = until(threading.Event())
    restarts = []

    def restart(fraction: float | None, message: str) -> None:
        if "Generating " in message and not restarts:
            restarts.append(jobs.server.restart())

    with pytest.raises(JobError, match="no longer knows job 2"):
        jobs.generate(Progress(restart))

    assert jobs.marked() == []
    assert jobs.states() == ["lost"]


@pytest.mark.usefixtures("scene_ids")
def test_short_outage(jobs: Jobs) -> None:
    """Looks that fail for a while do not matter."""
    jobs.server.faults.answer_status(503, times=3, field="findJob")
    jobs.server.faults.drop_connection(times=3, field="findJob")

    assert jobs.generate().scenes_updated_count == 2


@pytest.mark.usefixtures("scene_ids")
def test_lost_answer_to_the_start(jobs: Jobs) -> None:
    """The connection breaks after Stash took the job: that job is followed."""
    progress = held_until_seen(jobs.server)
    jobs.server.faults.drop_connection(field="metadataGenerate", after=True)

    result = jobs.generate(progress)

    # The scan was job 1.
    assert result.stash_job_id == "2"
    assert result.scenes_updated_count == 2
    assert jobs.stash.find_job(3) is None


@pytest.mark.usefixtures("scene_ids")
def test_unreadable_answer_to_the_start(jobs: Jobs) -> None:
    """A proxy answers in place of Stash, which took the job: that job is followed."""
    progress = held_until_seen(jobs.server)
    jobs.server.faults.answer_html(field="metadataGenerate", after=True)

    result = jobs.generate(progress)

    assert result.stash_job_id == "2"
    assert result.scenes_updated_count == 2
    assert jobs.stash.find_job(3) is None


@pytest.mark.usefixtures("scene_ids")
def test_cancelled_generate_stops_the_server(jobs: Jobs) -> None:
    """Ctrl-C in the middle: Stash's job ends as cancelled, nothing is marked."""
    jobs.server.faults.on_item = until_stopped

    with pytest.raises(KeyboardInterrupt):
        jobs.generate(interrupted_at("Generating "))

    assert jobs.end_of(2) == "CANCELLED"
    assert jobs.marked() == []
    assert jobs.states() == ["cancelled"]


def test_cancelled_scan_leaves_the_server_at_it(jobs: Jobs) -> None:
    """Ctrl-C in the middle: Stash scans on to the end."""
    interrupted = threading.Event()
    jobs.server.faults.on_item = until(interrupted)
    for number in range(3):
        write_video(jobs.server.library / f"{number}.mp4", seed=number)

    with pytest.raises(KeyboardInterrupt):
        jobs.scan(interrupted_at("Metadata scan"))

    interrupted.set()
    assert jobs.end_of(1) == "FINISHED"
    assert jobs.stash.count_scenes() == 3
    assert jobs.states("scan") == ["cancelled"]


@pytest.mark.parametrize("run_id", ["run-1", "run-2"], ids=["same", "next"])
def test_killed_run_is_resumed(
    jobs: Jobs, scene_ids: list[int], database_url: str, run_id: str
) -> None:
    """After `kill -9` the same run, or the next, follows the server job to its end."""
    killed = threading.Event()
    jobs.server.faults.on_item = until(killed)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, jobs.server.url, database_url],
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

    result = jobs.generate(run_id=run_id)

    assert result.stash_job_id == "2"
    assert jobs.marked() == scene_ids
    assert jobs.states() == ["finished"]
    assert jobs.stash.find_job(3) is None
