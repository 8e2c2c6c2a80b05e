"""Following a server job: what is told meanwhile, and how it ends."""

import threading
from typing import Any

import pytest

from stashhog_core.errors import JobCancelled, TransientError
from stashhog_core.progress import Progress
from stashhog_core.stash.follow import JobKey, describe, follow
from stashhog_core.stash.payloads import Job
from tests.support.fake_stash import ADD_TIME, OUTAGE, FakeStash, JobState


def state(status: str, **facts: Any) -> dict[str, Any]:
    """Return the job as it is."""
    return {"status": status, **facts}


class Watch:
    """Follows a scripted job and keeps what was reported."""

    def __init__(self, *states: JobState) -> None:
        self.stash = FakeStash()
        self.stash.started = [("generate", {})]
        self.stash.job_states = list(states)
        self.reports: list[tuple[float | None, str]] = []
        self.seen: list[str] = []
        self.stop = threading.Event()

    def follow(self, add_time: str = "", outage_limit_seconds: float = 60) -> Any:
        return follow(
            self.stash,
            JobKey(1, add_time),
            Progress(lambda *report: self.reports.append(report), self.stop),
            label="Generate metadata",
            poll_interval_seconds=0.001,
            outage_limit_seconds=outage_limit_seconds,
            on_first_check=lambda job: self.seen.append(job.add_time),
        )


def test_progress_is_reported_and_only_grows() -> None:
    """Each look is reported; the bar never goes back nor is full before the end."""
    watch = Watch(
        state("READY", progress=0),
        state("RUNNING", progress=None, subTasks=["Walking directory tree"]),
        state("RUNNING", progress=0.5, subTasks=["Generating preview for /data/a.mp4"]),
        state("RUNNING", progress=0.25, subTasks=["Generating phash for /data/a.mp4"]),
        state("RUNNING", progress=1, subTasks=["Generating sprites for /data/a.mp4"]),
        state("FINISHED", progress=1),
    )

    job = watch.follow()

    assert job.status == "FINISHED"
    assert watch.reports == [
        (0, "Generate metadata: Waiting for other jobs of Stash..."),
        (None, "Generate metadata: Walking directory tree..."),
        (0.5, "Generate metadata: Generating previews... (a.mp4)"),
        (0.5, "Generate metadata: Generating phashes... (a.mp4)"),
        (0.99, "Generate metadata: Generating sprites... (a.mp4)"),
    ]
    assert watch.seen == [ADD_TIME]


@pytest.mark.parametrize(
    ("sub_task", "words"),
    [
        ("Generating cover for A title", "Generating covers... (A title)"),
        (
            "Generating preview for /data/x for y.mp4",
            "Generating previews... (x for y.mp4)",
        ),
        ("Generating preview for D:\\films\\x.mp4", "Generating previews... (x.mp4)"),
        ("Generating markers for /data/x.mp4", "Generating markers... (x.mp4)"),
        ("Generating marker preview for marker ID 12", "Generating markers... (12)"),
        ("Generating transcode for /x.mp4", "Generating transcodes... (x.mp4)"),
        ("Generating heatmap and speed for /x.mp4", "Generating heatmaps... (x.mp4)"),
        ("Generating Preview for image Clip /x.gif", "Generating previews... (x.gif)"),
        ("Generating Thumbnail for image /x.jpg", "Generating thumbnails... (x.jpg)"),
        ("Scanning /data/b for c.mkv", "Scanning... (b for c.mkv)"),
        ("Identifying /data/b/c.mkv", "Identifying... (c.mkv)"),
        ("Assessing file /data/b/c.mkv for clean", "Assessing file... (c.mkv)"),
        ("Cleaning 3 files and folders", "Cleaning 3 files and folders..."),
        ("Walking directory tree", "Walking directory tree..."),
    ],
)
def test_activities_in_words(sub_task: str, words: str) -> None:
    """What Stash says of its work becomes what is made, and of which file."""
    job = Job(id=1, status="RUNNING", sub_tasks=(sub_task,))

    assert describe(job) == words


def test_activity_unknown() -> None:
    """Between two pieces of work the job's own description is shown."""
    job = Job(id=1, status="RUNNING", description="Generating...")

    assert describe(job) == "Generating..."


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "CANCELLED"])
def test_every_end_is_an_end(status: str) -> None:
    """The job is returned as it ended."""
    job = Watch(state("STOPPING"), state(status, error="why")).follow()

    assert (job.status, job.error) == (status, "why")


def test_short_outage_is_ridden_out() -> None:
    """While Stash is away nothing is lost, and that is said."""
    watch = Watch(state("RUNNING"), OUTAGE, OUTAGE, state("FINISHED"))

    assert watch.follow().status == "FINISHED"
    assert (
        watch.reports[1:]
        == [(None, "Generate metadata: Waiting for Stash to come back...")] * 2
    )


def test_each_outage_counts_for_itself() -> None:
    """Two short outages, however far apart, are not one long one."""
    between = [state("RUNNING")] * 60
    watch = Watch(OUTAGE, *between, OUTAGE, state("FINISHED"))

    assert watch.follow(outage_limit_seconds=0.05).status == "FINISHED"


def test_long_outage_is_given_up() -> None:
    """After the limit the outage comes out as an error that may be retried."""
    with pytest.raises(TransientError):
        Watch(state("RUNNING"), OUTAGE, OUTAGE).follow(outage_limit_seconds=0)


def test_forgotten_job_is_none() -> None:
    """A job that Stash does not know any more has no known end."""
    assert Watch(state("RUNNING"), None).follow() is None


def test_other_job_of_the_same_id() -> None:
    """After a restart another job has the id: it is not taken for ours."""
    other = state("FINISHED", addTime="2026-11-21T05:00:00Z")

    assert Watch(state("RUNNING"), OUTAGE, other).follow() is None
    assert Watch(other).follow(ADD_TIME) is None


def test_stop_is_noticed() -> None:
    """A stop from another thread ends the waiting."""
    watch = Watch(*[state("RUNNING")] * 3)
    watch.stop.set()

    with pytest.raises(JobCancelled):
        watch.follow()
