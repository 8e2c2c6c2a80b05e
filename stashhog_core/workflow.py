"""The rules of `process_new_scenes`: its steps, milestones, statuses and report."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from stashhog_core.errors import Deferred, JobError
from stashhog_core.results import (
    AnalysisResult,
    BatchResult,
    ItemFailure,
    JobStatus,
    Result,
    SceneChanges,
    Step,
    StepResult,
    StepStatus,
    WorkflowReport,
    WorkflowSteps,
    WorkflowSummary,
)

MILESTONES: dict[Step, tuple[int, int]] = {
    "process_downloads": (5, 15),
    "stash_backup": (15, 20),
    "stash_scan": (20, 30),
    "stash_clean": (30, 35),
    "incremental_sync": (35, 45),
    "stash_identify": (45, 48),
    "stash_auto_tag": (48, 50),
    "analysis": (50, 80),
    "stash_generate": (85, 95),
    "final_incremental_sync": (95, 95),
    "stash_optimise": (95, 100),
}
"""Position of the progress bar, in per cent, at the start and the end of each step.

A skipped scan leaves the bar at the start of the step; any other skipped step moves the
bar to the end of the step.
"""

ONLY_IF_NAMED: frozenset[Step] = frozenset(
    {
        "stash_backup",
        "stash_clean",
        "stash_identify",
        "stash_auto_tag",
        "stash_optimise",
    }
)
"""Stash's own tasks: a run does them only if its parameter `steps` names them."""

TITLES: dict[Step, str] = {
    "process_downloads": "Process downloads",
    "stash_backup": "Back up Stash's database",
    "stash_scan": "Stash metadata scan",
    "stash_clean": "Clean Stash's library",
    "incremental_sync": "Incremental sync",
    "stash_identify": "Identify scenes in Stash",
    "stash_auto_tag": "Auto-tag scenes in Stash",
    "analysis": "Analyze scenes",
    "stash_generate": "Generate Stash metadata",
    "final_incremental_sync": "Final incremental sync",
    "stash_optimise": "Optimise Stash's database",
}

NOT_CHOSEN = "Skipped - Not among the chosen steps"
NO_NEW_ITEMS = "Skipped - No new items"
NO_PENDING_SCENES = "Skipped - No pending scenes"
NO_UNANALYZED_SCENES = "Skipped - No unanalyzed scenes"
TIME_IS_OVER = "Skipped - The time limit is reached"

_TROUBLE = {"failed", "completed_with_errors", "deferred", "held"}


class JobFailed(JobError):  # noqa: N818 - named like the state
    """A job failed. `result` holds what the job had done until then."""

    def __init__(self, what: str, result: Result) -> None:
        super().__init__(what)
        # Pickling calls the class with these.
        self.args = (what, result)
        self.result = result


class JobDeferred(JobFailed, Deferred):
    """A job was deferred, because a service that it needs is unreachable."""


def status_of(result: Result) -> str:
    """Return how a job ended: its status, unless something was put off or held."""
    status: str = getattr(result, "status", "completed")
    if isinstance(result, BatchResult) and result.errors:
        status = "completed_with_errors"
    if status in {"completed", "completed_with_errors"}:
        if getattr(result, "deferred", None):
            return "deferred"
        if getattr(result, "held", None):
            return "held"
    return status


def put_off(result: Result) -> str:
    """Word why a result is deferred or held; empty for all other results."""
    if reason := getattr(result, "deferred", None):
        return f"Deferred - {reason}"
    if reason := getattr(result, "held", None):
        return f"Held - {reason}"
    return ""


def deferred_result(error: Deferred) -> AnalysisResult:
    """Return what an analysis had done when it was deferred, and the reason."""
    result = getattr(error, "result", None)
    if isinstance(result, AnalysisResult):
        return result
    return AnalysisResult(status="completed_with_errors", deferred=str(error))


