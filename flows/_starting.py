"""Ending runs that were cancelled before they began.

Prefect's engine refuses to begin a run that was cancelled while its process started,
and nobody else gives it an end: it would stay Cancelling for five minutes, and keep
its place among the runs that may be under way.
"""

import logging
import os
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import UnfinishedRun
from prefect.states import Cancelled

logger = logging.getLogger("stashhog_core.starting")

_RUN_ID = "PREFECT__FLOW_RUN_ID"
_ENGINE = logging.getLogger("prefect.engine")


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
