"""The results of the jobs that StashHog does itself."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from stashhog_core.results.base import ItemFailure, JobStatus, Reason, Result


class DownloadsResult(Result):
    """What `process_downloads` did. An item is a torrent or an entry of the folder."""

    status: JobStatus
    total_items: int = 0
    synced_items: int = Field(
        default=0, description="Downloads that this run newly placed or completed."
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
        description="Files that this run or an earlier run placed, and "
        "that Stash has not scanned yet.",
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


class SyncResult(Result):
    """What `sync` changed in the mirror. Counts are scenes."""

    status: JobStatus
    kind: Literal["full", "incremental", "scenes"]
    pending: int | None = Field(
        default=None,
        description="Number of pending scenes that started a scheduled "
        "sync. Empty if the sync was started otherwise.",
    )
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    entities: dict[str, int] = Field(
        default_factory=dict,
        description="Number of changed rows, by kind (tags, performers, studios).",
    )
    scene_ids: tuple[int, ...] = Field(
        default=(),
        description="Ids of the first 500 scenes that were created or updated.",
    )
    errors: tuple[ItemFailure, ...] = ()
    conflicts: int = Field(
        default=0,
        description="Number of fields that were changed both here and in "
        "Stash and that wait for your decision.",
    )
    held: str | None = Field(
        default=None,
        description="Why the removal limit blocked removals, and how to "
        "confirm the removals.",
    )


class VerifyMirrorResult(Result):
    """How the mirror compares with Stash."""

    status: JobStatus
    scenes_checked: int = 0
    scenes_different: int = 0
    awaiting_sync: int = Field(
        default=0,
        description="Number of different scenes that were changed in Stash "
        "since the last sync.",
    )
    differences: int = Field(
        default=0, description="Number of fields, counts and rows that differ."
    )
    drift_rate: float = Field(
        default=0, description="Share of the compared scenes that differ (0 to 1)."
    )
    counts: dict[str, int] = Field(
        default_factory=dict, description="Number of objects of each kind in Stash."
    )
    mirror_counts: dict[str, int] = Field(
        default_factory=dict, description="Number of rows of each kind in the mirror."
    )
    last_proved: datetime | None = Field(
        default=None, description="Time of the last verification without a difference."
    )
    errors: tuple[ItemFailure, ...] = Field(
        default=(), description="First 100 differences."
    )


class AnalysisResult(Result):
    """What `analysis` proposed."""

    status: JobStatus
    plan_id: int | None = Field(
        default=None, description="Id of the plan. Empty if nothing is proposed."
    )
    scenes_analyzed: int = 0
    scenes_left: int = Field(
        default=0,
        description="Number of scenes that are left for the next run, because the time "
        "limit was reached.",
    )
    scenes_deferred: int = Field(
        default=0,
        description="Number of scenes that are left for the next run, because a "
        "service was unreachable.",
    )
    deferred: str | None = Field(
        default=None,
        description="The service that was unreachable, and what to do.",
    )
    changes_proposed: int = 0
    changes_approved: int = 0
    costs: dict[str, dict[str, int | float | str]] = Field(
        default_factory=dict,
        description="Cost of each detector: examined scenes, seconds, pictures, tokens "
        "and money.",
    )
    errors: tuple[ItemFailure, ...] = ()


class AppliedChanges(Result):
    """The outcome of approved changes. Counts are changes."""

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
        description="Changes that failed in several runs and wait for your decision.",
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

    plan_ids: tuple[int, ...] = Field(
        default=(), description="Ids of the plans whose changes the run applied."
    )


class UndoResult(Result):
    """What `undo_plan` undid in Stash. Counts are changes."""

    status: JobStatus
    undone: int = 0
    already: int = Field(
        default=0, description="Changes that somebody had undone in Stash before."
    )
    conflicts: int = Field(
        default=0,
        description="Changes whose value was changed in Stash since. Stash "
        "stays as it is.",
    )
    skipped: int = Field(default=0, description="Changes of scenes that are gone.")
    failed: int = 0
    tags_dropped: tuple[str, ...] = Field(
        default=(),
        description="Names of deleted tags that were created for the changes "
        "and are no longer used.",
    )
    tags_kept: dict[str, str] = Field(
        default_factory=dict,
        description="Names of tags that were created for the changes and stay, with "
        "what uses the tag or what was edited in Stash.",
    )
    created: dict[str, str] = Field(default={}, description="Deleted, or why kept.")
    scene_ids: tuple[int, ...] = ()
    errors: tuple[ItemFailure, ...] = ()


ONE_OF_SEVERAL = "one of several possible values"
"""Why a bulk approval leaves a change open, beside the states of changes."""


class ReviewResult(Result):
    """The decisions of a `review_plan` run. Counts are changes."""

    status: JobStatus
    plan_id: int
    plan_state: str
    decision_id: int | None = Field(
        default=None,
        description="Id of the decision, to take it back. Empty if nothing changed.",
    )
    decided: int = Field(default=0, description="Changes accepted or rejected.")
    replaced: int = Field(default=0, description="Changes that got another value.")
    overruled: int = Field(
        default=0, description="Number of changes whose earlier decision was replaced."
    )
    already: int = Field(default=0, description="Selected changes decided so before.")
    left_alone: dict[str, int] = Field(
        default_factory=dict,
        description="Selected changes that had another decision before and keep it, "
        "counted by that decision; and changes that have to be accepted one by one, "
        "because only a person can choose between several possible values.",
    )
    opened: int = Field(default=0, description="Growth of the number of open changes.")
    pending: int | None = Field(default=None, description="Open changes, if counted.")
    applied: int = 0
    errors: tuple[ItemFailure, ...] = ()


class TakenBack(Result):
    """A decision that was taken back. Counts are changes."""

    status: JobStatus
    plan_id: int
    plan_state: str
    decision_id: int
    what: str = Field(description="The decision, in words.")
    restored: int = Field(description="Changes that are as before the decision.")
    left_alone: dict[str, int] = Field(
        description="Changes that somebody has changed since, and that stay as they "
        "are, counted by their decision.",
    )
    opened: int = Field(description="Growth of the number of open changes.")


class ImportedDecisions(Result):
    """The outcome of the decisions in an exported plan. Counts are changes."""

    decision_id: int | None = Field(
        default=None,
        description="Id of the import, to take it back. Empty if nothing changed.",
    )
    accepted: int = 0
    rejected: int = 0
    replaced: int = Field(default=0, description="Changes that got another value.")
    overruled: int = Field(
        default=0, description="Number of changes whose earlier decision was replaced."
    )
    already: int = Field(
        default=0, description="Changes that already had the decision of their row."
    )
    left_alone: dict[str, int] = Field(
        default_factory=dict,
        description="Changes that were decided on or replaced after the export and "
        "stay as they are, counted by their state.",
    )


class CleanupResult(Result):
    """What `cleanup` removed and reconciled; in a dry run, what it would do."""

    status: JobStatus
    dry_run: bool = False
    removed: dict[str, int] = Field(
        default_factory=dict,
        description="Number of removed rows, runs and files, by kind.",
    )
    settled: dict[str, int] = Field(
        default_factory=dict,
        description="Number of open rows and runs of dead runs that were "
        "closed, by kind.",
    )
    samples: tuple[str, ...] = Field(
        default=(), description="The 20 oldest removed items of each kind."
    )
    held: str | None = Field(
        default=None,
        description="Why the removal limit blocked removals, and how to "
        "confirm the removals.",
    )
    errors: tuple[ItemFailure, ...] = ()


class RemoveOrphansResult(Result):
    """Which rows of the mirror `remove_orphans` found gone from Stash, by kind."""

    status: JobStatus
    dry_run: bool = False
    marked: dict[str, int] = Field(
        default_factory=dict,
        description="Number of rows, by kind, that are newly marked as "
        "missing. A later run removes these rows.",
    )
    removed: dict[str, int] = Field(
        default_factory=dict,
        description="Number of removed rows, by kind, that an earlier run "
        "had marked as missing. In a dry run, number of rows "
        "that would be removed.",
    )
    samples: tuple[str, ...] = Field(
        default=(), description="The first 100 rows that are gone from Stash."
    )
    held: str | None = Field(
        default=None,
        description="Why the removal limit blocked removals, and how to confirm the "
        "removals.",
    )
    errors: tuple[ItemFailure, ...] = ()


CheckState = Literal["ok", "warning", "failure", "skipped"]
"""What a check found. *skipped*: another check that it builds on has failed."""


class CheckLine(Result):
    """One check of the installation: what was found, and how to mend what is wrong."""

    name: str
    state: CheckState
    found: Reason
    remedy: Reason = ""


class ChecksResult(Result):
    """What `check` found."""

    status: JobStatus
    passed: int = Field(default=0, description="Checks that found no problem.")
    warnings: int = 0
    failed: int = 0
    skipped: int = Field(
        default=0,
        description="Checks that were not made, because a check that they build on "
        "failed.",
    )
    checks: tuple[CheckLine, ...] = ()


class DirectoryScanResult(Result):
    """What `directory_scan` found. Counts are files."""

    status: Literal["completed", "completed_with_errors", "timeout"]
    path: str
    scanned: int = Field(default=0, description="Number of video files in the folder.")
    new: int = 0
    updated: int = 0
    skipped: int = Field(
        default=0, description="Number of unchanged files. They are not opened."
    )
    moved: int = 0
    missing: int = Field(
        default=0,
        description="Number of indexed files that are newly gone from the disk.",
    )
    removed: int = Field(
        default=0,
        description="Number of removed rows of files that were missing "
        "since an earlier run.",
    )
    unreadable: int = 0
    pending: int = Field(
        default=0, description="Number of files that are left for the next run."
    )
    listed: bool = Field(
        default=True,
        description="Whether the whole folder was listed within the time limit.",
    )
    links_skipped: int = Field(
        default=0,
        description="Number of symbolic links that were not followed, because "
        "they point to a folder or outside the allowed roots.",
    )
    error_count: int = 0
    errors: tuple[ItemFailure, ...] = Field(
        default=(), description="The first 500 files or folders that failed."
    )
    warnings: tuple[ItemFailure, ...] = Field(
        default=(),
        description="First 500 files without a thumbnail or hash, with the reason.",
    )
    held: str | None = Field(
        default=None,
        description="Why the removal limit blocked removals, and how to confirm the "
        "removals.",
    )
    duration_seconds: float = 0