class Recorder:
    """Collects what the steps of a workflow run did, and words the result."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._steps: dict[Step, StepResult] = {}
        self._batches: list[BatchResult] = []

    def completed(
        self, step: Step, result: Result, seconds: float, job_id: str | None = None
    ) -> None:
        """Record a step that came to its end, with its own status if it has one."""
        self._steps[step] = StepResult(
            job_id=job_id,
            status=cast("StepStatus", status_of(result)),
            message=put_off(result),
            result=result.model_dump(mode="json"),
            duration_seconds=round(seconds, 3),
        )

    def failed(
        self,
        step: Step,
        error: BaseException,
        seconds: float,
        job_id: str | None = None,
    ) -> None:
        """Record a step that failed; the others go on."""
        self._steps[step] = StepResult(
            job_id=job_id,
            status="failed",
            error=str(error),
            duration_seconds=round(seconds, 3),
        )

    def cancelled(
        self, step: Step, result: Result, message: str, seconds: float
    ) -> None:
        """Record the step during which the run was cancelled."""
        self._steps[step] = StepResult(
            status="cancelled",
            message=message,
            result=result.model_dump(mode="json"),
            duration_seconds=round(seconds, 3),
        )

    def skipped(self, step: Step, message: str) -> None:
        """Record a step that had nothing to do."""
        self._steps[step] = StepResult(status="skipped", message=message)

    def batches(self, results: Sequence[BatchResult], seconds: float) -> StepResult:
        """Record the analysis step by its batches, and return it."""
        self._batches = list(results)
        away = next((batch for batch in results if batch.deferred), None)
        status: StepStatus = "completed"
        if away is not None:
            status = "deferred"
        elif any(batch.errors for batch in results):
            status = "completed_with_errors"
        message = put_off(away) if away else ""
        step = StepResult(
            status=status, message=message, duration_seconds=round(seconds, 3)
        )
        self._steps["analysis"] = step
        return step

    @property
    def needs_scan(self) -> bool:
        """Whether files were placed, in this run or one that died before its scan."""
        return any(
            self._value("process_downloads", name)
            for name in ("synced_items", "awaiting_scan")
        )

    @property
    def may_miss_downloads(self) -> bool:
        """Whether files may lie in the library that Stash does not have yet."""
        known = self._steps.get("process_downloads")
        return (
            known is None
            or known.result is None
            or any(known.result.get(name) for name in ("awaiting_scan", "unseen"))
        )

    @property
    def has_batches(self) -> bool:
        """Whether scenes were analyzed or plans applied."""
        return bool(self._batches)

    def report(
        self,
        status: JobStatus | None = None,
        unseen: Sequence[ItemFailure] = (),
        scenes: Sequence[SceneChanges] = (),
        undecided: Sequence[ItemFailure] = (),
    ) -> WorkflowReport:
        """Return the result so far; `status` is derived unless given."""
        batches = self._batches
        return WorkflowReport(
            job_id=self._job_id,
            status=status or self._status(),
            steps=WorkflowSteps.model_validate(
                {**self._steps, "analysis_batches": batches}
            ),
            summary=WorkflowSummary(
                total_synced_items=self._value("process_downloads", "synced_items"),
                total_scenes_analyzed=sum(b.scenes_analyzed for b in batches),
                total_scenes_left=sum(b.scenes_left for b in batches),
                total_scenes_deferred=sum(b.scenes_deferred for b in batches),
                total_changes_approved=sum(b.changes_approved for b in batches),
                total_changes_applied=sum(b.changes_applied for b in batches),
                total_changes_already=sum(b.changes_already for b in batches),
                total_errors=sum(self._errors()),
            ),
            unseen=tuple(unseen),
            scenes=tuple(scenes),
            undecided=tuple(undecided),
        )

    def _status(self) -> JobStatus:
        """A failed download step fails the run; any other trouble is reported."""
        statuses = {step: result.status for step, result in self._steps.items()}
        if statuses.get("process_downloads") == "failed":
            return "failed"
        if _TROUBLE & set(statuses.values()):
            return "completed_with_errors"
        return "completed"

    def _errors(self) -> Iterator[int]:
        for result in self._steps.values():
            yield int(result.status in {"failed", "deferred", "held"})
            yield len((result.result or {}).get("errors", ()))
        for batch in self._batches:
            yield len(batch.errors)

    def _value(self, step: Step, name: str) -> Any:
        result = self._steps.get(step)
        return (result.result or {}).get(name, 0) if result else 0
