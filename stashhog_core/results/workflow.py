"""The result of `process_new_scenes`, step by step."""

from typing import Any, Literal

from pydantic import Field

from stashhog_core.results.base import ItemFailure, JobStatus, Reason, Result

StepStatus = Literal[
    "completed",
    "completed_with_errors",
    "failed",
    "cancelled",
    "skipped",
    "deferred",
    "held",
]
"""How a step ended. *deferred*: a service was unreachable. *held*: the removal limit
blocks removals until they are confirmed."""

Step = Literal[
    "process_downloads",
    "stash_backup",
    "stash_scan",
    "stash_clean",
    "incremental_sync",
    "stash_identify",
    "stash_auto_tag",
    "analysis",
    "stash_generate",
    "final_incremental_sync",
    "stash_optimise",
]
"""A step of `process_new_scenes`, in the order of a run."""


class BatchResult(Result):
    """One analysis batch. Batch 0 holds changes that an earlier run did not apply."""

    batch_num: int
    job_id: str | None = Field(
        default=None, description="Id of the task run of the batch."
    )
    plan_id: int | None = Field(
        default=None, description="Id of the plan; empty if nothing was proposed."
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
    changes_approved: int = 0
    changes_applied: int = 0
    changes_already: int = Field(
        default=0, description="Approved changes that Stash had already."
    )
    errors: tuple[Reason, ...] = ()


class StepResult(Result):
    """One step of the workflow."""

    job_id: str | None = Field(
        default=None, description="Id of the task run of the step."
    )
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
    total_changes_already: int = Field(
        default=0, description="Approved changes that Stash had already."
    )
    total_errors: int = 0


class WorkflowSteps(Result):
    """The steps of `process_new_scenes`. Steps that were not reached are empty."""

    process_downloads: StepResult | None = None
    stash_backup: StepResult | None = None
    stash_scan: StepResult | None = None
    stash_clean: StepResult | None = None
    incremental_sync: StepResult | None = None
    stash_identify: StepResult | None = None
    stash_auto_tag: StepResult | None = None
    analysis_batches: tuple[BatchResult, ...] = ()
    analysis: StepResult | None = None
    stash_generate: StepResult | None = None
    final_incremental_sync: StepResult | None = None
    stash_optimise: StepResult | None = None


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
        default=(),
        description="Placed files that Stash does not have yet, with the reason.",
    )
    scenes: tuple[SceneChanges, ...] = Field(
        default=(), description="First 500 scenes that were changed."
    )
    undecided: tuple[ItemFailure, ...] = Field(
        default=(),
        description="Plans that wait for your decision: on changes that Stash refused "
        "in several runs, on values of which several are possible, or, without "
        "automatic approval, on all that this run proposed.",
    )
