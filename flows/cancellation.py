"""Ending runs that are cancelled before they begin, or that cannot clean up.

A run that is cancelled reconciles its Stash jobs at once, in its own process. The hooks
run afterwards, elsewhere, and find nothing more to do, unless that process hung or died
on the way. Where no hook runs either, the next run does it.

A run that is cancelled while its process starts never begins: Prefect's engine refuses
it. Nobody else gives it an end; it would stay Cancelling for five minutes, and keep its
place among the runs that may be under way.
"""

import logging
import os
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import UnfinishedRun
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Failed

from stashhog_core.errors import StashHogError
from tasks.cancellation import reconcile_stash_jobs

logger = logging.getLogger("stashhog_core.cancellation")

_STOPPED = "aborted by"
_RUN_ID = "PREFECT__FLOW_RUN_ID"
_ENGINE = logging.getLogger("prefect.engine")


# A worker hands these their arguments by name: the names are Prefect's.
def reconcile_cancelled_run(
    flow: Flow[..., Any],
    flow_run: FlowRun,
    state: State,
) -> None:
    """Stop the generate job of a cancelled run; say that a scan goes on."""
    reconcile_stash_jobs(str(flow_run.id), flow_run_logger(flow_run, flow))


def reconcile_aborted_run(
    flow: Flow[..., Any], flow_run: FlowRun, state: State
) -> None:
    """Do the same for a run that Ctrl-C or a termination signal ended.

    A run that merely died, by lack of memory for instance, was not asked to stop: its
    Stash job goes on, for the run to find it again when it is retried, or for the next
    run to resume it.
    """
    if _STOPPED in (state.message or ""):
        reconcile_stash_jobs(str(flow_run.id), flow_run_logger(flow_run, flow))


HOOKS: dict[str, Any] = {
    "on_cancellation": [reconcile_cancelled_run],
    "on_crashed": [reconcile_aborted_run],
}
"""Options of the flows that start Stash jobs."""


def job_flow(
    name: str, *, starts_stash_jobs: bool = False
) -> Callable[[Callable[..., Any]], Flow[..., Any]]:
    """Make a flow whose runs end properly, whenever they are cancelled or fail.

    Those of a flow that `starts_stash_jobs` may leave jobs behind in Stash. Of a run
    that fails with an error of ours, the state says the error's sentence and no more.
    """
    end_refused_starts()
    make = flow(name=name, **(HOOKS if starts_stash_jobs else {}))
    return lambda function: make(_failing_in_our_words(function))


def _failing_in_our_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function; it returns a failed state where it would raise our error.

    Prefect would put words of its own and the name of the class before the sentence.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except StashHogError as error:
            return Failed(message=str(error), data=error)

    return run


class _RefusedStarts(logging.Handler):
    """Hears from the engine that it did not begin the run of this process.

    The processes in which Prefect calls hooks import the flow too, and have the run's
    id; nothing but the engine's own word tells whose start was refused.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """End the run if its start was refused."""
        run_id = os.environ.get(_RUN_ID)
        refused = record.exc_info and isinstance(record.exc_info[1], UnfinishedRun)
        if run_id is not None and refused:
            _end_if_never_begun(UUID(run_id))


def end_refused_starts() -> None:
    """Have a run ended that is cancelled before it begins; to be called once or more.

    Whatever defines a flow calls this: it must hold before the engine begins the run.
    """
    if not any(isinstance(h, _RefusedStarts) for h in _ENGINE.handlers):
        _ENGINE.addHandler(_RefusedStarts())


def _end_if_never_begun(run_id: UUID) -> None:
    """Set a run to Cancelled that was Pending when it was cancelled.

    One that was Running gets its end from its worker: two ends would be two events,
    and each automation would fire twice.
    """
    try:
        with get_client(sync_client=True) as client:
            states = client.read_flow_run_states(run_id)
            states.sort(key=lambda state: state.timestamp)
            if not states or not states[-1].is_cancelling():
                return
            before = [state for state in states if not state.is_cancelling()]
            if before and before[-1].is_pending():
                ended: State[None] = Cancelled(message="Cancelled before it began.")
                client.set_flow_run_state(run_id, ended, force=True)
    except httpx.HTTPError as error:
        logger.warning("Run %s was cancelled and cannot be ended: %s", run_id, error)
