"""Have Stash generate previews, sprites and hashes for scenes that lack them."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import StashGenerateParams
from tasks.stash_generate import stash_generate as stash_generate_task


@job_flow("stash_generate", starts_stash_jobs=True)
@parameters_of(StashGenerateParams)
def stash_generate(params: StashGenerateParams) -> State[Any]:
    """Have Stash generate previews, sprites and hashes for scenes that lack them."""
    return run_one("stash_generate", stash_generate_task, params)
