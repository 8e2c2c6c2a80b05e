"""Have Stash scan its library."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows._hooks import SETTLE
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import StashScanParams
from stashhog_core.server_jobs.scan import CANCELLED_MESSAGE
from tasks.stash_scan import stash_scan as stash_scan_task


@flow(name="stash_scan", **SETTLE)
@parameters_of(StashScanParams)
def stash_scan(params: StashScanParams) -> State[Any]:
    """Have Stash scan its library; cancelling leaves Stash's scan running."""
    return run_one(
        "stash_scan",
        stash_scan_task,
        params,
        cancelled_message=CANCELLED_MESSAGE,
    )
