"""Take away what Stash has no longer."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import RemoveOrphansParams
from tasks.remove_orphans import remove_orphans as remove_orphans_task


@job_flow("remove_orphans")
@parameters_of(RemoveOrphansParams)
def remove_orphans(params: RemoveOrphansParams) -> State[Any]:
    """Mark what is newly gone from Stash; remove what an earlier run had marked."""
    return run_one("remove_orphans", remove_orphans_task, params)
