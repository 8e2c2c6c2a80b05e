"""What jobs give back: frozen models that travel as JSON."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stashhog_core.redaction import without_secrets

JobStatus = Literal["completed", "completed_with_errors", "failed", "cancelled"]
StepStatus = Literal[
    "completed",
    "completed_with_errors",
    "failed",
    "cancelled",
    "skipped",
    "deferred",
    "held",
]
"""How a step ended; *deferred*: a service was away; *held*: removals need a yes."""

Step = Literal[
    "process_downloads",
    "stash_scan",
    "incremental_sync",
    "analysis",
    "stash_generate",
    "final_incremental_sync",
]
"""A step of `process_new_scenes`."""


class Result(BaseModel):
    """Base of all results."""

    model_config = ConfigDict(frozen=True)


Reason = Annotated[str, AfterValidator(without_secrets)]
"""Why something failed, in words that may be stored and shown."""


class ItemFailure(Result):
    """One item that failed while the others went on."""

    item: str
    reason: Reason


class DownloadsResult(Result):
    """What `process_downloads` did. An item is a torrent or an entry of the folder."""

    status: JobStatus
    total_items: int = 0
    synced_items: int = Field(
        default=0, description="Items newly placed or completed in this run."
    )
    skipped_items: int = 0
    failed_items: int = 0
    files: int = Field(
        default=0, description="Files that were newly placed in the library."
    )
    files_linked: int = 0
    files_cloned: int = Field(
        default=0,
        description="Files that were cloned and share their blocks with the download.",
    )
    files_copied: int = 0
    files_skipped: int = 0
    bytes_linked: int = 0
    bytes_cloned: int = 0
    bytes_copied: int = 0
    why_no_links: tuple[str, ...] = Field(
        default=(),
        description="Reasons why files were cloned or copied although hard links were "
        "requested.",
    )
    waiting: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 100 downloads on which another program still seems to work.",
    )
    left_out: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 100 files that were newly left out although you may want "
        "them: short videos, samples, symbolic links.",
    )
    awaiting_scan: int = Field(
        default=0,
        description="Files that were placed, now or earlier, and after which no scan "
        "has run yet.",
    )
    placed_paths: tuple[str, ...] = Field(
        default=(), description="First 100 files that were placed in this run."
    )
    unseen: tuple[ItemFailure, ...] = Field(
        default=(),
        description="Placed files that Stash does not have yet, with the reason.",
    )
    removed_items: int = Field(
        default=0, description="Torrents that the clean-up removed."
    )
    removed: tuple[str, ...] = Field(
        default=(), description="Names of the torrents that the clean-up removed."
    )
    kept: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 100 torrents that the clean-up kept, with the reason.",
    )
    errors: tuple[ItemFailure, ...] = ()


class StashScanResult(Result):
    """How a metadata scan on the Stash server ended."""

    stash_job_id: str
    status: JobStatus
    message: str = ""
    start_time: datetime
    end_time: datetime
    errors: tuple[ItemFailure, ...] = ()


class SyncResult(Result):
    """What `sync` changed in the mirror. Counts are scenes."""

    status: JobStatus
    kind: Literal["full", "incremental", "scenes"]
    pending: int | None = Field(
        default=None,
        description="Scenes that differed from Stash when a scheduled sync was started "
        "because of them; none: nobody looked before.",
    )
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    entities: dict[str, int] = Field(
        default_factory=dict, description="Changed rows per kind of entity."
    )
    scene_ids: tuple[int, ...] = Field(
        default=(), description="First 500 scenes created or updated."
    )
    errors: tuple[ItemFailure, ...] = ()
    conflicts: int = Field(
        default=0,
        description="Fields changed both here and in Stash that wait for a decision.",
    )
    held: str | None = Field(
        default=None, description="Why removals were held back, and how to confirm."
    )


class VerifyMirrorResult(Result):
    """How the mirror compares with Stash."""

    status: JobStatus
    scenes_checked: int = 0
    scenes_different: int = 0
    awaiting_sync: int = Field(
        default=0,
        description="Of these, scenes changed in Stash since they were last synced.",
    )
    differences: int = Field(
        default=0, description="Fields, counts and rows that differ, of any kind."
    )
    drift_rate: float = Field(
        default=0, description="Share of the compared scenes that differ."
    )
    counts: dict[str, int] = Field(
        default_factory=dict, description="Rows of each kind in Stash."
    )
    mirror_counts: dict[str, int] = Field(
        default_factory=dict, description="Rows of each kind in the mirror."
    )
    last_proved: datetime | None = Field(
        default=None, description="When a comparison last found no difference."
    )
    errors: tuple[ItemFailure, ...] = Field(
        default=(), description="First 100 differences."
    )


class AnalysisResult(Result):
    """What `analysis` proposed."""

    status: JobStatus
    plan_id: int | None = Field(default=None, description="None: nothing to change.")
    scenes_analyzed: int = 0
    scenes_left: int = Field(
        default=0, description="Not begun when the time was over; the next run's."
    )
    scenes_deferred: int = Field(
        default=0, description="Unanalyzed because a service is away; the next run's."
    )
    deferred: str | None = Field(
        default=None, description="Which service is away, and what to do."
    )
    changes_proposed: int = 0
    changes_approved: int = 0
    costs: dict[str, dict[str, int | float | str]] = Field(
        default_factory=dict,
        description="Looks, seconds, tokens and money that each detector has cost.",
    )
    errors: tuple[ItemFailure, ...] = ()


class AppliedChanges(Result):
    """What became of approved changes, counted in changes."""

    status: JobStatus
    applied: int = 0
    already: int = 0
    conflicts: int = 0
    skipped: int = Field(default=0, description="Changes of scenes that are gone.")
    to_retry: int = Field(
        default=0,
        description="Changes that Stash refused or did not confirm: they stay "
        "approved, and the next run tries them again.",
    )
    failed: int = Field(
        default=0,
        description="Changes that failed in several runs and wait for a person.",
    )
    rejected: int = Field(
        default=0,
        description="Changes that reviewers had rejected before and that the "
        "automatic approval left rejected.",
    )
    errors: tuple[ItemFailure, ...] = ()


class ApplyResult(AppliedChanges):
    """What `apply_plan` changed in Stash."""

    plan_id: int
    scene_ids: tuple[int, ...] = ()


class AutoApplyResult(AppliedChanges):
    """What `auto_plan_apply` did."""

    plan_ids: tuple[int, ...] = Field(default=(), description="Plans it worked on.")


class UndoResult(Result):
    """What `undo_plan` took back in Stash, counted in changes."""

    status: JobStatus
    undone: int = 0
    already: int = Field(default=0, description="Somebody had taken it back before.")
    conflicts: int = Field(
        default=0, description="Changed by someone since; left as they are."
    )
    skipped: int = Field(default=0, description="Changes of scenes that are gone.")
    failed: int = 0
    tags_dropped: tuple[str, ...] = Field(
        default=(), description="Tags that were created for it and are unused now."
    )
    tags_kept: dict[str, str] = Field(
        default_factory=dict,
        description="Names of tags that were created for the changes and stay, with "
        "what uses the tag or what was edited in Stash.",
    )
    scene_ids: tuple[int, ...] = ()
    errors: tuple[ItemFailure, ...] = ()


class ReviewResult(Result):
    """What `review_plan` decided on, counted in changes."""

    status: JobStatus
    plan_id: int
    plan_state: str
    decided: int = Field(default=0, description="Changes accepted or rejected.")
    replaced: int = Field(default=0, description="Changes that got another value.")
    overruled: int = Field(
        default=0, description="Number of these changes that had been decided before."
    )
    already: int = Field(
        default=0, description="Selected changes that already had this decision."
    )
    left_alone: dict[str, int] = Field(
        default_factory=dict,
        description="Selected changes that had another decision before and keep it, "
        "counted by that decision.",
    )
    pending: int = Field(default=0, description="Changes still to be reviewed.")
    applied: int = 0
    errors: tuple[ItemFailure, ...] = ()


class ImportedDecisions(Result):
    """What the decisions of an exported plan came to, counted in changes."""

    accepted: int = 0
    rejected: int = 0
    replaced: int = Field(default=0, description="Changes that got another value.")
    overruled: int = Field(
        default=0, description="Number of these changes that had been decided before."
    )
    already: int = Field(
        default=0, description="Changes that already had the decision of their row."
    )
    left_alone: dict[str, int] = Field(
        default_factory=dict,
        description="Changes that were decided on or replaced after the export and "
        "stay as they are, counted by their state.",
    )


class StashGenerateResult(Result):
    """How a generate job on the Stash server ended, and what it completed."""

    job_id: str
    stash_job_id: str | None
    stash_job_ids: tuple[str, ...] = Field(
        default=(), description="All of them, where the run had several."
    )
    status: JobStatus
    scenes_updated_count: int = 0
    scenes_updated: tuple[str, ...] = ()
    start_time: datetime
    end_time: datetime
    duration_seconds: float = Field(
        default=0, description="Duration of the whole run in seconds, including waits."
    )
    scenes_processed: int = Field(
        default=0, description="Scenes for which Stash was asked to generate media."
    )
    success_rate: float | None = Field(
        default=None,
        description="Share of the checked scenes that have all requested media (0 to "
        "1); empty if no scene was checked.",
    )
    failure_rate: float | None = Field(
        default=None,
        description="Share of the checked scenes that lack requested media (0 to 1).",
    )
    unmakeable_count: int = Field(
        default=0,
        description="Scenes with media that Stash cannot make and that is not "
        "requested again.",
    )
    unmakeable: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 500 of the scenes with media that Stash cannot make, with "
        "the reason.",
    )
    gave_way: bool = Field(
        default=False,
        description="Whether a scan in Stash preempted the job; generated media stays.",
    )
    errors: tuple[ItemFailure, ...] = ()


class CheckStashGenerateResult(Result):
    """Which scenes lack generated media."""

    status: JobStatus
    scenes_checked: int = Field(default=0, description="Scenes that were looked at.")
    scenes_unchanged: int = Field(
        default=0, description="Scenes complete before and unchanged: not asked again."
    )
    scenes_complete: int = 0
    scenes_incomplete: int = 0
    scenes_unmakeable: int = Field(
        default=0,
        description="Scenes that lack only media that Stash cannot make. These scenes "
        "are not counted as incomplete.",
    )
    unmakeable: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 500 of the scenes with media that Stash cannot make, with "
        "the reason.",
    )
    missing: dict[str, int] = Field(
        default_factory=dict, description="Scenes that lack each kind of media."
    )
    marked: int = Field(default=0, description="Scenes newly marked as generated.")
    unmarked: int = Field(
        default=0, description="Scenes no longer marked as generated."
    )
    scene_ids: tuple[int, ...] = Field(default=(), description="Incomplete scenes.")
    marker_ids: tuple[int, ...] = Field(
        default=(), description="Markers that lack media."
    )
    samples: tuple[ItemFailure, ...] = Field(
        default=(), description="The first incomplete scenes, and what they lack."
    )
    errors: tuple[ItemFailure, ...] = ()


class CleanupResult(Result):
    """What `cleanup` removed and reconciled; in a dry run, what it would do."""

    status: JobStatus
    dry_run: bool = False
    removed: dict[str, int] = Field(
        default_factory=dict, description="Rows, runs and files of each kind."
    )
    settled: dict[str, int] = Field(
        default_factory=dict,
        description="What dead runs had left open and is closed now, by kind.",
    )
    samples: tuple[str, ...] = Field(
        default=(), description="The oldest 20 of each kind that is removed."
    )
    held: str | None = Field(
        default=None, description="Why something was kept, and how to confirm."
    )
    errors: tuple[ItemFailure, ...] = ()


class RemoveOrphansResult(Result):
    """Which rows of the mirror `remove_orphans` found gone from Stash, by kind."""

    status: JobStatus
    dry_run: bool = False
    marked: dict[str, int] = Field(
        default_factory=dict,
        description="Newly found gone: marked as missing, removed by a later run.",
    )
    removed: dict[str, int] = Field(
        default_factory=dict,
        description="Found gone by an earlier run as well: removed; of a dry run: "
        "would be.",
    )
    samples: tuple[str, ...] = Field(
        default=(), description="The first 100 that are gone."
    )
    held: str | None = Field(
        default=None, description="Why nothing was removed, and how to confirm."
    )
    errors: tuple[ItemFailure, ...] = ()


class CancelledResult(Result):
    """What is kept of a run that was cancelled."""

    status: JobStatus = "cancelled"
    message: str = ""


class FailedResult(Result):
    """What is kept of a run that failed before its job had a result."""

    status: JobStatus = "failed"
    error: Reason


class DirectoryScanResult(Result):
    """What `directory_scan` found. Counts are files."""

    status: Literal["completed", "completed_with_errors", "timeout"]
    path: str
    scanned: int = Field(default=0, description="Video files listed.")
    new: int = 0
    updated: int = 0
    skipped: int = Field(default=0, description="Unchanged: not opened.")
    moved: int = 0
    missing: int = Field(default=0, description="Indexed, but gone from the disk.")
    removed: int = Field(default=0, description="Missing since an earlier run.")
    unreadable: int = 0
    pending: int = Field(default=0, description="Left for the next run.")
    listed: bool = Field(
        default=True,
        description="Whether the whole folder was listed within the time limit.",
    )
    links_skipped: int = Field(
        default=0, description="Symbolic links to folders or out of the allowed roots."
    )
    error_count: int = 0
    errors: tuple[ItemFailure, ...] = Field(
        default=(), description="The first 500 files or folders that failed."
    )
    warnings: tuple[ItemFailure, ...] = Field(
        default=(), description="First 500 files without a thumbnail or hash, and why."
    )
    held: str | None = Field(
        default=None, description="Why nothing was removed, and how to confirm."
    )
    duration_seconds: float = 0


class BatchResult(Result):
    """One analysis batch of the workflow; 0 is what an earlier run left unapplied."""

    batch_num: int
    job_id: str | None = Field(default=None, description="The batch's task run.")
    scenes_analyzed: int = 0
    scenes_left: int = Field(
        default=0, description="Not begun when the time was over; the next run's."
    )
    scenes_deferred: int = Field(
        default=0, description="Unanalyzed because a service is away; the next run's."
    )
    deferred: str | None = Field(
        default=None, description="Which service is away, and what to do."
    )
    changes_approved: int = 0
    changes_applied: int = 0
    errors: tuple[Reason, ...] = ()


class StepResult(Result):
    """One step of the workflow."""

    job_id: str | None = Field(default=None, description="The step's task run.")
    status: StepStatus
    message: str = ""
    result: dict[str, Any] | None = None
    error: Reason | None = None
    duration_seconds: float = 0


class WorkflowSummary(Result):
    """The totals of a workflow run."""

    total_synced_items: int = 0
    total_scenes_analyzed: int = 0
    total_scenes_left: int = 0
    total_scenes_deferred: int = 0
    total_changes_approved: int = 0
    total_changes_applied: int = 0
    total_errors: int = 0


class WorkflowSteps(Result):
    """The steps of `process_new_scenes`; None for a step that was not reached."""

    process_downloads: StepResult | None = None
    stash_scan: StepResult | None = None
    incremental_sync: StepResult | None = None
    analysis_batches: tuple[BatchResult, ...] = ()
    analysis: StepResult | None = None
    stash_generate: StepResult | None = None
    final_incremental_sync: StepResult | None = None


class SceneChanges(Result):
    """What one run changed in one scene, in words."""

    scene_id: int
    title: str
    changes: tuple[str, ...]


class WorkflowReport(Result):
    """The result of `process_new_scenes`."""

    job_id: str
    status: JobStatus
    steps: WorkflowSteps
    summary: WorkflowSummary
    unseen: tuple[ItemFailure, ...] = Field(
        default=(), description="Downloads that Stash has not yet, and why."
    )
    scenes: tuple[SceneChanges, ...] = Field(
        default=(), description="First 500 scenes that were changed."
    )
    undecided: tuple[ItemFailure, ...] = Field(
        default=(),
        description="Plans with changes that Stash refused in several runs and that "
        "wait for a person.",
    )


def json_list(rows: Iterable[Any]) -> Iterator[str]:
    """Yield a list as JSON for programs, row by row: there may be very many."""
    before = "[\n  "
    for row in rows:
        yield before + as_json(row).replace("\n", "\n  ")
        before = ",\n  "
    yield "[]\n" if before.startswith("[") else "\n]\n"


def as_json(value: Any) -> str:
    """Return a value as JSON for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
