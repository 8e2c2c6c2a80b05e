"""Forget old history; put right what dead runs left open."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import CleanupParams
from tasks.cleanup import cleanup as cleanup_task


@job_flow("cleanup")
@parameters_of(CleanupParams)
def cleanup(params: CleanupParams) -> State[Any]:
    """Forget old history, and put right what runs left open that died."""
    return run_one("cleanup", cleanup_task, params)
