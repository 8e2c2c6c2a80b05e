"""Propose changes to scenes as a plan to review."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import AnalysisParams
from tasks.analysis import analysis as analysis_task


@job_flow("analysis")
@parameters_of(AnalysisParams)
def analysis(params: AnalysisParams) -> State[Any]:
    """Propose changes to scenes as a plan to review; Stash stays as it is."""
    return run_one("analysis", analysis_task, params)
