"""The rules of process_new_scenes, without Prefect and without services."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from stashhog_core.errors import JobError
from stashhog_core.report import failures, step_rows, to_markdown
from stashhog_core.results import (
    BatchResult,
    DownloadsResult,
    ItemFailure,
    SceneChanges,
    StashGenerateResult,
)
from stashhog_core.workflow import MILESTONES, Recorder, in_batches

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def generated(status: str = "completed") -> StashGenerateResult:
    return StashGenerateResult.model_validate(
        {
            "job_id": "g",
            "stash_job_id": "1",
            "status": status,
            "start_time": NOW,
            "end_time": NOW,
        }
    )


@given(st.lists(st.integers()), st.integers(1, 200))
def test_batches_keep_order_and_size(ids: list[int], size: int) -> None:
    """Batches hold every scene once, in order, and only the last may be short."""
    batches = in_batches(ids, size)

    assert [scene for batch in batches for scene in batch] == ids
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


def test_milestones_are_the_seeds() -> None:
    """Each step has the range of the seed's diagram, and none overlaps the next."""
    assert MILESTONES["process_downloads"] == (5, 15)
    assert MILESTONES["stash_scan"] == (20, 30)
    assert MILESTONES["incremental_sync"] == (35, 45)
    assert MILESTONES["analysis"] == (50, 80)
    assert MILESTONES["stash_generate"] == (85, 95)
    ends = [mark for marks in MILESTONES.values() for mark in marks]
    assert ends == sorted(ends)


def test_all_good_is_completed() -> None:
    """Steps that completed or were skipped make a completed run."""
    recorder = Recorder("run")
    recorder.completed(
        "process_downloads", DownloadsResult(status="completed", synced_items=42), 120
    )
    recorder.skipped("stash_scan", "Skipped - No new items")
    recorder.batches(
        [
            BatchResult(
                batch_num=1,
                scenes_analyzed=100,
                changes_approved=250,
                changes_applied=250,
            ),
            BatchResult(
                batch_num=2, scenes_analyzed=41, changes_approved=100, changes_applied=9
            ),
        ],
        3,
    )

    report = recorder.report()

    assert report.status == "completed"
    assert report.summary.model_dump() == {
        "total_synced_items": 42,
        "total_scenes_analyzed": 141,
        "total_changes_approved": 350,
        "total_changes_applied": 259,
        "total_errors": 0,
    }
    assert report.steps.process_downloads is not None
    assert report.steps.process_downloads.duration_seconds == 120
    assert report.steps.incremental_sync is None


def test_a_failed_download_step_fails_the_run() -> None:
    """The seed: the workflow terminates with error status."""
    recorder = Recorder("run")
    recorder.failed("process_downloads", JobError("qBittorrent is away"), 1)

    report = recorder.report()

    assert report.status == "failed"
    assert report.summary.total_errors == 1


def test_any_other_failed_step_is_an_error_of_the_run() -> None:
    """The seed: recorded, the rest goes on, completed with errors."""
    recorder = Recorder("run")
    recorder.completed("process_downloads", DownloadsResult(status="completed"), 1)
    recorder.failed("stash_scan", JobError("Stash broke"), 1)
    recorder.completed("stash_generate", generated(), 1)

    assert recorder.report().status == "completed_with_errors"


def test_trouble_inside_a_step_is_an_error_of_the_run() -> None:
    """A step that ends with errors, and a batch with errors, are not hidden."""
    by_step = Recorder("run")
    by_step.completed("stash_generate", generated("completed_with_errors"), 1)
    by_batch = Recorder("run")
    by_batch.batches([BatchResult(batch_num=1, errors=("scene 7: gone",))], 1)

    assert by_step.report().status == "completed_with_errors"
    assert by_batch.report().status == "completed_with_errors"
    assert by_batch.report().summary.total_errors == 1


def test_the_report_names_steps_troubles_and_scenes() -> None:
    """A person reads what was done, what needs attention, and what changed."""
    recorder = Recorder("run")
    recorder.completed(
        "process_downloads",
        DownloadsResult(
            status="completed_with_errors",
            synced_items=2,
            errors=(ItemFailure(item="odd|name.mp4", reason="cannot be read"),),
        ),
        1.5,
    )
    recorder.skipped("stash_scan", "Skipped - No new items")
    report = recorder.report(
        unseen=[ItemFailure(item="new.mp4", reason="not scanned yet")],
        scenes=[SceneChanges(scene_id=7, title="A|B", changes=("tag + 720p",))],
    )

    markdown = to_markdown(report, "http://stash:9999/")

    assert ("Stash metadata scan", "Skipped", "Skipped - No new items", 0.0) in list(
        step_rows(report)
    )
    assert list(failures(report)) == [
        "Process downloads: odd|name.mp4: cannot be read",
        "Not in Stash yet: new.mp4: not scanned yet",
    ]
    assert "[A\\|B](http://stash:9999/scenes/7) | tag + 720p" in markdown
    assert "CompletedWithErrors" in markdown
