"""The rules of process_new_scenes, without Prefect and without services."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from stashhog.cli.display import print_result
from stashhog_core.errors import JobError
from stashhog_core.report import (
    ending,
    failures,
    job_markdown,
    run_name,
    step_rows,
    to_markdown,
    undo_commands,
)
from stashhog_core.results import (
    AnalysisResult,
    AutoApplyResult,
    BatchResult,
    CancelledResult,
    DirectoryScanResult,
    DownloadsResult,
    ItemFailure,
    Result,
    SceneChanges,
    StashGenerateResult,
    StashScanResult,
    Step,
    SyncResult,
)
from stashhog_core.workflow import MILESTONES, NOT_CHOSEN, Recorder, status_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def generated(status: str = "completed", **facts: Any) -> StashGenerateResult:
    return StashGenerateResult.model_validate(
        {
            "job_id": "g",
            "stash_job_id": "1",
            "status": status,
            "start_time": NOW,
            "end_time": NOW,
            **facts,
        }
    )


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
        "total_scenes_left": 0,
        "total_scenes_deferred": 0,
        "total_changes_approved": 350,
        "total_changes_applied": 259,
        "total_changes_already": 0,
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
        unseen=[
            # The step has reported this item already.
            ItemFailure(item="odd|name.mp4", reason="cannot be read"),
            ItemFailure(item="new.mp4", reason="not scanned yet"),
        ],
        scenes=[SceneChanges(scene_id=7, title="A|B", changes=("tag + 720p",))],
        undecided=[ItemFailure(item="plan 3", reason="2 changes failed")],
    )

    markdown = to_markdown(report, "http://stash:9999")

    assert ("Stash metadata scan", "Skipped", "Skipped - No new items", 0.0) in list(
        step_rows(report)
    )
    assert list(failures(report)) == [
        "Process downloads: odd|name.mp4: cannot be read",
        "Not in Stash yet: new.mp4: not scanned yet",
        "Needs your decision: plan 3: 2 changes failed",
    ]
    assert "[A\\|B](http://stash:9999/scenes/7) | tag + 720p" in markdown
    assert "CompletedWithErrors" in markdown


def test_reports_link_to_the_pages_of_plans() -> None:
    """A plan to decide on, a plan that was made, plans that were applied; no others."""
    recorder = Recorder("run")
    recorder.completed("process_downloads", DownloadsResult(status="completed"), 1)
    report = recorder.report(
        undecided=[ItemFailure(item="plan 3", reason="2 changes | failed")]
    )
    pages = "http://127.0.0.1:4201"

    assert (
        f"- Needs your decision: [plan 3]({pages}/plans/3): 2 changes \\| failed"
        in to_markdown(report, pages=pages).splitlines()
    )
    made = AnalysisResult(status="completed", plan_id=7)
    assert f"| plan id | [7]({pages}/plans/7) |" in job_markdown(
        "analysis", made, pages
    )
    applied = AutoApplyResult(status="completed", plan_ids=(7, 8))
    assert f"[7]({pages}/plans/7), [8]({pages}/plans/8)" in job_markdown(
        "auto_plan_apply", applied, pages
    )
    assert "| plan id | 7 |" in job_markdown("analysis", made)


def test_each_plan_is_named_with_the_command_that_undoes_it() -> None:
    """A plan that changed nothing in Stash has nothing to undo."""
    recorder = Recorder("run")
    batches = [
        BatchResult(batch_num=0, plan_id=3, changes_applied=1),
        BatchResult(batch_num=1, plan_id=4, changes_applied=12),
        BatchResult(batch_num=2, plan_id=5),
        BatchResult(batch_num=3),
    ]
    recorder.batches(batches, 1)
    report = recorder.report()

    lines = list(undo_commands(report))

    assert lines == [
        "Plan 3: 1 change applied; to undo, run `stashhog plans undo 3`",
        "Plan 4: 12 changes applied; to undo, run `stashhog plans undo 4`",
    ]
    markdown = to_markdown(report, pages="http://127.0.0.1:4201")
    assert "- [Plan 4](http://127.0.0.1:4201/plans/4): 12 changes applied" in markdown


def test_what_stash_had_already_is_not_called_applied() -> None:
    """Another run or a person has set the values: this run has nothing to undo."""
    recorder = Recorder("run")
    batch = BatchResult(
        batch_num=1,
        plan_id=4,
        scenes_analyzed=3,
        changes_approved=22,
        changes_already=22,
    )
    recorder.batches([batch], 1)
    report = recorder.report()

    ((_, _, analysis, _),) = step_rows(report)

    assert analysis.endswith("0 of 22 changes applied, 22 in Stash already")
    assert list(undo_commands(report)) == []
    markdown = to_markdown(report)
    assert "22 changes approved, 0 applied, 22 in Stash already, 0 errors" in markdown
    assert "| 1 | 3 | 22 | 0 | 22 | 0 |" in markdown


def test_a_cancelled_run_shows_the_step_it_was_in() -> None:
    """The step is cancelled, with its own words; what had finished before stays."""
    recorder = Recorder("run")
    recorder.completed("process_downloads", DownloadsResult(status="completed"), 1)
    in_scan = CancelledResult(message="Stash goes on")
    recorder.cancelled("stash_scan", in_scan, ending(in_scan), 2)
    report = recorder.report("cancelled")

    assert [row[1] for row in step_rows(report)] == ["Completed", "Cancelled"]
    assert ending(report) == "Stash goes on"
    assert run_name("process_new_scenes", report) == (
        "process_new_scenes · Stash goes on"
    )

    recorder.batches([BatchResult(batch_num=1, scenes_analyzed=3)], 1)
    plain = CancelledResult()
    recorder.cancelled("analysis", plain, ending(plain), 2)
    report = recorder.report("cancelled")

    assert report.steps.analysis is not None
    assert (report.steps.analysis.status, report.steps.analysis.message) == (
        "cancelled",
        "Cancelled",
    )
    assert [batch.batch_num for batch in report.steps.analysis_batches] == [1]
    assert run_name("sync", plain) == "sync · Cancelled"


def test_steps_and_batches_say_which_run_did_them() -> None:
    """Each step that ran, failed or not, and each batch has the id of its own run."""
    recorder = Recorder("run")
    recorder.completed("process_downloads", DownloadsResult(status="completed"), 1, "d")
    recorder.failed("stash_scan", JobError("Stash broke"), 1, "s")
    recorder.batches([BatchResult(batch_num=1, job_id="b")], 1)

    report = recorder.report()

    assert report.steps.process_downloads is not None
    assert report.steps.process_downloads.job_id == "d"
    assert report.steps.stash_scan is not None
    assert report.steps.stash_scan.job_id == "s"
    markdown = to_markdown(report, link_to=lambda job_id: f"http://ui/{job_id}")
    for link in (
        "[Process downloads](http://ui/d)",
        "[Stash metadata scan](http://ui/s)",
        "[1](http://ui/b)",
    ):
        assert link in markdown


def test_a_deferred_analysis_is_said_loudly_with_its_counts() -> None:
    """The AI server went away: the step is Deferred, and both parts are counted."""
    recorder = Recorder("run")
    recorder.batches(
        [
            BatchResult(batch_num=1, scenes_analyzed=100, changes_applied=3),
            BatchResult(
                batch_num=2,
                scenes_analyzed=7,
                scenes_deferred=93,
                deferred="The AI server is away",
            ),
        ],
        1,
    )

    report = recorder.report()

    assert report.status == "completed_with_errors"
    assert report.summary.total_scenes_analyzed == 107
    assert report.summary.total_scenes_deferred == 93
    assert report.summary.total_errors == 1
    ((_, state, what, _),) = step_rows(report)
    assert state == "Deferred"
    assert "93 scenes stay unanalyzed; Deferred - The AI server is away" in what
    assert list(failures(report)) == [
        "Analyze scenes: Deferred - The AI server is away"
    ]


def test_a_held_sync_is_said_with_how_to_confirm() -> None:
    """Removals that wait for a yes make the step Held, and need attention."""
    held = "40 of 100 scenes are gone: run sync with confirm_removals=true"
    recorder = Recorder("run")
    recorder.completed(
        "incremental_sync",
        SyncResult(
            status="completed_with_errors", kind="incremental", updated=2, held=held
        ),
        1,
    )

    report = recorder.report()

    assert report.status == "completed_with_errors"
    ((_, state, what, _),) = step_rows(report)
    assert (state, what) == ("Held", f"2 updated; Held - {held}")
    assert list(failures(report)) == [f"Incremental sync: Held - {held}"]
    alone = SyncResult(status="completed_with_errors", kind="incremental", held=held)
    assert job_markdown("sync", alone).startswith("# sync: Held\n")
    assert f"- Held - {held}" in job_markdown("sync", alone)


def test_what_the_time_did_not_suffice_for_is_said_and_no_error() -> None:
    """Batches left for the next run are counted; the run is completed."""
    recorder = Recorder("run")
    recorder.batches(
        [
            BatchResult(batch_num=1, scenes_analyzed=60, scenes_left=40),
            BatchResult(batch_num=2, scenes_left=100),
        ],
        1,
    )

    report = recorder.report()

    assert (report.status, report.summary.total_errors) == ("completed", 0)
    ((_, state, what, _),) = step_rows(report)
    assert state == "Completed"
    assert "140 scenes left for the next run, because the time limit" in what


FAILURE = (ItemFailure(item="scene 2", reason="lacks sprite"),)


@pytest.mark.parametrize(
    ("step", "result", "words"),
    [
        pytest.param(
            "stash_generate", generated(), "no scene lacks media", id="generate"
        ),
        pytest.param(
            "stash_generate",
            generated("completed_with_errors", errors=FAILURE),
            "1 error",
            id="generate-could-not",
        ),
        pytest.param(
            "stash_generate",
            generated(
                "completed_with_errors", scenes_updated_count=2, errors=FAILURE * 3
            ),
            "2 scenes generated, 3 errors",
            id="generate-could-in-part",
        ),
        pytest.param(
            "stash_generate",
            generated(unmakeable_count=1, unmakeable=FAILURE),
            "1 scene with media that Stash cannot make",
            id="generate-cannot",
        ),
        pytest.param(
            "process_downloads",
            DownloadsResult(status="completed"),
            "no new items",
            id="downloads",
        ),
        pytest.param(
            "process_downloads",
            DownloadsResult(status="completed_with_errors", errors=FAILURE),
            "1 error",
            id="downloads-could-not",
        ),
        pytest.param(
            "process_downloads",
            DownloadsResult(
                status="completed_with_errors", failed_items=1, errors=FAILURE
            ),
            "1 failed",
            id="downloads-failed-is-said-once",
        ),
        pytest.param(
            "process_downloads",
            DownloadsResult(status="completed", awaiting_scan=2),
            "no new items, but 2 files of earlier runs not scanned yet",
            id="downloads-left-something",
        ),
        pytest.param(
            "incremental_sync",
            SyncResult(status="completed", kind="incremental"),
            "no scene changed",
            id="sync",
        ),
        pytest.param(
            "incremental_sync",
            SyncResult(
                status="completed_with_errors", kind="incremental", errors=FAILURE
            ),
            "1 error",
            id="sync-could-not",
        ),
        pytest.param(
            "incremental_sync",
            SyncResult(
                status="completed_with_errors", kind="incremental", held="too many"
            ),
            "Held - too many",
            id="sync-held-something",
        ),
        pytest.param(
            "final_incremental_sync",
            SyncResult(status="completed", kind="incremental", conflicts=1),
            "1 conflict to decide",
            id="sync-waits-for-a-person",
        ),
    ],
)
def test_nothing_to_do_is_said_only_if_nothing_went_wrong(
    step: Step, result: Result, words: str
) -> None:
    """A step that could do nothing never says that there was nothing to do."""
    recorder = Recorder("run")
    recorder.completed(step, result, 1)

    ((_, _, what, _),) = step_rows(recorder.report())

    assert what == words


def test_media_that_stash_cannot_make_is_listed() -> None:
    """It is no error: the run is completed, and each scene is named with the reason."""
    recorder = Recorder("run")
    result = generated(unmakeable_count=501, unmakeable=FAILURE * 500)
    recorder.completed("stash_generate", result, 1)
    report = recorder.report()
    console = Console(record=True, width=100)

    print_result(console, "process_new_scenes", "Completed", report)
    shown = console.export_text()
    markdown = to_markdown(report)

    assert (report.status, report.summary.total_errors) == ("completed", 0)
    assert "Stash cannot make media: scene 2: lacks sprite" in shown
    assert "Stash cannot make media: 481 more" in shown
    assert "## Media that Stash cannot make" in markdown
    assert "- scene 2: lacks sprite" in markdown
    assert "- 481 more" in markdown
    assert "## Needs attention" not in markdown


def test_what_waits_and_what_was_left_out_is_named() -> None:
    """Neither is an error, and neither is hidden: each has its name and its reason."""
    recorder = Recorder("run")
    result = DownloadsResult(
        status="completed",
        waiting=(ItemFailure(item="Film", reason="Somebody writes to it"),),
        left_out=(ItemFailure(item="sample.mp4", reason="It is a sample"),),
    )
    recorder.completed("process_downloads", result, 1)
    report = recorder.report()
    console = Console(record=True, width=100)

    print_result(console, "process_new_scenes", "Completed", report)
    shown = console.export_text()

    for markdown in (to_markdown(report), job_markdown("process_downloads", result)):
        assert "## Waiting downloads" in markdown
        assert "- Film: Somebody writes to it" in markdown
        assert "## Files that were left out" in markdown
        assert "- sample.mp4: It is a sample" in markdown
        assert "## Needs attention" not in markdown
    assert "Waiting: Film: Somebody writes to it" in shown
    assert "Left out: sample.mp4: It is a sample" in shown


def test_batches_that_failed_are_counted_beside_what_was_analyzed() -> None:
    """Analysis that could look at no scene says how often it failed."""
    recorder = Recorder("run")
    recorder.batches([BatchResult(batch_num=1, errors=("no answer", "no file"))], 1)

    ((_, _, what, _),) = step_rows(recorder.report())

    assert what == "0 scenes in 1 batch, no change approved, 2 errors"


def test_one_of_a_kind_is_said_in_the_singular() -> None:
    """1 error, 1 batch, 1 file: the report counts as people do."""
    recorder = Recorder("run")
    recorder.completed(
        "process_downloads",
        DownloadsResult(status="completed", synced_items=1, files_linked=1),
        1,
    )
    recorder.batches(
        [
            BatchResult(
                batch_num=1,
                scenes_analyzed=1,
                changes_approved=1,
                changes_applied=1,
                scenes_left=1,
                errors=("bad",),
            )
        ],
        1,
    )

    report = recorder.report()

    downloads, analysis = (what for _, _, what, _ in step_rows(report))
    assert downloads == "1 item placed, 1 file linked"
    assert analysis.startswith(
        "1 scene in 1 batch, 1 of 1 change applied, 1 scene left for the next run"
    )
    assert (
        "**Totals:** 1 item placed, 1 scene analyzed, 1 change approved, 1 applied, "
        "1 error."
    ) in to_markdown(report)


def test_removed_torrents_are_shown() -> None:
    """What the clean-up took away stands among the counts of the downloads."""
    recorder = Recorder("run")
    recorder.completed(
        "process_downloads", DownloadsResult(status="completed", removed_items=3), 1
    )

    assert "3 torrents removed" in to_markdown(recorder.report())


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (SyncResult(status="completed", kind="full"), "completed"),
        (
            AnalysisResult(status="completed_with_errors", deferred="away"),
            "deferred",
        ),
        (
            DirectoryScanResult(
                status="completed_with_errors", path="/a", held="too many"
            ),
            "held",
        ),
        (DirectoryScanResult(status="timeout", path="/a", held="too many"), "timeout"),
    ],
    ids=["plain", "deferred", "held", "timeout-first"],
)
def test_status_of_a_result(result: Result, expected: str) -> None:
    """What is put off or held names the end, unless the job did not come to one."""
    assert status_of(result) == expected


@pytest.mark.parametrize(
    ("listed", "pending", "expected"),
    [
        (True, 12, "TimedOut - after 300 s: 12 files are left for the next run"),
        (
            False,
            1,
            "TimedOut - after 300 s: the folder is only partly listed; 1 file is left "
            "for the next run",
        ),
    ],
)
def test_a_timeout_says_after_how_long_and_what_is_left(
    listed: bool, pending: int, expected: str
) -> None:
    """Also when removals wait for a yes: the time comes first."""
    result = DirectoryScanResult(
        status="timeout",
        path="/a",
        pending=pending,
        listed=listed,
        held="too many",
        duration_seconds=300.2,
    )

    assert ending(result) == expected


@pytest.mark.parametrize(
    ("job", "result", "expected"),
    [
        (
            "process_new_scenes",
            DownloadsResult(status="completed", synced_items=42),
            "process_new_scenes · 42 items",
        ),
        (
            "sync",
            SyncResult(status="completed", kind="full", created=30, updated=7),
            "sync · 37 scenes",
        ),
        ("stash_generate", generated(), "stash_generate · 0 scenes"),
        (
            "analysis",
            AnalysisResult(status="completed", scenes_analyzed=1),
            "analysis · 1 scene",
        ),
        (
            "directory_scan",
            DirectoryScanResult(status="completed", path="/a", scanned=12_345),
            "directory_scan · 12,345 files",
        ),
        (
            "stash_scan",
            StashScanResult(
                stash_job_id="1", status="completed", start_time=NOW, end_time=NOW
            ),
            "stash_scan",
        ),
    ],
    ids=["items", "sync", "generate", "one", "thousands", "uncounted"],
)
def test_run_names_tell(job: str, result: Result, expected: str) -> None:
    """A run is called by its job and what it was about; one is not many."""
    assert run_name(job, result) == expected


def test_costs_are_words_in_the_report() -> None:
    """What detectors have cost is read as a list, not as code."""
    costs = {"text_model": {"looks": 3, "tokens_in": 1200}}

    report = job_markdown("analysis", AnalysisResult(status="completed", costs=costs))

    assert "| costs | text model examined scenes 3, tokens in 1200 |" in report


@pytest.mark.parametrize(
    ("found", "may_miss"),
    [
        ({}, False),
        ({"synced_items": 1, "awaiting_scan": 1}, True),
        ({"awaiting_scan": 2}, True),
        ({"unseen": FAILURE}, True),
    ],
)
def test_stash_may_lack_what_the_downloads_left(
    found: dict[str, Any], may_miss: bool
) -> None:
    """A run that leaves no file unscanned or unseen need not look again at its end."""
    recorder = Recorder("run")
    recorder.completed(
        "process_downloads", DownloadsResult(status="completed", **found), 1.0
    )

    assert recorder.may_miss_downloads is may_miss


def test_stash_may_lack_what_was_not_asked_for() -> None:
    """Downloads that were not chosen or failed say nothing of earlier files."""
    skipped, failed = Recorder("run"), Recorder("run")
    skipped.skipped("process_downloads", NOT_CHOSEN)
    failed.failed("process_downloads", ValueError("away"), 1.0)

    assert Recorder("run").may_miss_downloads
    assert skipped.may_miss_downloads
    assert failed.may_miss_downloads
