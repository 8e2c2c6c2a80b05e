"""Have Stash scan its library."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import StashScanParams
from stashhog_core.server_jobs.scan import CANCELLED_MESSAGE
from tasks.stash_scan import stash_scan as stash_scan_task


@job_flow("stash_scan", starts_stash_jobs=True)
@parameters_of(StashScanParams)
def stash_scan(params: StashScanParams) -> State[Any]:
    """Have Stash scan its library; cancelling leaves Stash's scan running."""
    return run_one(
        "stash_scan",
        stash_scan_task,
        params,
        cancelled_message=CANCELLED_MESSAGE,
    )
