"""Mirror Stash's library in PostgreSQL."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import SyncParams
from tasks.sync import sync as sync_task


@job_flow("sync")
@parameters_of(SyncParams)
def sync(params: SyncParams) -> State[Any]:
    """Bring the mirror of Stash's scenes, performers, tags and studios up to date."""
    return run_one("sync", sync_task, params)
