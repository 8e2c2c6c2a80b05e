"""How a flow of one job ends: its report kept, its state named by its status."""

from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from stashhog_core.errors import Deferred, StashHogError, unexpected
from stashhog_core.report import ending, run_name, state_name
from stashhog_core.results import FailedResult, Result
from stashhog_core.workflow import (
    JobDeferred,
    JobFailed,
    deferred_result,
    status_of,
)
from tasks.cancellation import result_when_cancelled
from tasks.flow_runs import SKIPPED
from tasks.prefect_api import name_run
from tasks.report import keep_report, while_ending
from tasks.run_progress import workflow_progress
from tasks.runtime import run_services

__all__ = ["final_state", "result_of", "run_id", "run_one", "skipped"]

_FAILED = {"failed", "timeout", "deferred"}


def run_id() -> str:
    """Return the id of the flow run that is going on."""
    return str(flow_run.get_id())


def run_one(job: str, task: Any, *arguments: Any, **options: Any) -> State[Any]:
    """Run a task as the whole of a flow, keep its report, and return the end state.

    A run that is cancelled keeps a report too, with what it leaves in Stash; so does
    one that failed, with the error, or was deferred, with what it had done by then.
    """
    started = datetime.now(UTC)
    with (
        run_services(),
        workflow_progress(
            f"{job.replace('_', '-')}-progress", is_one_task=True
        ) as progress,
    ):
        progress.move(0, f"{job} started")
        try:
            result = task(*arguments, **options)
        except JobFailed as error:
            result = error.result
        except Deferred as error:
            result = deferred_result(error)
        except Exception as error:
            words = (
                str(error) if isinstance(error, StashHogError) else unexpected(error)
            )
            failed = FailedResult(error=words)
            name_run(run_name(job, failed))
            with while_ending():
                keep_report(run_id(), job, "failed", started, failed)
            raise
        except BaseException:
            with while_ending():
                cancelled = result_when_cancelled(run_id(), job, started)
                progress.move(0, ending(cancelled))
                name_run(run_name(job, cancelled))
                keep_report(run_id(), job, "cancelled", started, cancelled)
            raise
        status = status_of(result)
        name_run(run_name(job, result))
        keep_report(run_id(), job, status, started, result)
        # A run that was cut short stays where it was.
        end = 0 if status in _FAILED else 100
        progress.move(end, f"{job} {status.replace('_', ' ')}")
    return final_state(status, result, ending(result))


def skipped(job: str, message: str, why: str = "nothing to do") -> State[Any]:
    """Name the run of a scheduled job that has nothing to do; return its end state.

    The clean-up deletes runs in this state sooner than others.
    """
    name_run(f"{job} · {why}")
    return Completed(name=SKIPPED, message=message)


def final_state(status: str, result: Result, message: str = "") -> State[Any]:
    """Return the state whose name tells the status; trouble in parts is Completed.

    A deferred run is of Prefect's type Failed: it shows red, notifies whoever asked to
    be told of failures, and can be retried. Prefect raises what a failed state holds,
    so it holds an error that has the result.
    """
    name = state_name(status)
    if status in _FAILED:
        kind = JobDeferred if status == "deferred" else JobFailed
        error = kind(message or name, result)
        return Failed(name=name, message=str(error), data=error)
    return Completed(name=name, message=message or None, data=result)


def result_of(state: State[Any]) -> Result | BaseException:
    """Return what a run did, also if it failed, or the error that left no result."""
    outcome: Result | BaseException = state.result(raise_on_failure=False)
    return outcome.result if isinstance(outcome, JobFailed) else outcome
