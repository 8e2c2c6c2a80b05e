"""The scheduled generation of missing media, which more urgent jobs preempt."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.cancellation import job_flow
from flows.flow_parameters import parameters_of
from flows.outcome import run_one, skipped
from stashhog_core.params import StashGenerateParams
from tasks.flow_runs import SKIPPED
from tasks.stash_jobs import NOTHING_LACKING, PREEMPTED, why_not_now
from tasks.stash_jobs import auto_stash_generate as generate_task


@job_flow("auto_stash_generate", starts_stash_jobs=True)
@parameters_of(StashGenerateParams)
def auto_stash_generate(params: StashGenerateParams) -> State[Any]:
    """Generate missing media, unless Stash scans or another run uses Stash.

    A scan that starts later preempts the run. Media that is already generated stays.
    """
    if reason := why_not_now(params):
        is_idle = reason.startswith(NOTHING_LACKING)
        why = "nothing to do" if is_idle else "Stash is in use"
        return skipped("auto_stash_generate", reason, why)
    state = run_one("auto_stash_generate", generate_task, params)
    if getattr(state.data, "gave_way", False):
        return Completed(name=SKIPPED, message=PREEMPTED)
    return state
