"""What is done for a run that ended before it could clean up itself.

A run that is cancelled settles its Stash jobs at once, in its own process. These hooks
run afterwards, elsewhere, and find nothing more to do, unless that process hung or
died on the way. Where no hook runs either, the next run does it.
"""

from collections.abc import Callable
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows._starting import end_refused_starts
from tasks.cancellation import settle_jobs_of

_TOLD_TO_STOP = "aborted by"


# A worker hands these their arguments by name: the names are Prefect's.
def settle_cancelled_run(
    flow: Flow[..., Any],
    flow_run: FlowRun,
    state: State,
) -> None:
    """Stop the generate job of a cancelled run; say that a scan goes on."""
    settle_jobs_of(str(flow_run.id), flow_run_logger(flow_run, flow))


def settle_aborted_run(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Do the same for a run that Ctrl-C or a termination signal ended.

    A run that merely died, by lack of memory for instance, was not told to stop: its
    Stash job goes on, for the run to find it again when it is retried, or for the next
    run to adopt it.
    """
    if _TOLD_TO_STOP in (state.message or ""):
        settle_jobs_of(str(flow_run.id), flow_run_logger(flow_run, flow))


SETTLE: dict[str, Any] = {
    "on_cancellation": [settle_cancelled_run],
    "on_crashed": [settle_aborted_run],
}
"""Options of the flows that start Stash jobs."""


def job_flow(
    name: str, *, starts_stash_jobs: bool = False
) -> Callable[[Callable[..., Any]], Flow[..., Any]]:
    """Make a flow whose runs end properly, whenever they are cancelled.

    Args:
        name: Of the flow.
        starts_stash_jobs: Whether a run may leave jobs behind in Stash.
    """
    end_refused_starts()
    return flow(name=name, **(SETTLE if starts_stash_jobs else {}))
