"""How a flow of one job ends: its report kept, its state named by its status."""

from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from stashhog_core.report import state_name
from stashhog_core.results import CancelledResult, Result
from tasks._progress import workflow_progress
from tasks.report import keep_report

__all__ = ["final_state", "run_id", "run_one"]


def run_id() -> str:
    """Return the id of the flow run that is going on."""
    return str(flow_run.get_id())


def run_one(
    job: str,
    task: Any,
    *arguments: Any,
    cancelled_message: str = "Cancelled",
    **options: Any,
) -> State[Any]:
    """Run a task as the whole of a flow, keep its report, and return the end state.

    A run that is cancelled keeps a report too, with `cancelled_message` in it.
    """
    started = datetime.now(UTC)
    with workflow_progress(f"{job.replace('_', '-')}-progress") as progress:
        progress.move(0, f"{job} started")
        try:
            result = task(*arguments, **options)
        except Exception:
            raise
        except BaseException:
            progress.move(0, cancelled_message)
            cancelled = CancelledResult(message=cancelled_message)
            keep_report(run_id(), job, "cancelled", started, cancelled)
            raise
        status = getattr(result, "status", "completed")
        keep_report(run_id(), job, status, started, result)
        progress.move(100, f"{job} {status.replace('_', ' ')}")
    return final_state(status, result)


def final_state(status: str, result: Result, message: str = "") -> State[Any]:
    """Return the state whose name tells the status; trouble in parts is Completed."""
    if status in {"failed", "timeout"}:
        name = state_name(status)
        return Failed(name=name, message=message or name, data=result)
    return Completed(name=state_name(status), message=message or None, data=result)
