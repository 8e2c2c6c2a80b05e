"""Have Stash generate previews, sprites and hashes for scenes that lack them."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows._hooks import SETTLE
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import StashGenerateParams
from tasks.stash_generate import stash_generate as stash_generate_task


@flow(name="stash_generate", **SETTLE)
@parameters_of(StashGenerateParams)
def stash_generate(params: StashGenerateParams) -> State[Any]:
    """Have Stash generate previews, sprites and hashes for scenes that lack them."""
    return run_one("stash_generate", stash_generate_task, params)
