"""Prove that the mirror is right."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import VerifyMirrorParams
from tasks.verify_mirror import verify_mirror as verify_mirror_task


@job_flow("verify_mirror")
@parameters_of(VerifyMirrorParams)
def verify_mirror(params: VerifyMirrorParams) -> State[Any]:
    """Compare scenes drawn by lot, and all counts, with Stash, field by field."""
    return run_one("verify_mirror", verify_mirror_task, params)
