"""Wording the result of a run: Markdown for Prefect's UI, rows for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stashhog_core.markdown import (
    Markdown,
    in_lines,
    link,
    plan_link,
    scene_link,
    text,
)
from stashhog_core.params import ReviewPlanParams
from stashhog_core.results import (
    CheckLine,
    ChecksResult,
    CheckState,
    DirectoryScanResult,
    FailedResult,
    ImportedDecisions,
    Result,
    ReviewResult,
    Step,
    StepResult,
    SyncResult,
    TakenBack,
    VerifyMirrorResult,
    WorkflowReport,
    WorkflowSummary,
)
from stashhog_core.workflow import TITLES, put_off, status_of

_STATE_NAMES = {
    "completed": "Completed",
    "completed_with_errors": "CompletedWithErrors",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "skipped": "Skipped",
    "timeout": "TimedOut",
    "deferred": "Deferred",
    "held": "Held",
}
_COUNTS: dict[Step, tuple[tuple[str, ...], ...]] = {
    # Field of a result, and the words for `counted`.
    "process_downloads": (
        ("synced_items", "item placed"),
        ("files_linked", "file linked"),
        ("files_cloned", "file cloned"),
        ("files_copied", "file copied"),
        ("removed_items", "torrent removed"),
        ("failed_items", "failed", "failed"),
    ),
    "incremental_sync": (
        ("created", "created", "created"),
        ("updated", "updated", "updated"),
        ("removed", "removed", "removed"),
        ("failed", "failed", "failed"),
        ("conflicts", "conflict to decide"),
    ),
    "stash_generate": (
        ("scenes_updated_count", "scene generated"),
        ("unmakeable_count", "scene with media that Stash cannot make"),
    ),
}
_COUNTS["final_incremental_sync"] = _COUNTS["incremental_sync"]
_NOTHING: dict[Step, str] = {
    # The words for a step without work. They apply only if the step had no error: a
    # step that failed on every item did have work.
    "process_downloads": "no new items",
    "incremental_sync": "no scene changed",
    "stash_generate": "no scene lacks media",
}
_NOTHING["final_incremental_sync"] = _NOTHING["incremental_sync"]
_COUNTED_FAILURES = ("failed_items", "failed")


class _Notes(NamedTuple):
    """A list in a result that reports no errors, but facts that users may want to know.

    `field` is the list's field in the result, `total` the field with the full count if
    the list may be cut, `lead` the words before each line in the terminal.
    """

    field: str
    total: str
    heading: str
    hint: str
    lead: str


_NOTES = (
    _Notes(
        "waiting",
        "",
        "Waiting downloads",
        "Another program still seems to write these downloads. Each run checks these "
        "downloads again.",
        "Waiting",
    ),
    _Notes(
        "left_out",
        "",
        "Files that were left out",
        "These files of finished downloads were not placed in the library.",
        "Left out",
    ),
    _Notes(
        "unmakeable",
        "unmakeable_count",
        "Media that Stash cannot make",
        "StashHog requests this media again only if the file or Stash's version "
        "changes, or if you set `retryUnmakeable`.",
        "Stash cannot make media",
    ),
)
_SHOWN_NOTES = 20
_RESULT_CHARACTERS, _CHANGES_CHARACTERS = 50, 70
"""Longest lines in the columns of a table that may have long texts."""
_LABELS = {
    # The names of these fields are older than the words of the documentation.
    "gave_way": "preempted",
    "last_proved": "last verified",
    "left_alone": "earlier decisions kept",
    "looks": "examined scenes",
    "overruled": "earlier decisions replaced",
    "pictures_asked": "pictures asked for",
    "settled": "closed after dead runs",
    "unseen": "not in Stash yet",
}


def state_name(status: str) -> str:
    """Return the Prefect state name of a job or step status."""
    return _STATE_NAMES[status]


_SUBJECTS = {
    # Field of a result, and what it counts.
    "synced_items": "item",
    "scenes_updated_count": "scene",
    "scenes_checked": "scene",
    "scenes_analyzed": "scene",
    "scanned": "file",
    "decided": "change",
    "applied": "change",
    "undone": "change",
}


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with the words for one or for many.

    Unless `many` is given, the first word gets an `s`: `2 scenes left`.
    """
    noun, space, rest = one.partition(" ")
    words = one if count == 1 else many or f"{noun}s{space}{rest}"
    return f"{count} {words}"


