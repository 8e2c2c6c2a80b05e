"""Place finished downloads in the library."""

from typing import Any

from prefect.client.schemas.objects import State

from flows._hooks import job_flow
from flows._outcome import run_one
from flows._parameters import parameters_of
from stashhog_core.params import ProcessDownloadsParams
from tasks.process_downloads import process_downloads as process_downloads_task


@job_flow("process_downloads")
@parameters_of(ProcessDownloadsParams)
def process_downloads(params: ProcessDownloadsParams) -> State[Any]:
    """Place finished downloads in the library."""
    return run_one("process_downloads", process_downloads_task, params)
