"""Wording the result of a run: Markdown for Prefect's UI, rows for the terminal."""

from collections.abc import Iterator

from stashhog_core.results import Result, Step, StepResult, WorkflowReport
from stashhog_core.workflow import TITLES

_STATE_NAMES = {
    "completed": "Completed",
    "completed_with_errors": "CompletedWithErrors",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "skipped": "Skipped",
    "timeout": "TimedOut",
}
_COUNTS: dict[Step, tuple[tuple[str, str], ...]] = {
    "process_downloads": (
        ("synced_items", "items placed"),
        ("files_linked", "files linked"),
        ("files_copied", "files copied"),
        ("failed_items", "failed"),
    ),
    "incremental_sync": (
        ("created", "created"),
        ("updated", "updated"),
        ("removed", "removed"),
        ("failed", "failed"),
    ),
    "stash_generate": (("scenes_updated_count", "scenes generated"),),
}
_COUNTS["final_incremental_sync"] = _COUNTS["incremental_sync"]
_NOTHING: dict[Step, str] = {
    "process_downloads": "no new items",
    "stash_generate": "no scene lacks media",
}


def state_name(status: str) -> str:
    """Return the Prefect state name of a job or step status."""
    return _STATE_NAMES[status]


def step_rows(report: WorkflowReport) -> Iterator[tuple[str, str, str, float]]:
    """Yield title, state, counts or reason, and seconds of each step reached."""
    for step, title in TITLES.items():
        result: StepResult | None = getattr(report.steps, step)
        if result is not None:
            yield (
                title,
                state_name(result.status),
                _what(step, result, report),
                result.duration_seconds,
            )


def _what(step: Step, result: StepResult, report: WorkflowReport) -> str:
    if result.error or result.message:
        return result.error or result.message
    if step == "analysis":
        summary = report.summary
        return (
            f"{summary.total_scenes_analyzed} scenes in "
            f"{len(report.steps.analysis_batches)} batches, "
            f"{summary.total_changes_applied} of "
            f"{summary.total_changes_approved} changes applied"
        )
    values = result.result or {}
    counts = [
        f"{values[name]} {words}"
        for name, words in _COUNTS.get(step, ())
        if values.get(name)
    ]
    return ", ".join(counts) or values.get("message") or _NOTHING.get(step, "")


def failures(report: WorkflowReport) -> Iterator[str]:
    """Yield a line for each item that failed, and for each download still unseen."""
    for step, title in TITLES.items():
        result: StepResult | None = getattr(report.steps, step)
        for error in ((result and result.result) or {}).get("errors", ()):
            yield f"{title}: {error['item']}: {error['reason']}"
    for batch in report.steps.analysis_batches:
        for reason in batch.errors:
            yield f"Analysis batch {batch.batch_num}: {reason}"
    for unseen in report.unseen:
        yield f"Not in Stash yet: {unseen.item}: {unseen.reason}"


def to_markdown(report: WorkflowReport, stash_url: str | None = None) -> str:
    """Word a workflow's report for Prefect's UI; scenes link to Stash."""
    summary = report.summary
    lines = [
        f"# process_new_scenes: {state_name(report.status)}",
        "",
        "| Step | State | What | Seconds |",
        "|---|---|---|---:|",
        *(
            f"| {title} | {state} | {_cell(what)} | {seconds:.1f} |"
            for title, state, what, seconds in step_rows(report)
        ),
        "",
        f"**Totals:** {summary.total_synced_items} items placed, "
        f"{summary.total_scenes_analyzed} scenes analyzed, "
        f"{summary.total_changes_approved} changes approved, "
        f"{summary.total_changes_applied} applied, {summary.total_errors} errors.",
    ]
    if troubles := list(failures(report)):
        lines += ["", "## Needs attention", "", *(f"- {line}" for line in troubles)]
    if report.scenes:
        lines += ["", "## What changed", "", "| Scene | Changes |", "|---|---|"]
        for scene in report.scenes:
            name = _cell(scene.title or f"Scene {scene.scene_id}")
            if stash_url:
                name = f"[{name}]({stash_url.rstrip('/')}/scenes/{scene.scene_id})"
            lines.append(f"| {name} | {_cell(', '.join(scene.changes))} |")
    return "\n".join(lines) + "\n"


def job_markdown(job: str, result: Result) -> str:
    """Word the result of a single job as a table of its fields."""
    values = result.model_dump(mode="json")
    status = state_name(values.get("status", "completed"))
    rows = (
        f"| {name.replace('_', ' ')} | {_cell(_short(value))} |"
        for name, value in values.items()
        if value not in (None, [], {}, "") and name not in {"status", "errors"}
    )
    lines = [f"# {job}: {status}", "", "| | |", "|---|---|", *rows]
    if errors := values.get("errors"):
        lines += ["", "## Needs attention", ""]
        lines += [f"- {error['item']}: {error['reason']}" for error in errors]
    return "\n".join(lines) + "\n"


def _short(value: object) -> str:
    if isinstance(value, list):
        shown = ", ".join(str(item) for item in value[:20])
        return f"{shown} … ({len(value)} in all)" if len(value) > 20 else shown
    return str(value)


def _cell(text: str) -> str:
    """Keep a table's row whole, whatever a file is called."""
    return text.replace("|", "\\|").replace("\n", " ")
