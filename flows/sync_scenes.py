"""Mirror chosen scenes."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import SyncParams, SyncScenesParams
from tasks.sync import sync as sync_task


@job_flow("sync_scenes")
@parameters_of(SyncScenesParams)
def sync_scenes(params: SyncScenesParams) -> State[Any]:
    """Bring these scenes of the mirror up to date, changed or not."""
    return run_one("sync_scenes", sync_task, SyncParams(scene_ids=params.scene_ids))