def size_in_words(size_bytes: int) -> str:
    """Return a size such as `700 MB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def ending(result: Result) -> str:
    """Word how a job ended, for the message of its state; empty if it ended well."""
    if status_of(result) == "cancelled":
        return _when_cancelled(result)
    if isinstance(result, DirectoryScanResult) and result.status == "timeout":
        files = counted(result.pending, "file is", "files are")
        unlisted = "" if result.listed else "the folder is only partly listed; "
        return (
            f"TimedOut - after {result.duration_seconds:.0f} s: {unlisted}"
            f"{files} left for the next run"
        )
    if message := put_off(result):
        return message
    if status_of(result) != "completed_with_errors":
        return ""
    if isinstance(result, VerifyMirrorResult):
        return counted(result.differences, "difference")
    if isinstance(result, ChecksResult):
        return _troubles(result)
    count = _error_count(result)
    return counted(count, "error") if count else ""


_EFFECTS: Mapping[str, tuple[str, str]] = {
    # Field of a result, and the words for one and for many changes.
    "applied": ("change applied", "changes applied"),
    "undone": ("change undone", "changes undone"),
    "already": ("needed nothing", "needed nothing"),
    "conflicts": ("in conflict", "in conflict"),
    "skipped": ("of a scene that is gone", "of scenes that are gone"),
    "to_retry": ("is tried again", "are tried again"),
    "failed": ("failed", "failed"),
    "rejected": ("stays rejected", "stay rejected"),
}


def effects_in_words(result: Mapping[str, Any]) -> str:
    """Return what became of the changes of a plan, such as `2 changes applied`.

    Args:
        result: An ApplyResult or UndoResult by field.
    """
    first = "undone" if "undone" in result else "applied"
    return ", ".join(
        counted(result[name], *words)
        for name, words in _EFFECTS.items()
        if name == first or result.get(name)
    )


def _troubles(result: ChecksResult) -> str:
    counts = (result.failed, "failure"), (result.warnings, "warning")
    return ", ".join(counted(count, noun) for count, noun in counts if count)


def _when_cancelled(result: Result) -> str:
    if isinstance(result, WorkflowReport):
        for _, step in _reached(result):
            if step.status == "cancelled":
                return step.message
    return getattr(result, "message", "") or "Cancelled"


def _error_count(result: Result) -> int:
    if isinstance(result, WorkflowReport):
        return result.summary.total_errors
    # A result that lists only the first errors counts all of them.
    listed = len(getattr(result, "errors", ()))
    return max(listed, getattr(result, "error_count", 0))


def review_in_words(
    params: ReviewPlanParams,
    result: ReviewResult,
    remedy: str = "to decide on these changes again, use --change or --again",
) -> Iterator[str]:
    """Yield the outcome of a decision on a plan, one line per fact.

    `remedy` says how to decide again on changes that were decided on before.
    """
    plan = f"plan {result.plan_id}"
    if params.decision == "cancel":
        yield f"Cancelled {plan}"
        return
    done, word, state = {
        "accept": ("Accepted", "accept", "approved"),
        "reject": ("Rejected", "reject", "rejected"),
    }.get(params.decision, ("Replaced", "replace", ""))
    nothing = not (result.replaced or result.decided)
    if result.replaced:
        yield f"Replaced {counted(result.replaced, 'change', 'changes')} of {plan}"
    if result.decided:
        yield f"{done} {counted(result.decided, 'change', 'changes')} of {plan}"
    if nothing and result.already:
        yield (
            f"{plan.capitalize()} has no open change to {word}: "
            f"{counted(result.already, 'change is', 'changes are')} already {state}"
        )
    elif nothing and result.left_alone:
        yield f"None of the selected changes of {plan} is open to {word}"
    elif nothing and params.replace_by is not None:
        yield f"The selected changes of {plan} already propose {params.replace_by}"
    elif nothing:
        yield f"{plan.capitalize()} has no changes"
    yield from left_alone_in_words(result, result.plan_id, remedy)


def taken_back_in_words(result: TakenBack) -> Iterator[str]:
    """Yield what was taken back, and what could not be, one line per fact."""
    changes = counted(result.restored, "change is", "changes are")
    yield (
        f"Took back decision {result.decision_id} on plan {result.plan_id} "
        f"({result.what}): {changes} as before"
    )
    if result.left_alone:
        left = ", ".join(f"{n} {state}" for state, n in result.left_alone.items())
        yield f"Not changed, because of a later decision: {left}"


_DECIDED = {"approved", "rejected", "pending", "failed"}
"""Decisions so far that another decision can replace; what was applied is undone."""


def left_alone_in_words(
    result: ReviewResult | ImportedDecisions, plan_id: int, remedy: str
) -> Iterator[str]:
    """Yield how many earlier decisions were replaced, and how many were kept.

    `remedy` is said only if one of them can still be replaced.
    """
    if result.overruled:
        were = counted(result.overruled, "change")
        yield f"The new decision replaced an earlier decision on {were}"
    if result.left_alone:
        kept = ", ".join(
            f"{number} {state}"
            for state, number in result.left_alone.items()
            if state != "conflict"
        )
        if kept:
            is_open = not _DECIDED.isdisjoint(result.left_alone)
            advice = f" ({remedy})" if is_open else ""
            yield f"Not changed, because of an earlier decision: {kept}{advice}"
        if conflicts := result.left_alone.get("conflict"):
            yield (
                "Not changed, because Stash has another value than expected: "
                f"{counted(conflicts, 'change')}. To see the values, run `stashhog "
                f"plans show {plan_id} --state conflict`; to overwrite the value in "
                "Stash, accept the change with --over and this value"
            )


def run_name(job: str, result: Result) -> str:
    """Return a name that says what a run did, such as `sync · 37 scenes`.

    A job without a count is named by the job alone.
    """
    if isinstance(result, FailedResult):
        return f"{job} · failed"
    if status_of(result) == "cancelled":
        return f"{job} · {ending(result)}"
    if isinstance(result, ChecksResult) and (troubles := _troubles(result)):
        return f"{job} · {troubles}"
    values = result.model_dump(include=set(_SUBJECTS))
    if isinstance(result, WorkflowReport):
        values = {"synced_items": result.summary.total_synced_items}
    elif isinstance(result, SyncResult):
        name = _named(job, result.created + result.updated, "scene")
        return (
            name if result.pending is None else f"{name} of {result.pending:,} pending"
        )
    for name, noun in _SUBJECTS.items():
        if name in values:
            return _named(job, values[name], noun)
    return job


def _named(job: str, count: int, noun: str) -> str:
    return f"{job} · {count:,} {noun if count == 1 else f'{noun}s'}"


def step_rows(report: WorkflowReport) -> Iterator[tuple[str, str, str, float]]:
    """Yield title, state, counts or reason, and seconds of each step reached."""
    for step, result in _reached(report):
        yield (
            TITLES[step],
            state_name(result.status),
            _what(step, result, report),
            result.duration_seconds,
        )


def _reached(report: WorkflowReport) -> Iterator[tuple[Step, StepResult]]:
    for step in TITLES:
        result: StepResult | None = getattr(report.steps, step)
        if result is not None:
            yield step, result


def _what(step: Step, result: StepResult, report: WorkflowReport) -> str:
    if result.error or result.status == "skipped":
        return result.error or result.message
    if step == "analysis":
        what = _analyzed(report)
    else:
        values = result.result or {}
        counts = [
            counted(values[name], *words)
            for name, *words in _COUNTS.get(step, ())
            if values.get(name)
        ]
        errors = len(values.get("errors", ()))
        if errors and not any(values.get(name) for name in _COUNTED_FAILURES):
            counts.append(counted(errors, "error"))
        what = ", ".join(counts) or values.get("message") or ""
        if not what and result.status == "completed":
            what = _nothing(step, values)
    return "; ".join(filter(None, [what, result.message]))


def _nothing(step: Step, values: Mapping[str, Any]) -> str:
    nothing = _NOTHING.get(step, "")
    if waiting := values.get("awaiting_scan"):
        files = counted(waiting, "file")
        return f"{nothing}, but {files} of earlier runs not scanned yet"
    return nothing


def _analyzed(report: WorkflowReport) -> str:
    summary = report.summary
    scenes = counted(summary.total_scenes_analyzed, "scene")
    batches = counted(len(report.steps.analysis_batches), "batch", "batches")
    approved = counted(summary.total_changes_approved, "change")
    words = [
        f"{scenes} in {batches}",
        f"{summary.total_changes_applied} of {approved} applied"
        if summary.total_changes_approved
        else "no change approved",
        *in_stash_already(summary),
    ]
    if left := summary.total_scenes_left:
        words.append(
            f"{counted(left, 'scene', 'scenes')} left for the next run, because the "
            "time limit is reached"
        )
    if deferred := summary.total_scenes_deferred:
        words.append(
            counted(deferred, "scene stays unanalyzed", "scenes stay unanalyzed")
        )
    if errors := sum(len(batch.errors) for batch in report.steps.analysis_batches):
        words.append(counted(errors, "error"))
    return ", ".join(words)


def in_stash_already(summary: WorkflowSummary) -> Iterator[str]:
    """Yield how many changes were not applied because Stash had their values, if any.

    Nothing can be undone there: it is another's work.
    """
    if number := summary.total_changes_already:
        yield f"{number} in Stash already"


def failures(report: WorkflowReport) -> Iterator[str]:
    """Yield a line for each item that needs attention.

    These are items that failed, downloads that are not yet in Stash, and plans that
    need a decision.
    """
    yield from _failed(report)
    yield from _undecided(report, None)


def _failed(report: WorkflowReport) -> Iterator[str]:
    """Yield a line for each item that failed, and for each download not yet in Stash.

    A download that failed is not in Stash either, and is listed only once.
    """
    listed: set[tuple[str, str]] = set()
    for step, result in _reached(report):
        title = TITLES[step]
        if result.status in {"deferred", "held"}:
            yield f"{title}: {result.message}"
        for error in (result.result or {}).get("errors", ()):
            listed.add((error["item"], error["reason"]))
            yield f"{title}: {error['item']}: {error['reason']}"
    for batch in report.steps.analysis_batches:
        for reason in batch.errors:
            yield f"Analysis batch {batch.batch_num}: {reason}"
    for unseen in report.unseen:
        if (unseen.item, unseen.reason) not in listed:
            yield f"Not in Stash yet: {unseen.item}: {unseen.reason}"


def _undecided(report: WorkflowReport, pages: str | None) -> Iterator[str]:
    """Yield a line for each plan that needs a decision; Markdown if `pages` is set."""
    for plan in report.undecided:
        line = f"Needs your decision: {plan.item}: {plan.reason}"
        number = plan.item.removeprefix("plan ")
        if pages is None or not number.isdecimal():
            yield line
        else:
            name = plan_link(plan.item, pages, int(number))
            yield Markdown(f"Needs your decision: {name}: {text(plan.reason)}")


def undo_commands(report: WorkflowReport, pages: str | None = None) -> Iterator[str]:
    """Yield a line for each plan with applied changes, and the command to undo them.

    The lines are Markdown if `pages`, the address of the pages for review, is set.
    """
    for batch in report.steps.analysis_batches:
        if batch.plan_id is not None and batch.changes_applied:
            plan = f"Plan {batch.plan_id}"
            words = (
                f"{counted(batch.changes_applied, 'change')} applied; "
                f"to undo, run `stashhog plans undo {batch.plan_id}`"
            )
            if pages is None:
                yield f"{plan}: {words}"
            else:
                page = plan_link(plan, pages, batch.plan_id)
                yield Markdown(f"{page}: {text(words)}")


def to_markdown(
    report: WorkflowReport,
    link_base: str | None = None,
    link_to: Callable[[str], str | None] = lambda _job_id: None,
    pages: str | None = None,
) -> str:
    """Word a workflow's report for Prefect's UI.

    Args:
        report: What the run did.
        link_base: The beginning of the addresses of Stash's pages, for links to scenes.
        link_to: Returns the address of the page of a step or batch, if there is one.
        pages: The beginning of the addresses of the pages for review.
    """
    jobs = {TITLES[step]: result.job_id for step, result in _reached(report)}
    lines = [
        f"# process_new_scenes: {state_name(report.status)}",
        "",
        "| Step | State | Result | Seconds |",
        "|---|---|---|---:|",
        *(
            f"| {_linked(title, jobs.get(title), link_to)} | {state} "
            f"| {in_lines(what, _RESULT_CHARACTERS)} "
            f"| {seconds:.1f} |"
            for title, state, what, seconds in step_rows(report)
        ),
        "",
        f"**Totals:** {_totals(report)}.",
    ]
    if troubles := list(_failed(report)) + list(_undecided(report, pages)):
        lines += ["", "## Needs attention", "", *(f"- {text(t)}" for t in troubles)]
    if commands := list(undo_commands(report, pages)):
        lines += ["", "## Plans", "", *(f"- {text(line)}" for line in commands)]
    for _, step in _reached(report):
        lines += _notes(step.result or {})
    if report.steps.analysis_batches:
        lines += [
            "",
            "## Analysis batches",
            "",
            "| Batch | Scenes | Approved | Applied | In Stash already | Errors |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                f"| {_linked(_batch(b.batch_num), b.job_id, link_to)} "
                f"| {b.scenes_analyzed} | {b.changes_approved} "
                f"| {b.changes_applied} | {b.changes_already} | {len(b.errors)} |"
                for b in report.steps.analysis_batches
            ),
        ]
    if report.scenes:
        lines += ["", "## Changed scenes", "", "| Scene | Changes |", "|---|---|"]
        for scene in report.scenes:
            name = scene.title or f"Scene {scene.scene_id}"
            name = scene_link(name, link_base, scene.scene_id)
            changes = in_lines(", ".join(scene.changes), _CHANGES_CHARACTERS)
            lines.append(f"| {name} | {changes} |")
    return "\n".join(lines) + "\n"


def _totals(report: WorkflowReport) -> str:
    summary = report.summary
    return ", ".join(
        (
            counted(summary.total_synced_items, "item placed"),
            counted(summary.total_scenes_analyzed, "scene analyzed"),
            counted(summary.total_changes_approved, "change approved"),
            f"{summary.total_changes_applied} applied",
            *in_stash_already(summary),
            counted(summary.total_errors, "error"),
        )
    )


def _batch(number: int) -> str:
    return str(number) if number else "left by an earlier run"


def _linked(name: str, job_id: str | None, link_to: Callable[[str], str | None]) -> str:
    url = link_to(job_id) if job_id else None
    return link(name, url) if url else text(name)


def job_markdown(job: str, result: Result, pages: str | None = None) -> str:
    """Word the result of a single job as a table of its fields.

    Args:
        job: Its name.
        result: What it did.
        pages: The beginning of the addresses of the pages for review, for links.
    """
    values = result.model_dump(mode="json")
    status = state_name(status_of(result))
    rows = (
        f"| {_label(name)} | {_cell(name, value, pages)} |"
        for name, value in values.items()
        if value not in (None, [], {}, "")
        and name not in {"status", "errors", "held", "deferred", "checks"}
        and name not in {kind.field for kind in _NOTES}
    )
    lines = [f"# {job}: {status}", "", "| | |", "|---|---|", *rows]
    troubles = [f"- {text(put_off(result))}"] if put_off(result) else []
    troubles += [
        f"- {text(error['item'])}: {text(error['reason'])}"
        for error in values.get("errors", ())
    ]
    if troubles:
        lines += ["", "## Needs attention", "", *troubles]
    if isinstance(result, ChecksResult):
        lines += ["", *_check_rows(result.checks)]
    lines += _notes(values)
    return "\n".join(lines) + "\n"


CHECK_MARKS: Mapping[CheckState, str] = {
    "ok": "✓",
    "warning": "!",
    "failure": "✗",
    "skipped": "·",
}
"""How the state of a check is shown."""


def _check_rows(lines: Sequence[CheckLine]) -> Iterator[str]:
    yield "| | Check | Found | What mends it |"
    yield "|---|---|---|---|"
    for line in lines:
        words = (text(word) for word in (line.name, line.found, line.remedy))
        yield f"| {CHECK_MARKS[line.state]} | {' | '.join(words)} |"


def notes(report: WorkflowReport) -> Iterator[str]:
    """Yield a line for each fact that is no error, but that users may want to know."""
    for _, step in _reached(report):
        for kind in _NOTES:
            for line in _noted(kind, step.result or {}):
                yield f"{kind.lead}: {line}"


def _noted(kind: _Notes, values: Mapping[str, Any]) -> list[str]:
    items = values.get(kind.field, ())
    total = values.get(kind.total) or len(items)
    lines = [f"{i['item']}: {i['reason']}" for i in items[:_SHOWN_NOTES]]
    if more := total - len(lines):
        lines.append(f"{more} more")
    return lines


def _notes(values: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for kind in _NOTES:
        if noted := [f"- {text(line)}" for line in _noted(kind, values)]:
            lines += ["", f"## {kind.heading}", "", kind.hint, "", *noted]
    return lines


def _cell(name: str, value: object, pages: str | None) -> str:
    if name == "plan_id" and isinstance(value, int):
        return plan_link(value, pages, value)
    if name == "plan_ids" and isinstance(value, list):
        return ", ".join(plan_link(id_, pages, id_) for id_ in value[:_SHOWN_NOTES])
    return text(_short(value))


def _short(value: object) -> str:
    if isinstance(value, list):
        shown = ", ".join(_short(item) for item in value[:20])
        return f"{shown} … (20 of {len(value)})" if len(value) > 20 else shown
    if isinstance(value, dict) and value.keys() == {"item", "reason"}:
        return f"{value['item']}: {value['reason']}"
    if isinstance(value, dict):
        return ", ".join(f"{_label(name)} {_short(of)}" for name, of in value.items())
    return str(value)


def _label(name: object) -> str:
    return _LABELS.get(str(name)) or str(name).replace("_", " ")
