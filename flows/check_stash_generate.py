"""Find the scenes and markers whose generated media is missing."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import CheckStashGenerateParams
from tasks.check_stash_generate import check_stash_generate as check_task


@job_flow("check_stash_generate")
@parameters_of(CheckStashGenerateParams)
def check_stash_generate(params: CheckStashGenerateParams) -> State[Any]:
    """Find the scenes and markers whose generated media is missing."""
    return run_one("check_stash_generate", check_task, params)
