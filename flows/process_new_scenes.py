"""The main job: from finished downloads to tagged scenes with generated media."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import final_state, run_id
from stashhog_core.db.locks import ends_this_run, job_lock
from stashhog_core.errors import JobError, TransientError
from stashhog_core.params import (
    ProcessDownloadsParams,
    ProcessNewScenesParams,
    StashIdentifyParams,
    StashScanParams,
    SyncParams,
    or_setting,
)
from stashhog_core.progress import deadline_after
from stashhog_core.report import counted, ending, run_name, state_name
from stashhog_core.results import BatchResult, JobStatus, Result, Step
from stashhog_core.settings import get_settings
from stashhog_core.workflow import (
    MILESTONES,
    NO_NEW_ITEMS,
    NO_PENDING_SCENES,
    NO_UNANALYZED_SCENES,
    NOT_CHOSEN,
    ONLY_IF_NAMED,
    TITLES,
    JobDeferred,
    Recorder,
    put_off,
)
from tasks.analysis import (
    analysis_batch,
    apply_leftover,
    plan_batches,
    unapplied_plans,
)
from tasks.cancellation import result_when_cancelled
from tasks.downloads import confirm_downloads, process_downloads
from tasks.prefect_api import name_run
from tasks.report import (
    changed_scenes,
    keep_report,
    undecided_plans,
    while_ending,
)
from tasks.run_progress import WorkflowProgress, workflow_progress
from tasks.runtime import run_services
from tasks.stash_jobs import (
    check_services,
    stash_auto_tag,
    stash_backup,
    stash_clean,
    stash_generate,
    stash_identify,
    stash_optimise,
    stash_scan,
)
from tasks.sync import is_sync_needed, sync
from tasks.task_runners import mapped

JOB = "process_new_scenes"

logger = logging.getLogger("stashhog_core.workflow")

# A process that was just killed holds its lock a moment longer.
_LOCK_SECONDS = 5.0


@task(name="step", task_run_name="{step}", cache_policy=NO_CACHE)
def show_step(step: str, name: str, message: str) -> State[Any]:
    """Show the outcome of a step that is skipped or consists of several tasks."""
    return Completed(name=name, message=message)


@job_flow(JOB, starts_stash_jobs=True)
@parameters_of(ProcessNewScenesParams)
def process_new_scenes(params: ProcessNewScenesParams) -> State[Any]:
    """Take finished downloads to analyzed scenes with generated media.

    If the download step fails, the run fails. If another step fails, the run records
    the error, continues with the next step, and ends as CompletedWithErrors. Steps
    without work are skipped. A run in whose place another one has begun ends at once.
    """
    with (
        run_services() as services,
        ExitStack() as lock,
        workflow_progress("process-new-scenes-progress") as progress,
    ):
        lock.enter_context(job_lock(services.database, JOB, wait_seconds=_LOCK_SECONDS))
        progress.move(0, f"{JOB} started")
        # A wrong address or key ends the run before anything is changed.
        check_services()
        run = _Run(progress, params)
        try:
            _steps(run)
        except BaseException as error:
            # If the lock was lost, its block refuses even the report.
            lock.close()
            # Else cancelled in Prefect's UI, or Ctrl-C: what is finished stays.
            with while_ending():
                run.close("failed" if isinstance(error, Exception) else "cancelled")
            raise
        return run.close()


def _steps(run: "_Run") -> None:
    if not run.step(
        "process_downloads",
        process_downloads,
        ProcessDownloadsParams(exclude_small_vids=run.params.exclude_small_vids),
    ):
        return
    name_run(run_name(JOB, run.recorder.report()))

    run.named_step("stash_backup", stash_backup)
    if run.recorder.needs_scan or not run.is_chosen("process_downloads"):
        run.step("stash_scan", stash_scan, StashScanParams())
    else:
        run.skip("stash_scan", NO_NEW_ITEMS)

    # A scan finds again what was moved; a clean before it would delete these scenes.
    run.named_step("stash_clean", stash_clean)
    run.sync_step("incremental_sync")
    run.identify_step()
    run.named_step("stash_auto_tag", stash_auto_tag)
    run.analysis_step()
    run.step("stash_generate", stash_generate)
    run.sync_step("final_incremental_sync")
    run.named_step("stash_optimise", stash_optimise)


class _Run:
    """The steps of one run: each is tried, timed, recorded and shown."""

    def __init__(
        self, progress: WorkflowProgress, params: ProcessNewScenesParams
    ) -> None:
        self.progress = progress
        self.params = params
        self.recorder = Recorder(run_id())
        self._started = datetime.now(UTC)
        self._job_ids: dict[Step, str] = {}

    def is_chosen(self, step: Step) -> bool:
        """Tell whether the run was asked to do this step."""
        if self.params.steps is None:
            return step not in ONLY_IF_NAMED
        return step in self.params.steps

    def step(self, step: Step, job: Any, /, *arguments: Any, **options: Any) -> bool:
        """Run a job as this step; return whether the step succeeded."""

        def run_job() -> str:
            return self._do(step, job, *arguments, **options)

        return self._attempt(step, run_job)

    def named_step(self, step: Step, job: Any) -> None:
        """Run a step that runs only if it is named; else the report is without it."""
        if self.is_chosen(step):
            self.step(step, job)

    def identify_step(self) -> None:
        """Have Stash identify the scenes that the analysis takes next."""

        def run_identify() -> str:
            ids = tuple(chain.from_iterable(plan_batches(self.params.batch_size)))
            if not ids:
                return self._skipped("stash_identify", NO_UNANALYZED_SCENES)
            params = StashIdentifyParams(scene_ids=ids)
            return self._do("stash_identify", stash_identify, params)

        if self.is_chosen("stash_identify"):
            self._attempt("stash_identify", run_identify)

    def sync_step(self, step: Step) -> None:
        """Sync if scenes differ."""

        def run_sync() -> str:
            if not is_sync_needed(step):
                return self._skipped(step, NO_PENDING_SCENES)
            return self._do(step, sync, SyncParams(), trigger="workflow", step=step)

        self._attempt(step, run_sync)

    def _do(self, step: Step, job: Any, /, *arguments: Any, **options: Any) -> str:
        """Run a job and record what it did; return how it ended, in words."""
        started = time.monotonic()
        named = job.with_options(task_run_name=step)
        state: State[Result] = named(*arguments, **options, return_state=True)
        self._job_ids[step] = str(state.state_details.task_run_id)
        result = state.result()
        self.recorder.completed(
            step, result, time.monotonic() - started, self._job_ids[step]
        )
        return ending(result) or "done"

    def analysis_step(self) -> None:
        """Analyze new scenes in mapped batches; other batches outlive a failed one."""

        def run_batches() -> str:
            started = time.monotonic()
            deadline = deadline_after(self.params.max_minutes)
            results = [_apply_leftover(plan_id) for plan_id in unapplied_plans()]
            batches = plan_batches(self.params.batch_size)
            if not batches and not results:
                return self._skipped("analysis", NO_UNANALYZED_SCENES)
            workers = or_setting(
                self.params.parallel_batches, get_settings().analysis.parallel_batches
            )
            auto_approve = or_setting(
                self.params.auto_approve, get_settings().analysis.auto_approve
            )
            calls = [
                {
                    "scene_ids": scene_ids,
                    "batch_num": number,
                    "auto_approve": auto_approve,
                    "deadline": deadline,
                }
                for number, scene_ids in enumerate(batches, 1)
            ]

            def take(index: int, outcome: Any) -> None:
                if ends_this_run(outcome):
                    raise outcome
                results.append(_batch_result(index + 1, outcome))
                done = sum(1 for result in results if result.batch_num)
                self._move_within("analysis", done, len(batches))

            self._open_span("analysis", 0, len(batches))
            try:
                with mapped(analysis_batch, calls, workers, take) as outcomes:
                    for _ in outcomes:
                        pass
            finally:
                results.sort(key=lambda result: result.batch_num)
                step = self.recorder.batches(results, time.monotonic() - started)
            errors = sum(len(batch.errors) for batch in results)
            message = step.message
            if errors and not message:
                message = counted(errors, "error", "errors")
            show_step("analysis", state_name(step.status), message)
            return message or "done"

        self._attempt("analysis", run_batches)

    def skip(self, step: Step, message: str) -> None:
        """Skip a step; the bar stays where the step would have begun."""
        self._skipped(step, message)
        self.progress.move(MILESTONES[step][0], f"{TITLES[step]}: {message}")

    def _skipped(self, step: Step, message: str) -> str:
        """Record and show a step that had nothing to do; return `message`."""
        show_step(step, "Skipped", message)
        self.recorder.skipped(step, message)
        return message

    def _cancelled(self, step: Step, seconds: float) -> None:
        """Record that the run was cancelled in the middle of this step."""
        began = datetime.now(UTC) - timedelta(seconds=seconds)
        result = result_when_cancelled(run_id(), step, began)
        message = ending(result)
        self.recorder.cancelled(step, result, message, seconds)
        self.progress.move(0, f"{TITLES[step]}: {message}")

    def close(self, status: JobStatus | None = None) -> State[Any]:
        """Keep the report and return the state that the run ends in."""
        recorder = self.recorder
        confirms = status is None and recorder.may_miss_downloads
        report = recorder.report(
            status,
            confirm_downloads() if confirms else [],
            changed_scenes(run_id()) if recorder.has_batches else [],
            undecided_plans(run_id()),
        )
        name_run(run_name(JOB, report))
        keep_report(run_id(), JOB, report.status, self._started, report)
        words = report.status.replace("_", " ")
        if report.status != "cancelled":
            self.progress.move(100, f"{JOB} {words}")
        failed = report.steps.process_downloads
        return final_state(
            report.status, report, (failed.error if failed else None) or ending(report)
        )

    def _attempt(self, step: Step, work: Callable[[], str]) -> bool:
        if not self.is_chosen(step):
            self.skip(step, NOT_CHOSEN)
            return True
        start, end = MILESTONES[step]
        started = time.monotonic()
        self.progress.move(start, f"{TITLES[step]} …")
        for tries_left in reversed(range(self.params.step_retries + 1)):
            try:
                words = work()
            except Exception as error:
                is_over = ends_this_run(error)
                if tries_left and not is_over:
                    self.progress.note(f"{TITLES[step]}: trying again: {error}")
                    continue
                self.recorder.failed(
                    step, error, time.monotonic() - started, self._job_ids.get(step)
                )
                self.progress.move(end, f"{TITLES[step]}: failed: {error}")
                if is_over:
                    raise
                # The seed: the error is recorded, and the run goes on.
                return False
            except BaseException:
                with while_ending():
                    self._cancelled(step, time.monotonic() - started)
                raise
            break
        self.progress.move(end, f"{TITLES[step]}: {words}")
        return True

    def _move_within(self, step: Step, done: int, total: int) -> None:
        start, end = MILESTONES[step]
        self.progress.move(
            start + (end - start) * done / total,
            f"{TITLES[step]}: batch {done}/{total}",
        )
        self._open_span(step, done, total)

    def _open_span(self, step: Step, done: int, total: int) -> None:
        """Have the batches that run now move the bar, each by its share of the step."""
        start, end = MILESTONES[step]
        if total:
            width = (end - start) / total
            self.progress.span(start + width * done, width)


def _apply_leftover(plan_id: int) -> BatchResult:
    """Apply what is left of a plan; an error hinders no other plan and no batch."""
    try:
        return apply_leftover(plan_id)
    except (JobError, TransientError) as error:
        logger.warning("Plan %d could not be applied: %s", plan_id, error)
        return BatchResult(batch_num=0, errors=(f"plan {plan_id}: {error}",))


def _batch_result(number: int, outcome: Any) -> BatchResult:
    """Return what a batch did; log in what way it failed, if it did."""
    if isinstance(outcome, JobDeferred) and isinstance(outcome.result, BatchResult):
        result = outcome.result
        logger.warning("Analysis batch %d: %s", number, put_off(result))
    elif isinstance(outcome, BatchResult):
        result = outcome
    else:
        failed = BatchResult(batch_num=number, errors=(str(outcome),))
        logger.warning("Analysis batch %d failed: %s", number, failed.errors[0])
        return failed
    if result.errors:
        how_many = counted(len(result.errors), "error", "errors")
        logger.warning(
            "Analysis batch %d ended with %s: %s", number, how_many, result.errors[0]
        )
    return result
