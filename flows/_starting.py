"""Ending runs that were cancelled before they began.

Prefect's engine refuses to begin a run that was cancelled while its process started,
and nobody else gives it an end: it would stay Cancelling for five minutes, and keep
its place among the runs that may be under way.
"""

import atexit
import logging
import multiprocessing
import os
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from tasks._runtime import has_begun

logger = logging.getLogger("stashhog_core.starting")

_RUN_ID = "PREFECT__FLOW_RUN_ID"


def end_if_cancelled() -> None:
    """Set the run of this process to Cancelled if it never began for that reason."""
    run_id = os.environ.get(_RUN_ID)
    # Processes that the run starts inherit its id, and do not know whether it began.
    is_helper = multiprocessing.parent_process() is not None
    if run_id is None or is_helper or has_begun():
        return
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run_id)).state
            if state is not None and state.is_cancelling():
                ended: State[None] = Cancelled(message="Cancelled before it began.")
                client.set_flow_run_state(UUID(run_id), ended, force=True)
    except httpx.HTTPError as error:
        logger.warning("Run %s was cancelled and cannot be ended: %s", run_id, error)


atexit.register(end_if_cancelled)
